"""Undo one order by the id of its record: what stood before it stands again.

Who undoes it gives that order anew, so that the undo can be undone in the same way. Only the last word about an image
is undone, and no other order that happens to say the same.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.audit.action import ActionKind, ActionRecord, action_id, undo_command
from chalicelib.domain.enforcement.order_records import last_order, record_of
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Order
from chalicelib.errors import ConflictError
from chalicelib.services.enforcement.give_order import MAX_REASON, PLAIN, Given, Terms, follow, known, possible
from chalicelib.services.ports.context import Context


def undo_order(
    record: ActionRecord, by: str, reason: str, context: Context, *, dry_run: bool = False, terms: Terms = PLAIN
) -> Given:
    """Raises ConflictError where it is not the last word any more, where a record of a former version does not hold
    what stood before, and where a quarantine that stood before cannot be followed now."""
    assert record.ref is not None
    header = known(record.ref, context)
    _is_last_word(record, header, [row.record for row in context.queries.actions(record.ref)])
    rules, former = context.rules.fresh(), record.orders[0] if record.orders is not None else None
    if former is not None:
        if former.kind is ActionType.QUARANTINE:
            possible(header, rules)
        again = _given_again(former, by, reason, record, context)
        said = ActionKind(f"ORDER_{again.kind}")
        return follow(header, again, said, rules, context, dry_run=dry_run, terms=terms)
    if header.order is None:
        raise ConflictError(
            f"the record does not hold the order that was taken back ({record.before}): "
            f"lazaretto quarantine {record.ref}, or lazaretto release {record.ref}"
        )
    taken = Order(header.order.kind, by, reason.strip(), context.clock.now(), header.order.standing)
    kind = ActionKind.ORDER_TAKEN_BACK
    return follow(header, None, kind, rules, context, dry_run=dry_run, spoken=taken, terms=terms)


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


def _given_again(former: Order, by: str, reason: str, record: ActionRecord, context: Context) -> Order:
    """A release keeps the verdict it was given against: what is worse by now is not released."""
    words = f"{reason.strip()}; {former.reason}"[:MAX_REASON]
    now = context.clock.now()
    return msgspec.structs.replace(former, by=by, reason=words, at=now, action=action_id(record))
