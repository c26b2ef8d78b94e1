"""When sweeps begin."""

from __future__ import annotations

import pytest

from chalicelib.domain.events.sweep_message import Sweep


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
