"""Under basic scanning what has no recent scan is scanned: once a day each, within a budget, what runs first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, InUse, InUseState, Scan, ScanState, Source
from chalicelib.domain.policy.section import Scanning
from chalicelib.domain.reconcile.scan_budget import Asked, Refusal, StartedScans
from chalicelib.domain.reconcile.scan_rule import Frequency, ScanRule, Uncovered
from chalicelib.errors import DeniedError, TransientError, UpstreamError
from chalicelib.services.reconcile.prove_scans import LIMITS_IN_A_ROW, PATIENCE, start_scans
from tests.extent import killed_at
from tests.fakes.images import home, ref
from tests.fakes.queries import NOW
from tests.fakes.scan_asks import FakeScanAsks, FakeScans

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BASIC = ScanRule(Source.BASIC, Frequency.MANUAL, (), Uncovered.NO_RULES)
NUMBERS = range(1, 9)


class Killed(BaseException):
    """A worker that dies. No handler of errors may catch it."""


class House:
    """Its clock stands unless a test moves it. `dies_at`: the number of the call that kills the worker."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.moment, self.calls, self.dies_at = NOW, 0, dies_at
        self.scans, self.asks = FakeScans(), FakeScanAsks()
        self.clock = self
        self.scan_asks: Any = Mortal(self.asks, self)

    def now(self) -> datetime:
        return self.moment

    def live(self) -> None:
        self.calls += 1
        if self.calls == self.dies_at:
            raise Killed


class Mortal:
    """Every call of `inner` may be the last, before or after it was done."""

    def __init__(self, inner: Any, house: House) -> None:
        self.inner, self.house = inner, house

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.house.live()
            answer = getattr(self.inner, name)(*args)
            self.house.live()
            return answer

        return call


def image(number: int, days: float | None = None, use: InUseState = InUseState.UNKNOWN) -> Header:
    state = ScanState.PENDING if days is None else ScanState.COMPLETE
    scan = Scan(state, None, Source.BASIC, None if days is None else NOW - days * DAY)
    used, pushed_at = InUse(use), NOW - 90 * DAY
    return Header(ref=ref(number), exists=True, pushed_at=pushed_at, scan=scan, looked_at=NOW, in_use=used)


def start(
    house: House, *headers: Header, budget: int = 100, rule: ScanRule | None = BASIC, **more: Any
) -> StartedScans:
    scanning = Scanning(rescan_after_days=7, daily_budget=budget)
    return start_scans(home(), rule, headers, scanning, HOUR, house, **more)  # type: ignore[arg-type]


def numbers(refs: Sequence[ImageRef]) -> list[int]:
    return [int(r.digest[-4:], 16) for r in refs]


def test_what_has_no_recent_scan_is_scanned_and_nothing_else() -> None:
    house = House()
    assert start(house, image(1), image(2, days=8), image(3, days=6)) == StartedScans(started=2)
    assert numbers(house.scans.started) == [1, 2]


@pytest.mark.parametrize("rule", [None, ScanRule(None, Frequency.MANUAL), ScanRule(Source.ENHANCED, Frequency.MANUAL)])
def test_where_ecrs_own_scanner_is_not_known_to_be_in_force_nothing_is_asked(rule: ScanRule | None) -> None:
    house = House()
    assert start(house, image(1), rule=rule) == StartedScans()
    assert house.calls == 0


def test_where_nothing_is_due_nothing_is_read_or_written() -> None:
    house = House()
    start(house, image(1, days=1))
    assert house.calls == 0


def test_what_was_asked_for_is_not_asked_for_again_within_a_day() -> None:
    house = House()
    start(house, image(1))
    house.moment += DAY - timedelta(seconds=1)
    assert start(house, image(1)) == StartedScans()
    house.moment += timedelta(seconds=1)
    assert start(house, image(1)) == StartedScans(started=1)


def test_an_answer_that_the_image_was_scanned_today_counts_as_asked() -> None:
    house = House()
    house.scans.answer = lambda ref: Refusal.LIMIT
    assert start(house, image(1)) == StartedScans(refused={Refusal.LIMIT: 1})
    assert start(house, image(1)) == StartedScans()
    assert house.asks.asks == {ref(1): Asked(NOW, Refusal.LIMIT)}


def test_what_ecr_cannot_scan_is_never_asked_for_again() -> None:
    house = House()
    house.scans.answer = lambda ref: Refusal.UNSUPPORTED
    start(house, image(1))
    house.moment += 30 * DAY
    assert start(house, image(1)) == StartedScans()


def test_what_runs_comes_first_when_the_budget_is_short() -> None:
    house = House()
    headers = [image(1, use=InUseState.NO), image(2), image(3, use=InUseState.YES), image(4, use=InUseState.YES)]
    assert start(house, *headers, budget=2) == StartedScans(started=2, left=2)
    assert numbers(house.scans.started) == [3, 4]


def test_a_budget_is_for_all_repositories_and_comes_back_after_a_day() -> None:
    house = House()
    running = [image(n, use=InUseState.YES) for n in NUMBERS]
    start(house, *running[:3], budget=4)
    assert start(house, *running[3:], budget=4) == StartedScans(started=1, left=4)
    house.moment += DAY + HOUR
    assert start(house, *running[4:], budget=4).started == 4


