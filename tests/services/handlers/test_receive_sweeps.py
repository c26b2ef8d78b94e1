from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import msgspec
import pytest

from chalicelib.domain.assessment.summary import Summary
from chalicelib.domain.events.message import (
    Decide,
    Delivery,
    Due,
    Metric,
    PolicyRollout,
    SendDailySummary,
    StoreCheckpoints,
    SummarizeAlerts,
    TakeSnapshot,
    WaiversChanged,
    WatchDenies,
    WatchWaivers,
    WhatIf,
)
from chalicelib.domain.events.sweep_message import InitialBackfill, PlanSweep, Sweep, SweepRepository
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.policy.policy import Policy
from chalicelib.errors import DeniedError, TransientError, UpstreamError
from chalicelib.services.assessment.requeue import MOST_ATTEMPTS
from chalicelib.services.handlers import receive_sweeps as receiving
from chalicelib.services.handlers.receive_sweeps import receive_sweeps
from chalicelib.services.reconcile.plan_sweep import SweepPlan
from tests.fakes.journal import FakeJournal
from tests.fakes.table import FakeTable

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Outbox:
    def __init__(self):
        self.sent = []

    def send(self, *message):
        if self.sent is None:
            raise UpstreamError("the queue does not take it")
        self.sent.append(message)


class Throttled:
    """Whatever is asked of it, AWS has no time."""

    def __getattr__(self, name):
        def throttle(*_, **__):
            raise TransientError("slow down", 7.0)

        return throttle


def throttled():
    context = place()
    context.table = context.queries = context.waivers = context.what_ifs = context.rules = Throttled()
    context.inventory = context.queries
    context.queries.__dict__["audit"] = Throttled()
    return context


HOME = Repository("111122223333", "eu-west-1", "team/api")
PUT_BACK = [
    WaiversChanged((1, 2), after="x"),
    StoreCheckpoints("2026-03-01"),
    SendDailySummary("2026-02-01"),
    SummarizeAlerts(NOW),
    WhatIf("job", 3),
    TakeSnapshot(),
    PlanSweep(Sweep.RECONCILE, "eu-west-1", NOW),
    InitialBackfill(),
]
LEFT_TO_THE_CLOCK = [Due(1), PolicyRollout(), WatchDenies(), WatchWaivers()]


def place():
    return SimpleNamespace(
        table=FakeTable(lambda: NOW),
        clock=SimpleNamespace(now=lambda: NOW),
        rules=SimpleNamespace(fresh=lambda: Rules(Policy(1))),
        queries=SimpleNamespace(all_rows=lambda: iter(()), rows_of=lambda shard: iter(())),
        outbox=Outbox(),
        journal=FakeJournal(),
    )


def test_each_part_of_a_sweep_is_run_and_the_hour_leaves_a_snapshot():
    context = place()
    parts = [Delivery(str(n), body) for n, body in enumerate([Due(3), PolicyRollout(), TakeSnapshot()])]
    assert receive_sweeps(parts, context) == {}
    at, content = context.table.snapshot
    assert at == NOW
    assert msgspec.json.decode(content, type=Summary).images == 0


def test_a_sweep_is_planned_and_what_it_finds_lost_is_told(monkeypatch):
    planned, context = [], place()
    monkeypatch.setattr(receiving, "plan_sweep", lambda message, context: SweepPlan((HOME,)))
    monkeypatch.setattr(receiving, "send_plan", lambda message, found, context: planned.append((message, found)))
    monkeypatch.setattr(receiving, "reconcile_registry", lambda *_: SimpleNamespace(lost_events=3, more=False))
    plan, one = PlanSweep(Sweep.RETENTION, "eu-west-1", NOW), SweepRepository(Sweep.RECONCILE, HOME, NOW)
    assert receive_sweeps([Delivery("p", plan), Delivery("r", one)], context) == {}
    assert (planned, context.journal.counted) == ([(plan, SweepPlan((HOME,)))], {(Metric.LOST_EVENTS, None): 3})


def test_what_parts_of_a_sweep_find_lost_is_counted_once_by_the_last(monkeypatch):
    """Each has the counts of those before it."""
    context, counts = place(), [(2, True), (5, True), (7, False)]
    found = [SimpleNamespace(lost_events=lost, more=more) for lost, more in counts]
    monkeypatch.setattr(receiving, "reconcile_registry", lambda *_: found.pop(0))
    for number in range(3):
        receive_sweeps([Delivery(str(number), SweepRepository(Sweep.RECONCILE, HOME, NOW))], context)
    assert context.journal.counted == {(Metric.LOST_EVENTS, None): 7}


