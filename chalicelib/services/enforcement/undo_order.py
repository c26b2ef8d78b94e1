"""Undo one order by the id of its record: what stood before it stands again.

Who undoes it gives that order anew, so that the undo can be undone in the same way. Only the last word about an image
is undone, and no other order that happens to say the same. What the order had taken along is undone with it: the orders
of the same person and time about images of the index, and about the same digest elsewhere.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.domain.audit.action import ActionKind, ActionRecord, action_id, undo_command
from chalicelib.domain.enforcement.order_records import last_order, record_of
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Order
from chalicelib.domain.usage.blast_radius import OrderReach
from chalicelib.errors import ConflictError
from chalicelib.services.enforcement.give_order import (
    MAX_REASON,
    PLAIN,
    Given,
    Terms,
    follow,
    known,
    possible,
    put_order,
)
from chalicelib.services.ports.context import Context
from chalicelib.services.usage.find_blast_radius import copies_of, members_below


def undo_order(
    record: ActionRecord, by: str, reason: str, context: Context, *, dry_run: bool = False, terms: Terms = PLAIN
) -> Given:
    """Raises ConflictError where it is not the last word any more, where a record of a former version does not hold
    what stood before, and where a quarantine that stood before cannot be followed now."""
    assert record.ref is not None
    header, at = known(record.ref, context), context.clock.now()
    _is_last_word(record, header, [row.record for row in context.queries.actions(record.ref)])
    order, spoken = _undoing(record, header, by, reason, at)
    if order is not None and order.kind is ActionType.QUARANTINE:
        possible(header)
    together = _given_together(record, header, context)
    reach, rules = OrderReach(along=tuple(one for one, _ in together)), context.rules.fresh()
    given = follow(
        header, order, _kind(order), rules, context, dry_run=dry_run, spoken=spoken, terms=terms, reach=reach
    )
    for one, its_record in () if dry_run else together:
        order, spoken = _undoing(its_record, one, by, reason, at)
        put_order(one, order, _kind(order), context, spoken=spoken)
    return given


def _kind(order: Order | None) -> ActionKind:
    return ActionKind.ORDER_TAKEN_BACK if order is None else ActionKind(f"ORDER_{order.kind}")


def _given_together(record: ActionRecord, header: Header, context: Context) -> list[tuple[Header, ActionRecord]]:
    """What the same person ordered at the same time about images of the index, and about the same digest elsewhere,
    where that is the last word as well."""
    roots = (header, *copies_of(header, context))
    found = []
    for one in (*roots[1:], *(member for root in roots for member in members_below(root, context))):
        if one.order is None or one.order.at == record.wanted_at:
            last = last_order([row.record for row in context.queries.actions(one.ref)])
            if last is not None and (last.kind, last.wanted_at, last.actor) == _given_by(record):
                found.append((one, last))
    return found


def _given_by(record: ActionRecord) -> tuple[str, datetime, str]:
    return record.kind, record.wanted_at, record.actor


def _undoing(
    record: ActionRecord, header: Header, by: str, reason: str, at: datetime
) -> tuple[Order | None, Order | None]:
    """The order that stands again, or by whose word the one that stands is taken back."""
    former = record.orders[0] if record.orders is not None else None
    if former is not None:
        # A release keeps the verdict it was given against: what is worse by now is not released.
        words = f"{reason.strip()}; {former.reason}"[:MAX_REASON]
        return msgspec.structs.replace(former, by=by, reason=words, at=at, action=action_id(record)), None
    if header.order is None:
        raise ConflictError(
            f"the record does not hold the order that was taken back ({record.before}): "
            f"lazaretto quarantine {record.ref}, or lazaretto release {record.ref}"
        )
    return None, Order(header.order.kind, by, reason.strip(), at, header.order.standing)


def undo_standing_release(
    act: ActionRecord, header: Header, by: str, reason: str, context: Context, *, dry_run: bool, terms: Terms
) -> Given:
    """Of an act that gave the image back: the order that asked for it. Raises ConflictError where another stands."""
    order = header.order
    assert order is not None
    records = [row.record for row in context.queries.actions(header.ref)]
    given = record_of(order, records)
    if order.kind is not ActionType.RELEASE or order.at > act.wanted_at or given is None:
        raise ConflictError(stands_words(header, records))
    return undo_order(given, by, reason, context, dry_run=dry_run, terms=terms)


def stands_words(header: Header, records: list[ActionRecord]) -> str:
    """Which order stands, and how that one is undone."""
    order = header.order
    assert order is not None
    given = record_of(order, records)
    undo = "that one" if given is None else f"that one: {undo_command(given)}"
    return f"another order stands for {header.ref}: {order.kind} by {order.by}: undo {undo}"


def _is_last_word(record: ActionRecord, header: Header, records: list[ActionRecord]) -> None:
    ref = header.ref
    if header.order is not None:
        given = record_of(header.order, records)
        if given != record:
            raise ConflictError(f"it is not the last word: {stands_words(header, records)}")
        return
    if record.kind != ActionKind.ORDER_TAKEN_BACK:
        raise ConflictError(f"no order stands for {ref} any more")
    last = last_order(records)
    if last is not None and last != record:
        raise ConflictError(f"it is not the last word: {action_id(last)} came after it, and is over too")
