"""The clock for waivers: announce that one ends soon or has ended, and go on with the sweep of a dead worker.

That a waiver ends is not done here: each image it excuses comes due by its own `decide_at`. One walk of the index finds
the images of all the waivers that are announced. The alert of an image that the announcement names is cleared, so that
it is not sent by itself as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from chalicelib.domain.alerts.alert import VERDICT, AlertKey, channels_hearing, mark_of
from chalicelib.domain.assessment.conclusion import with_due
from chalicelib.domain.events.message import WaiversChanged
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.waivers.alert import (
    Notice,
    NoticeStage,
    awaited,
    compose_waiver_notice,
    current_notice,
    due_stage,
)
from chalicelib.domain.waivers.change import Turned, WaiverEnd, concerns
from chalicelib.errors import ContendedError
from chalicelib.services.assessment.write_header import Attempt, HeaderChange, write_header
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import ImageRow, Stored

PAGE, PAGES_AT_MOST = 500, 40
LOOKED_AT_MOST = 5000
"""Of one walk, so that it and what is written after it outlasts no function."""


class Reach(msgspec.Struct, frozen=True):
    """Images by waiver: those whose verdict names it, those it may be about, and what its end came to. `after`: the
    walk was cut off there."""

    excused: Counter[str]
    concerned: Counter[str]
    ends: Mapping[str, WaiverEnd]
    after: str | None


def find_reach(waivers: Sequence[Waiver], after: str | None, context: Context) -> Reach:
    """What the index shows is confirmed by the headers, read consistently; a turned index is found by its images."""
    policy, now = context.rules.current().policy, context.clock.now()
    sketch_tells = not any(rule.sees_resolved for rule in policy.rulebook)

    def concerning(row: ImageRow) -> list[str]:
        return [w.id for w in waivers if concerns(w, row.ref.repository, row.sketch, sketch_tells=sketch_tells)]

    concerned: Counter[str] = Counter()
    headers: dict[ImageRef, Header] = {}
    for _ in range(PAGES_AT_MOST):
        page = context.queries.rows_where(lambda row: bool(concerning(row)), after, PAGE)
        concerned.update(name for row in page.items for name in concerning(row))
        headers |= _read([row.ref for row in page.items], context)
        after = page.after
        if after is None or len(headers) >= LOOKED_AT_MOST:
            break
    excused = Counter(name for h in headers.values() if h.verdict and h.present for name in h.verdict.waived)
    above = headers
    while parents := _turned_parents(above) - headers.keys():
        above = _read(sorted(parents), context)
        headers |= above
    turned = [Turned(h, alert) for h in headers.values() if (alert := h.left_to_summary) is not None]
    ends = {w.id: _end(w, turned, excused, whole=after is None) for w in waivers if not w.in_force(now)}
    return Reach(excused, concerned, ends, after)


def _turned_parents(headers: Mapping[ImageRef, Header]) -> set[ImageRef]:
    return {h.ref.home.image(parent) for h in headers.values() if h.left_to_summary for parent in h.parents}


def _read(refs: Sequence[ImageRef], context: Context) -> dict[ImageRef, Header]:
    return {ref: stored.header for ref, stored in context.table.read_headers(refs).items()} if refs else {}


def _end(waiver: Waiver, turned: Sequence[Turned], excused: Counter[str], *, whole: bool) -> WaiverEnd:
    own = tuple(t for t in turned if t.alert.ended is not None and waiver.id in t.alert.ended.waivers)
    return WaiverEnd(own, excused[waiver.id], whole)


TRIES = 5


def clear_summed(turned: Turned, announced: Collection[str], context: Context) -> None:
    """`announced`: the channels that get the summary. The alert is left, to be sent by itself, where another channel
    hears of the verdict, where it is another alert by now, and where others write the header again and again."""
    header, alert, notify = turned.header, turned.alert, context.rules.current().policy.notify
    hearing = channels_hearing(notify, VERDICT, header.ref.repository, alert.decision, alert.former)
    if not set(hearing) <= set(announced):
        return

    def cleared(attempt: Attempt) -> HeaderChange | None:
        rest = tuple(e for e in attempt.header.pending if e != alert)
        if rest == attempt.header.pending:
            return None
        return HeaderChange(with_due(msgspec.structs.replace(attempt.header, pending=rest)), sends=False)

    with suppress(ContendedError):
        write_header(header.ref, cleared, context, stored=Stored(header, header.revision), tries=TRIES)


TOLD_AT_MOST = 50
DROPPED_AT_MOST = 500
"""Of one run, so that a file of waivers that all end at once outlasts no function; the next run goes on."""


def watch_waivers(context: Context) -> int:
    """Announces each end a week before, a day before and when it has come, and returns how many were to be announced.

    That it has come is announced with the images whose verdict it turned, so it waits until they are decided again.

    Of very many those that have ended come first, then the next to end; the others are left to the next run. A waiver
    that ended `history_days` ago is dropped; the audit log keeps it. Raises TransientError, UpstreamError: the next run
    announces again what was not remembered, under the same keys.
    """
    if context.waivers.changes():
        context.outbox.send("sweeps", WaiversChanged())
    now, told = context.clock.now(), context.waivers.notices()
    stored = context.waivers.read()
    found = [(w, stage) for w in stored if (stage := due_stage(w, told.get(w.id), now)) is not None]
    due = sorted(found, key=lambda d: (-d[1], d[0].expires_at, d[0].id))[:TOLD_AT_MOST]
    _announce(due, told, context)
    _clear(stored, told, now, context)
    return len(due)


def _announce(due: Sequence[tuple[Waiver, NoticeStage]], told: Mapping[str, Notice], context: Context) -> None:
    """Those that go on where another run was cut off share a walk of their own."""
    notices = {waiver.id: current_notice(waiver, told.get(waiver.id)) for waiver, _ in due}
    for after in sorted({notice.after for notice in notices.values()}, key=str):
        some = [(waiver, stage) for waiver, stage in due if notices[waiver.id].after == after]
        reach = find_reach([waiver for waiver, _ in some], after, context)
        for waiver, stage in some:
            context.waivers.store_notice(waiver.id, _announce_one(waiver, stage, notices[waiver.id], reach, context))


def _announce_one(waiver: Waiver, stage: NoticeStage, notice: Notice, reach: Reach, context: Context) -> Notice:
    """What is to be remembered of it. The alerts of its images are cleared when it was announced, and before that is
    remembered: cut off in between, the others are summed up once more, or are sent by themselves."""
    now, policy = context.clock.now(), context.rules.current().policy
    end = reach.ends.get(waiver.id, WaiverEnd())
    if not end.settled(now) and (waits := awaited(notice, now)) is not None:
        return waits
    number = (reach.concerned if stage is NoticeStage.OVER else reach.excused)[waiver.id]
    count = f"{'' if reach.after is None else 'at least '}{number} image{'' if number == 1 else 's'}"
    images = f"It was about {count}." if stage is NoticeStage.OVER else f"It excuses something in {count} now."
    alert = compose_waiver_notice(waiver, stage, images, policy.waivers.max_days, now, end)
    # Another key when other images are named: the alert of an image is only cleared where the summary names it.
    named = [notice.after or "", *sorted(f"{t.header.ref.path} {t.alert.key}" for t in end.turned)]
    key = AlertKey(f"ALERT#{stage.name}#{mark_of(named)}", waiver.expires_at, subject=f"waiver/{waiver.id}")
    announced = announce(alert, key, context)
    for turned in end.turned:
        clear_summed(turned, announced, context)
    if stage is NoticeStage.OVER and reach.after is not None:
        return msgspec.structs.replace(notice, after=reach.after)
    return Notice(waiver.expires_at, stage)


def _clear(stored: Sequence[Waiver], told: Mapping[str, Notice], now: datetime, context: Context) -> None:
    kept = timedelta(days=context.rules.current().policy.history_days)
    for waiver in islice((w for w in stored if w.expires_at + kept <= now), DROPPED_AT_MOST):
        context.waivers.drop(waiver)
    for name in told.keys() - {w.id for w in stored}:
        context.waivers.drop_notice(name)
