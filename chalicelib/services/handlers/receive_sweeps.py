"""Receive messages of the queue `sweeps`: each is one part of a sweep that a schedule has fanned out.

Run one part of a sweep: plan it, or do with one repository what it is for. Each sweep has its entry here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import msgspec

from chalicelib.domain.events.message import (
    Delivery,
    Due,
    Metric,
    Outcome,
    PolicyRollout,
    SendDailySummary,
    StoreCheckpoints,
    SummarizeAlerts,
    TakeSnapshot,
    WaiversChanged,
    WatchDenies,
    WatchWaivers,
    WhatIf,
)
from chalicelib.domain.events.sweep_message import (
    InitialBackfill,
    MatchSameDigest,
    NotifyExpired,
    PlanSweep,
    ReplicationCheck,
    RetireRegistry,
    Sweep,
    SweepRepository,
)
from chalicelib.errors import ConflictError, TransientError, UpstreamError
from chalicelib.services.alerts.summarize_alerts import summarize_alerts
from chalicelib.services.assessment.re_decide import re_decide
from chalicelib.services.assessment.requeue import handle_each, requeue
from chalicelib.services.assessment.take_snapshot import take_snapshot
from chalicelib.services.audit.send_daily_summary import send_daily_summary
from chalicelib.services.audit.store_checkpoints import store_checkpoints
from chalicelib.services.enforcement.check_deny import watch_denies, watch_repository
from chalicelib.services.policy.evaluate_shard import evaluate_shard
from chalicelib.services.policy.roll_out_policy import roll_out_policy
from chalicelib.services.ports.context import Context
from chalicelib.services.reconcile.gather_posture import gather_posture
from chalicelib.services.reconcile.list_public import list_public, match_same_digest
from chalicelib.services.reconcile.mark_registry_stale import LASTING_ATTEMPTS, mark_registry_stale
from chalicelib.services.reconcile.notify_initial_backfill import notify_initial_backfill
from chalicelib.services.reconcile.plan_sweep import plan_public, plan_sweep, send_plan
from chalicelib.services.reconcile.reconcile_registry import reconcile_registry
from chalicelib.services.reconcile.retire_registry import retire_registry
from chalicelib.services.replication.check_replica import check_replica
from chalicelib.services.replication.check_replication import check_replication
from chalicelib.services.retention.enforce_retention import enforce_retention
from chalicelib.services.retention.handle_lifecycle_run import notify_lifecycle_run
from chalicelib.services.waivers.apply_waiver_changes import apply_waiver_changes
from chalicelib.services.waivers.watch_waivers import watch_waivers


def run_sweep(message: PlanSweep | SweepRepository, context: Context, *, receives: int = 1) -> None:
    """Raises TransientError: put it back."""
    match message:
        case PlanSweep(sweep=Sweep.PUBLIC):
            plan_public(message, context)
        case PlanSweep():
            try:
                found = plan_sweep(message, context)
            except UpstreamError as error:
                if isinstance(error, TransientError) and message.attempt < LASTING_ATTEMPTS:
                    raise
                mark_registry_stale(message, error, context)
            else:
                send_plan(message, found, context)
        case SweepRepository(sweep=Sweep.RECONCILE):
            watch_repository(message.repository, context)
            result = reconcile_registry(message, context)
            if result.lost_events and not result.more:  # the last part has the counts of all
                context.journal.count(Metric.LOST_EVENTS, result.lost_events)
        case SweepRepository(sweep=Sweep.REPLICATION):
            check_replication(message, context, receives=receives)
        case SweepRepository(sweep=Sweep.PUBLIC):
            list_public(message, context)
        case SweepRepository(sweep=Sweep.POSTURE):
            gather_posture(message, context)
        case SweepRepository(sweep=Sweep.RETENTION):
            enforce_retention(message, context, redelivered=receives > 1)
        case _:
            raise TypeError(f"no use case handles the sweep {message.sweep}")


PUT_BACK = (
    TakeSnapshot
    | StoreCheckpoints
    | SendDailySummary
    | SummarizeAlerts
    | WaiversChanged
    | WhatIf
    | PlanSweep
    | SweepRepository
    | ReplicationCheck
    | InitialBackfill
    | MatchSameDigest
    | NotifyExpired
    | RetireRegistry
)
"""What is put back when it only needs time."""
LEFT_TO_THE_CLOCK = Due | PolicyRollout | WatchDenies | WatchWaivers
"""What is asked for anew every five minutes."""
BEGUN_WITHIN = timedelta(seconds=150)
"""Half of the function's time-out: what is begun at the very end has the other half."""


def receive_sweeps(deliveries: Sequence[Delivery], context: Context) -> dict[str, BaseException]:
    """Handles all messages and returns those that failed, by message id. A part that failed is simply run again.

    What only needs time is put back, but for what the clock asks for anew every five minutes: that is left to the next
    one, so that no copies of it gather while AWS throttles or a channel is down. So is, unharmed, what there is no time
    for in this batch any more; what the clock asks for comes first.
    """
    began = context.clock.now()

    def handle(delivery: Delivery) -> None:
        if context.clock.now() - began <= BEGUN_WITHIN:
            _run(delivery, context)
            return
        if isinstance(delivery.body, PUT_BACK):
            context.outbox.send("sweeps", _later(delivery.body, delivery.receives - 1))
        context.journal.note(delivery, Outcome.LEFT, "no time for it in this batch")

    def requeued(delivery: Delivery, why: TransientError | ConflictError) -> bool:
        """Without a receive of the queue being spent, or half an hour waited."""
        if isinstance(why, ConflictError):
            return False
        if isinstance(delivery.body, LEFT_TO_THE_CLOCK):
            context.journal.note(delivery, Outcome.LEFT, why)
            return True
        return isinstance(delivery.body, PUT_BACK) and requeue("sweeps", _later(delivery.body, 1), why, context)

    clock_first = sorted(deliveries, key=lambda d: not isinstance(d.body, LEFT_TO_THE_CLOCK))
    return handle_each(clock_first, handle, requeued, context)


def _run(delivery: Delivery, context: Context) -> None:
    match delivery.body:
        case Due(shard=shard):
            re_decide(shard, context)
        case PolicyRollout():
            roll_out_policy(context)
        case TakeSnapshot():
            take_snapshot(context)
        case StoreCheckpoints(day=day):
            store_checkpoints(date.fromisoformat(day), context)
        case SendDailySummary(day=day):
            send_daily_summary(date.fromisoformat(day), context)
        case SummarizeAlerts(hour=hour):
            summarize_alerts(hour, context)
        case WhatIf() as message:
            evaluate_shard(message, context)
        case WaiversChanged() as touched:
            apply_waiver_changes(touched, context)
        case WatchDenies():
            watch_denies(context)
        case WatchWaivers():
            watch_waivers(context)
        case PlanSweep() | SweepRepository() as sweep:
            run_sweep(sweep, context, receives=delivery.receives)
        case MatchSameDigest() as matched:
            match_same_digest(matched, context)
        case ReplicationCheck() as check:
            check_replica(check, context, receives=delivery.receives)
        case RetireRegistry() as retiring:
            retire_registry(retiring, context)
        case NotifyExpired() as expired:
            notify_lifecycle_run(expired, context)
        case InitialBackfill() as filled:
            notify_initial_backfill(filled, context)
        case body:
            raise TypeError(f"no part of a sweep: {type(body).__name__}")


def _later(body: Any, more: int) -> Any:
    """For so many more attempts: its handler knows that another worker may have begun before."""
    return msgspec.structs.replace(body, attempt=body.attempt + more)
