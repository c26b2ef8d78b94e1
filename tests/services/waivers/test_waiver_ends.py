"""A waiver that ends over many images is told by one summary; what else got worse, and what came late, by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.domain.events.message import Decide, WatchWaivers
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import SUMMED_WITHIN
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import Child, ImageRef, Kind
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.waivers.alert import PATIENCE, NoticeStage
from chalicelib.domain.waivers.change import SETTLED_AFTER
from chalicelib.errors import DeniedError, TransientError
from chalicelib.services.assessment.re_decide import re_decide
from chalicelib.services.handlers.receive_batch import receive_batch
from chalicelib.services.waivers.manage_waivers import Give, manage_waivers
from chalicelib.services.waivers.watch_waivers import watch_waivers
from tests.fakes.table import FakeTable
from tests.services.lockstep import turn
from tests.services.waivers.test_apply_waiver_changes import waiver
from tests.services.world import World, new_ref

BLOCK, WARN, ALLOW, QUARANTINE = Decision.BLOCK, Decision.WARN, Decision.ALLOW, Decision.QUARANTINE
TICK = timedelta(minutes=5)
FLAW = "CVE-2026-0001"


class Ends(World):
    """Images with one flaw each, of these severities, that a waiver of two days excuses. `told`: every alert."""

    name = "slack"

    def __init__(self, *severities: Severity, repository: str = "team/*", **policy: Any) -> None:
        self.told: list[Any] = []
        self.broken = 0
        super().__init__(FakeTable)
        if policy:
            self.change_policy(**policy)
        self.one = waiver(self.moment, days=2, repository=repository)
        self.give(self.one)
        self.refs = [self.flawed(severity) for severity in severities]
        self.drain()
        assert {self.header(ref).decision for ref in self.refs} <= {ALLOW}
        self.told.clear()
        self.moment = self.one.expires_at

    def flawed(self, severity: Severity) -> ImageRef:
        ref = new_ref()
        image = self.add(ref)
        image.change(tags=("v1",))
        image.scanned()
        image.flaw(1, severity=severity)
        self.deliver(image.action("PUSH", tag="v1"), image.scanned())
        self.drain()
        return ref

    def give(self, one: Waiver) -> None:
        manage_waivers(Give(one), "oncall", self)  # type: ignore[arg-type]
        self.drain()

    @property
    def channel(self) -> Any:
        return self

    def send(self, *said: Any, **named: Any) -> None:
        """Both a queue's and a channel's: an alert is the only thing that comes alone."""
        if len(said) > 1:
            super().send(*said, **named)
            return
        turn("tell")
        if self.broken:
            self.broken -= 1
            raise TransientError("not now")
        self.told.append(said[0])

    def decide(self, *refs: ImageRef) -> None:
        deliveries = [self._delivery(self._envelope(Decide(ref, "clock"))) for ref in refs]
        assert receive_batch(deliveries, self) == {}  # type: ignore[arg-type]
        self.drain_queues()

    def _envelope(self, body: Any) -> Any:
        self.put("scans", body)
        return self.envelopes.pop()

    def drain_queues(self) -> None:
        """What was sent is handled; the clock does not come."""
        while self.envelopes:
            self.moment = max(self.moment, min(e.at for e in self.envelopes))
            for queue in ("scans", "actions", "alerts", "sweeps"):
                while (worker := self.start(queue)) is not None:
                    self.finish(worker)

    def watch(self) -> None:
        watch_waivers(self)  # type: ignore[arg-type]
        while (worker := self.start("alerts")) is not None:
            self.finish(worker)

    def tick(self, passed: timedelta = TICK) -> None:
        """The clock comes: the watch first, then the images."""
        self.moment += passed
        self.watch()
        for shard in sorted({shard_of(ref) for ref in self.images}):
            re_decide(shard, self)  # type: ignore[arg-type]
        self.drain_queues()

    @property
    def own(self) -> list[Any]:
        """Alerts about one image."""
        return [alert for alert in self.told if alert.ref is not None]

    @property
    def summaries(self) -> list[Any]:
        return [alert for alert in self.told if alert.event == "waiver"]

    @property
    def left(self) -> list[ImageRef]:
        return [ref for ref in self.images if self.header(ref).left_to_summary]

    def decisions(self) -> set[Decision]:
        return {self.header(ref).decision for ref in self.refs}


H, C, M = Severity.HIGH, Severity.CRITICAL, Severity.MEDIUM


def test_many_images_whose_waiver_ended_are_one_summary() -> None:
    place = Ends(H, H, H, M)
    place.tick(timedelta(0))
    assert place.told == []
    assert place.decisions() == {BLOCK, WARN}
    place.tick()
    (summary,) = place.told
    assert summary.title == f"Waiver has ended: {FLAW} in team/*"
    assert "It was about 4 images." in summary.notes
    assert "Turned by its end alone: BLOCK: 3, WARN: 1." in summary.notes
    assert sum(note.startswith("BLOCK team/run-") for note in summary.notes) == 3
    assert len(summary.links) == 4
    assert all(url.startswith("https://console.aws.amazon.com/") for _, url in summary.links)
    for _ in range(40):
        place.tick()
    assert len(place.told) == 1
    assert place.left == []


def test_only_the_worst_are_named_and_the_others_counted() -> None:
    place = Ends(*[H] * 7, M)
    place.tick(timedelta(0))
    place.tick()
    (summary,) = place.told
    named = [note for note in summary.notes if note.startswith(("BLOCK team", "WARN team"))]
    assert len(named) == 5
    assert all(note.startswith("BLOCK") for note in named)
    assert "and 3 more" in summary.notes


def test_the_summary_says_what_was_done_and_what_was_left_alone() -> None:
    place = Ends(C, C, C, quarantine={"when_running": "alert"})
    place.runtime.run(place.refs[0], "ECS service web")
    place.tick(timedelta(0))
    assert place.decisions() == {QUARANTINE}
    place.tick()
    (summary,) = place.told
    assert summary.registry == (
        "2 quarantined (archive)",
        "1 to be quarantined: not done, tried again every 15 minutes",
    )
    assert place.own == []


def test_what_a_workload_held_back_is_told_when_it_is_done_at_last() -> None:
    """No summary tells of it any more, and nobody knows the day on which the workload stops."""
    place = Ends(C, C, quarantine={"when_running": "alert"})
    place.runtime.run(place.refs[0], "ECS service web")
    place.tick(timedelta(0))
    place.tick()
    place.told.clear()
    place.runtime.stop(place.refs[0])
    place.tick(timedelta(days=3))
    (report,) = place.told
    assert (report.ref, report.act) == (place.refs[0], True)
    assert report.registry[0].startswith("Quarantined (archive) at ")


def test_an_act_that_fails_is_told_by_itself_at_once() -> None:
    place = Ends(C)

    def refuse(ref: ImageRef) -> None:
        raise DeniedError("archive the image: AccessDeniedException")

    place.acts.archive = refuse
    place.tick(timedelta(0))
    (report,) = place.told
    assert (report.ref, report.act) == (place.refs[0], True)
    assert "failed" in report.title
    place.tick()
    assert place.summaries[0].registry == ("1 to be quarantined: failed, tried again",)


def test_what_else_got_worse_in_the_same_decision_is_told_by_itself() -> None:
    place = Ends(H, H)
    image = place.images[place.refs[0]]
    image.flaw(2)
    place.deliver(image.scanned())
    place.drain_queues()
    (alert,) = place.own
    assert (alert.ref, alert.decision) == (place.refs[0], BLOCK)
    place.tick(timedelta(0))
    place.tick()
    assert "Turned by its end alone: BLOCK: 1." in place.summaries[0].notes
    assert len(place.own) == 1


def test_what_gets_worse_before_the_summary_is_told_by_itself_and_as_people_know_it() -> None:
    place = Ends(H)
    (ref,) = place.refs
    place.tick(timedelta(0))
    assert place.left == [ref]
    place.deliver(place.images[ref].flaw(2, severity=C))
    place.drain_queues()
    (alert,) = place.own
    assert (alert.decision, alert.former) == (QUARANTINE, None)
    assert place.left == []


def test_other_findings_of_the_same_decision_neither_lose_nor_hasten_what_waits() -> None:
    place = Ends(H)
    place.tick(timedelta(0))
    place.deliver(place.images[place.refs[0]].flaw(2))
    place.drain_queues()
    assert place.left == place.refs
    place.tick()
    assert "Turned by its end alone: BLOCK: 1." in place.summaries[0].notes
    assert place.own == []


def test_a_waiver_that_is_given_again_before_the_summary_leaves_nothing_to_tell() -> None:
    place = Ends(H, H)
    place.tick(timedelta(0))
    assert len(place.left) == 2
    place.give(waiver(place.moment, days=30, created_at=place.moment))
    assert place.left == []
    assert place.decisions() == {ALLOW}
    assert [a.title.partition(":")[0] for a in place.told] == ["Waiver changed"]
    assert {place.header(ref).announced for ref in place.refs} == {None}


def test_what_is_over_before_the_summary_is_not_told_at_all() -> None:
    place = Ends(H)
    place.tick(timedelta(0))
    image = place.images[place.refs[0]]
    place.moment += timedelta(minutes=1)
    place.deliver(image.close(1))
    place.drain()
    assert place.decisions() == {ALLOW}
    assert (place.left, place.own) == ([], [])


# ---- an index takes the worst of its images


def index_over(place: Ends, *children: ImageRef) -> ImageRef:
    home = children[0].home
    ref = home.image(f"sha256:{'f' * 63}{len(place.images):x}")
    place.stored.put_header(
        Header(
            ref=ref,
            kind=Kind.INDEX,
            exists=True,
            existence_at=place.moment,
            known_at=place.moment,
            tags=("multi",),
            children=tuple(Child(c.digest) for c in children),
        )
    )
    for child in children:
        header = place.header(child)
        place.stored.put_header(msgspec.structs.replace(header, parents=(*header.parents, ref.digest)))
    place.images[ref] = place.images[children[0]]
    place.deliver(Decide(ref, "test"))
    place.drain_queues()
    return ref


def test_an_index_is_summed_up_with_its_image() -> None:
    place = Ends(H)
    index = index_over(place, place.refs[0])
    assert place.header(index).decision is ALLOW
    place.told.clear()
    place.tick(timedelta(0))
    assert place.header(index).decision is BLOCK
    assert set(place.left) == {index, place.refs[0]}
    place.tick()
    (summary,) = place.told
    assert "Turned by its end alone: BLOCK: 2." in summary.notes
    assert place.left == []


def test_an_index_of_an_index_is_summed_up_with_both() -> None:
    place = Ends(H)
    inner = index_over(place, place.refs[0])
    outer = index_over(place, inner)
    place.told.clear()
    place.tick(timedelta(0))
    assert set(place.left) == {outer, inner, place.refs[0]}
    place.tick()
    (summary,) = place.told
    assert "Turned by its end alone: BLOCK: 3." in summary.notes
    assert place.left == []


def test_an_index_that_hangs_on_two_images_is_summed_up_whichever_was_decided_first() -> None:
    place = Ends(M, H)
    first, second = place.refs
    sibling = first.home.image(second.digest)
    header, document = place.header(second), place.document(second)
    place.stored.put_document(msgspec.structs.replace(document, ref=sibling, revision=0), type(document)(sibling))
    place.stored.put_header(msgspec.structs.replace(header, ref=sibling, version=0, revision=1))
    place.images[sibling] = place.images[second]
    index = index_over(place, first, sibling)
    place.told.clear()
    place.decide(first)
    assert place.header(index).decision is WARN
    place.decide(sibling)
    assert place.header(index).decision is BLOCK
    assert place.own == []
    assert place.header(index).left_to_summary.former is None


def test_an_index_whose_image_got_worse_besides_is_told_by_the_image() -> None:
    place = Ends(M)
    (ref,) = place.refs
    index = index_over(place, ref)
    place.told.clear()
    place.decide(ref)
    assert set(place.left) == {index, ref}
    place.deliver(place.images[ref].flaw(2))
    place.drain_queues()
    assert {(alert.ref, alert.decision, alert.former) for alert in place.own} == {(ref, BLOCK, None)}
    assert (place.left, place.header(index).announced) == ([], BLOCK)


# ---- nothing is lost, whatever comes when


def test_an_image_that_is_decided_after_the_summary_is_told_by_itself() -> None:
    place = Ends(H, H)
    early, late = place.refs
    place.decide(early)
    place.watch()
    assert place.told == []
    place.moment += PATIENCE
    place.watch()
    (summary,) = place.told
    assert "1 image is not decided again yet: told image by image." in summary.notes
    place.decide(late)
    assert place.left == [late]
    place.tick(SUMMED_WITHIN)
    (alert,) = place.own
    assert (alert.ref, alert.decision) == (late, BLOCK)
    assert f"It was excused by {place.one.id}, which has ended." in alert.notes
    assert place.left == []


def test_a_summary_waits_for_the_last_of_its_images_and_no_longer_than_half_an_hour() -> None:
    place = Ends(H)
    for _ in range(6):
        place.watch()
        assert place.told == []
        place.moment += TICK
    place.watch()
    assert len(place.summaries) == 1


def test_a_summary_waits_until_acts_and_indexes_have_followed() -> None:
    place = Ends(H)
    place.decide(*place.refs)
    place.watch()
    assert place.told == []
    place.moment += SETTLED_AFTER
    place.watch()
    assert len(place.summaries) == 1


def test_a_message_that_comes_again_sends_no_alert_that_is_left_to_the_summary() -> None:
    place = Ends(H)
    (ref,) = place.refs
    place.decide(ref)
    for _ in range(3):
        place.put("scans", Decide(ref, "clock", attempt=1))
        place.drain_queues()
    assert place.told == []
    assert place.left == [ref]


def test_a_summary_that_a_channel_did_not_take_is_delivered_later_and_no_image_by_itself() -> None:
    place = Ends(H, H)
    place.tick(timedelta(0))
    place.broken = 1
    place.tick()
    assert ["Turned by its end alone: BLOCK: 2." in s.notes for s in place.told] == [True]
    assert place.left == []


def test_what_no_summary_tells_is_told_image_by_image() -> None:
    """The clock for waivers never comes."""
    place = Ends(H, H)
    place.decide(*place.refs)
    place.moment += SUMMED_WITHIN
    place.drain()
    assert {alert.ref for alert in place.own} == set(place.refs)


def test_a_channel_that_does_not_hear_of_waivers_is_told_image_by_image_at_once() -> None:
    place = Ends(H, H, notify=[{"channel": "slack", "min_decision": "warn", "events": ["verdict"]}])
    place.tick(timedelta(0))
    assert {alert.ref for alert in place.own} == set(place.refs)
    assert place.left == []


def test_routes_that_change_before_the_summary_lose_nothing() -> None:
    place = Ends(H, H)
    place.tick(timedelta(0))
    place.change_policy(notify=[{"channel": "slack", "min_decision": "warn", "events": ["verdict"]}])
    place.drain()
    place.tick()
    assert place.summaries == []
    place.tick(SUMMED_WITHIN)
    assert {alert.ref for alert in place.own} == set(place.refs)


def test_what_is_too_low_for_the_routes_is_counted_and_told_to_none_by_itself() -> None:
    place = Ends(H, M, notify=[{"channel": "slack", "min_decision": "block"}])
    place.tick(timedelta(0))
    place.tick()
    (summary,) = place.told
    assert "Turned by its end alone: BLOCK: 1, WARN: 1." in summary.notes
    assert place.header(place.refs[1]).announced is None


def test_two_waivers_that_end_together_both_count_the_image_that_both_excused() -> None:
    place = Ends(H)
    (ref,) = place.refs
    place.moment -= timedelta(days=1)
    other = waiver(place.moment, repository=ref.repository, expires_at=place.one.expires_at)
    place.give(other)
    assert place.header(ref).verdict.waived == {place.one.id, other.id}
    place.told.clear()
    place.moment = place.one.expires_at
    place.tick(timedelta(0))
    place.tick()
    assert [("Turned by its end alone: BLOCK: 1." in s.notes) for s in place.told] == [True, True]


def test_a_policy_that_came_meanwhile_is_no_end_of_a_waiver() -> None:
    place = Ends(H)
    place.change_policy(rules=[{"id": "all", "match": {"severity": {"gte": "LOW"}}, "decision": "block"}])
    place.drain_queues()
    assert {alert.ref for alert in place.own} == set(place.refs)


def test_a_waiver_over_more_images_than_one_walk_looks_at_is_summed_up_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chalicelib.services.waivers.watch_waivers.PAGE", 2)
    monkeypatch.setattr("chalicelib.services.waivers.watch_waivers.LOOKED_AT_MOST", 2)
    place = Ends(*[H] * 5)
    place.tick(timedelta(0))
    for _ in range(4):
        place.tick()
    counted = [note for s in place.told for note in s.notes if note.startswith("Turned")]
    assert counted == ["Turned by its end alone: BLOCK: 2."] * 2 + ["Turned by its end alone: BLOCK: 1."]
    assert place.own == []
    assert place.left == []


WHAT_HAPPENS = ["watch", "watch", "decide", "decide", "twice", "dies", "clock", "worse", "broken", "wait"]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from([H, M, C]), min_size=1, max_size=4), st.data())
def test_whatever_happens_each_image_is_told_by_a_summary_or_by_itself(
    some: list[Severity], data: st.DataObject
) -> None:
    """Workers that die anywhere, messages that come again, a channel that fails, images that are late."""
    place = Ends(*some, mode="observe")
    for _ in range(data.draw(st.integers(1, 12))):
        happens(place, data)
    place.broken = 0
    for _ in range(3):
        place.tick(SUMMED_WITHIN)
        place.drain_queues()
    told = {alert.ref for alert in place.own}
    named = {ref for ref in place.refs for s in place.summaries for note in s.notes if str(ref) in note}
    assert told | named == set(place.refs)
    assert place.left == []
    assert place.waivers.told[place.one.id].stage is NoticeStage.OVER
    assert {place.header(ref).decision for ref in place.refs} <= {BLOCK, WARN, QUARANTINE}


def happens(place: Ends, data: st.DataObject) -> None:
    ref = data.draw(st.sampled_from(place.refs))
    match data.draw(st.sampled_from(WHAT_HAPPENS)):
        case "watch":
            _once(place.watch)
        case "decide":
            place.decide(ref)
        case "twice":
            place.put("scans", Decide(ref, "clock", attempt=1))
            place.drain_queues()
        case "dies":
            dies(place, ref, data)
        case "clock":
            _once(place.tick)
        case "worse":
            place.deliver(place.images[ref].flaw(2, severity=C))
            place.drain_queues()
        case "broken":
            place.broken = data.draw(st.integers(0, 2))
        case "wait":
            place.moment += data.draw(st.sampled_from([timedelta(minutes=2), PATIENCE, timedelta(hours=1)]))


def dies(place: Ends, ref: ImageRef, data: st.DataObject) -> None:
    """Somewhere on its way; the queue delivers again what it had."""
    place.put(*data.draw(st.sampled_from([("sweeps", WatchWaivers()), ("scans", Decide(ref, "clock"))])))
    worker = place.work_on([place.envelopes[-1]])
    for _ in range(data.draw(st.integers(0, 25))):
        if not worker.done:
            place.step(worker)
    if not worker.done:
        place.kill(worker)


def _once(job: Any) -> None:
    try:
        job()
    except TransientError:
        return
