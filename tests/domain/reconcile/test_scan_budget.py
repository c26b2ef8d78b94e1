"""Scans that are asked for: which images, in which order, and never more within 24 hours than the policy grants."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import InUse, InUseState, Kind, Scan, ScanState, Source, StorageStatus
from chalicelib.domain.policy.section import Scanning
from chalicelib.domain.reconcile.scan_budget import Asked, ScanBudget, ScanRefusal, to_rescan
from tests.fakes.images import ref
from tests.fakes.queries import NOW

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SCANNING = Scanning(rescan_after_days=7, daily_budget=100)


def image(number: int, state: ScanState = ScanState.PENDING, days: float | None = None, **changes: Any) -> Header:
    at = None if days is None else NOW - days * DAY
    scan = Scan(state, None, Source.BASIC if at else None, at)
    fields: dict[str, Any] = {"ref": ref(number), "exists": True, "pushed_at": NOW - 90 * DAY, "scan": scan}
    if state is ScanState.COMPLETE:
        fields["refreshed_at"] = NOW
    return Header(**{**fields, **changes})


def due(*headers: Header, **more: Any) -> list[int]:
    return [int(h.ref.digest[-4:], 16) for h in to_rescan(headers, SCANNING, HOUR, NOW, **more)]


def test_what_was_never_scanned_failed_or_was_scanned_too_long_ago_is_asked_for() -> None:
    young, old = image(1, ScanState.COMPLETE, 6.9), image(2, ScanState.COMPLETE, 7)
    assert due(young, old, image(3), image(4, ScanState.FAILED), image(5, ScanState.EXPIRED)) == [3, 4, 5, 2]


def test_a_scan_of_which_nobody_knows_when_it_was_is_none() -> None:
    scan = Scan(ScanState.COMPLETE, None, Source.BASIC, None)
    assert due(image(1, scan=scan, refreshed_at=NOW)) == [1]


def test_a_scan_of_inspectors_is_none_for_ecrs_own_scanner() -> None:
    scan = Scan(ScanState.COMPLETE, None, Source.ENHANCED, NOW)
    assert due(image(1, scan=scan, refreshed_at=NOW)) == [1]


@pytest.mark.parametrize(
    "changes",
    [
        {"exists": False},
        {"kind": Kind.INDEX},
        {"kind": Kind.ARTIFACT},
        {"storage": StorageStatus.ARCHIVED},
        {"storage": StorageStatus.ACTIVATING},
        {"scan": Scan(ScanState.UNSUPPORTED)},
        {"scan": Scan(ScanState.IN_PROGRESS)},
        {"pushed_at": NOW - HOUR + timedelta(seconds=1)},
        {"ref": ref(1, registry="public/acme", region="us-east-1")},
    ],
)
def test_what_cannot_be_scanned_or_may_be_scanned_by_itself_is_not_asked_for(changes: dict[str, Any]) -> None:
    assert due(image(1, **changes)) == []


def test_what_is_looked_at_anyway_is_left_to_the_look() -> None:
    assert due(image(1), image(2), but={ref(1)}) == [2]


@given(st.permutations(range(9)))
def test_what_runs_comes_first_then_what_may_run_whatever_order_they_come_in(order: list[int]) -> None:
    headers = []
    for n, use in enumerate((InUseState.YES, InUseState.UNKNOWN, InUseState.NO)):
        used = {"in_use": InUse(use)}
        headers += [
            image(3 * n, **used),
            image(3 * n + 1, ScanState.COMPLETE, 30, **used),
            image(3 * n + 2, ScanState.COMPLETE, 8, **used),
        ]
    assert due(*(headers[n] for n in order)) == list(range(9))


def test_an_image_may_be_asked_for_again_after_a_day_and_never_where_ecr_cannot_scan_it() -> None:
    assert Asked(NOW).bars(NOW + DAY - timedelta(seconds=1))
    assert not Asked(NOW, ScanRefusal.LIMIT).bars(NOW + DAY)
    assert Asked(NOW, ScanRefusal.UNSUPPORTED).bars(NOW + 80 * DAY)


TAKES = st.lists(st.tuples(st.integers(0, 7_200), st.integers(0, 40), st.integers(0, 40)), max_size=60)


@given(TAKES, st.integers(0, 100))
def test_within_no_24_hours_more_is_granted_than_the_budget(takes: list[tuple[int, int, int]], limit: int) -> None:
    budget, now = ScanBudget(), NOW
    granted: list[tuple[datetime, int]] = []
    for seconds, wanted, unused in takes:
        now += timedelta(seconds=seconds)
        budget, got = budget.take(wanted, limit, now)
        back = min(got, unused)
        budget = budget.give_back(back, now)
        granted.append((now, got - back))
        assert 0 <= got <= wanted
        assert len(budget.hours) <= 26
        assert sum(n for at, n in granted if at > now - DAY) <= limit


def test_what_one_worker_gives_back_is_not_what_another_took_in_the_next_hour() -> None:
    before, after = NOW.replace(minute=59), NOW.replace(minute=0) + HOUR
    budget, _ = ScanBudget().take(10, 100, before)
    budget, _ = budget.take(10, 100, after)
    budget = budget.give_back(10, before)
    assert budget.spent(after + DAY) == 10


@given(TAKES)
def test_what_was_given_back_can_be_taken_again(takes: list[tuple[int, int, int]]) -> None:
    budget, now = ScanBudget(), NOW
    for seconds, wanted, _ in takes:
        now += timedelta(seconds=seconds)
        before = budget.spent(now)
        budget, got = budget.take(wanted, 50, now)
        budget = budget.give_back(got, now)
        assert budget.spent(now) == before


def test_a_day_later_the_whole_budget_is_there_again() -> None:
    budget, got = ScanBudget().take(500, 100, NOW)
    assert got == 100
    assert budget.take(1, 100, NOW + DAY - HOUR)[1] == 0
    assert budget.take(500, 100, NOW + DAY + HOUR)[1] == 100


def test_a_quarter_is_kept_for_what_runs() -> None:
    budget, running, others = ScanBudget().grant(10, 500, 100, NOW)
    assert (running, others) == (10, 65)
    budget, running, others = budget.grant(500, 500, 100, NOW)
    assert (running, others) == (25, 0)


def test_a_policy_may_forbid_asking_and_may_not_ask_for_more_than_ecr_scans() -> None:
    assert ScanBudget().grant(5, 5, msgspec.convert({"daily_budget": 0}, Scanning).daily_budget, NOW)[1:] == (0, 0)
    for wrong in ({"daily_budget": 100_001}, {"rescan_after_days": 0}, {"budget": 1}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, Scanning)
