"""Do one act of a header's `pending`: check that it is safe, begin, call, read what is so now, record, clear.

`begun` is put before the first call and on condition of the header's version, so one act at a time is done to an image.
Once begun, an act ends in a reading of the image's real state, whichever worker ends it and whatever is desired by
then; what is desired then follows as a new act. Every act has one record in the audit log, put on condition that it is
absent. What keeps an act from being done (`Holding`) is stored with it: it stays open, is shown, is tried again by the
clock, and is announced when it is news.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import msgspec

from chalicelib.domain.assessment.conclusion import with_due
from chalicelib.domain.enforcement.act_report import RESTORE, with_report
from chalicelib.domain.enforcement.act_words import held_words, would_words
from chalicelib.domain.enforcement.enforcement import ARCHIVE, is_forced, is_ordered, was_quarantined
from chalicelib.domain.enforcement.pull_brake import braked_until
from chalicelib.domain.events.message import Act
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import ActionType, Deferred, Enforcement, Hold, Holding, PendingAct, Stage
from chalicelib.domain.images.image import ImageRef, InUseState, Kind, StorageStatus
from chalicelib.domain.images.verdict import Reason
from chalicelib.domain.tampering.tampering import layers_mark
from chalicelib.errors import ConflictError, TooLargeError, TransientError, UpstreamError
from chalicelib.services.assessment.write_header import decide_image, desired_state, members_of, send_again
from chalicelib.services.enforcement.acquire_quota import acquire_quota
from chalicelib.services.enforcement.check_preconditions import check_preconditions, is_running
from chalicelib.services.enforcement.finish_act import (
    fail_act,
    finish_act,
    is_reached,
    put_act,
    record_failure,
    record_would,
    with_act,
)
from chalicelib.services.enforcement.perform_act import perform_act
from chalicelib.services.enforcement.read_state import RegistryState, observed, read_state
from chalicelib.services.ports.context import Context
from chalicelib.services.usage.find_blast_radius import find_use

SLOW_RESTORE = timedelta(minutes=30)


def hold_act(
    before: Header,
    after: Header,
    effect: PendingAct,
    held: Deferred,
    state: RegistryState | None,
    rules: Rules,
    context: Context,
) -> None:
    """`state` None: the registry could not be read. Raises TransientError.

    One of many that waits for a workload to stop is done without warning: that it waits is left to their
    summary, that it is done is not.
    """
    desired = desired_state(after, rules, context)
    known = msgspec.structs.replace(effect, by=desired.by, why=desired.why)
    if held.why is Holding.OBSERVE:
        words = would_words(effect, desired.why, after.in_use)
        record_would(after, msgspec.structs.replace(known, why=words), state.words if state else "", context)
        put_act(before, after, rules, context)
        return
    former, now = effect.held, context.clock.now()
    news = former is None or former.why is not held.why
    if former is not None and not news:
        held = msgspec.structs.replace(held, since=former.since)
    if held.why is Holding.FAILED and news and state is None:
        record_failure(after, known, held.detail, context)
    slow = held.why is Holding.RESTORING and now - held.since > SLOW_RESTORE and RESTORE not in effect.reported
    kept = msgspec.structs.replace(effect, held=held, reported=(*effect.reported, RESTORE) if slow else effect.reported)
    waits = held.why in (Holding.RUNNING, Holding.QUIET)
    loud = msgspec.structs.replace(kept, quiet=kept.quiet and not waits)
    after = with_act(after, loud)
    if slow:
        minutes = int((now - held.since).total_seconds() // 60)
        said = f"ECR has been restoring it for {minutes} minutes and has not finished"
        after = with_report(after, kept, said, rules.policy.notify, now, event=RESTORE, always=True)
    elif news and (waits or state is None):
        failed = held.why is Holding.FAILED
        after = with_report(after, kept, held_words(kept, held), rules.policy.notify, now, always=failed)
    put_act(before, with_due(after, now), rules, context)


CLAIM = timedelta(seconds=90)
"""Longer than a worker of the queue `actions` may live."""
UNREAD_AGAIN = timedelta(minutes=15)
PATIENCE = 5
"""Attempts after which AWS that does not answer is a failure that people are told of."""
BUSY_SECONDS = 3.0
MOST_DENIED = 5_000
"""Images of a repository of which pulls are denied: beside each, who runs it is asked."""


def enforce_verdict(act: Act, context: Context, *, fresh: bool = True, redelivered: bool = False) -> None:
    """Does nothing when the act is no longer in `pending`. `fresh`: the first receive of a message that was not
    requeued. `redelivered`: the worker before may have died between putting a header and sending what follows from it.

    Raises TransientError: send `act` again later.
    """
    stored = context.table.read_headers([act.ref]).get(act.ref)
    if stored is None:
        return
    effect = stored.header.act
    if effect is None or effect.key != act.effect:
        if not fresh:
            send_again(stored.header, context)
        return
    if redelivered:
        send_again(stored.header, context, but=effect.key)
    doing = _Doing(act, context)
    try:
        if stored.header.begun is None:
            doing.start(stored.header, effect)
        else:
            doing.take_over(stored.header, effect)
    except ConflictError as e:
        raise TransientError(f"{act.ref} is being written by others", BUSY_SECONDS) from e


class _Doing:
    """One act on its way, by the rules of now."""

    def __init__(self, act: Act, context: Context) -> None:
        self.act, self.context = act, context
        self.rules: Rules = context.rules.fresh()

    def start(self, before: Header, wished: PendingAct) -> None:
        """Sees what is so now, decides by it, and goes on only with what is still to be done and is safe."""
        try:
            state = read_state(before, wished.kind, self.context)
            reach = self._reach(before, wished)
        except UpstreamError as e:
            self._be_patient(e)
            now = self.context.clock.now()
            held = Deferred(Holding.FAILED, f"the registry cannot be read: {e}", now, now + UNREAD_AGAIN)
            hold_act(before, before, wished, held, None, self.rules, self.context)
            return
        after = self._decided(before, wished, state, reach)
        effect = after.act
        if effect is None or effect.key != wished.key:
            put_act(before, after, self.rules, self.context)
            return
        now, policy = self.context.clock.now(), self.rules.policy
        quiet_until = braked_until(after, self._reasons(after), policy) if effect.kind.takes_away else None
        asks = partial(self._ask_fuse, after, effect, state, reach)
        held_by = check_preconditions(after, effect, state, policy, now, quiet_until, asks)
        if held_by is not None:
            hold_act(before, after, effect, held_by, state, self.rules, self.context)
            return
        self._do(*self._begin(before, after, effect, state))

    def _reasons(self, header: Header) -> list[Reason]:
        """Of an index those of its images: its own only says that they are bad."""
        images = members_of(header, self.context) if header.kind is Kind.INDEX else ()
        verdicts = (one.verdict for one in (header, *images) if one is not None)
        return [reason for verdict in verdicts if verdict is not None for reason in verdict.reasons]

    def take_over(self, header: Header, effect: PendingAct) -> None:
        """Another worker has begun it. While that one may be alive it is left alone; then the act is done again where
        it is still wanted and safe, and in any case read, recorded and cleared."""
        now, begun = self.context.clock.now(), header.enforcement
        assert begun is not None
        if now < begun.at + CLAIM:
            left = (begun.at + CLAIM - now).total_seconds()
            raise TransientError(f"{effect.key} of {header.ref} may be being done by another worker", left)
        state = self._read(header, effect)
        if state is None:
            return
        if is_reached(header, effect, state, self.context):
            self._end(header, effect, state)
        elif self._still_to_be_done(header, effect, state):
            self._do(self._claimed(header, begun, effect, state), effect)
        else:
            finish_act(header, effect, state, self.rules, self.context, reached=False)

    def _claimed(self, header: Header, begun: Enforcement, effect: PendingAct, state: RegistryState) -> Header:
        """Two may come to it at once, by the clock and by the queue: one that is slow would take the image away after
        the other has, and after it was released. Raises TransientError to all but one."""
        mine = msgspec.structs.replace(begun, at=self.context.clock.now())
        claimed = msgspec.structs.replace(_held(header, effect, state), enforcement=mine)
        return put_act(header, claimed, self.rules, self.context, sends=False)

    def _reach(self, header: Header, wished: PendingAct) -> frozenset[str] | None:
        """The digests that a Deny of the repository keeps from being pulled; None: more than MOST_DENIED. Raises
        TransientError, UpstreamError."""
        if wished.kind is not ActionType.BLOCK:
            return frozenset()
        try:
            listed = self.context.keeper.images(header.ref.home, MOST_DENIED).images
        except TooLargeError:
            return None
        return frozenset(digest for digest, one in listed.items() if one.storage is StorageStatus.ACTIVE)

    def _decided(
        self, before: Header, wished: PendingAct, state: RegistryState, reach: frozenset[str] | None
    ) -> Header:
        known = observed(before, state)
        if wished.kind.takes_away:
            tags = state.detail.tags if state.detail is not None else ()
            whole = wished.kind is ActionType.BLOCK
            in_use = find_use(known, self.context, whole=whole, images=reach, tags=tags)
            known = msgspec.structs.replace(known, in_use=msgspec.structs.replace(in_use, left_out=()))
        document = self.context.table.read_document(known.ref)
        return decide_image(known, document, self.rules, self.context.clock.now(), self.context)

    def _still_to_be_done(self, header: Header, effect: PendingAct, state: RegistryState) -> bool:
        """As if it had not been begun: the next act would be the same, nothing that runs would break, and the fuse lets
        it pass. It is asked again: who had begun it may have been dead for hours."""
        try:
            reach = self._reach(header, effect)
        except UpstreamError as e:
            self._be_patient(e)
            return False
        after = self._decided(msgspec.structs.replace(header, enforcement=None), effect, state, reach)
        act = after.act
        if act is None or act.kind is not effect.kind:
            return False
        if act.held is not None and act.held.why is Holding.OBSERVE:
            return False
        if not effect.kind.takes_away or is_forced(after, effect.kind):
            return True
        running = is_running(after.in_use, self.rules.policy)
        return running is None and self._ask_fuse(after, effect, state, reach) is None

    def _begin(
        self, before: Header, after: Header, effect: PendingAct, state: RegistryState
    ) -> tuple[Header, PendingAct]:
        now = self.context.clock.now()
        desired = desired_state(after, self.rules, self.context)
        mine = msgspec.structs.replace(effect, held=None, by=desired.by, why=desired.why, before=state.words)
        begun = Enforcement(effect.kind, effect.number, Stage.BEGUN, now, effect.method)
        if effect.kind is ActionType.QUARANTINE and after.kind is Kind.IMAGE:
            self._remember_layers(after.ref)
        header = msgspec.structs.replace(with_act(_held(after, effect, state), mine), enforcement=begun)
        return put_act(before, with_due(header, now), self.rules, self.context), mine

    def _remember_layers(self, ref: ImageRef) -> None:
        """Before the image is archived: afterwards ECR gives no manifest. A quarantine does not wait for them."""
        try:
            mark = layers_mark(self.context.registry.read_layers(ref))
        except UpstreamError:
            return
        if mark is not None:
            self.context.table.keep_layers(ref.home, mark, ref.digest)

    def _do(self, header: Header, effect: PendingAct) -> None:
        """Looking up who runs the image takes seconds: what was put in force meanwhile is heard of before the first
        call. The act stays begun; the worker that takes it over decides by the new rules."""
        if self.context.table.read_versions() != self.rules.versions:
            raise TransientError(
                f"policy or waivers were changed as {effect.key} of {header.ref} was begun", CLAIM.seconds
            )
        note, failed = None, None
        try:
            note = perform_act(header, effect, self.context)
        except UpstreamError as e:
            self._be_patient(e)
            failed = e
        state = self._read(header, effect)
        if state is None:
            return
        if is_reached(header, effect, state, self.context):
            self._end(header, effect, state, note)
        elif failed is not None:
            fail_act(header, effect, str(failed), state, self.rules, self.context)
        elif self.act.attempt < PATIENCE:
            raise TransientError(f"{effect.key} of {header.ref}: ECR does not show it yet", BUSY_SECONDS)
        else:
            fail_act(header, effect, "ECR took the call and does not show it", state, self.rules, self.context)

    def _end(self, header: Header, effect: PendingAct, state: RegistryState, note: str | None = None) -> None:
        """What was started between the look before the act and the archive pulled it in time, and cannot pull it again:
        it is seen now, and the image is given back. What cannot be looked at now was looked at before."""
        seen = self._started(header, effect, state)
        if seen is None:
            finish_act(header, effect, state, self.rules, self.context, note)
            return
        try:
            self.context.acts.restore(header.ref)
        except UpstreamError as e:
            self._be_patient(e)
            why = f"archived, {seen}, and cannot be given back: {e}"
            fail_act(header, effect, why, state, self.rules, self.context)
            return
        restored = self._read(header, effect)
        if restored is not None:
            finish_act(
                header,
                effect,
                restored,
                self.rules,
                self.context,
                f"archived and given back at once, {seen}",
                reached=False,
            )

    def _started(self, header: Header, effect: PendingAct, state: RegistryState) -> str | None:
        if effect.kind is not ActionType.QUARANTINE or state.detail is None or is_forced(header, effect.kind):
            return None
        use = find_use(header, self.context, tags=state.detail.tags, since=state.at)
        return is_running(use, self.rules.policy) if use.state is InUseState.YES else None

    def _read(self, header: Header, effect: PendingAct) -> RegistryState | None:
        """None: it cannot be read. The act stays begun then, and people are told."""
        try:
            return read_state(header, effect.kind, self.context)
        except UpstreamError as e:
            self._be_patient(e)
            fail_act(header, effect, f"its end cannot be read: {e}", None, self.rules, self.context)
            return None

    def _be_patient(self, error: UpstreamError) -> None:
        """What only needs time is raised, a few times."""
        if isinstance(error, TransientError) and self.act.attempt < PATIENCE:
            raise error

    def _ask_fuse(
        self, header: Header, effect: PendingAct, state: RegistryState, reach: frozenset[str] | None
    ) -> Deferred | None:
        """What a person has ordered, and what was under quarantine within a day, is not counted; nor is a digest more
        of a Deny that stands, which takes nothing more away."""
        key, releases, policy = f"{self.act.ref} {effect.key}", not effect.kind.takes_away, self.rules.policy
        quarantines, now, images = effect.kind is ActionType.QUARANTINE, self.context.clock.now(), 1
        if is_ordered(header) or (quarantines and was_quarantined(header, effect.number, now)):
            return None
        if effect.kind is ActionType.BLOCK:
            images = MOST_DENIED + 1 if reach is None else len(reach)
            if state.denies or not images:
                return None
        limit = (policy.release if releases else policy.quarantine).max_per_hour
        return acquire_quota(key, limit, self.context, images=images, releases=releases)


def _held(header: Header, effect: PendingAct, state: RegistryState) -> Header:
    """With the hold as it is once a quarantine is done, since the reading before it. The one before it has ended by
    then, and is remembered: whoever takes the act over does not ask the fuse either."""
    if effect.kind is not ActionType.QUARANTINE:
        return header
    hold, former = Hold(ARCHIVE, effect.number, state.at, ordered=header.commanded is not None), header.hold
    came_back = former is not None and former.number != effect.number
    return msgspec.structs.replace(header, hold=hold, held_until=state.at if came_back else header.held_until)
