from datetime import UTC, datetime
from types import SimpleNamespace

import msgspec

from chalicelib.domain.header import Rules
from chalicelib.domain.image import ImageRef
from chalicelib.domain.message import CatchUp, Decide, Delivery, Due, Snapshot
from chalicelib.domain.policy import Policy
from chalicelib.domain.summary import Summary
from chalicelib.services.receive_sweeps import receive_sweeps
from tests.fakes.table import FakeTable

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def place():
    return SimpleNamespace(
        table=FakeTable(lambda: NOW),
        clock=SimpleNamespace(now=lambda: NOW),
        rules=SimpleNamespace(fresh=lambda: Rules(Policy(1))),
        queries=SimpleNamespace(all_rows=lambda: iter(())),
        outbox=SimpleNamespace(send=lambda *a: None),
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
