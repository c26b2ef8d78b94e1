"""Apply a retention plan: expire or archive, an index before its images, a signature before what it signs.

Every image is recorded before it is taken; one that could not be taken gets a second record. Registry and table are
read once more, at most a minute before the call: an image that was tagged, pushed, pulled, ordered or waived meanwhile
stays, and is no failure. So does one whose use was not looked up within a quarter of an hour, and one that has become
the newest to be pulled because a newer one was blocked. The mode and legal holds are read anew before each call. A run
that is stopped, or out of time, plans anew and does the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.audit.action import ActionKind, ActionRecord, undo_command
from chalicelib.domain.events.event import Action, ImageAction
from chalicelib.domain.events.message import Delivery, Metric
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.images.image import ImageDetail, StorageStatus
from chalicelib.domain.retention.image import RetainedImage, guard_of
from chalicelib.domain.retention.legal_hold import LegalHold, hold_guard
from chalicelib.domain.retention.plan import RetentionDecision, RetentionPlan, stages
from chalicelib.domain.retention.retention import PULLED_AT_EASE, newest_of_lines
from chalicelib.errors import AbsentError, TransientError, UpstreamError
from chalicelib.services.assessment.record_push import record_push
from chalicelib.services.ports.context import Context

IN_A_BATCH = 25
"""Images between two checks of the time: each is several writes, and archiving is a call for each."""
TRIES = 2
READ_WITHIN = timedelta(seconds=60)
"""How old tags and verdicts may be when the call is made."""
ASKED_WITHIN = timedelta(minutes=15)
"""How long ago the look may have begun that found nothing that runs the image."""
LONG_AGO = "who runs it was looked up too long ago"
LINE_LOST = "the newest image of a line that people could go back to is blocked or gone since the plan was made"
CHANGED = "it has changed since the plan was made"
NEEDED = "what holds it has changed since the plan was made, and stays"
HELD = "what holds it could not be taken"
WORDS = {"expire": ActionKind.EXPIRE, "archive": ActionKind.ARCHIVE}


class RetentionRun(msgspec.Struct, frozen=True):
    """`at`: of the run, the same for each retry. `actor`: `person:<name>`, or "" for the rule. `attempt`: how often it
    was requeued; each attempt has records of its own. `taken`: how many went earlier in it. `until`: when it stops,
    once it has taken some; None: when all is done."""

    at: datetime
    rules: Rules
    actor: str = ""
    attempt: int = 0
    taken: int = 0
    until: datetime | None = None


class AppliedPlan(msgspec.Struct, frozen=True):
    """By digest. `kept`: what has changed since the plan; `failed`: why it could not be taken. `unfinished`: there was
    no time for the rest. `observed`: the policy observes, or exempts the repository; what would go was recorded."""

    gone: tuple[str, ...] = ()
    failed: Mapping[str, str] = {}
    kept: Mapping[str, str] = {}
    unfinished: bool = False
    observed: bool = False


def apply_retention(plan: RetentionPlan, run: RetentionRun, context: Context) -> AppliedPlan:
    """Raises TransientError where AWS throttles before anything is gone; later it is `unfinished`, to keep the
    count."""
    decisions = {decision.image.digest: decision for decision in plan.takes}
    if not run.rules.policy.may_take_from(plan.repository.name):
        for decision in decisions.values():
            context.table.record_action(_record(plan, decision, run, context, "WOULD_"))
        return AppliedPlan(observed=True)
    taking = _Taking(plan, decisions, run, context)
    try:
        for stage in stages([decision.image for decision in decisions.values()]):
            taking.take(stage)
    except TransientError:
        if not taking.gone:
            raise
        taking.unfinished = True
    return AppliedPlan(tuple(sorted(taking.gone)), taking.failed, taking.kept, taking.unfinished)


class _Taking:
    """One run over one plan."""

    def __init__(
        self, plan: RetentionPlan, decisions: Mapping[str, RetentionDecision], run: RetentionRun, context: Context
    ) -> None:
        self._plan, self._decisions, self._run, self._context = plan, decisions, run, context
        self.gone: set[str] = set()
        self.failed: dict[str, str] = {}
        self.kept: dict[str, str] = {}
        self.unfinished = False
        self._newest = tuple(newest_of_lines([decision.image for decision in plan.decisions]))
        self._holds: Sequence[LegalHold] = ()

    def take(self, stage: Sequence[str]) -> None:
        needed = self._held_by_all(self.kept)
        stuck = self._held_by_all(self.failed) - needed
        left = [digest for digest in stage if digest not in needed | stuck]
        for start in range(0, len(left), IN_A_BATCH):
            if self.unfinished or self._is_late():
                self.unfinished = True
                return
            self._take_batch(left[start : start + IN_A_BATCH])
        self.kept |= dict.fromkeys(needed.intersection(stage), NEEDED)
        for digest in stuck.intersection(stage):
            self._give_up(digest, HELD)

    def _held_by_all(self, digests: Collection[str]) -> set[str]:
        return {held for digest in digests for held in self._decisions[digest].image.holds}

    def _is_late(self) -> bool:
        until = self._run.until
        return until is not None and bool(self.gone) and self._context.clock.now() >= until

    def _take_batch(self, batch: Sequence[str]) -> None:
        read_at, repository = self._context.clock.now(), self._plan.repository
        self._holds = self._context.legal_holds.of(repository)
        there = self._context.keeper.describe(repository, [*batch, *self._newest])
        stored = self._context.table.read_headers([repository.image(digest) for digest in there])
        headers = {ref.digest: one.header for ref, one in stored.items()}
        lost = not all(_is_pulled_at_ease(there.get(d), headers.get(d)) for d in self._newest)
        left = []
        for digest in batch:
            if digest not in there:
                self.gone.add(digest)
            elif (why := self._why_kept(there[digest], headers.get(digest), lost=lost)) is not None:
                self.kept[digest] = why
            else:
                left.append(digest)
        for digest in left:
            self._context.table.record_action(_record(self._plan, self._decisions[digest], self._run, self._context))
        failed: Mapping[str, str] = dict.fromkeys(left, "")
        for _ in range(TRIES):
            if self._plan.action == "expire":
                failed = self._expire({digest: there[digest].tags for digest in sorted(failed)}, read_at)
            else:
                failed = self._archive(sorted(failed), read_at)
            if not failed or self.unfinished:
                return
        for digest, why in failed.items():
            self._give_up(digest, why)

    def _why_kept(self, there: ImageDetail, header: Header | None, *, lost: bool) -> str | None:
        """None: it goes. `lost`: a newest image of the plan's is none any more."""
        decision, now = self._decisions[there.ref.digest], self._context.clock.now()
        if not _is_as_planned(there, header, decision.image):
            return CHANGED
        guard = hold_guard(there.ref.digest, self._holds) or guard_of(header, self._run.rules, now)
        if guard is not None:
            return guard.why
        if decision.asked_at is None or now - decision.asked_at > ASKED_WITHIN:
            return LONG_AGO
        return LINE_LOST if lost and header is not None and header.decision in PULLED_AT_EASE else None

    def _may_go_on(self, read_at: datetime) -> bool:
        """Asked before each call; where not, the rest is planned anew."""
        policy, version = self._context.rules.policy_in_force()
        repository = self._plan.repository
        same = version == self._run.rules.policy_version and policy.may_take_from(repository.name)
        same = same and self._context.legal_holds.of(repository) == self._holds
        self.unfinished |= not same or self._context.clock.now() - read_at > READ_WITHIN
        return not self.unfinished

    def _expire(self, images: Mapping[str, Sequence[str]], read_at: datetime) -> Mapping[str, str]:
        digests = list(images)
        if not digests or not self._may_go_on(read_at):
            return {}
        try:
            done = self._context.keeper.delete(self._plan.repository, images)
        except TransientError:
            raise
        except UpstreamError as error:
            return dict.fromkeys(digests, str(error))
        for digest in done.gone:
            self._record_taken(digest, Action.DELETE, done.at)
        return done.failed

    def _archive(self, digests: Sequence[str], read_at: datetime) -> Mapping[str, str]:
        failed: dict[str, str] = {}
        for digest in digests:
            if not self._may_go_on(read_at):
                return {}
            try:
                self._context.acts.archive(self._plan.repository.image(digest))
            except AbsentError:
                self.gone.add(digest)
                continue
            except TransientError:
                raise
            except UpstreamError as error:
                failed[digest] = str(error)
                continue
            self._record_taken(digest, Action.UPDATE_STORAGE_CLASS, self._context.clock.now())
        return failed

    def _record_taken(self, digest: str, action: Action, at: datetime) -> None:
        """Recorded as ECR's own event will be: that one may be lost."""
        self.gone.add(digest)
        self._context.journal.count(Metric.ACTIONS, by=WORDS[self._plan.action or "expire"])
        ref = self._plan.repository.image(digest)
        event = ImageAction(ref, action, "SUCCESS", at, f"retention-{self._plan.id}-{digest}")
        record_push(event, Delivery(event.event_id, event), self._context)

    def _give_up(self, digest: str, why: str) -> None:
        self.failed[digest] = why
        record = _record(self._plan, self._decisions[digest], self._run, self._context)
        failed = {"effect": f"FAILED#{record.effect}", "kind": ActionKind(f"{record.kind}_FAILED"), "reason": why}
        undone = {"after": record.before, "undo": None}
        self._context.table.record_action(msgspec.structs.replace(record, **failed, **undone))


