"""Quarantine the copies of a quarantined image, by an order that stands as long as one of its sources is closed.

A copy is quarantined like any other image: planned, checked (what runs it, the fuse), begun, recorded. What a person
has ordered about the source is a plain order about the copy. A person's order about the copy itself stands.

A source may close or open while its copy is ordered, and its own message may come before that order is put. So it is
read again behind each order, and where it has turned the message is tried again.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.audit.action import ActionKind
from chalicelib.domain.enforcement.enforcement import closes_copies, is_mirrored, unmirrored
from chalicelib.domain.enforcement.mirrored_order import (
    mirror_of,
    with_mirror,
    without_mirror,
)
from chalicelib.domain.events.event import Action, ImageAction
from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import SYSTEM, ActionType, Order
from chalicelib.domain.images.image import ImageDetail, StorageStatus
from chalicelib.domain.replication.replica import Note, Replica
from chalicelib.domain.replication.replica_verdict import withheld_by
from chalicelib.errors import ConflictError, NotFoundError, TransientError, UpstreamError
from chalicelib.services.assessment.record_push import record_push
from chalicelib.services.assessment.write_header import desired_state, update_header
from chalicelib.services.enforcement.give_order import known, possible, put_order
from chalicelib.services.ports.answers import header_of
from chalicelib.services.ports.context import Context

SEEN = "replication"


def mirror_quarantine(replica: Replica, copy: ImageDetail, rules: Rules, context: Context) -> str | None:
    """What was done, or why it failed, in a sentence; None: there is nothing to do. Raises TransientError."""
    if "verdict" not in rules.policy.replication.check:
        return None
    stored = context.table.read_headers([replica.ref, replica.copy])
    here, there = (stored[ref].header if ref in stored else None for ref in (replica.ref, replica.copy))
    if here is None or (there is not None and there.is_retired):
        return None
    ours = there is not None and is_mirrored(there)
    if not _is_closed(here, rules, context):
        return _take_back(there, here, rules, context) if there is not None and ours and here.exists else None
    if there is not None and there.order is not None and not ours:
        return None
    try:
        if changed := _is_otherwise(there, copy):
            _record(there, replica, copy, context)
        return _close(here, known(replica.copy, context), replica, rules, context, changed=changed)
    except TransientError:
        raise
    except (ConflictError, NotFoundError, UpstreamError) as error:
        return f"It cannot be quarantined at {replica.destination}: {error}"


def _is_closed(here: Header, rules: Rules, context: Context) -> bool:
    """By itself. A child that stays for its index stays for the index there."""
    own = unmirrored(here)
    return own.braked is not None or (
        closes_copies(own, rules.policy) and desired_state(own, rules, context).quarantine
    )


def _close(
    here: Header, there: Header, replica: Replica, rules: Rules, context: Context, *, changed: bool
) -> str | None:
    """Its order, held by this source too."""
    now, gone_at = context.clock.now(), replica.since if Note.NO_RULE in replica.notes else None
    mirror = mirror_of(here, rules.policy, now, gone_at)
    if mirror.until <= now:
        return None
    order = there.order if is_mirrored(there) else None
    wanted = with_mirror(order, mirror, now)
    if order is None:
        possible(there)
        if (why := withheld_by(context.rules.fresh().policy)) is not None:
            raise ConflictError(why)
        put_order(there, wanted, ActionKind.ORDER_QUARANTINE, context)
        _look_again(here, rules, context)
        if there.storage is StorageStatus.ARCHIVED:
            return None
        return f"Its quarantine at {replica.destination} is ordered."
    _hold(there, wanted, here, rules, context)
    return _came_back(replica, context) if changed else None


def _hold(there: Header, wanted: Order, here: Header, rules: Rules, context: Context) -> None:
    """Writes who holds the order that stands: no other order is given, and none recorded. Raises TransientError where
    another source or a person was faster, and where the source has turned."""
    order = there.order
    assert order is not None
    if wanted == order:
        return

    def held(header: Header) -> Header:
        if header.order is None or header.order.identity != order.identity:
            raise TransientError(f"{there.ref}: its order has changed meanwhile")
        return msgspec.structs.replace(header, order=wanted)

    update_header(there.ref, held, Delivery("order", Decide(there.ref, "order")), context)
    _look_again(here, rules, context)


def _take_back(there: Header, here: Header, rules: Rules, context: Context) -> str | None:
    """No source holds it any more: the copy's own verdict decides again. None: another source holds it, or a person
    ordered about it at the same moment."""
    order = there.order
    assert order is not None
    left = without_mirror(order, here.ref)
    if left is not None:
        _hold(there, left, here, rules, context)
        return None
    said = Order(ActionType.QUARANTINE, SYSTEM, f"its source {here.ref} is quarantined no more", context.clock.now())
    try:
        put_order(there, None, ActionKind.ORDER_TAKEN_BACK, context, spoken=said)
    except ConflictError:
        return None
    _look_again(here, rules, context)
    return f"The order to quarantine {there.ref} is taken back: its source is quarantined no more."


def _look_again(here: Header, rules: Rules, context: Context) -> None:
    """Raises TransientError where the source has closed or opened since its copy was ordered."""
    now = header_of(here.ref, context.table)
    if now is None or _is_closed(now, rules, context) is not _is_closed(here, rules, context):
        raise TransientError(f"{here.ref}: it has turned meanwhile")


def _came_back(replica: Replica, context: Context) -> str | None:
    """ECR copies again what the source restores or pushes; without a spoke no event tells us."""
    there = known(replica.copy, context)
    if not there.exists or there.storage is not StorageStatus.ACTIVE:
        return None
    return f"It came back at {replica.destination}, where its quarantine stands: it is taken away again."


def _is_otherwise(there: Header | None, copy: ImageDetail) -> bool:
    """Whether the listed copy is unknown, or can be pulled although it is stored as archived."""
    if there is None or not there.exists:
        return True
    return copy.storage is StorageStatus.ACTIVE and there.storage is StorageStatus.ARCHIVED


def _record(there: Header | None, replica: Replica, copy: ImageDetail, context: Context) -> None:
    """As the event of its push or restore would."""
    if there is not None and there.exists:
        seen = ImageAction(replica.copy, Action.UPDATE_STORAGE_CLASS, "SUCCESS", replica.at, SEEN)
    else:
        tag = next(iter(copy.tags), None)
        seen = ImageAction(replica.copy, Action.PUSH, "SUCCESS", copy.pushed_at or replica.at, SEEN, tag)
    record_push(seen, Delivery(SEEN, seen), context)
