"""Report what came of retention in one repository: kept with the repository, people told, and the rest sent on."""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.domain.alerts.alert import Alert, AlertKey
from chalicelib.domain.audit.action import ActionKind
from chalicelib.domain.events.sweep_message import Sweep, SweepRepository
from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.alert import compose_failed_alert, compose_stopped_alert
from chalicelib.domain.retention.progress import BETWEEN, RetentionProgress, RetentionResult
from chalicelib.services.alerts.announce import announce
from chalicelib.services.ports.audit import ActionRecord
from chalicelib.services.ports.context import Context
from chalicelib.services.retention.apply_retention import AppliedPlan
from chalicelib.services.retention.plan_retention import Planned

NAMED = 20


class ReportPart(msgspec.Struct, frozen=True):
    """One message of a run over one repository, and how far the run was before it. `again`: it was requeued or
    redelivered, so that its alerts may not have got through."""

    repository: Repository
    started_at: datetime
    progress: RetentionProgress = RetentionProgress()
    again: bool = False


def part_of(repository: Repository, started_at: datetime, after: str | None, *, again: bool) -> ReportPart:
    """`after` as `report_retention` sends it."""
    return ReportPart(repository, started_at, RetentionProgress.read(after), again)


def report_retention(
    part: ReportPart,
    planned: Planned,
    applied: AppliedPlan,
    context: Context,
    api_url: str | None = None,
) -> None:
    """Raises TransientError: handle the part again."""
    plan, now, alerts = planned.plan, context.clock.now(), list[tuple[ActionKind, str, Alert]]()
    if plan.stopped:
        alerts.append((ActionKind.RETENTION_STOPPED, plan.stopped, compose_stopped_alert(plan, now, api_url)))
    if applied.failed and not applied.unfinished:
        # What there was no time for is planned anew, and what failed with it: the last word is told.
        said = f"{len(applied.failed)} of {len(plan.takes)} images could not be taken"
        alerts.append((ActionKind.RETENTION_FAILED, said, compose_failed_alert(plan, applied.failed, now, api_url)))
    for kind, why, alert in alerts:
        record = _record(part, plan.rule, kind, why, now)
        if context.table.record_action(record) or part.again:
            key = AlertKey(f"ALERT#{record.effect}", record.wanted_at, subject=record.subject)
            announce(alert, key, context)
    taken = part.progress.taken + len(applied.gone)
    store_result(part.repository, planned, applied, taken, context)
    following = part.progress.start if applied.unfinished else planned.next
    if following is not None and not plan.stopped:
        after = str(RetentionProgress(following, taken))
        message = SweepRepository(Sweep.RETENTION, part.repository, part.started_at, after=after)
        context.outbox.send("sweeps", message)


def store_result(repository: Repository, planned: Planned, applied: AppliedPlan, taken: int, context: Context) -> None:
    """Keeps with the repository what came of the last run, in which so many were `taken` by now."""
    plan = planned.plan
    result = RetentionResult(
        plan=plan.id,
        images=len(plan.fates),
        wanted=len(plan.wanted),
        taken=taken,
        observed=applied.observed,
        stopped=plan.stopped,
        failed=dict(sorted(applied.failed.items())[:NAMED]),
        kept=dict(sorted(applied.kept.items())[:NAMED]),
    )
    facts = {"retention_at": planned.listed_at, "retention": msgspec.to_builtins(result)}
    context.table.store_repository(repository, facts)


def _record(part: ReportPart, rule: int | None, kind: ActionKind, why: str, now: datetime) -> ActionRecord:
    return ActionRecord(
        ref=None,
        effect=BETWEEN.join((kind, *(str(mark) for mark in (part.progress.start, part.progress.taken) if mark))),
        wanted_at=part.started_at,
        kind=kind,
        actor=f"rule:retention[{rule}]",
        reason=why,
        at=now,
        subject=f"repository/{part.repository.path}",
    )
