from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.audit.chain import Head
from chalicelib.domain.events.message import Delivery, SendAlert, StoreCheckpoints
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.errors import TransientError
from chalicelib.services.audit.store_checkpoints import store_checkpoints
from chalicelib.services.handlers.receive_sweeps import receive_sweeps
from tests.fakes.audit import FakeAudit
from tests.fakes.images import ref
from tests.fakes.journal import FakeJournal
from tests.fakes.table import FakeTable

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TODAY = NOW.date()
YESTERDAY = TODAY - timedelta(days=1)
POLICY = {
    "version": 1,
    "rules": [],
    "notify": [{"channel": "slack", "min_decision": "warn", "events": ["tampering"]}],
}


class FakeContext(SimpleNamespace):
    """The fake table, its audit log, a clock that the test moves, and one channel."""

    def __init__(self) -> None:
        super().__init__(moment=NOW, told=[], broken=[])
        self.outbox = SimpleNamespace(send_all=self.announce)
        self.journal = FakeJournal()
        self.table = FakeTable(lambda: self.moment)
        self.audit = FakeAudit(self.table.actions, self.table.heads)
        self.queries = SimpleNamespace(audit=self.audit)
        self.clock = SimpleNamespace(now=lambda: self.moment)
        self.rules = SimpleNamespace(current=lambda: Rules(parse_policy(POLICY)))

    def announce(self, queue: str, messages: list[SendAlert]) -> None:
        if self.broken:
            raise self.broken.pop()
        self.told += [message.alert for message in messages]

    def record(self, chain: Any, number: int, at: datetime = NOW) -> None:
        about: dict[str, Any] = {"ref": None, "subject": chain} if isinstance(chain, str) else {"ref": chain}
        self.table.record_action(
            ActionRecord(
                effect=f"ALERT#{number}", wanted_at=at, kind="ALERT", actor="system", reason="x", at=at, **about
            )
        )

    def copy(self, day: Any = TODAY) -> None:
        store_checkpoints(day, self)  # type: ignore[arg-type]

    def counts(self, day: Any = TODAY) -> dict[Any, int]:
        return {chain: head.count for chain, head in self.table.heads.get(day, {}).items()}


@pytest.fixture
def context() -> FakeContext:
    return FakeContext()


def test_every_chain_with_a_record_of_the_day_is_copied_and_no_other(context: FakeContext) -> None:
    context.record(ref(1), 1)
    context.record(ref(1), 2)
    context.record("policy", 1)
    context.record(ref(2), 1, NOW - timedelta(days=2))
    context.copy()
    assert context.counts() == {ref(1): 2, "policy": 1}
    assert context.table.heads[TODAY][ref(1)] == context.audit.heads([ref(1)])[ref(1)]
    assert context.told == []


def test_a_later_copy_of_the_day_only_raises_what_went_on(context: FakeContext) -> None:
    context.record(ref(1), 1)
    context.record(ref(2), 1)
    context.copy()
    context.record(ref(1), 2)
    context.copy()
    context.copy()
    assert context.counts() == {ref(1): 2, ref(2): 1}
    assert context.table.writes["copy_heads"] == 2


def test_a_chain_that_went_on_after_the_day_is_left_to_the_later_day(context: FakeContext) -> None:
    context.record(ref(1), 1, NOW - timedelta(days=1))
    context.record(ref(2), 1, NOW - timedelta(days=1))
    context.record(ref(1), 2)
    context.moment = NOW - timedelta(hours=11)
    context.copy(YESTERDAY)
    context.copy(TODAY)
    assert context.counts(YESTERDAY) == {ref(2): 1}
    assert context.counts(TODAY) == {ref(1): 2}


def test_a_chain_that_was_cut_is_told_of_once_a_day_and_its_copy_stays(context: FakeContext) -> None:
    for n in (1, 2, 3):
        context.record(ref(1), n)
    context.copy()
    whole = context.audit.heads([ref(1)])[ref(1)]
    cut = context.audit.of_chain(ref(1))[0]
    context.audit.altered_heads[ref(1)] = Head(1, cut.link)
    for _ in range(3):
        context.copy()
    assert context.table.heads[TODAY][ref(1)] == whole
    (alert,) = context.told
    assert alert.event == "tampering"
    assert "has 1 now" in alert.notes[0]
    assert f"lazaretto audit verify --since {TODAY}" in alert.what_to_do[0]
    (record,) = context.table.actions["audit"]
    assert (record.kind, record.before, record.after) == (
        "TAMPERING",
        f"3 records, the last {whole.link.hex()[:16]}",
        f"1 records, the last {cut.link.hex()[:16]}",
    )


@pytest.mark.parametrize("now", [None, Head(1, b"another")])
def test_a_head_that_is_gone_or_another_one_is_told_of(context: FakeContext, now: Head | None) -> None:
    context.record(ref(1), 1)
    context.copy()
    context.audit.altered_heads[ref(1)] = now
    context.copy()
    assert len(context.told) == 1


def test_many_broken_chains_are_one_alert(context: FakeContext) -> None:
    for n in range(14):
        context.record(ref(n), 1)
        context.audit.altered_heads[ref(n)] = None
    context.table.put_checkpoints(TODAY, {ref(n): Head(1, b"x") for n in range(14)})
    context.copy()
    (alert,) = context.told
    assert alert.title == "Audit log changed: 14 chains are not what was copied"
    assert alert.notes[-1] == "and 4 more"
    assert len(context.table.actions["audit"]) == 14


def test_an_alert_that_the_queue_does_not_take_is_announced_the_next_time(context: FakeContext) -> None:
    context.record(ref(1), 1)
    context.copy()
    context.audit.altered_heads[ref(1)] = None
    context.broken.append(TransientError("throttled"))
    with pytest.raises(TransientError):
        context.copy()
    assert context.told == []
    for _ in range(2):
        context.copy()
    assert [alert.event for alert in context.told] == ["tampering"]


def test_the_message_of_the_clock_copies_and_a_day_that_is_none_fails_alone(context: FakeContext) -> None:
    context.record(ref(1), 1)
    bodies = [StoreCheckpoints("yesterday"), StoreCheckpoints("2026-03-10")]
    failures = receive_sweeps([Delivery(str(n), b) for n, b in enumerate(bodies)], context)  # type: ignore[arg-type]
    assert list(failures) == ["0"]
    assert context.counts() == {ref(1): 1}
