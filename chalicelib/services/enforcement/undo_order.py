"""Undo one order by the id of its record: what stood before it stands again.

Who undoes it gives that order anew, so that the undo can be undone in the same way; a quarantine is still the order of
who gave it first. Only the last word about an image is undone, and no other order that happens to say the same. What
the order had taken along is undone with it: the orders of the same person and time about images of the index, and about
the same digest elsewhere.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.domain.audit.action import ActionKind, ActionRecord, action_id, undo_command
from chalicelib.domain.enforcement.enforcement import beyond, newly_exploited, released_again
from chalicelib.domain.enforcement.order_records import last_order, record_of
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import ActionType, Order, Released
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.text import some_of
from chalicelib.domain.usage.blast_radius import OrderReach
from chalicelib.errors import ConflictError
from chalicelib.services.assessment.write_header import closing_below, closing_now, indexes_of
from chalicelib.services.enforcement.find_reach import copies_of, members_below, released_above
from chalicelib.services.enforcement.give_order import (
    MAX_REASON,
    PLAIN,
    Given,
    Terms,
    close_indexes,
    follow,
    known,
    possible,
    put_order,
)
from chalicelib.services.ports.context import Context


def undo_order(
    record: ActionRecord, by: str, reason: str, context: Context, *, dry_run: bool = False, terms: Terms = PLAIN
) -> Given:
    """Raises ConflictError where it is not the last word any more, where a record of a former version does not hold
    what stood before, and where what stood before cannot be followed now: a quarantine, or a release that has ended."""
    assert record.ref is not None
    header, at, rules = known(record.ref, context), context.clock.now(), context.rules.fresh()
    _is_last_word(record, header, [row.record for row in context.queries.actions(record.ref)])
    together = _given_together(record, header, context)
    undo = _Undo(by, reason.strip(), at, rules, frozenset(one.ref for one, _ in together))
    order, spoken = _undoing(record, header, undo, context)
    along = [(one, *_undoing(its, one, undo, context)) for one, its in together]
    taken: list[Header] = []
    if order is not None and order.kind is ActionType.QUARANTINE:
        possible(header)
        taken = [header, *(one for one, _ in together)]
    given = follow(
        header,
        order,
        _kind(order),
        rules,
        context,
        dry_run=dry_run,
        spoken=spoken,
        terms=terms,
        reach=OrderReach(
            along=tuple(one for one, _, _ in along),
            ends=released_above({one.ref: indexes_of(one, context) for one in taken}),
        ),
    )
    for one, its_order, its_word in () if dry_run else along:
        again = its_order and msgspec.structs.replace(its_order, along=True)
        put_order(one, again, _kind(its_order), context, spoken=its_word)
    if not dry_run:
        quarantined = ((header, order), *((one, its_order) for one, its_order, _ in along))
        close_indexes((one for one, its in quarantined if its and its.kind is ActionType.QUARANTINE), context)
    return given


class _Undo(msgspec.Struct, frozen=True):
    """`along`: the images whose orders are undone with it."""

    by: str
    reason: str
    at: datetime
    rules: Rules
    along: frozenset[ImageRef]


def _kind(order: Order | None) -> ActionKind:
    return ActionKind.ORDER_TAKEN_BACK if order is None else ActionKind(f"ORDER_{order.kind}")


def _given_together(record: ActionRecord, header: Header, context: Context) -> list[tuple[Header, ActionRecord]]:
    """What the same person ordered at the same time about images of the index, and about the same digest elsewhere,
    where that is the last word as well. An order that was taken along itself took along nothing elsewhere."""
    former, given = record.orders or (None, None)
    root = given or former
    roots = (header, *(() if root is not None and root.along else copies_of(header, context)))
    stands_since = None if record.kind == ActionKind.ORDER_TAKEN_BACK else record.wanted_at
    found = []
    for one in (*roots[1:], *(member for root in roots for member in members_below(root, context))):
        if (None if one.order is None else one.order.at) == stands_since:
            last = last_order([row.record for row in context.queries.actions(one.ref)])
            if last is not None and (last.kind, last.wanted_at, last.actor) == _given_by(record):
                found.append((one, last))
    return found


def _given_by(record: ActionRecord) -> tuple[str, datetime, str]:
    return record.kind, record.wanted_at, record.actor


def _undoing(record: ActionRecord, header: Header, undo: _Undo, context: Context) -> tuple[Order | None, Order | None]:
    """The order that stands again, or by whose word the one that stands is taken back. Raises ConflictError."""
    former = record.orders[0] if record.orders is not None else None
    if former is not None:
        again = msgspec.structs.replace(
            former,
            by=undo.by,
            first_by=former.owner if former.kind is ActionType.QUARANTINE else None,
            reason=f"{undo.reason}; {former.reason}"[:MAX_REASON],
            at=undo.at,
            action=action_id(record),
            # It was given for what ran then.
            force=False,
            along=False,
            released=_released_again(former, header, undo, context),
        )
        return again, None
    if header.order is None:
        raise ConflictError(
            f"the record does not hold the order that was taken back ({record.before}): "
            f"lazaretto quarantine {record.ref}, or lazaretto release {record.ref}"
        )
    return None, Order(header.order.kind, undo.by, undo.reason, undo.at, header.order.standing)


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


def _released_again(former: Order, header: Header, undo: _Undo, context: Context) -> Released | None:
    """A release that is brought back keeps what it was given for. Raises ConflictError for one that has ended, or would
    end at once."""
    released, rules, now = former.released, undo.rules, undo.at
    new = f"give a new one: lazaretto release {header.ref}"
    if former.until is not None and former.until <= now:
        raise ConflictError(f"the release that stood before has ended at {former.until:%Y-%m-%d %H:%M} UTC; {new}")
    if released is None:
        return None
    own = msgspec.structs.replace(header, order=None)
    closing = [closing_now(own, rules, now, context), *closing_below(own, rules, now, context)]
    left = [one.unordered if one.image.ref in undo.along else one for one in closing]
    more = (*newly_exploited(released, closing), *beyond(released, left))
    if more:
        raise ConflictError(f"the release that stood before was not given for {', '.join(some_of(more, 3))}; {new}")
    return released_again(released, closing, now)
