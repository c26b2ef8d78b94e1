"""Undo one action by its id, as a person's order: an act on an image, an order, a policy, or a change of a waiver.

No record is turned back: a new order, waiver or policy is given, and what follows has a record of its own. Only what
still stands is undone. An act that is long over belongs to an image as it no longer is; of policies only the one in
force is undone, by putting the version before it as a new version; a waiver that was changed since has its own undo.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.audit.action import ActionKind, ActionRecord, undo_command
from chalicelib.domain.enforcement.order_records import ORDERS, archived_by_retention
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.waivers.change import said
from chalicelib.errors import ConflictError, NotFoundError, ParameterError, PolicyError
from chalicelib.services.enforcement.give_order import Given, Terms, checked, known, quarantine_image, release_image
from chalicelib.services.enforcement.undo_order import stands_words, undo_order, undo_standing_release
from chalicelib.services.policy.apply_policy import AppliedPolicy, apply_policy
from chalicelib.services.ports.context import Context
from chalicelib.services.waivers.manage_waivers import End, Give, Managed, manage_waivers


def undo_policy(
    record: ActionRecord, by: str, reason: str, context: Context, *, dry_run: bool = False, expect_images: int = 0
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
        return apply_policy(text, by, context, after=undone, reason=reason, expect_images=expect_images)
    except PolicyError as error:
        raise ConflictError(f"policy {former} would not load any more: {error}") from error


def undo_waiver(
    record: ActionRecord, by: str, reason: str, context: Context, *, dry_run: bool = False, expect_images: int = 0
) -> Managed:
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
        return manage_waivers(Give(again, reason, put, expect_images=expect_images), by, context, dry_run=dry_run)
    except ParameterError as error:
        raise ConflictError(f"the waiver {subject.id} cannot be given again: {error}") from error


def _same(one: Waiver | None, other: Waiver | None) -> bool:
    return one is other if one is None or other is None else one.says_as(other)


TAKING = frozenset({ActionType.QUARANTINE, ActionType.BLOCK})
GIVING = frozenset({ActionType.RELEASE, ActionType.UNBLOCK})


class Undone(msgspec.Struct, frozen=True):
    """`given`: what follows for the image, where the action was about one. `lines`: the same in sentences."""

    record: ActionRecord
    given: Given | None
    lines: tuple[str, ...]
    dry_run: bool


def undo_action(
    action_id: str,
    by: str,
    reason: str,
    context: Context,
    *,
    dry_run: bool = False,
    override: bool = False,
    expect_images: int = 0,
) -> Undone:
    """`override`: it may end another person's order. `expect_images`: how many a person has seen counted that a waiver
    or a policy releases. Raises ParameterError (no such id can be), NotFoundError, ConflictError (an action nothing can
    undo)."""
    checked(reason)
    record = context.queries.find_action(action_id)
    if record is None:
        raise NotFoundError(f"there is no action {action_id}")
    if record.kind in (ActionKind.WAIVE, ActionKind.UNWAIVE):
        managed = undo_waiver(record, by, reason, context, dry_run=dry_run, expect_images=expect_images)
        lines = _waiver_lines(record, managed)
        return Undone(record, None, lines, dry_run)
    if record.kind == ActionKind.POLICY:
        applied = undo_policy(record, by, reason, context, dry_run=dry_run, expect_images=expect_images)
        words = f"What policy {record.policy_version - 1} says is in force as policy {applied.version}."
        if applied.overtaken_by is not None:
            words = f"Policy {applied.version} was put, and policy {applied.overtaken_by} is in force by now."
        return Undone(record, None, (f"{words} Every image is decided again.",), dry_run)
    terms = Terms(override=override)
    given = _undo_act(record, action_id, by, reason, context, dry_run=dry_run, terms=terms)
    return Undone(record, given, given.lines, dry_run)


def _undo_act(
    record: ActionRecord, action_id: str, by: str, reason: str, context: Context, *, dry_run: bool, terms: Terms
) -> Given:
    if record.ref is None or record.kind not in TAKING | GIVING | ORDERS | {ActionKind.ARCHIVE}:
        raise ConflictError(f"{record.kind} is not undone: it has changed nothing that could be given back")
    if record.kind in ORDERS:
        return undo_order(record, by, reason, context, dry_run=dry_run, terms=terms)
    header = known(record.ref, context)
    if record.kind not in GIVING:
        _not_ordered_since(record, header, by, context)
    if record.kind == ActionKind.ARCHIVE:
        _still_archived(record, header, context)
    else:
        _still_so(record, header, context)
    if record.kind not in GIVING:
        return release_image(record.ref, by, reason, context, dry_run=dry_run, undoes=action_id, terms=terms)
    if header.order is not None:
        return undo_standing_release(record, header, by, reason, context, dry_run=dry_run, terms=terms)
    if record.kind == ActionType.UNBLOCK:
        raise ConflictError(f"the Deny ended with the verdict that asked for it: lazaretto quarantine {record.ref}")
    return quarantine_image(record.ref, by, reason, context, dry_run=dry_run, undoes=action_id, terms=terms)


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


def _still_archived(record: ActionRecord, header: Header, context: Context) -> None:
    """Raises ConflictError where it is not retention's act that keeps the image in the archive."""
    stands = archived_by_retention(header, [row.record for row in context.queries.actions(header.ref)])
    if stands is None:
        raise ConflictError(f"the archive of {header.ref} by retention is over: it is {header.storage} now")
    if stands != record:
        raise ConflictError(f"{header.ref} was archived again since: {undo_command(stands)}")


def _not_ordered_since(record: ActionRecord, header: Header, by: str, context: Context) -> None:
    """A quarantine that another person has ordered after the act is not ended by undoing the act."""
    order = header.order
    if order is not None and order.kind is ActionType.QUARANTINE and order.at > record.at and order.owner != by:
        raise ConflictError(stands_words(header, [row.record for row in context.queries.actions(header.ref)]))


def _waiver_lines(record: ActionRecord, managed: Managed) -> tuple[str, ...]:
    name = record.subject.removeprefix("waiver/")
    if not managed.changed:
        return (f"Nothing is to be done: the waiver {name} is as it was before.",)
    former, _ = record.waivers or (None, None)
    what = f"The waiver {name} is ended." if former is None else f"The waiver {name} is given again: {said(former)}."
    return (f"{what} The images it touches are decided again.",)
