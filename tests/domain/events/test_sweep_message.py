"""When sweeps begin, with a message for each registry."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from chalicelib.domain.events.sweep_message import PlanSweep, Sweep, begin
from chalicelib.domain.images.image import PUBLIC_REGION
from chalicelib.domain.images.names import RegistryPlace


@pytest.mark.parametrize(
    ("sweep", "hours"),
    [
        (Sweep.RECONCILE, [0, 6, 12, 18]),
        (Sweep.PUBLIC, [1, 7, 13, 19]),
        (Sweep.REPLICATION, list(range(24))),
        (Sweep.RETENTION, [3]),
        (Sweep.POSTURE, [4]),
    ],
)
def test_each_sweep_has_its_hours(sweep: Sweep, hours: list[int]) -> None:
    assert [hour for hour in range(24) if sweep.is_run_at(hour)] == hours


def test_every_sweep_is_run_at_least_once_a_day() -> None:
    assert all(any(sweep.is_run_at(hour) for hour in range(24)) for sweep in Sweep)


AT = datetime(2026, 3, 2, 6, tzinfo=UTC)
PLACES = (RegistryPlace("eu-west-1"), RegistryPlace("us-east-1"), RegistryPlace("eu-west-1", "444455556666"))


@pytest.mark.parametrize("sweep", [sweep for sweep in Sweep if sweep is not Sweep.PUBLIC])
def test_each_registry_is_planned_by_itself_our_own_first(sweep: Sweep) -> None:
    plans = list(begin(sweep, PLACES, AT))
    assert [plan.place for plan in plans] == [*PLACES]
    assert {(plan.sweep, plan.started_at, plan.after) for plan in plans} == {(sweep, AT, None)}


def test_public_repositories_are_swept_once() -> None:
    assert list(begin(Sweep.PUBLIC, PLACES, AT)) == [PlanSweep(Sweep.PUBLIC, PUBLIC_REGION, AT)]


def test_a_message_without_an_account_is_about_our_own() -> None:
    text = msgspec.json.encode({"type": "plan-sweep", "sweep": "reconcile", "region": "eu-west-1", "started_at": AT})
    assert msgspec.json.decode(text, type=PlanSweep).place == RegistryPlace("eu-west-1")
