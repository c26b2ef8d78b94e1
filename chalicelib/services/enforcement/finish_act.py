"""Finish an act that is begun: record what is so now and clear it; or say that it failed, and keep it open.

Put the audit records of acts: what was done, what could not be done, what would have been done.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from chalicelib.domain.alerts.alert import VERDICT
from chalicelib.domain.assessment.conclusion import with_due
from chalicelib.domain.audit.action import ActionKind, ActionRecord, undo_command
from chalicelib.domain.enforcement.act_report import RESTORE, with_report
from chalicelib.domain.enforcement.act_words import GIVEN_UP, done_words, given_up_words
from chalicelib.domain.enforcement.enforcement import is_freed, with_hold
from chalicelib.domain.events.message import CheckDeny, Metric
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import ActionType, Deferred, Enforcement, Holding, PendingAct, Stage
from chalicelib.domain.images.image import Kind, StorageStatus
from chalicelib.services.assessment.write_header import Attempt, HeaderChange, decide_image, write_header
from chalicelib.services.enforcement.read_state import POLICY_KINDS, RegistryState, observed
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import Stored


def record_act(header: Header, effect: PendingAct, after: str, context: Context, note: str | None = None) -> None:
    """The act's one record: its key is the effect's, so that a worker that comes again adds nothing."""
    reason = f"{effect.why}; {note}" if note else effect.why
    record = _record(header, effect, effect.key, ActionKind(effect.kind), reason, context)
    undo = undo_command(record) if effect.before != after else None
    if context.table.record_action(msgspec.structs.replace(record, before=effect.before, after=after, undo=undo)):
        context.journal.count(Metric.ACTIONS, by=effect.kind)


def record_failure(header: Header, effect: PendingAct, why: str, context: Context) -> None:
    """Once, however often it fails: the first reason stands."""
    record = _record(header, effect, f"FAILED#{effect.key}", ActionKind(f"{effect.kind}_FAILED"), why, context)
    if context.table.record_action(msgspec.structs.replace(record, before=effect.before, after=effect.before)):
        context.journal.count(Metric.ACTIONS, by=record.kind)


def record_would(header: Header, effect: PendingAct, seen: str, context: Context) -> None:
    """What a policy that only observes would have done; `seen` is the state the image is in, and stays in."""
    record = _record(header, effect, f"WOULD#{effect.key}", ActionKind(f"WOULD_{effect.kind}"), effect.why, context)
    context.table.record_action(msgspec.structs.replace(record, before=seen, after=seen))


def _record(
    header: Header, effect: PendingAct, key: str, kind: ActionKind, reason: str, context: Context
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


def finish_act(
    header: Header,
    effect: PendingAct,
    state: RegistryState,
    rules: Rules,
    context: Context,
    note: str | None = None,
    *,
    reached: bool = True,
) -> None:
    """`note`: what people must know besides. `reached` False: it was given up, as it was no longer to be done, or was
    undone at once, as `note` says. The record is put before the header: it is the act's, whatever follows.

    Raises TransientError when other writers are faster again and again.
    """
    event = RESTORE if note is not None and not reached else VERDICT
    note = _with_policy(note, effect, context) if reached else note or GIVEN_UP
    record_act(header, effect, state.words, context, note)
    if effect.kind is ActionType.UNBLOCK and not state.denies:
        # The Deny of those that are left is gone: it was taken out, or a worker died before it saw them added. It comes
        # back by an act of theirs, past who runs them and the fuse.
        for digest in context.table.read_denied(header.ref.home).without_digest(header.ref.digest).digests:
            context.outbox.send("actions", CheckDeny(header.ref.home.image(digest)))

    def finished(attempt: Attempt) -> HeaderChange | None:
        header, now = attempt.header, context.clock.now()
        if header.begun is None or header.act != effect:
            return None
        stage = Enforcement(effect.kind, effect.number, Stage.DONE, now, effect.method)
        known = msgspec.structs.replace(_applied(header, effect, state, context, reached=reached), enforcement=stage)
        known = msgspec.structs.replace(known, pending=tuple(e for e in known.pending if e.key != effect.key))
        document = context.table.read_document(header.ref)
        after = _as_quiet(decide_image(known, document, attempt.rules, now, context), effect)
        restoring = after.storage is StorageStatus.ACTIVATING
        done = done_words(effect, restoring, state.denies or after.denied) + (f"; {note}" if note else "")
        said = done if reached else given_up_words(effect, note or GIVEN_UP)
        after = with_report(after, effect, said, attempt.rules.policy.notify, now, event=event, always=note is not None)
        return _changed(header, with_due(after, now), attempt.rules, context)

    stored = Stored(header, header.revision)
    write_header(header.ref, finished, context, stored=stored, rules=rules, busy_seconds=BUSY_SECONDS)


def _with_policy(note: str | None, effect: PendingAct, context: Context) -> str | None:
    """An act that follows from a policy names it, and who applied it."""
    if effect.policy is None:
        return note
    follows = f"it follows from policy {effect.policy}, applied by {context.rules.read_policy(effect.policy).put_by}"
    return f"{note}; {follows}" if note else follows


def put_act(before: Header, after: Header, rules: Rules, context: Context, *, sends: bool = True) -> Header:
    """Puts the header of an act on its way, once: it hangs on what the registry was like a moment ago. `sends` False: a
    claim. Raises TransientError where another writer was faster; the caller reads the registry again."""
    changed = _changed(before, after, rules, context) if sends else HeaderChange(after, sends=False)
    stored = Stored(before, before.revision)
    return write_header(
        before.ref, lambda _: changed, context, stored=stored, rules=rules, tries=1, busy_seconds=BUSY_SECONDS
    )


def _changed(before: Header, after: Header, rules: Rules, context: Context) -> HeaderChange | None:
    """An image that left its archive is refreshed: what the archive closed was not believed."""
    if after == before:
        return None
    moved = after.kind is Kind.IMAGE and (before.storage, before.activated_at) != (after.storage, after.activated_at)
    freed = is_freed(before, after, rules.policy)
    refresh_at = context.clock.now() + context.consistency_delay if after.exists and (moved or freed) else None
    # Its indexes turn as the brake lets it out: they are left to the summary that it is left to.
    quiet = before.act is not None and before.act.quiet
    return HeaderChange(after, refresh_at=refresh_at, quiet=quiet)


def fail_act(
    header: Header, effect: PendingAct, why: str, state: RegistryState | None, rules: Rules, context: Context
) -> None:
    """Keeps it open, to be tried again, and has people told, once. `state` None: it could not even be read, so that it
    stays begun: the next worker reads it first. Raises TransientError."""
    record_failure(header, effect, why, context)
    now = context.clock.now()
    held = Deferred(Holding.FAILED, why, now, now + FAILED_AGAIN)
    news = Holding.FAILED not in effect.reported
    kept = msgspec.structs.replace(effect, held=held, reported=tuple(dict.fromkeys((*effect.reported, Holding.FAILED))))
    after = with_act(header, kept)
    if state is not None:
        stage = Enforcement(effect.kind, effect.number, Stage.FAILED, now, effect.method)
        known = _applied(after, effect, state, context, reached=False)
        after = msgspec.structs.replace(known, enforcement=stage)
        after = decide_image(after, context.table.read_document(header.ref), rules, now, context)
    if news:
        after = with_report(after, kept, f"failed: {why}", rules.policy.notify, now, always=True)
    put_act(header, with_due(after, now), rules, context)


def _as_quiet(header: Header, done: PendingAct) -> Header:
    """What goes on from one of many, as a release that waits for ECR, is left to their summary as well."""
    act = header.act
    if act is None or act.kind is not done.kind or not done.quiet:
        return header
    return with_act(header, msgspec.structs.replace(act, quiet=True))


def with_act(header: Header, act: PendingAct) -> Header:
    """The header with the act as it is now in the place of what it was."""
    return msgspec.structs.replace(header, pending=tuple(act if e.key == act.key else e for e in header.pending))


def is_reached(header: Header, effect: PendingAct, state: RegistryState, context: Context) -> bool:
    """Whether the registry is as the act was to make it."""
    if effect.kind in POLICY_KINDS:
        denied = context.table.read_denied(header.ref.home).digests
        if effect.kind is ActionType.BLOCK:
            return state.denies and header.ref.digest in denied
        # Whether it stands for those that are left is not this act's to say: it gives back, and never takes away.
        return header.ref.digest not in denied and (bool(denied) or not state.denies)
    if state.detail is None:
        return False
    return (state.detail.storage is StorageStatus.ARCHIVED) is (effect.kind is ActionType.QUARANTINE)


def _applied(header: Header, effect: PendingAct, state: RegistryState, context: Context, *, reached: bool) -> Header:
    """What the act and the reading after it say of the image."""
    known, detail = observed(header, state), state.detail
    if effect.kind in POLICY_KINDS:
        return msgspec.structs.replace(known, denied=_is_denied(header, effect, state, context))
    if not reached:
        return msgspec.structs.replace(known, hold=None) if effect.kind is ActionType.QUARANTINE else known
    released = effect.kind is ActionType.RELEASE and detail is not None and detail.storage is StorageStatus.ACTIVE
    return with_hold(known, None, state.at) if released else known


def _is_denied(header: Header, effect: PendingAct, state: RegistryState, context: Context) -> bool:
    """By the set of digests, which is made to agree with the policy first: an act that came to no end may have changed
    the set and not the policy, and no worker would come for a digest without a Deny, or a Deny without one."""
    ref, stands = header.ref, state.denies
    denied = context.table.read_denied(ref.home)
    if effect.kind is ActionType.BLOCK and not stands:
        denied = context.table.change_denied(ref.home, lambda stored: stored.without_digest(ref.digest))
    elif effect.kind is ActionType.UNBLOCK and stands and not denied.digests:
        denied = context.table.change_denied(ref.home, lambda stored: stored.with_digest(ref.digest))
    return ref.digest in denied.digests
