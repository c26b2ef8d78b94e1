"""Ask the fuse whether one more image may be made impossible to pull; tell people, once, when it has blown.

Make the blown fuse whole again by a person's word, and have what waited for it done now.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

import msgspec

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.enforcement.fuse import Fuse, compose_fuse_alert
from chalicelib.domain.events.message import Act, Metric
from chalicelib.domain.images.image import ImageRef
from chalicelib.services.channels.announce import announce
from chalicelib.services.enforcement.give_order import checked
from chalicelib.services.ports.context import Context


def acquire_quota(key: str, limit: int, context: Context) -> datetime | None:
    """None: the act may be done, and is counted. Else when the fuse lets acts pass again by itself.

    `key` (image and effect) passes again without being counted twice. That it has blown is announced before that is
    remembered: a worker that dies in between leaves it to the next act that the fuse holds.
    """
    passed = False
    now = context.clock.now()

    def take(fuse: Fuse) -> Fuse:
        nonlocal passed
        after, passed = fuse.take(key, limit, now)
        return after

    fuse = context.table.change_fuse(take)
    if passed:
        return None
    context.journal.count(Metric.FUSE_BLOWN)
    if not fuse.announced and fuse.blown_at is not None:
        alert = compose_fuse_alert(fuse, limit, now)
        announce(alert, AlertKey("ALERT#FUSE", fuse.blown_at, subject="fuse"), context)
        context.table.change_fuse(partial(_told, blown_at=fuse.blown_at))
    return fuse.until(now)


def _told(fuse: Fuse, blown_at: datetime | None) -> Fuse:
    """Not of one that has blown anew meanwhile."""
    return msgspec.structs.replace(fuse, announced=True) if fuse.blown_at == blown_at else fuse


def reset_fuse(by: str, reason: str, context: Context) -> Fuse:
    """Returns the fuse as it was. What waited and was not noted (beyond a thousand) is done when its hour is over.

    Raises ParameterError (no reason).
    """
    reason, now = checked(reason), context.clock.now()
    before = context.table.read_fuse().as_of(now)
    context.table.record_action(
        ActionRecord(
            ref=None,
            subject="fuse",
            effect="FUSE_RESET",
            wanted_at=now,
            kind=ActionKind.FUSE_RESET,
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

    context.table.change_fuse(reset)
    context.outbox.send_all("actions", map(_act, before.waiting))
    return before


def _act(waiting: str) -> Act:
    ref, _, effect = waiting.partition(" ")
    return Act(ImageRef.parse(ref), effect, attempt=1)


def _words(fuse: Fuse) -> str:
    blown = f"blown at {fuse.blown_at:%Y-%m-%d %H:%M:%S} UTC" if fuse.blown_at else "whole"
    return f"{blown}; acts within the hour: {len(fuse.taken)}, waiting: {len(fuse.waiting)}"
