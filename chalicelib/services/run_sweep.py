"""Run one part of a sweep: plan it, or do with one repository what it is for. Each sweep has its entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chalicelib.domain.sweep import Sweep
from chalicelib.domain.sweep_message import PlanSweep, SweepRepository
from chalicelib.services.check_replication import check_replication
from chalicelib.services.enforce_retention import enforce_retention
from chalicelib.services.gather_posture import gather_posture
from chalicelib.services.list_public import list_public
from chalicelib.services.plan_public import plan_public
from chalicelib.services.plan_sweep import plan_sweep
from chalicelib.services.ports import Channel
from chalicelib.services.reconcile_registry import reconcile_registry
from chalicelib.services.sweep_ports import SweepHouse

RUN_BY_CLOCK: tuple[Sweep, ...] = (
    Sweep.RECONCILE,
    Sweep.REPLICATION,
    Sweep.PUBLIC,
    Sweep.POSTURE,
    Sweep.RETENTION,
)
"""Those that have an entry below."""


def run_sweep(
    message: PlanSweep | SweepRepository,
    house: SweepHouse,
    channels: Mapping[str, Channel],
    api_url: str | None = None,
    *,
    receives: int = 1,
    lost: Callable[[int], None] = lambda events: None,
) -> None:
    """`lost` is told how many events a reconcile found to have been lost. Raises TransientError: put it back."""
    match message:
        case PlanSweep(sweep=Sweep.PUBLIC):
            plan_public(message, house)
        case PlanSweep():
            plan_sweep(message, house)
        case SweepRepository(sweep=Sweep.RECONCILE):
            lost(reconcile_registry(message, house).lost_events)
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
