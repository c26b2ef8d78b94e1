"""How long copies take: by ECR's own times, and never a zero where nothing is known."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.images.image import ImageDetail
from chalicelib.domain.replication.lag import CopyTimes, ReplicationLag, longest_lag, measure_lag
from chalicelib.domain.replication.replica import Note, Replica, ReplicaStatus
from chalicelib.domain.replication.rules import Destination, DestinationAccess
from tests.fakes.images import ACCOUNT, ref
from tests.fakes.queries import NOW

NEAR = Destination(ACCOUNT, "eu-central-1")
SIGHT = DestinationAccess(NEAR, NOW - timedelta(days=90))


def ago(**units: float) -> datetime:
    return NOW - timedelta(**units)


def times(
    pushed: datetime | None,
    arrived: datetime | None,
    status: ReplicaStatus | None = None,
    *notes: Note,
    sight: DestinationAccess = SIGHT,
    **source: Any,
) -> CopyTimes:
    """`arrived` None: it is not there."""
    status = status or (ReplicaStatus.IN_PROGRESS if arrived is None else ReplicaStatus.COMPLETE)
    replica = Replica(ref=ref(1), destination=NEAR, status=status, since=NOW, at=NOW, notes=notes)
    copy = None if arrived is None else ImageDetail(replica.copy, pushed_at=arrived)
    return CopyTimes(replica, sight, ImageDetail(ref(1), pushed_at=pushed, **source), copy)


def measured(*copies: CopyTimes) -> ReplicationLag:
    return measure_lag(copies, NOW)


def test_percentiles_are_lags_that_were_measured() -> None:
    copies = [times(ago(hours=5), ago(hours=5) + timedelta(seconds=n)) for n in range(1, 101)]
    lag = measured(*copies)
    assert (lag.arrived, lag.p50_seconds, lag.p95_seconds, lag.max_seconds) == (100, 50, 95, 100)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40))
def test_percentiles_are_in_order_and_ones_of_the_values(seconds: list[int]) -> None:
    lag = measured(*(times(ago(days=20), ago(days=20) + timedelta(seconds=n)) for n in seconds))
    assert lag.p50_seconds is not None
    assert lag.p95_seconds is not None
    assert min(seconds) <= lag.p50_seconds <= lag.p95_seconds <= (lag.max_seconds or 0) == max(seconds)
    assert {lag.p50_seconds, lag.p95_seconds} <= set(seconds)
    assert sum(one <= lag.p50_seconds for one in seconds) * 2 >= len(seconds)


def test_of_nothing_there_is_no_percentile() -> None:
    assert measured() == ReplicationLag()
    assert ReplicationLag().max_seconds is None


def test_what_is_under_way_waits_since_its_push() -> None:
    lag = measured(times(ago(minutes=10), None), times(ago(hours=3), None, ReplicaStatus.FAILED))
    assert (lag.arrived, lag.waiting, lag.waiting_seconds, lag.is_too_long) == (0, 2, 3 * 3600, True)
    assert not measured(times(ago(minutes=119), None)).is_too_long


def test_a_copy_without_all_its_parts_has_not_arrived() -> None:
    part = times(ago(hours=1), ago(minutes=50), ReplicaStatus.MISSING, Note.CHILDREN)
    assert (measured(part).arrived, measured(part).waiting_seconds) == (0, 3600)


def test_a_copy_whose_tags_alone_are_under_way_has_arrived() -> None:
    assert measured(times(ago(hours=2), ago(hours=1), ReplicaStatus.IN_PROGRESS)).max_seconds == 3600


def test_a_restored_image_is_copied_from_its_restore_on() -> None:
    restored = times(ago(days=5), ago(hours=1), activated_at=ago(hours=2))
    assert measured(restored).max_seconds == 3600
    there_before = times(ago(days=5), ago(days=5) + timedelta(seconds=9), activated_at=ago(hours=2))
    assert measured(there_before).max_seconds == 9
    assert measured(times(ago(days=5), None, activated_at=ago(hours=2))).waiting_seconds == 2 * 3600


@pytest.mark.parametrize(
    "copy",
    [
        times(None, ago(hours=1)),
        times(None, None),
        times(ago(hours=1), ago(hours=1)),
        times(ago(hours=1), None, ReplicaStatus.UNREADABLE),
        times(ago(hours=1), None, sight=msgspec.structs.replace(SIGHT, unread="no role is set")),
    ],
    ids=["no push", "no push, not there", "the time of its source", "unreadable", "a destination that is unreadable"],
)
def test_what_cannot_be_known_is_counted_and_no_zero(copy: CopyTimes) -> None:
    assert measured(copy) == ReplicationLag(unknown=1)


@pytest.mark.parametrize(
    "copy",
    [
        times(ago(days=100), ago(days=1)),
        times(ago(hours=1), ago(hours=2)),
        times(ago(days=40), ago(days=40) + timedelta(seconds=9)),
        times(ago(days=40), None, ReplicaStatus.MISSING, Note.EXPIRED),
        times(ago(days=40), None, ReplicaStatus.MISSING, Note.SOURCE_ARCHIVED),
        times(ago(days=100), None, ReplicaStatus.NOT_CONFIGURED, Note.OLDER_THAN_RULE),
        times(ago(days=1), ago(days=1), sight=msgspec.structs.replace(SIGHT, gone_at=NOW)),
        msgspec.structs.replace(times(ago(days=1), ago(hours=1), ReplicaStatus.EXTRA), source=None),
    ],
    ids=["backfilled", "there first", "long ago", "gone since", "archived", "older than its rule", "no rule", "extra"],
)
def test_what_no_rule_has_copied_is_left_out(copy: CopyTimes) -> None:
    assert measured(copy) == ReplicationLag()


def test_the_longest_is_of_what_waits_and_of_what_came_since_the_look_before() -> None:
    since = ago(hours=1)
    former, late = times(ago(hours=9), ago(hours=2)), times(ago(hours=4), ago(minutes=30))
    waits = times(ago(minutes=20), None)
    assert longest_lag([former], since, NOW) is None
    assert longest_lag([former, waits], since, NOW) == 1200
    assert longest_lag([former, waits, late], since, NOW) == 3.5 * 3600
    assert longest_lag([late], None, NOW) is None, "the first look has seen none arrive"


def test_a_fact_of_another_version_is_none() -> None:
    assert ReplicationLag.read(msgspec.to_builtins(ReplicationLag(arrived=1))) == ReplicationLag(arrived=1)
    assert ReplicationLag.read(None) is None
    assert ReplicationLag.read({"arrived": "many"}) is None
