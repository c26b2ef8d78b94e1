"""Finish an act that is begun: record what is so now and clear it; or say that it failed, and keep it open.

Put the audit records of acts: what was done, what could not be done, what would have been done.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from chalicelib.domain.assessment.conclusion import with_due
from chalicelib.domain.audit.action import ActionKind, action_id
from chalicelib.domain.enforcement.act_report import with_report
from chalicelib.domain.enforcement.act_words import GIVEN_UP, done_words, given_up_words
from chalicelib.domain.enforcement.enforcement import MOVE, UNTAG, marker
from chalicelib.domain.events.handling import Metric
from chalicelib.domain.events.message import CheckDeny
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import (
    ActionType,
    Deferred,
    Enforcement,
    Hold,
    Holding,
    PendingAction,
    Stage,
)
from chalicelib.domain.images.image import StorageStatus
from chalicelib.errors import ConflictError, TransientError
from chalicelib.services.assessment.decide_image import decide_image
from chalicelib.services.assessment.update_header import put_decided
from chalicelib.services.enforcement.perform_act import missing_tags
from chalicelib.services.enforcement.read_state import POLICY_KINDS, RegistryState, observed
from chalicelib.services.ports.audit import ActionRecord
from chalicelib.services.ports.context import Context


def record_act(header: Header, effect: PendingAction, after: str, context: Context, note: str | None = None) -> None:
    """The act's one record: its key is the effect's, so that whoever comes again adds nothing."""
    reason = f"{effect.why}; {note}" if note else effect.why
    record = _record(header, effect, effect.key, ActionKind(effect.kind), reason, context)
    undo = f"lazaretto undo {action_id(record)} --reason undone" if effect.before != after else None
    if context.table.record_action(msgspec.structs.replace(record, before=effect.before, after=after, undo=undo)):
        context.journal.count(Metric.ACTIONS, by=effect.kind)


def record_failure(header: Header, effect: PendingAction, why: str, context: Context) -> None:
    """Once, however often it fails: the first reason stands."""
    record = _record(header, effect, f"FAILED#{effect.key}", ActionKind(f"{effect.kind}_FAILED"), why, context)
    if context.table.record_action(msgspec.structs.replace(record, before=effect.before, after=effect.before)):
        context.journal.count(Metric.ACTIONS, by=record.kind)


def record_would(header: Header, effect: PendingAction, seen: str, context: Context) -> None:
    """What a policy that only observes would have done; `seen` is the state the image is in, and stays in."""
    record = _record(header, effect, f"WOULD#{effect.key}", ActionKind(f"WOULD_{effect.kind}"), effect.why, context)
    context.table.record_action(msgspec.structs.replace(record, before=seen, after=seen))


def _record(
    header: Header, effect: PendingAction, key: str, kind: ActionKind, reason: str, context: Context
) -> ActionRecord:
    verdict = header.verdict
    ids = [i for reason in (verdict.reasons if verdict else ()) for i in reason.vulnerability_ids]
    return ActionRecord(
        ref=header.ref,
        effect=key,
        wanted_at=effect.wanted_at,
        kind=kind,
        actor=effect.by,
        reason=reason,
        at=context.clock.now(),
        policy_version=verdict.policy_version if verdict else 0,
        vulnerability_ids=tuple(dict.fromkeys(ids)),
    )


FAILED_AGAIN = timedelta(hours=1)
BUSY_SECONDS = 3.0
TRIES = 10


def finish_act(
    header: Header,
    effect: PendingAction,
    state: RegistryState,
    rules: Rules,
    context: Context,
    note: str | None = None,
    *,
    reached: bool = True,
) -> None:
    """`note`: what people must know besides. `reached` False: it was given up, as it was no longer to be done. The
    record is put before the header: it is the act's, whatever follows.

    Raises TransientError when other writers are faster again and again.
    """
    note = note if reached else GIVEN_UP
    record_act(header, effect, state.words, context, note)
    if effect.kind is ActionType.UNBLOCK and not state.denies:
        _have_others_checked(header, context)
    for _ in range(TRIES):
        now = context.clock.now()
        stage = Enforcement(effect.kind, effect.number, Stage.DONE, now, effect.method)
        known = msgspec.structs.replace(_applied(header, effect, state, context, reached=reached), enforcement=stage)
        known = msgspec.structs.replace(known, pending=tuple(e for e in known.pending if e.key != effect.key))
        document = context.table.read_document(header.ref)
        after = _as_quiet(decide_image(known, document, rules, now, context), effect)
        restoring = after.storage is StorageStatus.ACTIVATING
        said = done_words(effect, restoring) + (f"; {note}" if note else "") if reached else given_up_words(effect)
        after = with_report(after, effect, said, rules.policy.notify, now, always=note is not None)
        try:
            put_decided(header, with_due(after, now), context)
        except ConflictError:
            stored = context.table.read_headers([header.ref]).get(header.ref)
            if stored is None or stored.header.begun is None or stored.header.act != effect:
                return
            header, rules = stored.header, context.rules.fresh()
        else:
            return
    raise TransientError(f"{header.ref} is being written by others", BUSY_SECONDS)


def fail_act(
    header: Header, effect: PendingAction, why: str, state: RegistryState | None, rules: Rules, context: Context
) -> None:
    """Keeps it open, to be tried again, and has people told, once. `state` None: it could not even be read, so that it
    stays begun: whoever comes next reads it first. Raises ConflictError."""
    record_failure(header, effect, why, context)
    now = context.clock.now()
    held = Deferred(Holding.FAILED, why, now, now + FAILED_AGAIN)
    news = Holding.FAILED not in effect.told
    kept = msgspec.structs.replace(effect, held=held, told=tuple(dict.fromkeys((*effect.told, Holding.FAILED))))
    after = with_act(header, kept)
    if state is not None:
        stage = Enforcement(effect.kind, effect.number, Stage.FAILED, now, effect.method)
        known = _applied(after, effect, state, context, reached=False)
        after = msgspec.structs.replace(known, enforcement=stage)
        after = decide_image(after, context.table.read_document(header.ref), rules, now, context)
    if news:
        after = with_report(after, kept, f"failed: {why}", rules.policy.notify, now, always=True)
    put_decided(header, with_due(after, now), context)


def _have_others_checked(header: Header, context: Context) -> None:
    """The Deny of those that are left is gone: somebody took it out, or one of us that died before it saw them added.
    It comes back by an act of theirs, past who runs them and the fuse."""
    for digest in context.table.read_denied(header.ref.home).without_digest(header.ref.digest).digests:
        context.outbox.send("actions", CheckDeny(header.ref.home.image(digest)))


def _as_quiet(header: Header, done: PendingAction) -> Header:
    """What goes on from one of many, as a release that waits for ECR, is left to their summary as well."""
    act = header.act
    if act is None or act.kind is not done.kind or not done.quiet:
        return header
    return with_act(header, msgspec.structs.replace(act, quiet=True))


def with_act(header: Header, act: PendingAction) -> Header:
    """The header with the act as it is now in the place of what it was."""
    return msgspec.structs.replace(header, pending=tuple(act if e.key == act.key else e for e in header.pending))


def is_reached(header: Header, effect: PendingAction, state: RegistryState, context: Context) -> bool:
    """Whether the registry is as the act was to make it."""
    if effect.kind in POLICY_KINDS:
        denied = context.table.read_denied(header.ref.home).digests
        if effect.kind is ActionType.BLOCK:
            return state.denies and header.ref.digest in denied
        # Whether it stands for those that are left is not this act's to say: it gives back, and never takes away.
        return header.ref.digest not in denied and (bool(denied) or not state.denies)
    ref, detail, hold = header.ref, state.detail, header.hold
    taken = effect.kind is ActionType.QUARANTINE
    if effect.method == MOVE and taken:
        return detail is None
    if detail is None:
        return False
    archived, others = detail.storage is StorageStatus.ARCHIVED, set(detail.tags) - {marker(ref.digest)}
    if taken:
        return not others if effect.method == UNTAG else archived
    if archived or detail.storage is not StorageStatus.ACTIVE or hold is None:
        return not archived
    marked = marker(ref.digest) in detail.tags and bool(others)
    return not marked and not missing_tags(hold, ref, detail, context)


def _applied(header: Header, effect: PendingAction, state: RegistryState, context: Context, *, reached: bool) -> Header:
    """What the act and the reading after it say of the image. Tags that `untag` took are gone before events say so."""
    known, detail = observed(header, state), state.detail
    if effect.kind in POLICY_KINDS:
        return msgspec.structs.replace(known, denied=_is_denied(header, effect, state, context))
    if not reached:
        left = _hold_left(header, state) if effect.kind is ActionType.QUARANTINE else header.hold
        return msgspec.structs.replace(known, hold=left)
    if effect.method == MOVE:
        known = msgspec.structs.replace(known, exists=detail is not None, tags=detail.tags if detail else ())
    elif detail is not None and (effect.method == UNTAG or (known.hold and known.hold.tags)):
        known = msgspec.structs.replace(known, tags=tuple(sorted(detail.tags)))
    released = effect.kind is ActionType.RELEASE and detail is not None and detail.storage is StorageStatus.ACTIVE
    return msgspec.structs.replace(known, hold=None) if released else known


def _is_denied(header: Header, effect: PendingAction, state: RegistryState, context: Context) -> bool:
    """By the set of digests, which is made to agree with the policy first: an act that came to no end may have changed
    the set and not the policy, and nobody would come for a digest that counts without a Deny, or a Deny without one."""
    ref, stands = header.ref, state.denies
    denied = context.table.read_denied(ref.home)
    if effect.kind is ActionType.BLOCK and not stands:
        denied = context.table.change_denied(ref.home, lambda stored: stored.without_digest(ref.digest))
    elif effect.kind is ActionType.UNBLOCK and stands and not denied.digests:
        denied = context.table.change_denied(ref.home, lambda stored: stored.with_digest(ref.digest))
    return ref.digest in denied.digests


def _hold_left(header: Header, state: RegistryState) -> Hold | None:
    """Of a quarantine that came to no end. Of tags some may be gone, so that what is to be given back stays known. An
    image with our marker is untagged, by this act or an earlier one: although all its tags may have gone elsewhere
    since, the marker is to go when it gets another."""
    hold, there = header.hold, set(state.detail.tags if state.detail else ())
    if hold is None:
        return None
    if marker(header.ref.digest) in there:
        return msgspec.structs.replace(hold, method=UNTAG, place=None)
    return hold if set(hold.tags) - there else None
