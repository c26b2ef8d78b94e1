"""People are warned of the end of a waiver, once for each step, and told when it has come."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.events.message import WaiversChanged
from chalicelib.domain.images.verdict import Decision, Reason
from chalicelib.domain.waivers.alert import Notice, NoticeStage
from chalicelib.errors import TransientError
from chalicelib.services.ports.table import Stored
from chalicelib.services.waivers.watch_waivers import TOLD_AT_MOST, watch_waivers
from tests.services.waivers.test_apply_waiver_changes import NOW, Place, waiver


class Watched(Place):
    def __init__(self, **policy: Any) -> None:
        super().__init__(policy)
        self.table.read_headers = self.read_headers

    def read_headers(self, refs: Any) -> Any:
        wanted = set(refs)
        return {h.ref: Stored(h, 1) for h in self.headers if h.ref in wanted}

    def keep(self, *waivers: Any) -> None:
        for one in waivers:
            self.waivers.stored[one.id] = one

    def watch(self, after: timedelta) -> list[str]:
        """The titles of what is told `after` the beginning."""
        self.moment = NOW + after
        self.slack.alerts.clear()
        watch_waivers(self)  # type: ignore[arg-type]
        return [a.title for a in self.slack.alerts]

    def excuse(self, number: int, *names: str) -> None:
        header = self.image(number, Decision.ALLOW)
        verdict = msgspec.structs.replace(header.verdict, reasons=(Reason("high", Decision.ALLOW, waived=names),))
        self.headers[-1] = msgspec.structs.replace(header, verdict=verdict)


def days(number: float) -> timedelta:
    return timedelta(days=number)


def test_the_end_is_told_a_week_before_a_day_before_and_when_it_has_come_each_once():
    place = Watched()
    place.keep(waiver(days=30))
    told = {n: title for n in range(32) for title in place.watch(days(n))}
    assert {n: title.partition(": ")[0] for n, title in told.items()} == {
        23: "Waiver ends on 2026-03-31 12:00 UTC",
        29: "Waiver ends on 2026-03-31 12:00 UTC",
        30: "Waiver has ended",
    }


def test_the_boundaries_belong_to_what_comes():
    place = Watched()
    place.keep(waiver(days=30))
    moment = timedelta(microseconds=1)
    assert place.watch(days(23) - moment) == []
    assert len(place.watch(days(23))) == 1
    assert place.watch(days(29) - moment) == []
    assert len(place.watch(days(29))) == 1
    assert place.watch(days(30) - moment) == []
    assert place.watch(days(30)) == ["Waiver has ended: CVE-2026-0001 in team/*"]


def test_a_clock_that_stood_still_makes_up_for_nothing():
    place = Watched()
    place.keep(waiver(days=30))
    assert len(place.watch(days(29.5))) == 1
    assert len(place.watch(days(31))) == 1
    assert place.watch(days(32)) == []


@pytest.mark.parametrize(
    ("length", "told"), [(0.5, ["over"]), (1, ["over"]), (3, ["day", "over"]), (7, ["day", "over"])]
)
def test_a_short_waiver_is_not_warned_of_as_soon_as_it_is_given(length: float, told: list[str]):
    place = Watched()
    place.keep(waiver(days=length))
    seen = []
    for hour in range(int(length * 24) + 2):
        place.watch(timedelta(hours=hour))
        seen += [place.waivers.told[w.id].stage.name.lower() for w in place.waivers.read() if place.slack.alerts]
    assert seen == told


def test_a_waiver_that_was_renewed_is_told_of_again():
    place = Watched()
    place.keep(waiver(days=30))
    assert len(place.watch(days(29))) == 1
    renewed = msgspec.structs.replace(waiver(days=60), created_at=NOW + days(29))
    place.keep(renewed)
    assert place.watch(days(30)) == []
    assert len(place.watch(days(53))) == 1
    assert len(place.watch(days(60))) == 1


def test_a_warning_says_all_that_is_needed_to_act():
    place = Watched(waivers={"max_days": 14})
    one = waiver(days=10, package="openssl", reason="not <!channel> reachable")
    place.keep(one)
    place.excuse(1, one.id)
    place.excuse(2, "w-other")
    place.excuse(3, one.id, "w-other")
    place.watch(days(4))
    (alert,) = place.slack.alerts
    assert alert.event == "waiver"
    assert alert.notes[0].startswith(f"{one.id}: CVE-2026-0001 (package openssl) in team/*: not <!channel> reachable")
    assert "approved by platform security, until 2026-03-11 12:00 UTC" in alert.notes[0]
    assert "It excuses something in 2 images now." in alert.notes
    assert alert.what_to_do[0] == f"To renew it: lazaretto waive --renew {one.id} --expires 14d"


def test_when_it_has_ended_it_says_how_many_images_it_was_about():
    place = Watched()
    place.keep(waiver(days=10))
    place.image(1)
    place.image(2, Decision.BLOCK, "prod/api")
    place.watch(days(10))
    (alert,) = place.slack.alerts
    assert "It was about 1 image." in alert.notes
    assert alert.what_to_do == (f"To give it again: lazaretto waive --renew {waiver().id} --expires 30d",)


def test_many_that_end_together_cost_one_walk():
    place = Watched()
    place.keep(*(waiver(days=10, vulnerability_id=f"CVE-2026-{n:04d}") for n in range(20)))
    place.image(1)
    assert len(place.watch(days(9))) == 20
    assert place.queries.pages == 1
    assert place.watch(days(9)) == []
    assert place.queries.pages == 1


def test_very_many_that_end_together_are_told_of_in_several_runs_the_most_urgent_first():
    place = Watched()
    place.keep(*(waiver(days=10 + n / 100, vulnerability_id=f"CVE-2026-{n:04d}") for n in range(TOLD_AT_MOST + 9)))
    first = place.watch(days(10))
    assert len(first) == TOLD_AT_MOST
    assert first[0] == "Waiver has ended: CVE-2026-0000 in team/*"
    assert len(place.watch(days(10))) == 9
    assert place.watch(days(10)) == []


def test_what_was_not_remembered_is_announced_again_and_what_the_queue_did_not_take_by_the_next_run():
    place = Watched()
    place.keep(waiver(days=10))
    assert len(place.watch(days(9))) == 1
    place.waivers.told.clear()
    assert len(place.watch(days(9))) == 1
    place.slack.broken = True
    with pytest.raises(TransientError):
        place.watch(days(10))
    assert place.waivers.told[waiver().id] == Notice(NOW + days(10), NoticeStage.DAY)
    place.slack.broken = False
    assert len(place.watch(days(10) + timedelta(minutes=5))) == 1
    assert place.watch(days(11)) == []


def test_what_ended_long_ago_is_dropped_with_what_was_told_of_it():
    place = Watched(history_days=30)
    place.keep(waiver(days=10))
    place.watch(days(11))
    place.watch(days(40) - timedelta(seconds=1))
    assert len(place.waivers.read()) == 1
    place.watch(days(40))
    assert place.waivers.read() == ()
    place.watch(days(41))
    assert place.waivers.told == {}


def test_changes_that_have_not_arrived_are_sent_on():
    place = Watched()
    place.watch(days(0))
    assert place.sent == []
    place.put(waiver())
    place.watch(days(0))
    assert [(queue, message) for queue, message, _ in place.sent] == [("sweeps", WaiversChanged())]
