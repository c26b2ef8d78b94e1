"""The clock's function: what it sends is told by the time it was to run at, not by the time at which it does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from chalice.local import LambdaContext

import app
from chalicelib.domain.events.message import SendDailySummary, StoreCheckpoints, SummarizeAlerts, TakeSnapshot
from chalicelib.domain.events.sweep_message import PlanSweep
from chalicelib.domain.images.names import RegistryPlace
from tests.fakes.queries import FakeOutbox

TICK = {
    "version": "0",
    "id": "1",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "111122223333",
    "region": "eu-west-1",
    "resources": [],
    "detail": {},
}


class Place:
    def __init__(self) -> None:
        self.outbox = FakeOutbox()
        self.registries = (RegistryPlace("eu-west-1"),)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place()
    monkeypatch.setattr(app, "app_context", lambda: place)
    return place


def sent(place: Place, time: str) -> list[Any]:
    app.clock(TICK | {"time": time}, LambdaContext("clock", 256, 60_000))
    return [message for _, message in place.outbox.sent]


def test_a_late_second_try_of_the_full_hour_still_takes_the_snapshot_and_begins_the_sweeps(place: Place) -> None:
    messages = sent(place, "2020-03-01T00:04:00Z")
    assert TakeSnapshot() in messages
    assert [m.day for m in messages if isinstance(m, StoreCheckpoints)] == ["2020-02-29", "2020-03-01"]
    assert {m.started_at for m in messages if isinstance(m, PlanSweep)} == {datetime(2020, 3, 1, 0, 4, tzinfo=UTC)}


def test_once_a_day_people_are_told_of_the_day_before(place: Place) -> None:
    hours = [sent(place, f"2020-03-01T{hour:02}:00:00Z")[-40:] for hour in range(24)]
    assert {m.day for some in hours for m in some if isinstance(m, SendDailySummary)} == {"2020-02-29"}
    assert len([m for m in place.outbox.sent if isinstance(m[1], SendDailySummary)]) == 1


def test_five_minutes_after_the_hour_the_alerts_of_it_are_summed_up_once(place: Place) -> None:
    for minute in range(0, 60, 5):
        sent(place, f"2020-03-01T00:{minute:02}:30Z")
    summed = [m for _, m in place.outbox.sent if isinstance(m, SummarizeAlerts)]
    assert summed == [SummarizeAlerts(datetime(2020, 2, 29, 23, tzinfo=UTC))]


def test_within_the_hour_nothing_of_the_hour_is_sent(place: Place) -> None:
    assert not [
        m for m in sent(place, "2020-03-01T00:05:00Z") if isinstance(m, TakeSnapshot | StoreCheckpoints | PlanSweep)
    ]