def _record(
    plan: RetentionPlan, decision: RetentionDecision, run: RetentionRun, context: Context, prefix: str = ""
) -> ActionRecord:
    """What would go is recorded once for each push: a policy that observes for months fills no log."""
    kind = ActionKind(f"{prefix}{WORDS[plan.action or 'expire']}")
    image = decision.image
    ref = plan.repository.image(image.digest)
    would, there = bool(prefix), f"there ({', '.join(image.tags[:5]) or 'untagged'})"
    wanted_at = image.arrived_at if would and image.arrived_at is not None else run.at
    done = {"expire": "to be deleted", "archive": "to be archived"}[plan.action or "expire"]
    record = ActionRecord(
        ref=ref,
        effect=kind if would else "#".join((kind, *(str(n) for n in (run.attempt, run.taken) if n))),
        wanted_at=wanted_at,
        kind=kind,
        actor=run.actor or f"rule:{decision.by.partition('.')[0]}",
        reason=f"{decision.why} (plan {plan.id})",
        at=context.clock.now(),
        before=there,
        after=there if would else done,
        policy_version=run.rules.policy_version,
    )
    if would or plan.action == "expire":
        return record
    return msgspec.structs.replace(record, undo=undo_command(record))


def _is_pulled_at_ease(now: ImageDetail | None, header: Header | None) -> bool:
    active = now is not None and now.storage is StorageStatus.ACTIVE
    return active and header is not None and header.exists and header.decision in PULLED_AT_EASE


def _is_as_planned(now: ImageDetail, header: Header | None, planned: RetainedImage) -> bool:
    if header is not None and not set(header.parents) <= set(planned.parents):
        return False  # an index was pushed since: ECR would no longer delete the image, but it would archive it
    same = tuple(sorted(now.tags)) == planned.tags and now.pushed_at == planned.pushed_at
    pulled = now.last_pulled_at == planned.pulled_at
    return same and pulled and now.storage is planned.storage and now.storage is not StorageStatus.ACTIVATING
