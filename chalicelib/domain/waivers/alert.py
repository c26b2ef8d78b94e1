"""What people read about waivers: what a change came to; that one ends, a week and a day before, and that it is over.

Each end is announced once: a waiver that was renewed ends at another time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import IntEnum

import msgspec

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.images.text import sanitize
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.waiver import EXPIRING_WITHIN, Waiver
from chalicelib.domain.waivers.change import (
    ENDED,
    Carried,
    WaiverChange,
    WaiverEnd,
    moment,
    named,
    renew_command,
    said,
    unwaive_command,
)

LAST_DAY = timedelta(days=1)
PATIENCE = timedelta(minutes=30)


class NoticeStage(IntEnum):
    NONE = 0
    WEEK = 1
    DAY = 2
    OVER = 3


class Notice(msgspec.Struct, frozen=True):
    """The last that was announced of the end at `expires_at`.

    `awaited_since`: it is over, and its images are not all decided again. `after`: those up to there were announced.
    """

    expires_at: datetime
    stage: NoticeStage = NoticeStage.NONE
    awaited_since: datetime | None = None
    after: str | None = None


def due_stage(waiver: Waiver, told: Notice | None, now: datetime) -> NoticeStage | None:
    """What is to be told now; None: nothing. What was missed is not made up for: only the latest counts."""
    current = current_notice(waiver, told)
    stage = _stage(waiver, now)
    return stage if stage > current.stage else None


def current_notice(waiver: Waiver, told: Notice | None) -> Notice:
    """What was told of the end that it has now."""
    return told if told is not None and told.expires_at == waiver.expires_at else Notice(waiver.expires_at)


def awaited(notice: Notice, now: datetime) -> Notice | None:
    """What is remembered while its images are not all decided again; None: they have been waited for long enough."""
    since = notice.awaited_since or now
    return None if now >= since + PATIENCE else msgspec.structs.replace(notice, awaited_since=since)


def _stage(waiver: Waiver, now: datetime) -> NoticeStage:
    """Who gave a waiver for three days needs no telling that it ends within a week."""
    if not waiver.in_force(now):
        return NoticeStage.OVER
    left, span = waiver.expires_at - now, waiver.expires_at - waiver.created_at
    if left <= LAST_DAY < span:
        return NoticeStage.DAY
    return NoticeStage.WEEK if left <= EXPIRING_WITHIN < span else NoticeStage.NONE


WAIVER = "waiver"
RENEWED_DAYS = 30
_CHANGES_SHOWN = 5
_WILDCARDS = frozenset("*?")


def compose_waiver_summary(changes: Sequence[WaiverChange], carried: Carried, now: datetime) -> Alert:
    """One alert for what a sweep carried, one waiver or a file of them."""
    subjects = [c.subject for c in changes]
    first = changes[0]
    title = f"Waiver {first.what}: {named(first.subject)}" if len(changes) == 1 else f"{len(changes)} waivers changed"
    more = len(changes) - _CHANGES_SHOWN
    standing = [c.subject for c in changes if c.what != ENDED]
    return Alert(
        event=WAIVER,
        title=sanitize(title, 150),
        at=now,
        repository=_one_repository(subjects),
        notes=(
            *(_line(c) for c in changes[:_CHANGES_SHOWN]),
            *([f"and {more} more: lazaretto waivers"] if more > 0 else []),
            *_counted(carried),
        ),
        what_to_do=tuple(f"To end it: {unwaive_command(w.id, 'WHY')}" for w in standing[:1] if len(changes) == 1),
    )


def compose_waiver_notice(
    waiver: Waiver, stage: NoticeStage, images: str, days: int, now: datetime, end: WaiverEnd | None = None
) -> Alert:
    """`images`: how many it touches, in words. `days`: for how long it may be renewed. `end`: what its end came to."""
    end = end or WaiverEnd()
    over = stage is NoticeStage.OVER
    when = "has ended" if over else f"ends on {moment(waiver.expires_at)}"
    follows = (
        "Since then it excuses nothing: the images it covered are decided without it."
        if over
        else "From then on it excuses nothing: the images it covers are decided without it, and blocked or quarantined "
        "where a rule says so."
    )
    return Alert(
        event=WAIVER,
        title=sanitize(f"Waiver {when}: {named(waiver)}", 150),
        at=now,
        repository=_one_repository([waiver]),
        notes=(f"{waiver.id}: {said(waiver)}.", images, follows, *end.lines),
        registry=end.outcomes,
        what_to_do=(
            *(f"All about the worst: lazaretto image {t.header.ref}" for t in end.worst[:1]),
            f"To {'give it again' if over else 'renew it'}: {renew_command(waiver.id, min(days, RENEWED_DAYS))}",
            *([] if over else [f"To end it now: {unwaive_command(waiver.id, 'WHY')}"]),
        ),
        links=tuple(t.link for t in end.worst),
    )


def _line(change: WaiverChange) -> str:
    waiver = change.subject
    who = sanitize(change.by, 100)
    if change.what == ENDED:
        return f"{waiver.id} ended by {who} ({sanitize(change.why, 300)}): {named(waiver)}"
    return f"{waiver.id} {change.what} by {who}: {said(waiver)}"


def _counted(carried: Carried) -> list[str]:
    before, after = carried.before, carried.after
    kinds = [d for d in reversed(Decision) if before.get(d, 0) or after.get(d, 0)]
    if not kinds:
        return ["It touches no image that is known now."]
    return [
        "The images it may touch, decided again:",
        *(f"{d}: {after.get(d, 0)} (before: {before.get(d, 0)})" for d in kinds),
    ]


def _one_repository(waivers: Sequence[Waiver]) -> str | None:
    """Whose routes hear it: the one repository's, or (None) all that listen to waivers."""
    names = {w.repository for w in waivers}
    only = names.pop() if len(names) == 1 else None
    return None if only is None or _WILDCARDS & set(only) else only