def test_images_whose_scans_never_come_do_not_keep_others_from_theirs() -> None:
    house = House()
    headers = [*map(image, NUMBERS[:3]), image(9, days=8)]
    for _ in range(2):
        start(house, *headers, budget=4)
        house.moment += 2 * DAY
    assert ref(9) in house.scans.started


def test_a_policy_without_a_budget_has_nothing_scanned() -> None:
    house = House()
    assert start(house, image(1, use=InUseState.YES), budget=0) == StartedScans(left=1)
    assert house.scans.started == []


def test_many_refusals_in_a_row_mean_that_the_registrys_day_is_used_up() -> None:
    house = House()
    house.scans.answer = lambda ref: Refusal.LIMIT
    done = start(house, *map(image, range(1, 20)))
    assert (done.refused, done.left) == ({Refusal.LIMIT: LIMITS_IN_A_ROW}, 19 - LIMITS_IN_A_ROW)
    assert done.error is not None
    assert len(house.asks.asks) == LIMITS_IN_A_ROW
    spent = house.asks.budgets[home().registry, home().region].spent(NOW)
    assert spent == LIMITS_IN_A_ROW


def test_an_image_that_is_refused_for_a_reason_nobody_knows_does_not_keep_the_others_from_their_scans() -> None:
    house = House()

    def odd(asked: ImageRef) -> Refusal | None:
        if asked == ref(1):
            raise UpstreamError("odd")
        return None

    house.scans.answer = odd
    for _ in range(2):
        done = start(house, image(1), image(2))
        house.moment += HOUR
    assert (numbers(house.scans.started), done.error) == ([2], None)
    house.moment += DAY
    assert start(house, image(1)).error == "odd", "it is asked for again the next day"


def test_a_scan_that_ecr_will_not_make_for_us_ends_the_run_and_was_not_asked() -> None:
    house, error = House(), DeniedError("not permitted")

    def deny(ref: ImageRef) -> Refusal | None:
        raise error

    house.scans.answer = deny
    done = start(house, image(1), image(2))
    assert (done.started, done.left, done.error) == (0, 2, str(error))
    house.scans.answer = lambda ref: None
    assert start(house, image(1), image(2)).started == 2


def test_a_call_that_only_needs_time_is_made_again_and_takes_nothing_of_the_budget() -> None:
    house = House()

    def throttle(ref: ImageRef) -> Refusal | None:
        raise TransientError("throttled")

    house.scans.answer = throttle
    with pytest.raises(TransientError):
        start(house, image(1), image(2))
    assert house.asks.budgets[home().registry, home().region].spent(NOW) == 0
    house.scans.answer = lambda ref: None
    assert start(house, image(1), image(2)).started == 2


def test_who_is_out_of_time_leaves_the_rest_and_its_budget_to_the_next_sweep() -> None:
    house = House()

    def slow(ref: ImageRef) -> Refusal | None:
        house.moment += PATIENCE / 2
        return None

    house.scans.answer = slow
    assert start(house, *map(image, NUMBERS)) == StartedScans(started=3, left=5)
    assert house.asks.budgets[home().registry, home().region].spent(house.moment) == 3


def test_of_two_workers_with_the_same_images_each_is_asked_for_by_one() -> None:
    house, other = House(), House()
    other.scans, other.asks = house.scans, house.asks
    other.scan_asks = Mortal(house.asks, other)
    done: list[StartedScans] = []

    def meanwhile(ref: ImageRef) -> Refusal | None:
        house.scans.answer = lambda ref: None
        done.append(start(other, *map(image, NUMBERS)))
        return None

    house.scans.answer = meanwhile
    done.append(start(house, *map(image, NUMBERS)))
    assert sorted(numbers(house.scans.started)) == list(NUMBERS)
    assert sum(d.started for d in done) == len(NUMBERS)


def kills() -> range:
    house = House()
    start(house, *map(image, NUMBERS))
    return range(1, house.calls + 1)


@killed_at(kills())
def test_killed_at_any_call_no_image_is_scanned_twice_and_at_most_one_waits_for_the_next_day(dies_at: int) -> None:
    house = House(dies_at)
    with pytest.raises(Killed):
        start(house, *map(image, NUMBERS))
    start(house, *map(image, NUMBERS))
    assert len(house.scans.started) == len(set(house.scans.started)) >= len(NUMBERS) - 1
    house.moment += DAY + HOUR
    start(house, *map(image, NUMBERS))
    assert set(numbers(house.scans.started)) == set(NUMBERS)


STEPS = st.lists(
    st.tuples(st.integers(0, 30), st.lists(st.sampled_from(NUMBERS), unique=True), st.none() | st.integers(1, 12)),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 6))
def test_in_whatever_order_workers_come_and_die_no_image_and_no_day_gets_more_than_its_share(
    steps: list[tuple[int, list[int], int | None]], budget: int
) -> None:
    house = House()
    started: list[tuple[datetime, ImageRef]] = []
    house.scans.answer = lambda ref: started.append((house.moment, ref))  # type: ignore[func-returns-value]
    for hours, images, dies_after in steps:
        house.moment += hours * HOUR
        house.dies_at = None if dies_after is None else house.calls + dies_after
        try:
            start(house, *map(image, images), budget=budget)
        except Killed:
            continue
    for at, _ in started:
        day = [ref for when, ref in started if at - DAY < when <= at]
        assert len(day) == len(set(day)) <= budget
