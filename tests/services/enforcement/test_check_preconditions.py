"""An act that cannot be done now stays open with what holds it, and people are told when that is news."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.enforcement.act_report import RESTORE
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import (
    ActionType,
    Deferred,
    Holding,
    PendingAct,
    PendingAlert,
    PendingReport,
)
from chalicelib.domain.images.finding import Severity
from chalicelib.errors import ContendedError
from chalicelib.services.enforcement.enforce_verdict import SLOW_RESTORE, hold_act
from chalicelib.services.enforcement.read_state import RegistryState
from tests.services.context import Story

REPORT = ActionType.REPORT
MINUTE = timedelta(minutes=1)


class Waiting(Story):
    """One image with a quarantine that is to be done; nothing that was sent is handled."""

    def __init__(self, **act: Any) -> None:
        super().__init__()
        self.receive(self.one.flaw(1, severity=Severity.CRITICAL))
        self.envelopes.clear()
        alone = tuple(msgspec.structs.replace(e, **act) for e in self.head.pending if isinstance(e, PendingAct))
        self.stored.put_header(msgspec.structs.replace(self.head, pending=alone))
        self.forget()

    @property
    def act(self) -> PendingAct:
        act = self.head.act
        assert act is not None
        return act

    @property
    def reports(self) -> list[PendingReport]:
        return [e for e in self.head.pending if isinstance(e, PendingReport)]

    @property
    def records(self) -> list[str]:
        return [r.kind for r in self.stored.actions.get(self.ref, ()) if r.kind != "ALERT"]

    def hold(self, why: Holding, detail: str = "so", *, until: datetime | None = None, read: bool = True) -> None:
        before, state = self.head, RegistryState(self.moment, None) if read else None
        held = Deferred(why, detail, self.moment, until or self.moment + 15 * MINUTE)
        hold_act(before, before, self.act, held, state, self.fresh(), self)  # type: ignore[arg-type]


def test_what_holds_it_and_until_when_is_in_the_header_and_the_clock_comes_then() -> None:
    story = Waiting()
    until = story.moment + 7 * MINUTE
    story.hold(Holding.FUSE, "the fuse has blown", until=until)
    assert story.act.held == Deferred(Holding.FUSE, "the fuse has blown", story.moment, until)
    assert story.head.due_at is not None
    assert story.head.due_at <= until
    assert story.act.number == 1


def test_that_it_runs_is_told_once_and_since_when_is_kept() -> None:
    story = Waiting()
    since = story.moment
    story.hold(Holding.RUNNING, "it runs: ECS service web")
    (report,) = story.reports
    assert "it runs: ECS service web" in report.said
    story.moment += 15 * MINUTE
    story.hold(Holding.RUNNING, "it runs: ECS service api")
    assert story.reports == [report]
    assert (story.act.held.since, story.act.held.detail) == (since, "it runs: ECS service api")


def test_another_reason_begins_anew_and_is_told_again() -> None:
    story = Waiting()
    story.hold(Holding.RUNNING)
    story.moment += MINUTE
    story.hold(Holding.FUSE)
    assert story.act.held.since == story.moment
    story.moment += MINUTE
    story.hold(Holding.RUNNING, "it runs again")
    assert "it runs again" in story.reports[-1].said


def test_that_the_fuse_holds_it_is_the_fuses_own_alert() -> None:
    story = Waiting()
    story.hold(Holding.FUSE)
    assert story.reports == []
    assert story.records == []


def test_a_registry_that_cannot_be_read_is_recorded_and_told_once() -> None:
    story = Waiting()
    for _ in range(3):
        story.hold(Holding.FAILED, "the registry cannot be read: AccessDenied", read=False)
        story.moment += MINUTE
    (report,) = story.reports
    assert "the registry cannot be read: AccessDenied" in report.said
    assert len(story.records) == 1


def test_of_many_it_is_left_to_the_summary_that_one_runs_but_not_that_it_failed() -> None:
    story = Waiting(quiet=True)
    story.hold(Holding.RUNNING)
    assert story.reports == []
    story.hold(Holding.FAILED, "the registry cannot be read", read=False)
    assert len(story.reports) == 1


def test_of_many_one_that_waits_for_a_workload_is_told_by_itself_when_it_is_done() -> None:
    story = Waiting(quiet=True)
    story.hold(Holding.FUSE)
    assert story.act.quiet, "the fuse lets all of them pass, one after the other"
    story.hold(Holding.RUNNING)
    assert (story.reports, story.act.quiet) == ([], False)


def test_an_image_that_is_not_there_is_waited_for_and_told_to_nobody() -> None:
    story = Waiting()
    story.hold(Holding.FAILED, "the registry does not have the image (any more)")
    assert (story.reports, story.records) == ([], [])
    assert story.act.held.why is Holding.FAILED


def test_a_restore_is_told_of_once_and_only_when_it_takes_too_long() -> None:
    story = Waiting()
    story.hold(Holding.RESTORING)
    story.moment += SLOW_RESTORE
    story.hold(Holding.RESTORING)
    assert story.reports == []
    story.moment += MINUTE
    for _ in range(3):
        story.hold(Holding.RESTORING)
    (report,) = story.reports
    assert report.event == RESTORE
    assert report.said == "ECR has been restoring it for 31 minutes and has not finished"
    assert story.act.reported == (RESTORE,)


def test_what_is_only_observed_is_recorded_as_what_would_be_done_and_told_to_nobody() -> None:
    story = Waiting(held=Deferred(Holding.OBSERVE, "the policy only observes", datetime.min))
    story.runtime.run(story.ref, "ECS service web")
    before = story.act
    story.hold(Holding.OBSERVE)
    story.hold(Holding.OBSERVE)
    assert story.records == ["WOULD_QUARANTINE"]
    assert story.reports == []
    assert story.act == before


def test_an_alert_that_is_on_its_way_tells_it_and_no_report_is_needed() -> None:
    story = Waiting()
    verdict = story.head.verdict
    alert = PendingAlert(verdict.number, story.moment, verdict.decision)
    story.stored.put_header(msgspec.structs.replace(story.head, pending=(*story.head.pending, alert)))
    story.hold(Holding.RUNNING)
    assert story.reports == []


def test_a_header_that_another_worker_wrote_meanwhile_is_not_overwritten() -> None:
    story = Waiting()
    before: Header = story.head
    story.stored.put_header(before)
    held = Deferred(Holding.FUSE, "so", story.moment, story.moment + MINUTE)
    with pytest.raises(ContendedError):
        hold_act(before, before, before.act, held, None, story.fresh(), story)  # type: ignore[arg-type]
    assert story.act.held is None
