"""The order by which a copy is quarantined because its source is: what closes a source, and when the order ends. Pure.

Only what a source is by its own verdict or a person's order is mirrored, so that two Regions that replicate both ways
keep no image closed for each other. The order names its sources, and ends with the last of them: where a source opens,
where it was not seen closed for `history_days` (it is gone, or no rule copies it any more), or by a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.enforcement.enforcement import unmirrored
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import SYSTEM, ActionType, Mirror, Order
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.policy.policy import Policy

SEEN_EVERY = 10
"""A mirror is written anew once in so many parts of the time that it counts for."""


def mirror_of(header: Header, policy: Policy, now: datetime, gone_at: datetime | None = None) -> Mirror:
    """Of a source that closes its copies. `gone_at`: since when it is none any more: no rule copies it, or it was
    deleted."""
    since = min((at for at in (gone_at, None if header.exists else header.existence_at) if at is not None), default=now)
    ordered, until = unmirrored(header).ordered, since + timedelta(days=policy.history_days)
    return Mirror(header.ref.path, until, "" if ordered is None else ordered.owner)


def with_mirror(order: Order | None, mirror: Mirror, now: datetime) -> Order:
    """The system's order about a copy (None: none stands), which `mirror` holds too. The same order where nothing is
    news."""
    held = order.mirrors if order is not None else ()
    former = next((one for one in held if one.source == mirror.source), None)
    if order is not None and former is not None and former.owner == mirror.owner:
        fresh = (mirror.until - now) / SEEN_EVERY
        if mirror.until - former.until < fresh:
            return order
    mirrors = tuple(sorted((*(one for one in held if one is not former), mirror), key=lambda one: one.source))
    if order is None:
        return Order(ActionType.QUARANTINE, SYSTEM, _why(mirrors), now, mirrors=mirrors)
    return msgspec.structs.replace(order, mirrors=mirrors, reason=_why(mirrors))


def without_mirror(order: Order, source: ImageRef) -> Order | None:
    """None: nothing holds it any more. One of a former version names no source, and any source ends it."""
    if not order.mirrors:
        return None
    return _held_by(order, [one for one in order.mirrors if one.source != source.path])


def lapsed(order: Order, now: datetime) -> Order | None:
    """The system's order without the sources that were not seen closed for too long."""
    return _held_by(order, [one for one in order.mirrors if one.until > now]) if order.mirrors else order


def _held_by(order: Order, mirrors: Sequence[Mirror]) -> Order | None:
    if len(mirrors) == len(order.mirrors):
        return order
    return msgspec.structs.replace(order, mirrors=tuple(mirrors), reason=_why(mirrors)) if mirrors else None


def _why(mirrors: Sequence[Mirror]) -> str:
    named = " and ".join(str(ImageRef.from_path(one.source)) for one in mirrors)
    owners = ", ".join(sorted({one.owner for one in mirrors if one.owner}))
    is_so = f"its source {named} is" if len(mirrors) == 1 else f"its sources {named} are"
    return f"{is_so} quarantined" + (f", by order of {owners}" if owners else "")
