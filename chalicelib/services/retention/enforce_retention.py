"""Enforce retention in one repository: plan, take what may go, store the result, send alerts, and send the rest on; for
the policy, or by a plan that a person has read.

A sweep only plans: the function of the queue `actions` alone may change the registry, so what there is to take is sent
to it, and planned anew there. What was tagged, pulled, started or quarantined meanwhile stays. A run may be killed at
any point, or run out of time: it is planned anew and does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.alerts.alert import Alert, AlertKey
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.sweep_message import Sweep, SweepRepository, TakeImages
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.alert import compose_failed_alert, compose_stopped_alert
from chalicelib.domain.retention.plan import BETWEEN, Action, RetentionProgress, RetentionResult
from chalicelib.errors import AbsentError, ConflictError
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context
from chalicelib.services.retention.apply_retention import AppliedPlan, RetentionRun, apply_retention
from chalicelib.services.retention.plan_retention import Planned, has_rule, plan_retention

LOOK_FOR = timedelta(seconds=20)
"""For one of the ten messages of a batch, which has five minutes."""
LOOK_UNTIL, TAKE_UNTIL = timedelta(seconds=25), timedelta(seconds=45)
"""From the beginning: the function has 60 seconds, of which the last look-up and the last batch may take ten each."""
NAMED = 20


def enforce_retention(message: SweepRepository, context: Context, *, redelivered: bool = False) -> None:
    """Records what would go where the policy only observes. `redelivered`: the queue has delivered the message before.
    Raises TransientError: requeue it with a delay."""
    repository, rules = message.repository, context.rules.fresh()
    if not has_rule(repository, rules):
        return
    planned = _planned(message, rules, context.clock.now() + LOOK_FOR, context)
    if planned is None:
        return
    if planned.plan.takes and rules.policy.may_take_from(repository.name):
        context.outbox.send("actions", TakeImages(repository, message.started_at, message.after))
        return
    run = RetentionRun(message.started_at, rules)
    applied = apply_retention(planned.plan, run, context) if planned.plan.takes else AppliedPlan()
    _report(message, planned, applied, context, redelivered)


def take_images(message: TakeImages, context: Context, *, redelivered: bool = False) -> None:
    """`redelivered`: as above. Raises TransientError: requeue it with a delay; what was taken is gone."""
    begun_at, rules = context.clock.now(), context.rules.fresh()
    planned = _planned(message, rules, begun_at + LOOK_UNTIL, context)
    if planned is None:
        return
    taken = RetentionProgress.read(message.after).taken
    run = RetentionRun(message.started_at, rules, attempt=message.attempt, taken=taken, until=begun_at + TAKE_UNTIL)
    _report(message, planned, apply_retention(planned.plan, run, context), context, redelivered)


def _planned(message: SweepRepository | TakeImages, rules: Rules, until: datetime, context: Context) -> Planned | None:
    """The part of the run that `message.after` says. None: the repository is gone."""
    progress = RetentionProgress.read(message.after)
    try:
        return plan_retention(
            message.repository, context, rules=rules, start=progress.start, gone=progress.taken, until=until
        )
    except AbsentError as error:
        if error.what != "repository":
            raise
        return None


def _report(
    message: SweepRepository | TakeImages, planned: Planned, applied: AppliedPlan, context: Context, redelivered: bool
) -> None:
    """One that was requeued or redelivered sends its alerts again: they may not have been sent."""
    plan, now, alerts = planned.plan, context.clock.now(), list[tuple[ActionKind, str, Alert]]()
    progress, again = RetentionProgress.read(message.after), message.attempt > 0 or redelivered
    if plan.stopped:
        alerts.append((ActionKind.RETENTION_STOPPED, plan.stopped, compose_stopped_alert(plan, now)))
    if applied.failed and not applied.unfinished:
        # The rest of an unfinished part is planned anew, with what failed: its result is reported then.
        said = f"{len(applied.failed)} of {len(plan.takes)} images could not be taken"
        alerts.append((ActionKind.RETENTION_FAILED, said, compose_failed_alert(plan, applied.failed, now)))
    for kind, why, alert in alerts:
        record = _record(message, plan.rule, kind, why, now)
        if context.table.record_action(record) or again:
            announce(alert, AlertKey(f"ALERT#{record.effect}", record.wanted_at, subject=record.subject), context)
    taken = progress.taken + len(applied.gone)
    _store_result(message.repository, planned, applied, taken, context)
    following = progress.start if applied.unfinished else planned.next
    if following is not None and not plan.stopped:
        after = str(RetentionProgress(following, taken))
        rest = SweepRepository(Sweep.RETENTION, message.repository, message.started_at, after=after)
        context.outbox.send("sweeps", rest)


def _record(
    message: SweepRepository | TakeImages, rule: int | None, kind: ActionKind, why: str, now: datetime
) -> ActionRecord:
    progress = RetentionProgress.read(message.after)
    return ActionRecord(
        ref=None,
        effect=BETWEEN.join((kind, *(str(mark) for mark in (progress.start, progress.taken) if mark))),
        wanted_at=message.started_at,
        kind=kind,
        actor=f"rule:retention[{rule}]",
        reason=why,
        at=now,
        subject=f"repository/{message.repository.path}",
    )


def _store_result(repository: Repository, planned: Planned, applied: AppliedPlan, taken: int, context: Context) -> None:
    """`taken`: how many went in the whole run by now."""
    plan = planned.plan
    result = RetentionResult(
        plan=plan.id,
        images=len(plan.decisions),
        wanted=len(plan.wanted),
        taken=taken,
        observed=applied.observed,
        stopped=plan.stopped,
        failed=dict(sorted(applied.failed.items())[:NAMED]),
        kept=dict(sorted(applied.kept.items())[:NAMED]),
    )
    facts = {"retention_at": planned.listed_at, "retention": msgspec.to_builtins(result)}
    context.table.store_repository(repository, facts)


class CarriedOut(msgspec.Struct, frozen=True):
    """As `AppliedPlan`, of all parts. `stopped`: why it ended early."""

    action: Action | None
    gone: tuple[str, ...]
    failed: Mapping[str, str]
    kept: Mapping[str, str]
    stopped: str = ""


def carry_out_plan(
    repository: Repository,
    plan_id: str,
    actor: str,
    context: Context,
    report: Callable[[int], None] = lambda gone: None,
) -> CarriedOut:
    """Takes what the plan that a person has read names, part by part, and nothing else. What it could not look up is
    looked up now. `report` gets the count of what is gone after each part. Raises ConflictError where the plan is
    another one by now, is stopped, or may not be carried out, AbsentError (`repository`), and TransientError."""
    rules = context.rules.fresh()
    planned = plan_retention(repository, context, rules=rules)
    plan, at = planned.plan, context.clock.now()
    if plan.id != plan_id:
        raise ConflictError(f"{repository.name} has changed since plan {plan_id[:40]}: it is plan {plan.id} now")
    if plan.stopped:
        raise ConflictError(f"the plan is stopped: {plan.stopped}")
    if not rules.policy.may_take_from(repository.name):
        raise ConflictError(f"the policy only observes, or exempts {repository.name}: nothing is taken")
    named = frozenset(decision.image.digest for decision in plan.decisions if decision.taken or decision.open)
    gone, failed, kept = set[str](), dict[str, str](), dict[str, str]()
    start, stopped = "", ""
    while not stopped:
        applied = apply_retention(planned.plan, RetentionRun(at, rules, actor, taken=len(gone)), context)
        gone |= {*applied.gone}
        failed, kept = {**failed, **applied.failed}, {**kept, **applied.kept}
        _store_result(repository, planned, applied, len(gone), context)
        report(len(gone))
        following = start if applied.unfinished else planned.next
        if following is None:
            break
        # Waivers given meanwhile count.
        start, former, rules = following, rules.policy_version, context.rules.fresh()
        if rules.policy_version != former:
            stopped = "the policy has changed meanwhile"
            break
        left = named - kept.keys()
        planned = plan_retention(repository, context, rules=rules, start=start, gone=len(gone), among=left)
        stopped = planned.plan.stopped
    failed, kept = ({d: why for d, why in one.items() if d not in gone} for one in (failed, kept))
    return CarriedOut(plan.action, tuple(sorted(gone)), failed, kept, stopped)
