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
from chalicelib.domain.reconcile.scan_budget import Asked, ScanRefusal, StartedScans
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


class FakeContext:
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

    def __init__(self, inner: Any, context: FakeContext) -> None:
        self.inner, self.context = inner, context

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.context.live()
            answer = getattr(self.inner, name)(*args)
            self.context.live()
            return answer

        return call


def image(number: int, days: float | None = None, use: InUseState = InUseState.UNKNOWN) -> Header:
    state = ScanState.PENDING if days is None else ScanState.COMPLETE
    scan = Scan(state, None, Source.BASIC, None if days is None else NOW - days * DAY)
    used, pushed_at = InUse(use), NOW - 90 * DAY
    return Header(ref=ref(number), exists=True, pushed_at=pushed_at, scan=scan, refreshed_at=NOW, in_use=used)


def start(
    context: FakeContext, *headers: Header, budget: int = 100, rule: ScanRule | None = BASIC, **more: Any
) -> StartedScans:
    scanning = Scanning(rescan_after_days=7, daily_budget=budget)
    return start_scans(home(), rule, headers, scanning, HOUR, context, **more)  # type: ignore[arg-type]


def numbers(refs: Sequence[ImageRef]) -> list[int]:
    return [int(r.digest[-4:], 16) for r in refs]


def test_what_has_no_recent_scan_is_scanned_and_nothing_else() -> None:
    context = FakeContext()
    assert start(context, image(1), image(2, days=8), image(3, days=6)) == StartedScans(started=2)
    assert numbers(context.scans.started) == [1, 2]


@pytest.mark.parametrize("rule", [None, ScanRule(None, Frequency.MANUAL), ScanRule(Source.ENHANCED, Frequency.MANUAL)])
def test_where_ecrs_own_scanner_is_not_known_to_be_in_force_nothing_is_asked(rule: ScanRule | None) -> None:
    context = FakeContext()
    assert start(context, image(1), rule=rule) == StartedScans()
    assert context.calls == 0


def test_where_nothing_is_due_nothing_is_read_or_written() -> None:
    context = FakeContext()
    start(context, image(1, days=1))
    assert context.calls == 0


def test_what_was_asked_for_is_not_asked_for_again_within_a_day() -> None:
    context = FakeContext()
    start(context, image(1))
    context.moment += DAY - timedelta(seconds=1)
    assert start(context, image(1)) == StartedScans()
    context.moment += timedelta(seconds=1)
    assert start(context, image(1)) == StartedScans(started=1)


def test_an_answer_that_the_image_was_scanned_today_counts_as_asked() -> None:
    context = FakeContext()
    context.scans.answer = lambda ref: ScanRefusal.LIMIT
    assert start(context, image(1)) == StartedScans(refused={ScanRefusal.LIMIT: 1})
    assert start(context, image(1)) == StartedScans()
    assert context.asks.asks == {ref(1): Asked(NOW, ScanRefusal.LIMIT)}


def test_what_ecr_cannot_scan_is_never_asked_for_again() -> None:
    context = FakeContext()
    context.scans.answer = lambda ref: ScanRefusal.UNSUPPORTED
    start(context, image(1))
    context.moment += 30 * DAY
    assert start(context, image(1)) == StartedScans()


def test_what_runs_comes_first_when_the_budget_is_short() -> None:
    context = FakeContext()
    headers = [image(1, use=InUseState.NO), image(2), image(3, use=InUseState.YES), image(4, use=InUseState.YES)]
    assert start(context, *headers, budget=2) == StartedScans(started=2, left=2)
    assert numbers(context.scans.started) == [3, 4]


def test_a_budget_is_for_all_repositories_and_comes_back_after_a_day() -> None:
    context = FakeContext()
    running = [image(n, use=InUseState.YES) for n in NUMBERS]
    start(context, *running[:3], budget=4)
    assert start(context, *running[3:], budget=4) == StartedScans(started=1, left=4)
    context.moment += DAY + HOUR
    assert start(context, *running[4:], budget=4).started == 4


def test_images_whose_scans_never_come_do_not_keep_others_from_theirs() -> None:
    context = FakeContext()
    headers = [*map(image, NUMBERS[:3]), image(9, days=8)]
    for _ in range(2):
        start(context, *headers, budget=4)
        context.moment += 2 * DAY
    assert ref(9) in context.scans.started


def test_a_policy_without_a_budget_has_nothing_scanned() -> None:
    context = FakeContext()
    assert start(context, image(1, use=InUseState.YES), budget=0) == StartedScans(left=1)
    assert context.scans.started == []


