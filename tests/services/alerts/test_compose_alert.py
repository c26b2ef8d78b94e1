"""What is read for one alert, and what people read then: as everything stands now, and nothing that is not needed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.enforcement.act_words import outcome_words
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import (
    ActionType,
    Deferred,
    EndedWaivers,
    Holding,
    Order,
    PendingAct,
    PendingAlert,
    PendingNotice,
    PendingReport,
)
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import InUseState, StorageStatus
from chalicelib.domain.images.verdict import Decision, VerdictSummary
from chalicelib.errors import DeniedError, UpstreamError
from chalicelib.services.alerts.compose_alert import compose_alert
from chalicelib.services.waivers.manage_waivers import Give, manage_waivers
from tests.services.context import Story
from tests.services.waivers.test_apply_waiver_changes import waiver

ALLOW, WARN, BLOCK, QUARANTINE = Decision.ALLOW, Decision.WARN, Decision.BLOCK, Decision.QUARANTINE
INDEX = "sha256:" + "e" * 64


def composed(
    story: Story, header: Header | None = None, kind: type[PendingNotice] = PendingAlert, **facts: Any
) -> Alert:
    header = header or story.head
    number = header.verdict.number if header.verdict else 1
    effect = kind(number, story.moment, **{"decision": header.decision, **facts})
    story.met.clear()
    return compose_alert(header, effect, story.fresh(), story)  # type: ignore[arg-type]


def quarantined_by_verdict(**facts: Any) -> tuple[Story, Header]:
    """A CRITICAL flaw, decided, with nothing done and nothing to be done; `facts` of its header."""
    story = Story(mode="observe")
    story.receive(story.one.flaw(1, severity=Severity.CRITICAL))
    story.envelopes.clear()
    left = msgspec.structs.replace(story.head, pending=(), queued=(), **facts)
    assert left.decision is QUARANTINE
    return story, left


def test_an_alert_for_no_verdict_is_a_failure_and_no_empty_alert() -> None:
    story = Story()
    with pytest.raises(UpstreamError, match="an alert is wanted for no verdict"):
        composed(story, msgspec.structs.replace(story.head, verdict=None))
    with pytest.raises(UpstreamError, match="an alert is wanted for no verdict"):
        composed(story, decision=None)


@pytest.mark.parametrize(("decision", "asked"), [(ALLOW, False), (WARN, False), (BLOCK, True), (QUARANTINE, True)])
def test_what_hangs_on_an_image_is_looked_up_only_where_its_doors_are_closed(decision: Decision, asked: bool) -> None:
    story = Story()
    story.runtime.run(story.ref, "ECS service web")
    alert = composed(story, decision=decision)
    assert bool(alert.radius) is asked
    assert (story.met["describe_image"], story.met["headers_of"]) == ((0, 1) if asked else (0, 0))
    assert alert.running is (InUseState.YES if asked else story.head.in_use.state)


def test_of_an_image_that_is_gone_nothing_is_looked_up() -> None:
    story = Story()
    alert = composed(story, msgspec.structs.replace(story.head, exists=False))
    assert alert.radius == ()
    assert story.met["headers_of"] == 0
    assert "The image has been deleted since." in alert.notes


def test_a_look_up_that_fails_is_named_and_keeps_nobody_from_being_told() -> None:
    story = Story()

    def refuse(*_: Any) -> Any:
        raise DeniedError("DescribeImages: User arn:aws:sts::111122223333:assumed-role/x is not authorized")

    story.describe_image = refuse  # type: ignore[method-assign]
    alert = composed(story)
    assert any("access denied" in line for line in alert.radius)
    assert not any("arn:aws:sts" in line for line in alert.radius)


@pytest.mark.parametrize("severity", [Severity.MEDIUM, Severity.HIGH])
def test_the_indexes_of_an_image_are_read_once(severity: Severity) -> None:
    story = Story()
    story.receive(story.one.flaw(1, severity=severity))
    held = msgspec.structs.replace(story.head, parents=(INDEX,))
    asked: list[Any] = []
    story.stored.read_headers, read = (
        lambda refs: asked.append(list(refs)) or read(asked[-1]),
        story.stored.read_headers,
    )
    composed(story, held, decision=WARN)
    assert asked == [[held.ref.home.image(INDEX)]]


def test_a_quarantine_that_is_on_its_way_reads_no_index_and_says_that_it_is() -> None:
    story, left = quarantined_by_verdict()
    act = PendingAct(ActionType.QUARANTINE, 1, story.moment, method="archive")
    alert = composed(story, msgspec.structs.replace(left, pending=(act,)))
    assert alert.registry == ("To be quarantined (archive): on its way.",)


def test_why_a_quarantine_is_left_alone_is_told() -> None:
    story, left = quarantined_by_verdict()
    order = Order(ActionType.RELEASE, "oncall", "rebuilt tomorrow", story.moment)
    alert = composed(story, msgspec.structs.replace(left, order=order))
    assert alert.registry == ("Not quarantined: rebuilt tomorrow.",)


def test_what_another_archived_is_not_said_to_be_quarantined_alone_or_counted() -> None:
    story, left = quarantined_by_verdict()
    left = msgspec.structs.replace(left, storage=StorageStatus.ARCHIVED)
    said = "archived already, by no quarantine of Lazaretto"
    assert composed(story, left).registry == (f"It is {said}: it cannot be pulled.",)
    assert outcome_words([left, left]) == (f"2 {said}",)


def test_an_index_that_needs_the_image_is_read_and_named() -> None:
    story, left = quarantined_by_verdict(parents=(INDEX,))
    index = Header(ref=story.ref.home.image(INDEX), exists=True, existence_at=story.moment, tags=("multi",))
    story.stored.put_header(index)
    alert = composed(story, left)
    assert alert.registry == (f"Not quarantined: an index that may be pulled needs it: {INDEX[:19]}.",)


def test_what_a_waiver_excuses_from_the_rule_that_decided_is_not_named() -> None:
    story = Story()
    story.receive(story.one.flaw(2))
    story.drain()
    assert {f.id for f in composed(story).findings} == {"CVE-2026-0001", "CVE-2026-0002"}
    manage_waivers(Give(waiver(story.moment)), "oncall", story)  # type: ignore[arg-type]
    story.drain()
    assert {f.id for f in composed(story).findings} == {"CVE-2026-0002"}
    story.moment += timedelta(days=31)
    assert {f.id for f in composed(story).findings} == {"CVE-2026-0001", "CVE-2026-0002"}


def test_an_alert_that_a_summary_should_have_told_says_which_waiver_ended() -> None:
    alert = composed(Story(), ended=EndedWaivers(("w-0123456789",), VerdictSummary(ALLOW)))
    assert "It was excused by w-0123456789, which has ended." in alert.notes


def test_a_report_offers_the_release_of_what_cannot_be_pulled() -> None:
    story = Story()
    report = composed(story, kind=PendingReport, decision=QUARANTINE, said="quarantined (archive)", event="verdict")
    assert report.what_to_do == (
        f"To have it pulled all the same: lazaretto release {story.ref} --reason WHY",
        f"All about it: lazaretto image {story.ref}",
    )
    assert (report.act, report.stands, report.decision) == (True, BLOCK, QUARANTINE)
    assert report.radius


def test_a_report_of_what_was_given_back_offers_no_release_and_looks_nothing_up() -> None:
    story = Story()
    report = composed(story, kind=PendingReport, decision=ALLOW, said="released (archive)", event="verdict")
    assert report.what_to_do == (f"All about it: lazaretto image {story.ref}",)
    assert report.radius == ()


def test_a_report_names_the_order_that_stands_and_offers_no_second_release() -> None:
    story = Story()
    order = Order(ActionType.RELEASE, "oncall", "must run today", story.moment)
    released = msgspec.structs.replace(story.head, order=order)
    report = composed(story, released, PendingReport, decision=BLOCK, said="released (archive)", event="verdict")
    assert report.registry[-1].startswith("Ordered by oncall at 2026-03-01 13:00 UTC, to be released: must run today")
    assert not any("lazaretto release" in line for line in report.what_to_do)


def test_a_report_needs_no_verdict() -> None:
    """A person may quarantine what was never decided."""
    story = Story()
    unknown = msgspec.structs.replace(story.head, verdict=None)
    report = composed(story, unknown, PendingReport, decision=QUARANTINE, said="quarantined", event="verdict")
    assert (report.stands, report.number, report.reasons) == (None, 0, ())


def test_what_holds_an_act_is_told_with_the_verdict() -> None:
    story = Story()
    held = Deferred(Holding.RUNNING, "it runs: ECS service web", story.moment)
    act = PendingAct(ActionType.QUARANTINE, 1, story.moment, method="archive", held=held)
    alert = composed(story, msgspec.structs.replace(story.head, pending=(act,)))
    assert alert.registry == (
        "To be quarantined (archive): not done, tried again every 15 minutes: it runs: ECS service web.",
    )
