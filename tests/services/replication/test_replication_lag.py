"""How long copies take is measured by each sweep, kept with the repository, and counted for the alarm."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from chalicelib.domain.events.message import Metric
from chalicelib.domain.replication.lag import ReplicationLag
from tests.services import copying
from tests.services.copying import FAR, NEAR, Estate, copied_to_both

aws = copying.aws


def lag(estate: Estate, place: Any = NEAR) -> ReplicationLag | None:
    return ReplicationLag.read(estate.seen()[place.path]["lag"])


def measured(estate: Estate) -> float | None:
    """By the last sweep."""
    return estate.journal.measured.pop((Metric.REPLICATION_LAG_SECONDS, None), None)


def test_what_waits_is_measured_until_it_has_come_and_then_how_long_it_took(aws: Any) -> None:
    estate = copied_to_both(aws, timedelta(minutes=90))
    estate.sweep()
    assert measured(estate) is None, "nothing was copied yet"
    estate.later(1).push(1, "v1")
    estate.later(40).sweep()
    assert lag(estate) == lag(estate, FAR) == ReplicationLag(waiting=1, waiting_seconds=2400)
    assert measured(estate) == 2400
    estate.later(50).sweep()
    assert lag(estate) == ReplicationLag(arrived=1, p50_seconds=5400, p95_seconds=5400, max_seconds=5400)
    assert measured(estate) == 5400, "it came since the sweep before"
    estate.later(60).sweep()
    assert lag(estate) == ReplicationLag(arrived=1, p50_seconds=5400, p95_seconds=5400, max_seconds=5400)
    assert measured(estate) is None, "what was counted once is not counted again"


def test_what_was_there_before_a_sweep_saw_a_rule_is_not_taken_for_a_lag(aws: Any) -> None:
    estate = copied_to_both(aws, timedelta(days=3))
    estate.push(1, "v1")
    estate.later(3 * 24 * 60).sweep()
    assert lag(estate) == ReplicationLag()
    assert measured(estate) is None


def test_a_destination_that_cannot_be_read_has_no_lag(aws: Any) -> None:
    estate = Estate(aws, blind=True)
    estate.configure(*copying.BOTH)
    estate.let_in()
    estate.sweep()
    estate.later(1).push(1, "v1")
    estate.later(60).sweep()
    assert lag(estate, FAR) == ReplicationLag(unknown=1)
    assert measured(estate) is None
