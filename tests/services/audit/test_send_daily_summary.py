"""The daily summary takes the root of the audit log out of the account, once a day for each channel."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.audit.chain import Head
from chalicelib.domain.audit.root import DayRoot
from chalicelib.domain.events.message import SendAlert
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.errors import ConflictError, TransientError
from chalicelib.services.audit.send_daily_summary import send_daily_summary
from chalicelib.services.audit.store_checkpoints import store_checkpoints
from chalicelib.services.audit.verify_audit import verify_root
from tests.fakes.audit import FakeAudit
from tests.fakes.images import ref
from tests.fakes.journal import FakeJournal
from tests.fakes.table import FakeTable

MORNING = datetime(2026, 3, 10, 6, tzinfo=UTC)
YESTERDAY = date(2026, 3, 9)
DAY = timedelta(days=1)
POLICY = {"version": 1, "rules": [], "notify": [{"channel": "slack"}, {"channel": "sns", "events": ["summary"]}]}


class Place(SimpleNamespace):
    """The fake table, its audit log, and a clock that the test moves."""

    def __init__(self) -> None:
        super().__init__(moment=MORNING, told=[])
        self.outbox = SimpleNamespace(send_all=lambda queue, messages: self.told.extend(messages))
        self.journal = FakeJournal()
        self.table = FakeTable(lambda: self.moment)
        self.audit = FakeAudit(self.table.actions, self.table.heads, self.table.roots)
        self.queries = SimpleNamespace(audit=self.audit, all_rows=lambda: iter(()))
        self.clock = SimpleNamespace(now=lambda: self.moment)
        self.rules = SimpleNamespace(current=lambda: Rules(parse_policy(POLICY)))

    def record(self, number: int, at: datetime) -> None:
        self.table.record_action(
            ActionRecord(
                ref=ref(number), effect=f"X#{at}", wanted_at=at, kind="ALERT", actor="system", reason="x", at=at
            )
        )

    def copy(self, day: date) -> None:
        store_checkpoints(day, self)  # type: ignore[arg-type]

    def send(self, day: date = YESTERDAY) -> list[SendAlert]:
        self.told.clear()
        send_daily_summary(day, self)  # type: ignore[arg-type]
        return list(self.told)

    def proves(self, root: str) -> Any:
        return verify_root(self.audit, bytes.fromhex(root), self.moment.date())


@pytest.fixture
def place() -> Place:
    place = Place()
    place.record(1, MORNING - DAY)
    place.moment = MORNING - timedelta(hours=6)
    place.copy(YESTERDAY)
    place.moment = MORNING
    return place


def root_in(messages: list[SendAlert]) -> str:
    (note,) = (line for line in messages[0].alert.notes if line.startswith("Root of the audit log"))
    return note.rpartition(" ")[2]


def test_slack_and_sns_are_told_the_root_under_one_key(place: Place) -> None:
    told = place.send()
    assert [m.channel for m in told] == ["slack", "sns"]
    assert place.proves(root_in(told)).problem is None
    assert place.proves(root_in(told)).days == (YESTERDAY,)
    again = place.send()
    assert [(m.key, m.alert.notes) for m in again] == [(m.key, m.alert.notes) for m in told]


def test_what_is_found_of_the_day_afterwards_is_copied_to_today_and_is_in_the_next_root(place: Place) -> None:
    root = root_in(place.send())
    place.record(2, MORNING - timedelta(hours=7))
    place.copy(YESTERDAY)
    assert ref(2) not in place.table.heads[YESTERDAY]
    assert place.table.heads[MORNING.date()][ref(2)].count == 1
    assert ref(1) not in place.table.heads[MORNING.date()], "it is in yesterday's root"
    assert place.proves(root).problem is None
    place.moment = MORNING + DAY
    assert place.proves(root_in(place.send(MORNING.date()))).days == (MORNING.date(), YESTERDAY)


def test_days_without_a_summary_are_in_the_root_of_the_next_one(place: Place) -> None:
    """So are those before the first root, where the log is older than roots."""
    early = YESTERDAY - 10 * DAY
    place.table.put_checkpoints(early, {"policy": Head(2, b"x" * 32)})
    root = root_in(place.send())
    assert place.proves(root).days == (YESTERDAY, early)
    assert list(place.table.roots) == [early, YESTERDAY]


def test_a_day_that_still_takes_copies_has_no_root(place: Place) -> None:
    place.moment = MORNING - timedelta(hours=1)
    with pytest.raises(TransientError):
        place.send()
    assert place.table.roots == {}


def test_a_root_that_was_put_by_another_hand_is_an_error_and_no_summary(place: Place) -> None:
    def refuse(sealed: DayRoot) -> None:
        raise ConflictError(f"{sealed.day} has another root")

    place.table.put_root = refuse
    with pytest.raises(ConflictError):
        place.send()
    assert place.told == []
