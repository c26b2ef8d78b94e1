"""The fuse: how many images may be made impossible to pull within an hour, by all workers together, and its alert.

It blows when one act too many is asked for: nothing more passes until an hour is over or a person resets it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.alerts.alert import Alert

WINDOW = timedelta(hours=1, seconds=90)
"""An hour, and the time an act that may pass has to be done: so that within no hour more are done."""
MOST_WAITING = 1_000


class FuseSlot(msgspec.Struct, frozen=True):
    """One act that passed; `key` is image and effect."""

    key: str
    at: datetime


class Fuse(msgspec.Struct, frozen=True):
    """`taken`: what passed within the last hour, oldest first. `blown_at`: since when nothing passes; `announced`:
    people were alerted to that. `waiting`: what was refused since, the first thousand; `reset_at`, `reset_by`: the last
    reset."""

    taken: tuple[FuseSlot, ...] = ()
    blown_at: datetime | None = None
    announced: bool = msgspec.field(default=False, name="told")
    waiting: tuple[str, ...] = ()
    reset_at: datetime | None = None
    reset_by: str | None = None

    def as_of(self, now: datetime) -> Fuse:
        """Without what is over."""
        taken = tuple(t for t in self.taken if t.at > now - WINDOW)
        if self.blown_at is not None and self.blown_at <= now - WINDOW:
            return msgspec.structs.replace(self, taken=taken, blown_at=None, announced=False, waiting=())
        return msgspec.structs.replace(self, taken=taken)

    def take(self, key: str, limit: int, now: datetime) -> tuple[Fuse, bool]:
        """The fuse afterwards, and whether the act may pass. The same key passes again, and counts from now: it may be
        this time only that the act is done. Not where the limit was lowered since."""
        fuse = self.as_of(now)
        others = tuple(t for t in fuse.taken if t.key != key)
        if len(others) < min(limit, len(fuse.taken)):
            return msgspec.structs.replace(fuse, taken=(*others, FuseSlot(key, now))), True
        if fuse.blown_at is None and len(fuse.taken) < limit:
            return msgspec.structs.replace(fuse, taken=(*fuse.taken, FuseSlot(key, now))), True
        waiting = fuse.waiting if key in fuse.waiting or len(fuse.waiting) >= MOST_WAITING else (*fuse.waiting, key)
        return msgspec.structs.replace(fuse, blown_at=fuse.blown_at or now, waiting=waiting), False

    def reset(self, by: str, now: datetime) -> Fuse:
        """Whole again, counting from nothing."""
        return Fuse(reset_at=now, reset_by=by)

    def until(self, now: datetime) -> datetime:
        """When a blown fuse lets acts pass again by itself."""
        return (self.blown_at or now) + WINDOW


FUSE = "fuse"


def compose_fuse_alert(fuse: Fuse, limit: int, now: datetime) -> Alert:
    until = fuse.until(now)
    return Alert(
        event=FUSE,
        title=f"Fuse blown: more than {limit} images in an hour",
        at=now,
        notes=(
            f"{len(fuse.taken)} images were blocked or quarantined within an hour, and more were to follow.",
            f"Nothing more is blocked or quarantined before {until:%Y-%m-%d %H:%M:%S} UTC. Verdicts, gates, alerts and "
            "releases go on; what waits is done by itself then.",
        ),
        what_to_do=(
            "See whether the verdicts are right: lazaretto findings --min-severity HIGH",
            "If they are: lazaretto fuse reset --reason 'checked'",
            "If they are not: correct the policy first (lazaretto policy what-if, lazaretto policy apply).",
        ),
    )
