"""Ask the fuse whether one more image may be made impossible to pull; tell people, once, when it has blown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial

import msgspec

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.enforcement.fuse_alert import compose_fuse_alert
from chalicelib.domain.events.metric import Metric
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.alerts.send_alert import send_alert
from chalicelib.services.ports.ports import Channel, House


def ask_fuse(
    key: str, limit: int, house: House, channels: Mapping[str, Channel], api_url: str | None = None
) -> datetime | None:
    """None: the act may be done, and is counted. Else when the fuse lets acts pass again by itself.

    `key` (image and effect) passes again without being counted twice. People are told before that is remembered: cut
    off in between, they are told again. A channel that refuses the alert keeps nothing from being held: it is tried
    with the next act that the fuse holds. Raises TransientError where a channel needs time.
    """
    passed = False
    now = house.clock.now()

    def take(fuse: Fuse) -> Fuse:
        nonlocal passed
        after, passed = fuse.take(key, limit, now)
        return after

    fuse = house.table.change_fuse(take)
    if passed:
        return None
    house.journal.count(Metric.FUSE_BLOWN)
    if not fuse.told:
        _tell(fuse, compose_fuse_alert(fuse, limit, now, api_url), house, channels)
    return fuse.until(now)


def _tell(fuse: Fuse, alert: Alert, house: House, channels: Mapping[str, Channel]) -> None:
    """Each channel is remembered by itself: while one is out of order every act that is refused comes here again."""
    routes, failures = house.rules.current().policy.notify, list[UpstreamError]()
    for name in dict.fromkeys(r.channel for r in routes if r.channel not in fuse.heard):
        try:
            send_alert(alert, [r for r in routes if r.channel == name], channels)
        except UpstreamError as error:
            failures.append(error)
        else:
            house.table.change_fuse(partial(_heard, blown_at=fuse.blown_at, name=name))
    if waits := [failure for failure in failures if isinstance(failure, TransientError)]:
        raise waits[0]
    if failures:
        return
    house.table.change_fuse(partial(_told, blown_at=fuse.blown_at))


def _heard(fuse: Fuse, blown_at: datetime | None, name: str) -> Fuse:
    if fuse.blown_at != blown_at or name in fuse.heard:
        return fuse
    return msgspec.structs.replace(fuse, heard=(*fuse.heard, name))


def _told(fuse: Fuse, blown_at: datetime | None) -> Fuse:
    """Not of one that has blown anew meanwhile."""
    return msgspec.structs.replace(fuse, told=True) if fuse.blown_at == blown_at else fuse
