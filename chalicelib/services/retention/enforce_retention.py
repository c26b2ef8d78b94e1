"""Enforce the policy's retention in one repository: plan, and have taken what may go. Nothing is taken here.

Only who handles the queue `actions` may change the registry: what there is to take is handed over to it, and planned
anew there. A repository that no rule names costs one read of the policy. It may be killed at any point and run again.

Take from one repository what retention lets go, by a plan made now; then tell what came of it.

The plan that led here may be minutes old: what has been tagged, pulled, started or put into quarantine since stays. It
may be killed at any point and run again: what is left is planned anew. So is what there was no time for.
"""

from __future__ import annotations

from datetime import timedelta

from chalicelib.domain.events.sweep_message import SweepRepository, TakeImages
from chalicelib.errors import AbsentError
from chalicelib.services.ports.context import Context
from chalicelib.services.retention.apply_retention import AppliedPlan, RetentionRun, apply_retention
from chalicelib.services.retention.plan_retention import has_rule, plan_retention
from chalicelib.services.retention.report_retention import part_of, report_retention

LOOK_FOR = timedelta(seconds=20)
"""One of ten messages of a batch, which have five minutes."""


def enforce_retention(
    message: SweepRepository,
    context: Context,
    api_url: str | None = None,
    *,
    redelivered: bool = False,
) -> None:
    """What would go is recorded where the policy only observes. `redelivered`: the queue gave the message out before.
    Raises TransientError: put it back with a delay."""
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
"""From the beginning: who runs this has 60 seconds, of which the last look and the last batch may want ten each."""


def take_images(
    message: TakeImages,
    context: Context,
    api_url: str | None = None,
    *,
    redelivered: bool = False,
) -> None:
    """`redelivered`: the queue gave it out before. Raises TransientError: put it back with a delay; what was done
    stays done."""
    begun_at, rules = context.clock.now(), context.rules.fresh()
    part = part_of(message.repository, message.started_at, message.after, again=message.attempt > 0 or redelivered)
    start, gone = part.progress.start, part.progress.taken
    try:
        planned = plan_retention(
            message.repository,
            context,
            rules=rules,
            start=start,
            gone=gone,
            until=begun_at + LOOK_UNTIL,
        )
    except AbsentError as error:
        if error.what != "repository":
            raise
        return
    until = begun_at + TAKE_UNTIL
    run = RetentionRun(message.started_at, rules, attempt=message.attempt, taken=gone, until=until)
    applied = apply_retention(planned.plan, run, context)
    report_retention(part, planned, applied, context, api_url)
