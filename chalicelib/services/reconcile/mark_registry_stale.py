"""Doubt a registry that cannot be listed: its repositories are handled as they are known, and people are told once.

Each repository that can be listed all the same is compared as ever; of one that cannot, `mark_images_stale` looks at
the images. So nothing of a registry out of reach reads as clean for ever, and nothing is taken for deleted.

Doubt the images of a repository that nobody could compare for half a day: each that reads as scanned is looked at.

A look that is refused as well, or is not answered, leaves an image without a usable scan, which is not clean; one that
is let in shows what is there. Whoever comes again looks at what is left.
"""

from __future__ import annotations

from datetime import datetime

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.audit.action import ActionKind
from chalicelib.domain.events.message import Refresh
from chalicelib.domain.events.sweep_message import PlanSweep, Sweep, SweepRepository
from chalicelib.domain.images.image import Repository, ScanState
from chalicelib.domain.reconcile.registry_listing import DOUBTED_AFTER, compose_unreachable_alert
from chalicelib.errors import UpstreamError
from chalicelib.services.alerts.announce import announce
from chalicelib.services.ports.audit import ActionRecord
from chalicelib.services.ports.context import Context
from chalicelib.services.reconcile.plan_sweep import known_homes

LASTING_ATTEMPTS = 20
"""Time-outs and throttles are tried again. So often, which takes two hours and more, they are no matter of waiting."""


def mark_images_stale(home: Repository, compared_at: datetime | None, context: Context) -> int:
    """`compared_at`: when the repository was last compared, None: never. Returns how many looks were sent: quietly, for
    one alert tells of the registry. Raises TransientError."""
    now = context.clock.now()
    if compared_at is not None and now - compared_at < DOUBTED_AFTER:
        return 0
    read = (h for h in context.table.headers_of(home) if h.exists and h.scan.state is ScanState.COMPLETE)
    looks = [Refresh(header.ref, now, header.scan.source, quiet=True, doubted=True) for header in read]
    context.outbox.send_all("scans", looks)
    return len(looks)


def mark_registry_stale(
    plan: PlanSweep,
    why: UpstreamError,
    context: Context,
    api_url: str | None = None,
) -> None:
    """After `why` was raised by its listing. Raises it again where nothing is known of the registry; other sweeps than
    a reconcile wait for their next hour. Raises TransientError: put it back."""
    known = known_homes(plan.place, (), context)
    if not known:
        raise why
    if plan.sweep is not Sweep.RECONCILE:
        return
    context.outbox.send_all("sweeps", (SweepRepository(plan.sweep, home, plan.started_at) for home in sorted(known)))
    times = [facts.reconcile_at for facts in known.values() if facts.reconcile_at is not None]
    compared_at = max(times, default=None)
    (account,) = {home.registry for home in known}
    subject, day = f"registry/{account}/{plan.region}", _day(compared_at or plan.started_at)
    if context.table.action_at(subject, ActionKind.UNREACHABLE, day) is not None:
        return
    alert = compose_unreachable_alert(plan.place, str(why), len(known), compared_at, context.clock.now(), api_url)
    announce(alert, AlertKey("ALERT#UNREACHABLE", day, subject=subject), context)
    context.table.record_action(_record(subject, day, str(why), context))


def _day(at: datetime) -> datetime:
    """Of the last comparison: as long as there is none, it is the same outage."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _record(subject: str, day: datetime, why: str, context: Context) -> ActionRecord:
    """Put when it was told: twice after a crash rather than never."""
    return ActionRecord(
        ref=None,
        effect=ActionKind.UNREACHABLE,
        wanted_at=day,
        kind=ActionKind.UNREACHABLE,
        actor="system",
        reason=f"the registry cannot be listed: {why}"[:500],
        at=context.clock.now(),
        subject=subject,
    )
