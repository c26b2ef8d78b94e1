"""Announce a first fill once, by a summary instead of one alert for each image."""

from __future__ import annotations

import heapq
from collections import Counter
from datetime import datetime

import msgspec

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.alerts.verdict_alert import compose_summary
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.sweep_message import InitialBackfill
from chalicelib.domain.images.verdict import Decision
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import ImageRow
from chalicelib.services.reconcile.plan_sweep import TOLD_AFTER_SECONDS

SUBJECT = "sweep"
WORST_NAMED = 10
MOST_WAITS = 16
"""Four hours: in a busy registry something is always new."""


def notify_initial_backfill(filled: InitialBackfill, context: Context) -> bool:
    """False: images are still being decided, and this sends itself for a quarter of an hour later; or the summary of
    this sweep was announced before, because its planner was run again."""
    began = filled.started_at
    if began is not None and context.table.action_at(SUBJECT, ActionKind.FILLED, began) is not None:
        return False
    found: Counter[Decision] = Counter(row.decision for row in context.queries.all_rows())
    if found != filled.found and filled.waits < MOST_WAITS:
        again = msgspec.structs.replace(filled, found=dict(found), waits=filled.waits + 1, attempt=0)
        context.outbox.send("sweeps", again, TOLD_AFTER_SECONDS)
        return False
    bad = (row for row in context.queries.all_rows() if row.decision is not Decision.ALLOW)
    worst = [(r.ref, r.decision, r.counts) for r in heapq.nsmallest(WORST_NAMED, bad, key=_badness)]
    summary = compose_summary("the first fill", {}, dict(found), worst, context.clock.now())
    announce(summary, AlertKey("ALERT#FILLED", began or context.clock.now(), subject=SUBJECT), context)
    if began is not None:
        context.table.record_action(_record(began, found, context))
    return True


def _record(started_at: datetime, found: Counter[Decision], context: Context) -> ActionRecord:
    """Recorded after the alert: twice after a crash rather than never."""
    counts = ", ".join(f"{found[decision]} {decision}" for decision in Decision if found[decision])
    return ActionRecord(
        ref=None,
        subject=SUBJECT,
        effect=ActionKind.FILLED,
        wanted_at=started_at,
        kind=ActionKind.FILLED,
        actor="system",
        reason=f"the first fill was announced by its summary: {counts or 'no image'}",
        at=context.clock.now(),
    )


def _badness(row: ImageRow) -> tuple[object, ...]:
    return (-row.decision.rank, tuple(-n for n in row.counts or ()), row.ref)
