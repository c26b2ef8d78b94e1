"""Make the blown fuse whole again by a person's word, and have what waited for it done now."""

from __future__ import annotations

from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.events.message import Act
from chalicelib.domain.images.image import ImageRef
from chalicelib.services.enforcement.give_order import checked
from chalicelib.services.ports.ports import ActionRecord, House


def reset_fuse(by: str, reason: str, house: House) -> Fuse:
    """Returns the fuse as it was. What waited and was not noted (beyond a thousand) is done when its hour is over.

    Raises ParameterError (no reason).
    """
    reason, now = checked(reason), house.clock.now()
    before = house.table.read_fuse().as_of(now)
    house.table.record_action(
        ActionRecord(
            ref=None,
            subject="fuse",
            effect="FUSE_RESET",
            wanted_at=now,
            kind="FUSE_RESET",
            actor=f"person:{by}",
            reason=reason,
            at=now,
            before=_words(before),
            after="whole",
        )
    )

    def reset(fuse: Fuse) -> Fuse:
        nonlocal before
        before = fuse.as_of(now)
        return fuse.reset(by, now)

    house.table.change_fuse(reset)
    house.outbox.send_all("actions", map(_act, before.waiting))
    return before


def _act(waiting: str) -> Act:
    ref, _, effect = waiting.partition(" ")
    return Act(ImageRef.parse(ref), effect, attempt=1)


def _words(fuse: Fuse) -> str:
    blown = f"blown at {fuse.blown_at:%Y-%m-%d %H:%M:%S} UTC" if fuse.blown_at else "whole"
    return f"{blown}; acts within the hour: {len(fuse.taken)}, waiting: {len(fuse.waiting)}"
