"""Ask the fuse whether one more image may be made impossible to pull; tell people, once, when it has blown.

Make the blown fuse whole again by a person's word, and have what waited for it done now.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial

import msgspec

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.enforcement.fuse import Fuse, compose_fuse_alert
from chalicelib.domain.events.message import Act, Metric
from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.alerts.send_alert import send_alert
from chalicelib.services.enforcement.give_order import checked
from chalicelib.services.ports.context import Channel, Context


def acquire_quota(
    key: str, limit: int, context: Context, channels: Mapping[str, Channel], api_url: str | None = None
) -> datetime | None:
    """None: the act may be done, and is counted. Else when the fuse lets acts pass again by itself.

    `key` (image and effect) passes again without being counted twice. People are told before that is remembered: cut
    off in between, they are told again. A channel that refuses the alert keeps nothing from being held: it is tried
    with the next act that the fuse holds. Raises TransientError where a channel needs time.
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
    if not fuse.told:
        _tell(fuse, compose_fuse_alert(fuse, limit, now, api_url), context, channels)
    return fuse.until(now)


def _tell(fuse: Fuse, alert: Alert, context: Context, channels: Mapping[str, Channel]) -> None:
    """Each channel is remembered by itself: while one is out of order every act that is refused comes here again."""
    routes, failures = context.rules.current().policy.notify, list[UpstreamError]()
    for name in dict.fromkeys(r.channel for r in routes if r.channel not in fuse.heard):
        try:
            send_alert(alert, [r for r in routes if r.channel == name], channels)
        except UpstreamError as error:
            failures.append(error)
        else:
            context.table.change_fuse(partial(_heard, blown_at=fuse.blown_at, name=name))
    if waits := [failure for failure in failures if isinstance(failure, TransientError)]:
        raise waits[0]
    if failures:
        return
    context.table.change_fuse(partial(_told, blown_at=fuse.blown_at))


def _heard(fuse: Fuse, blown_at: datetime | None, name: str) -> Fuse:
    if fuse.blown_at != blown_at or name in fuse.heard:
        return fuse
    return msgspec.structs.replace(fuse, heard=(*fuse.heard, name))


def _told(fuse: Fuse, blown_at: datetime | None) -> Fuse:
    """Not of one that has blown anew meanwhile."""
    return msgspec.structs.replace(fuse, told=True) if fuse.blown_at == blown_at else fuse


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
