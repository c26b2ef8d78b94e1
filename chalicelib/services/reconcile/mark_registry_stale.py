"""Mark a registry that cannot be listed: its known repositories are handled one by one, and one alert is sent.

A repository that can be listed is compared as always. The images of one that could not be compared for half a day are
refreshed: a refresh that fails leaves an image without a usable scan, which is not clean. Nothing counts as deleted.
"""

from __future__ import annotations

from datetime import datetime

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.message import Refresh
from chalicelib.domain.events.sweep_message import PlanSweep, Sweep, SweepRepository
from chalicelib.domain.images.image import Kind, Repository, ScanState
from chalicelib.domain.reconcile.registry_listing import DOUBTED_AFTER, compose_unreachable_alert
from chalicelib.errors import UpstreamError
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context
from chalicelib.services.reconcile.plan_sweep import known_homes

LASTING_ATTEMPTS = 20
"""Retries of timeouts and throttles take two hours and more by then: waiting does not help."""


def mark_images_stale(home: Repository, compared_at: datetime | None, context: Context) -> int:
    """`compared_at`: when the repository was last compared; None: never. Returns how many refreshes were sent; they are
    quiet, because one alert is about the registry. Raises TransientError."""
    now = context.clock.now()
    if compared_at is not None and now - compared_at < DOUBTED_AFTER:
        return 0
    images = (h for h in context.table.headers_of(home) if h.kind is Kind.IMAGE and h.exists)
    read = (h for h in images if h.scan.state is ScanState.COMPLETE)
    refreshes = [Refresh(header.ref, now, header.scan.source, quiet=True, doubted=True) for header in read]
    context.outbox.send_all("scans", refreshes)
    return len(refreshes)


def mark_registry_stale(plan: PlanSweep, why: UpstreamError, context: Context) -> None:
    """`why`: what its listing raised; raised again where nothing is stored of the registry. Other sweeps than a
    reconcile wait for their next hour. Raises TransientError: requeue it."""
    known = known_homes(plan.place, (), context)
    if not known:
        raise why
    if plan.sweep is not Sweep.RECONCILE:
        return
    context.outbox.send_all("sweeps", (SweepRepository(plan.sweep, home, plan.started_at) for home in sorted(known)))
    times = [facts.reconcile_at for facts in known.values() if facts.reconcile_at is not None]
    compared_at = max(times, default=None)
    (account,) = {home.registry for home in known}
    subject = f"registry/{account}/{plan.region}"
    # Of the last comparison: until the next one it is the same outage.
    day = (compared_at or plan.started_at).replace(hour=0, minute=0, second=0, microsecond=0)
    if context.table.action_at(subject, ActionKind.UNREACHABLE, day) is not None:
        return
    alert = compose_unreachable_alert(plan.place, str(why), len(known), compared_at, context.clock.now())
    announce(alert, AlertKey("ALERT#UNREACHABLE", day, subject=subject), context)
    # Recorded after the alert: twice after a crash rather than never.
    context.table.record_action(
        ActionRecord(
            ref=None,
            effect=ActionKind.UNREACHABLE,
            wanted_at=day,
            kind=ActionKind.UNREACHABLE,
            actor="system",
            reason=f"the registry cannot be listed: {why}"[:500],
            at=context.clock.now(),
            subject=subject,
        )
    )