def test_many_refusals_in_a_row_mean_that_the_registrys_day_is_used_up() -> None:
    context = FakeContext()
    context.scans.answer = lambda ref: ScanRefusal.LIMIT
    done = start(context, *map(image, range(1, 20)))
    assert (done.refused, done.left) == ({ScanRefusal.LIMIT: LIMITS_IN_A_ROW}, 19 - LIMITS_IN_A_ROW)
    assert done.error is not None
    assert len(context.asks.asks) == LIMITS_IN_A_ROW
    spent = context.asks.budgets[home().registry, home().region].spent(NOW)
    assert spent == LIMITS_IN_A_ROW


def test_an_image_that_is_refused_for_a_reason_nobody_knows_does_not_keep_the_others_from_their_scans() -> None:
    context = FakeContext()

    def odd(asked: ImageRef) -> ScanRefusal | None:
        if asked == ref(1):
            raise UpstreamError("odd")
        return None

    context.scans.answer = odd
    for _ in range(2):
        done = start(context, image(1), image(2))
        context.moment += HOUR
    assert (numbers(context.scans.started), done.error) == ([2], None)
    context.moment += DAY
    assert start(context, image(1)).error == "odd", "it is asked for again the next day"


def test_a_scan_that_ecr_will_not_make_for_us_ends_the_run_and_was_not_asked() -> None:
    context, error = FakeContext(), DeniedError("not permitted")

    def deny(ref: ImageRef) -> ScanRefusal | None:
        raise error

    context.scans.answer = deny
    done = start(context, image(1), image(2))
    assert (done.started, done.left, done.error) == (0, 2, str(error))
    context.scans.answer = lambda ref: None
    assert start(context, image(1), image(2)).started == 2


def test_a_call_that_only_needs_time_is_made_again_and_takes_nothing_of_the_budget() -> None:
    context = FakeContext()

    def throttle(ref: ImageRef) -> ScanRefusal | None:
        raise TransientError("throttled")

    context.scans.answer = throttle
    with pytest.raises(TransientError):
        start(context, image(1), image(2))
    assert context.asks.budgets[home().registry, home().region].spent(NOW) == 0
    context.scans.answer = lambda ref: None
    assert start(context, image(1), image(2)).started == 2


def test_who_is_out_of_time_leaves_the_rest_and_its_budget_to_the_next_sweep() -> None:
    context = FakeContext()

    def slow(ref: ImageRef) -> ScanRefusal | None:
        context.moment += PATIENCE / 2
        return None

    context.scans.answer = slow
    assert start(context, *map(image, NUMBERS)) == StartedScans(started=3, left=5)
    assert context.asks.budgets[home().registry, home().region].spent(context.moment) == 3


def test_of_two_workers_with_the_same_images_each_is_asked_for_by_one() -> None:
    context, other = FakeContext(), FakeContext()
    other.scans, other.asks = context.scans, context.asks
    other.scan_asks = Mortal(context.asks, other)
    done: list[StartedScans] = []

    def meanwhile(ref: ImageRef) -> ScanRefusal | None:
        context.scans.answer = lambda ref: None
        done.append(start(other, *map(image, NUMBERS)))
        return None

    context.scans.answer = meanwhile
    done.append(start(context, *map(image, NUMBERS)))
    assert sorted(numbers(context.scans.started)) == list(NUMBERS)
    assert sum(d.started for d in done) == len(NUMBERS)


def kills() -> range:
    context = FakeContext()
    start(context, *map(image, NUMBERS))
    return range(1, context.calls + 1)


@killed_at(kills())
def test_killed_at_any_call_no_image_is_scanned_twice_and_at_most_one_waits_for_the_next_day(dies_at: int) -> None:
    context = FakeContext(dies_at)
    with pytest.raises(Killed):
        start(context, *map(image, NUMBERS))
    start(context, *map(image, NUMBERS))
    assert len(context.scans.started) == len(set(context.scans.started)) >= len(NUMBERS) - 1
    context.moment += DAY + HOUR
    start(context, *map(image, NUMBERS))
    assert set(numbers(context.scans.started)) == set(NUMBERS)


STEPS = st.lists(
    st.tuples(st.integers(0, 30), st.lists(st.sampled_from(NUMBERS), unique=True), st.none() | st.integers(1, 12)),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 6))
def test_in_whatever_order_workers_come_and_die_no_image_and_no_day_gets_more_than_its_share(
    steps: list[tuple[int, list[int], int | None]], budget: int
) -> None:
    context = FakeContext()
    started: list[tuple[datetime, ImageRef]] = []
    context.scans.answer = lambda ref: started.append((context.moment, ref))  # type: ignore[func-returns-value]
    for hours, images, dies_after in steps:
        context.moment += hours * HOUR
        context.dies_at = None if dies_after is None else context.calls + dies_after
        try:
            start(context, *map(image, images), budget=budget)
        except Killed:
            continue
    for at, _ in started:
        day = [ref for when, ref in started if at - DAY < when <= at]
        assert len(day) == len(set(day)) <= budget
