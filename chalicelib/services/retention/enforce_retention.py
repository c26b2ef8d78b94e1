"""Enforce retention in one repository: plan, and take what may go; for the policy, or by a plan that a person has read.

A sweep only plans: the function of the queue `actions` alone may change the registry, so what there is to take is sent
to it, and planned anew there. What was tagged, pulled, started or quarantined meanwhile stays. A run may be killed at
any point, or run out of time: it is planned anew and does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

import msgspec

from chalicelib.domain.events.sweep_message import SweepRepository, TakeImages
from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.plan import Action
from chalicelib.errors import AbsentError, ConflictError
from chalicelib.services.ports.context import Context
from chalicelib.services.retention.apply_retention import AppliedPlan, RetentionRun, apply_retention
from chalicelib.services.retention.plan_retention import has_rule, plan_retention
from chalicelib.services.retention.report_retention import part_of, report_retention, store_result

LOOK_FOR = timedelta(seconds=20)
"""For one of the ten messages of a batch, which has five minutes."""


def enforce_retention(
    message: SweepRepository,
    context: Context,
    api_url: str | None = None,
    *,
    redelivered: bool = False,
) -> None:
    """Records what would go where the policy only observes. `redelivered`: the queue has delivered the message before.
    Raises TransientError: requeue it with a delay."""
    repository, rules = message.repository, context.rules.fresh()
    if not has_rule(repository, rules):
        return
    until = context.clock.now() + LOOK_FOR
    part = part_of(repository, message.started_at, message.after, again=message.attempt > 0 or redelivered)
    start, gone = part.progress.start, part.progress.taken
    try:
        planned = plan_retention(repository, context, rules=rules, start=start, gone=gone, until=until)
    except AbsentError as error:
        if error.what != "repository":
            raise
        return
    applied = AppliedPlan()
    if planned.plan.takes and rules.policy.may_take_from(repository.name):
        context.outbox.send("actions", TakeImages(repository, message.started_at, message.after))
        return
    if planned.plan.takes:
        applied = apply_retention(planned.plan, RetentionRun(message.started_at, rules), context)
    report_retention(part, planned, applied, context, api_url)


LOOK_UNTIL, TAKE_UNTIL = timedelta(seconds=25), timedelta(seconds=45)
"""From the beginning: the function has 60 seconds, of which the last look-up and the last batch may take ten each."""


def take_images(
    message: TakeImages,
    context: Context,
    api_url: str | None = None,
    *,
    redelivered: bool = False,
) -> None:
    """`redelivered`: as above. Raises TransientError: requeue it with a delay; what was taken is gone."""
    begun_at, rules = context.clock.now(), context.rules.fresh()
    part = part_of(message.repository, message.started_at, message.after, again=message.attempt > 0 or redelivered)
    start, gone = part.progress.start, part.progress.taken
    try:
        until = begun_at + LOOK_UNTIL
        planned = plan_retention(message.repository, context, rules=rules, start=start, gone=gone, until=until)
    except AbsentError as error:
        if error.what != "repository":
            raise
        return
    run = RetentionRun(message.started_at, rules, attempt=message.attempt, taken=gone, until=begun_at + TAKE_UNTIL)
    applied = apply_retention(planned.plan, run, context)
    report_retention(part, planned, applied, context, api_url)


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
        store_result(repository, planned, applied, len(gone), context)
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
