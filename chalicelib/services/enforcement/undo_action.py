"""Undo one action by its id, as a person's order: an act on an image, a policy, or a change of a waiver.

No record is turned back: a new order, waiver or policy is given, and what follows has a record of its own. Only what
still stands is undone. An act that is long over belongs to an image as it no longer is; of policies only the one in
force is undone, by putting the version before it as a new version; a waiver that was changed since has its own undo.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Order
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.waivers.change import said
from chalicelib.errors import ConflictError, NotFoundError, ParameterError, PolicyError
from chalicelib.services.enforcement.give_order import (
    NO_ORDER,
    Given,
    archived_by_retention,
    checked,
    follow,
    give_order,
    known,
    quarantine_image,
    release_image,
)
from chalicelib.services.policy.apply_policy import AppliedPolicy, apply_policy
from chalicelib.services.ports.context import Context
from chalicelib.services.waivers.manage_waivers import End, Give, Managed, manage_waivers


def undo_policy(
    record: ActionRecord, by: str, reason: str, context: Context, *, dry_run: bool = False
) -> AppliedPolicy:
    """`version` of the answer is in force then. Raises ConflictError with the reason why it cannot be undone."""
    undone, current = record.policy_version, context.table.read_versions()[0]
    if undone != current:
        raise ConflictError(f"policy {undone} is not in force any more, policy {current} is: undo that one")
    former = undone - 1
    if not former:
        raise ConflictError(f"before policy {undone} the policy of the bundle was in force: {record.undo}")
    text = context.rules.read_policy(former).text
    try:
        if dry_run:
            context.rules.policy_of(text)
            return AppliedPolicy(undone + 1, undone)
        return apply_policy(text, by, context, after=undone, reason=reason)
    except PolicyError as error:
        raise ConflictError(f"policy {former} would not load any more: {error}") from error


def undo_waiver(record: ActionRecord, by: str, reason: str, context: Context, *, dry_run: bool = False) -> Managed:
    """Undone already, it changes nothing. Raises ConflictError with the reason why it cannot be undone."""
    former, put = record.waivers or (None, None)
    subject = put or former
    if subject is None:
        raise ConflictError(f"the record does not hold the waiver as it was; this undoes it: {record.undo}")
    stored = context.waivers.get(subject.id)
    if _same(stored, former):
        return Managed(subject, new=False, changed=False)
    if stored != put:
        was = "is over" if stored is None else "was given again" if put is None else "was changed since"
        raise ConflictError(f"the waiver {subject.id} {was}: lazaretto audit --subject waiver/{subject.id}")
    if former is None:
        return manage_waivers(End(subject.id, reason, put), by, context, dry_run=dry_run)
    again = msgspec.structs.replace(former, created_at=context.clock.now())
    try:
        return manage_waivers(Give(again, reason, put), by, context, dry_run=dry_run)
    except ParameterError as error:
        raise ConflictError(f"the waiver {subject.id} cannot be given again: {error}") from error


def _same(one: Waiver | None, other: Waiver | None) -> bool:
    return one is other if one is None or other is None else one.says_as(other)


TAKING = frozenset({ActionType.QUARANTINE, ActionType.BLOCK})
GIVING = frozenset({ActionType.RELEASE, ActionType.UNBLOCK})
ORDERS = frozenset({ActionKind.ORDER_QUARANTINE, ActionKind.ORDER_RELEASE})
ABOUT_ORDERS = ORDERS | {ActionKind.ORDER_TAKEN_BACK}


class Undone(msgspec.Struct, frozen=True):
    """`given`: what follows for the image, where the action was about one. `lines`: the same in sentences."""

    record: ActionRecord
    given: Given | None
    lines: tuple[str, ...]
    dry_run: bool


def undo_action(action_id: str, by: str, reason: str, context: Context, *, dry_run: bool = False) -> Undone:
    """Raises ParameterError (no such id can be), NotFoundError, ConflictError (an action nothing can undo)."""
    checked(reason)
    record = context.queries.find_action(action_id)
    if record is None:
        raise NotFoundError(f"there is no action {action_id}")
    if record.kind in (ActionKind.WAIVE, ActionKind.UNWAIVE):
        lines = _waiver_lines(record, undo_waiver(record, by, reason, context, dry_run=dry_run))
        return Undone(record, None, lines, dry_run)
    if record.kind == ActionKind.POLICY:
        applied = undo_policy(record, by, reason, context, dry_run=dry_run)
        words = f"What policy {record.policy_version - 1} says is in force as policy {applied.version}."
        return Undone(record, None, (f"{words} Every image is decided again.",), dry_run)
    given = _undo_act(record, action_id, by, reason, context, dry_run=dry_run)
    return Undone(record, given, given.lines, dry_run)


def _undo_act(record: ActionRecord, action_id: str, by: str, reason: str, context: Context, *, dry_run: bool) -> Given:
    if record.ref is None or record.kind not in TAKING | GIVING | ABOUT_ORDERS | {ActionKind.ARCHIVE}:
        raise ConflictError(f"{record.kind} is not undone: it has changed nothing that could be given back")
    if record.kind in ORDERS:
        return _take_back(record, action_id, by, reason, context, dry_run=dry_run)
    header = known(record.ref, context)
    if record.kind == ActionKind.ORDER_TAKEN_BACK:
        return _give_again(record, header, action_id, by, reason, context, dry_run=dry_run)
    if record.kind == ActionKind.ARCHIVE:
        if (archived := archived_by_retention(header, context)) is None or not _is_same(archived, record):
            raise ConflictError(f"{record.effect} of {record.ref} is over: retention's archive does not hold it now")
        return release_image(record.ref, by, reason, context, dry_run=dry_run, undoes=action_id)
    if record.kind in TAKING:
        _not_ordered_since(record, header, by)
    _still_so(record, header, context)
    if record.kind in TAKING:
        return release_image(record.ref, by, reason, context, dry_run=dry_run, undoes=action_id)
    if header.order is not None:
        return _take_back(record, action_id, by, reason, context, dry_run=dry_run)
    if record.kind == ActionType.UNBLOCK:
        raise ConflictError(f"the Deny ended with the verdict that asked for it: lazaretto quarantine {record.ref}")
    return quarantine_image(record.ref, by, reason, context, dry_run=dry_run, undoes=action_id)


def _still_so(record: ActionRecord, header: Header, context: Context) -> None:
    """Raises ConflictError where the act is over, or another has done the same or the contrary since."""
    ref, act = header.ref, f"{record.effect} of {header.ref}"
    since = _acts_since(record, header, context)
    if record.kind == ActionType.QUARANTINE:
        now = f"{ActionType.QUARANTINE}#{header.hold.number}" if header.hold else None
    elif record.kind == ActionType.BLOCK:
        now = _last(since, ActionType.BLOCK) or record.effect if header.denied else None
    else:
        taking = ActionType.QUARANTINE if record.kind == ActionType.RELEASE else ActionType.BLOCK
        if (taken := _last(since, taking)) is not None:
            stands = header.hold is not None if taking is ActionType.QUARANTINE else header.denied
            now = f"and stands: lazaretto release {ref}" if stands else f"and is over too: lazaretto quarantine {ref}"
            raise ConflictError(f"{act} is not the last word: {taken} came after it, {now}")
        return
    if now is None:
        raise ConflictError(f"{act} is over: nothing of it stands; to take the image away: lazaretto quarantine {ref}")
    if now != record.effect:
        raise ConflictError(f"{act} is over: what stands now is {now}; to give the image back: lazaretto release {ref}")


def _acts_since(record: ActionRecord, header: Header, context: Context) -> list[str]:
    """The keys of the acts on the image after this one, oldest first; one begun and not recorded yet is the last."""
    chain = [row.record for row in context.queries.actions(header.ref)]
    place = [(r.effect, r.wanted_at) for r in chain].index((record.effect, record.wanted_at))
    begun = [header.enforcement.key] if header.enforcement and header.begun else []
    return [*(r.effect for r in chain[place + 1 :] if r.kind in TAKING | GIVING), *begun]


def _last(acts: list[str], kind: ActionType) -> str | None:
    return next((key for key in reversed(acts) if key.startswith(f"{kind}#")), None)


def _not_ordered_since(record: ActionRecord, header: Header, by: str) -> None:
    """A quarantine that another person has ordered after the act is not ended by undoing the act."""
    order = header.order
    if order is not None and order.kind is ActionType.QUARANTINE and order.at > record.at and order.by != by:
        raise ConflictError(f"another order stands for {header.ref}: {order.kind} by {order.by}: undo that one")


def _waiver_lines(record: ActionRecord, managed: Managed) -> tuple[str, ...]:
    name = record.subject.removeprefix("waiver/")
    if not managed.changed:
        return (f"Nothing is to be done: the waiver {name} is as it was before.",)
    former, _ = record.waivers or (None, None)
    what = f"The waiver {name} is ended." if former is None else f"The waiver {name} is given again: {said(former)}."
    return (f"{what} The images it touches are decided again.",)


def _take_back(record: ActionRecord, action_id: str, by: str, reason: str, context: Context, *, dry_run: bool) -> Given:
    """The order that stands is taken back. The one that stood before it stands again; without one the verdict
    decides."""
    assert record.ref is not None
    before = known(record.ref, context)
    order, chain = before.order, [row.record for row in context.queries.actions(record.ref)]
    if order is None:
        raise ConflictError(f"no order stands for {record.ref} any more")
    given = _given_by(order, chain)
    if record.kind in ORDERS:
        same = given is not None and _is_same(given, record)
    else:
        same = order.kind is ActionType.RELEASE and order.at <= record.at
    if not same:
        raise ConflictError(f"another order stands for {record.ref}: {order.kind} by {order.by}")
    former = _order_before(given, chain) if given is not None and given.before != NO_ORDER else None
    if former is not None:
        return give_order(_kind(former), record.ref, by, reason, context, dry_run=dry_run, undoes=action_id)
    taken = Order(order.kind, by, reason.strip(), context.clock.now(), order.standing)
    return follow(
        before, None, ActionKind.ORDER_TAKEN_BACK, context.rules.fresh(), context, dry_run=dry_run, spoken=taken
    )


def _give_again(
    record: ActionRecord, header: Header, action_id: str, by: str, reason: str, context: Context, *, dry_run: bool
) -> Given:
    """The order that was taken back, if no order was given since."""
    chain = [row.record for row in context.queries.actions(header.ref)]
    last = next(r for r in reversed(chain) if r.kind in ABOUT_ORDERS)
    former = _order_before(record, chain)
    if header.order is not None or not _is_same(last, record) or former is None:
        raise ConflictError(f"{record.kind} of {header.ref} is not the last word: {last.kind} came after it")
    return give_order(_kind(former), header.ref, by, reason, context, dry_run=dry_run, undoes=action_id)


def _given_by(order: Order, chain: Sequence[ActionRecord]) -> ActionRecord | None:
    """The record of the order: the first of its kind since it was given, which is recorded just before it is put."""
    return next((r for r in chain if r.kind == f"ORDER_{order.kind}" and r.wanted_at >= order.at), None)


def _order_before(record: ActionRecord, chain: Sequence[ActionRecord]) -> ActionRecord | None:
    place = next(n for n, r in enumerate(chain) if _is_same(r, record))
    return next((r for r in reversed(chain[:place]) if r.kind in ORDERS), None)


def _kind(given: ActionRecord) -> ActionType:
    return ActionType(given.kind.removeprefix("ORDER_"))


def _is_same(one: ActionRecord, other: ActionRecord) -> bool:
    """The key of a record: never its words, which two may have in common."""
    return (one.effect, one.wanted_at) == (other.effect, other.wanted_at)
