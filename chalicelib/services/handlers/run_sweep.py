"""Run one part of a sweep: plan it, or do with one repository what it is for. Each sweep has its entry here."""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.domain.events.metric import Metric
from chalicelib.domain.events.sweep import Sweep
from chalicelib.domain.events.sweep_message import PlanSweep, SweepRepository
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.ports.ports import Channel
from chalicelib.services.ports.sweep_ports import SweepHouse
from chalicelib.services.reconcile.doubt_images import LASTING_ATTEMPTS
from chalicelib.services.reconcile.doubt_registry import doubt_registry
from chalicelib.services.reconcile.gather_posture import gather_posture
from chalicelib.services.reconcile.list_public import list_public
from chalicelib.services.reconcile.plan_public import plan_public
from chalicelib.services.reconcile.plan_sweep import plan_sweep, send_plan
from chalicelib.services.reconcile.reconcile_registry import reconcile_registry
from chalicelib.services.replication.check_replication import check_replication
from chalicelib.services.retention.enforce_retention import enforce_retention


def run_sweep(
    message: PlanSweep | SweepRepository,
    house: SweepHouse,
    channels: Mapping[str, Channel],
    api_url: str | None = None,
    *,
    receives: int = 1,
) -> None:
    """Raises TransientError: put it back."""
    match message:
        case PlanSweep(sweep=Sweep.PUBLIC):
            plan_public(message, house)
        case PlanSweep():
            try:
                found = plan_sweep(message, house)
            except UpstreamError as error:
                if isinstance(error, TransientError) and message.attempt < LASTING_ATTEMPTS:
                    raise
                doubt_registry(message, error, house, channels, api_url)
            else:
                send_plan(message, found, house)
        case SweepRepository(sweep=Sweep.RECONCILE):
            if lost := reconcile_registry(message, house).lost_events:
                house.journal.count(Metric.LOST_EVENTS, lost)
        case SweepRepository(sweep=Sweep.REPLICATION):
            check_replication(message, house, channels, api_url, receives=receives)
        case SweepRepository(sweep=Sweep.PUBLIC):
            list_public(message, house)
        case SweepRepository(sweep=Sweep.POSTURE):
            gather_posture(message, house)
        case SweepRepository(sweep=Sweep.RETENTION):
            enforce_retention(message, house, channels, api_url, redelivered=receives > 1)
        case _:
            raise TypeError(f"nobody handles the sweep {message.sweep}")
