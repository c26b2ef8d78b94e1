"""Quarantine the copies of a quarantined image, by an order that stands as long as the source's.

A copy is quarantined like any other image: planned, checked (what runs it, the fuse), begun, recorded. A person's order
about the copy itself stands.
"""

from __future__ import annotations

from chalicelib.domain.audit.action import ActionKind
from chalicelib.domain.enforcement.enforcement import is_mirrored
from chalicelib.domain.events.event import Action, ImageAction
from chalicelib.domain.events.message import Delivery
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import SYSTEM, ActionType, Order
from chalicelib.domain.images.image import ImageDetail, StorageStatus
from chalicelib.domain.replication.replica import Replica
from chalicelib.domain.replication.replica_verdict import quarantined_there
from chalicelib.errors import ConflictError, NotFoundError, TransientError, UpstreamError
from chalicelib.services.assessment.record_push import record_push
from chalicelib.services.assessment.write_header import desired_state
from chalicelib.services.enforcement.give_order import known, possible, put_order
from chalicelib.services.ports.answers import header_of
from chalicelib.services.ports.context import Context

SEEN = "replication"


def mirror_quarantine(
    replica: Replica, copy: ImageDetail, here: Header | None, rules: Rules, context: Context
) -> str | None:
    """What was done, or why it failed, in a sentence; None: there is nothing to do. Raises TransientError."""
    if here is None:
        return None
    there, desired = header_of(replica.copy, context.table), desired_state(here, rules, context)
    order, ours = (there.order, is_mirrored(there)) if there is not None else (None, False)
    if there is not None and ours and not desired.quarantine:
        return _take_back(there, context)
    if not quarantined_there(desired, rules.policy) or (order is not None and not ours):
        return None
    try:
        if changed := _is_otherwise(there, copy):
            _record(there, replica, copy, context)
        if ours:
            return _came_back(replica, context) if changed else None
        copied = known(replica.copy, context)
        possible(copied)
        _acted_on(copied, context.rules.fresh())
        why = f"its source {here.ref} is quarantined"
        order = Order(ActionType.QUARANTINE, SYSTEM, why, context.clock.now())
        put_order(copied, order, ActionKind.ORDER_QUARANTINE, context)
    except TransientError:
        raise
    except (ConflictError, NotFoundError, UpstreamError) as error:
        return f"It cannot be quarantined at {replica.destination}: {error}"
    return f"Its quarantine at {replica.destination} is ordered."


def _acted_on(copied: Header, rules: Rules) -> None:
    """Raises ConflictError where no quarantine but a person's is done."""
    if not rules.policy.enforcing:
        raise ConflictError("the policy's mode is observe: nothing is quarantined (mode: enforce acts)")
    if rules.policy.exempts(copied.ref.repository):
        raise ConflictError(f"the policy exempts {copied.ref.repository}: nothing in it is quarantined")


def _take_back(there: Header, context: Context) -> str | None:
    """The copy's own verdict decides again. None: a person ordered about it at the same moment, and that stands."""
    assert there.order is not None
    said = Order(there.order.kind, SYSTEM, "its source is quarantined no more", context.clock.now())
    try:
        put_order(there, None, ActionKind.ORDER_TAKEN_BACK, context, spoken=said)
    except ConflictError:
        return None
    return f"The order to quarantine {there.ref} is taken back: its source is quarantined no more."


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