def test_a_plan_that_cannot_be_sent_fails_and_raises_no_doubt_about_its_registry(monkeypatch):
    context, doubted = place(), []
    monkeypatch.setattr(receiving, "plan_sweep", lambda message, context: SweepPlan((HOME,)))
    monkeypatch.setattr(receiving, "mark_registry_stale", lambda *_: doubted.append(1))
    monkeypatch.setattr(context.outbox, "send", _refused)
    failures = receive_sweeps([Delivery("p", PlanSweep(Sweep.POSTURE, "eu-west-1", NOW))], context)
    assert (type(failures["p"]), doubted) == (DeniedError, [])


def _refused(*_args, **_options):
    raise DeniedError("send to the queue sweeps")


@pytest.mark.parametrize("sweep", list(Sweep))
def test_what_the_clock_begins_somebody_handles(sweep):
    failures = receive_sweeps([Delivery("r", SweepRepository(sweep, HOME, NOW))], throttled())
    assert "nobody handles" not in str(failures)


def test_repositories_that_were_throttled_together_do_not_come_back_together():
    context = throttled()
    homes = [msgspec.structs.replace(HOME, name=f"team/{n}") for n in range(20)]
    deliveries = [Delivery(h.name, SweepRepository(Sweep.RECONCILE, h, NOW)) for h in homes]
    assert receive_sweeps(deliveries, context) == {}
    delays = [delay for _, _, delay in context.outbox.sent]
    assert all(7 <= delay <= 14 for delay in delays)
    assert len({round(delay, 2) for delay in delays}) > 15


def test_what_is_no_part_of_a_sweep_fails_alone():
    context = place()
    ref = ImageRef("111122223333", "eu-west-1", "team/api", "sha256:" + "a" * 64)
    failures = receive_sweeps([Delivery("bad", Decide(ref, "x")), Delivery("good", TakeSnapshot())], context)
    assert list(failures) == ["bad"]
    assert context.table.snapshot is not None


def test_what_there_is_no_time_for_is_put_back_unharmed_and_the_clocks_own_comes_first(monkeypatch):
    moments = iter(NOW + timedelta(seconds=100 * n) for n in range(20))
    context = place()
    context.clock = SimpleNamespace(now=lambda: next(moments))
    run = []
    monkeypatch.setattr(receiving, "run_sweep", lambda message, *_, **__: run.append(message))
    monkeypatch.setattr(receiving, "re_decide", lambda shard, _: run.append(Due(shard)))
    homes = [msgspec.structs.replace(HOME, name=f"team/{n}") for n in range(3)]
    parts = [SweepRepository(Sweep.RECONCILE, home, NOW, attempt=3) for home in homes]
    deliveries = [Delivery(p.repository.name, p, receives=2) for p in parts] + [Delivery("due", Due(1))]
    assert receive_sweeps(deliveries, context) == {}
    assert run == [Due(1)]
    # That the queue gave it out before is kept: whoever had it then may have died on the way.
    assert context.outbox.sent == [("sweeps", msgspec.structs.replace(part, attempt=4)) for part in parts]


def test_what_there_is_no_time_for_and_cannot_be_put_back_is_left_to_the_queue(monkeypatch):
    moments = iter(NOW + timedelta(seconds=100 * n) for n in range(20))
    context = place()
    context.clock, context.outbox.sent = SimpleNamespace(now=lambda: next(moments)), None
    monkeypatch.setattr(receiving, "run_sweep", lambda *_, **__: None)
    parts = [Delivery(str(n), SweepRepository(Sweep.RECONCILE, HOME, NOW)) for n in range(3)]
    assert list(receive_sweeps(parts, context)) == ["1", "2"]


def test_a_defect_in_one_part_does_not_stop_the_next():
    context = place()
    context.table.due = None
    failures = receive_sweeps([Delivery("bad", Due(1)), Delivery("good", TakeSnapshot())], context)
    assert list(failures) == ["bad"]
    assert context.table.snapshot is not None


@pytest.mark.parametrize("part", PUT_BACK, ids=lambda p: type(p).__name__)
def test_what_only_needs_time_is_put_back_and_spends_no_receive(part):
    context = throttled()
    assert receive_sweeps([Delivery("slow", part)], context) == {}
    assert context.outbox.sent == [("sweeps", msgspec.structs.replace(part, attempt=1), 7.0)]


@pytest.mark.parametrize("part", LEFT_TO_THE_CLOCK, ids=lambda p: type(p).__name__)
def test_what_the_clock_asks_for_anew_is_left_to_it(part):
    context = throttled()
    assert receive_sweeps([Delivery("slow", part)], context) == {}
    assert context.outbox.sent == []


@pytest.mark.parametrize("part", PUT_BACK, ids=lambda p: type(p).__name__)
def test_what_was_put_back_too_often_or_cannot_be_is_left_to_the_queue(part):
    context = throttled()
    often = msgspec.structs.replace(part, attempt=MOST_ATTEMPTS)
    assert list(receive_sweeps([Delivery("slow", often)], context)) == ["slow"]
    context.outbox.sent = None
    assert list(receive_sweeps([Delivery("slow", part)], context)) == ["slow"]
