from datetime import UTC, datetime
from types import SimpleNamespace

import msgspec
import pytest

from chalicelib.domain.header import Rules
from chalicelib.domain.image import ImageRef
from chalicelib.domain.message import CatchUp, Decide, Delivery, Due, Heads, Snapshot, Touched, WatchWaivers, WhatIf
from chalicelib.domain.policy import Policy
from chalicelib.domain.summary import Summary
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.put_back import MOST_ATTEMPTS
from chalicelib.services.receive_sweeps import receive_sweeps
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
    house = place()
    house.table = house.queries = house.waivers = house.what_ifs = house.rules = Throttled()
    house.queries.__dict__["audit"] = Throttled()
    return house


PUT_BACK = [Touched((1, 2), after="x"), Heads("2026-03-01"), WhatIf("job", 3), Snapshot()]
LEFT_TO_THE_CLOCK = [Due(1), CatchUp(), WatchWaivers()]


def place():
    return SimpleNamespace(
        table=FakeTable(lambda: NOW),
        clock=SimpleNamespace(now=lambda: NOW),
        rules=SimpleNamespace(fresh=lambda: Rules(Policy(1))),
        queries=SimpleNamespace(all_rows=lambda: iter(()), rows_of=lambda shard: iter(())),
        outbox=Outbox(),
    )


def test_each_part_of_a_sweep_is_run_and_the_hour_leaves_a_snapshot():
    house = place()
    assert receive_sweeps([Delivery(str(n), b) for n, b in enumerate([Due(3), CatchUp(), Snapshot()])], house, {}) == {}
    at, content = house.table.snapshot
    assert at == NOW
    assert msgspec.json.decode(content, type=Summary).images == 0


def test_what_is_no_part_of_a_sweep_fails_alone():
    house = place()
    ref = ImageRef("111122223333", "eu-west-1", "team/api", "sha256:" + "a" * 64)
    failures = receive_sweeps([Delivery("bad", Decide(ref, "x")), Delivery("good", Snapshot())], house, {})
    assert list(failures) == ["bad"]
    assert house.table.snapshot is not None


def test_a_defect_in_one_part_does_not_stop_the_next():
    house = place()
    house.table.due = None
    failures = receive_sweeps([Delivery("bad", Due(1)), Delivery("good", Snapshot())], house, {})
    assert list(failures) == ["bad"]
    assert house.table.snapshot is not None


@pytest.mark.parametrize("part", PUT_BACK, ids=lambda p: type(p).__name__)
def test_what_only_needs_time_is_put_back_and_spends_no_receive(part):
    house = throttled()
    assert receive_sweeps([Delivery("slow", part)], house, {}) == {}
    assert house.outbox.sent == [("sweeps", msgspec.structs.replace(part, attempt=1), 7.0)]


@pytest.mark.parametrize("part", LEFT_TO_THE_CLOCK, ids=lambda p: type(p).__name__)
def test_what_the_clock_asks_for_anew_is_left_to_it(part):
    house = throttled()
    assert receive_sweeps([Delivery("slow", part)], house, {}) == {}
    assert house.outbox.sent == []


@pytest.mark.parametrize("part", PUT_BACK, ids=lambda p: type(p).__name__)
def test_what_was_put_back_too_often_or_cannot_be_is_left_to_the_queue(part):
    house = throttled()
    often = msgspec.structs.replace(part, attempt=MOST_ATTEMPTS)
    assert list(receive_sweeps([Delivery("slow", often)], house, {})) == ["slow"]
    house.outbox.sent = None
    assert list(receive_sweeps([Delivery("slow", part)], house, {})) == ["slow"]
