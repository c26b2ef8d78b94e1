"""A quarantine of ours that is over by now: which one kept an image from being pulled when that failed, in words. Pure.

It is read from the audit log: what is stored of the image itself says what holds now.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.audit.action import ActionRecord, action_id
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.image import ImageRef, StorageStatus
from chalicelib.domain.images.text import sanitize

LATELY = timedelta(days=1)
"""A text that is asked about without its time may be that old."""
MAX_REASON = 300


class PastQuarantine(msgspec.Struct, frozen=True):
    """`key` (`QUARANTINE#3`), `id`, `at`, `by` and `why`: of the act; `released_at` and `released_by`: of the one that
    ended it. `until`: since then it can be pulled again, which a restore delays."""

    ref: ImageRef
    key: str
    id: str
    at: datetime
    by: str
    why: str
    released_at: datetime
    released_by: str
    until: datetime


def past_quarantine(
    ref: ImageRef, acts: Sequence[ActionRecord], failed_at: datetime, activated_at: datetime | None
) -> PastQuarantine | None:
    """The last one before `failed_at` that was ended since, or lately before it. `acts`: the image's audit log, oldest
    first; `activated_at`: ECR's last restore."""
    changed = [act for act in acts if act.before != act.after]
    taken = [
        n
        for n, act in enumerate(changed)
        # One that was given up leaves the image as it can be pulled, and says so in `after`.
        if act.kind == ActionType.QUARANTINE and not (act.after or "").startswith(f"{StorageStatus.ACTIVE};")
        if act.at <= failed_at
    ]
    if not taken:
        return None
    act, since = changed[taken[-1]], changed[taken[-1] + 1 :]
    release = next((later for later in since if later.kind == ActionType.RELEASE), None)
    if release is None:
        return None
    again = any(later.kind == ActionType.QUARANTINE and later.at > release.at for later in since)
    until = release.at if again or activated_at is None else max(release.at, activated_at)
    if until < failed_at - LATELY:
        return None
    return PastQuarantine(
        ref, act.effect, action_id(act), act.at, act.actor, act.reason, release.at, release.actor, until
    )


def stood_words(past: PastQuarantine, which: str) -> str:
    """`which`: `it`, or one of an index's images."""
    restored = f" and restored at {_time(past.until)}" if past.until > past.released_at else ""
    return (
        f"Lazaretto kept {which} from being pulled then: {_act(past)}, {_why(past)}. "
        f"It was released{_person(past.released_by)} at {_time(past.released_at)}{restored}."
    )


def ended_words(past: PastQuarantine, which: str) -> str:
    return (
        f"Until {_time(past.until)} Lazaretto kept {which} from being pulled: {_act(past)}, {_why(past)}. "
        "If the pull failed before that, this is why."
    )


def _act(past: PastQuarantine) -> str:
    return f"{past.key} (action {past.id}) took it away at {_time(past.at)}"


def _why(past: PastQuarantine) -> str:
    kind, _, name = past.by.partition(":")
    named = sanitize(name, 100)
    whose = {"person": f"ordered by {named}", "rule": f"by the rule {named}"}
    return f"{whose.get(kind, 'because')}: {sanitize(past.why, MAX_REASON)}"


def _person(by: str) -> str:
    kind, _, name = by.partition(":")
    return f" by {sanitize(name, 100)}" if kind == "person" else ""


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
