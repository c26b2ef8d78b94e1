"""The write protocol, story by story: each of these made a simpler draft wrong."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.domain.events.message import Act, Decide, InheritFirstSeen, Refresh, RetriedEvent
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.finding import FindingsDocument, FindingStatus, Severity
from chalicelib.domain.images.image import Scan, ScanState, Source, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import AbsentError, ConflictError, DeniedError, TransientError, UpstreamError
from chalicelib.services.assessment.pull_listing import is_covered
from chalicelib.services.assessment.re_decide import re_decide
from tests.agreement import disagreements
from tests.services.aws_model import seconds
from tests.services.context import Story
from tests.services.lockstep import Crash
from tests.services.world import SETTLE, START, Envelope, policy

CRITICAL, HIGH, MEDIUM = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM
OPEN, SUPPRESSED, RESOLVED = FindingStatus.OPEN, FindingStatus.SUPPRESSED, FindingStatus.RESOLVED


def one_finding(story: Story):
    return next(f for f in story.doc.findings if f.vulnerability_id == "CVE-2026-0001")


# ---- the runs that broke earlier drafts


def test_a_slow_worker_does_not_overwrite_a_newer_look():
    story = Story()
    story.deliver(story.one.covered())
    slow = story.start("scans")
    while slow.last != "read_document":
        story.step(slow)
    story.after(10)
    story.receive(story.one.flaw(1, severity=CRITICAL))
    story.after(5)
    story.finish(slow)
    assert one_finding(story).severity is CRITICAL
    story.drain()
    assert (one_finding(story).severity, story.head.decision) == (CRITICAL, Decision.QUARANTINE)


def test_a_slow_look_does_not_close_what_a_newer_look_says_is_only_archived():
    story = Story()
    story.deliver(story.one.covered())
    story.one.lapse(ScanState.EXPIRED, "SCAN_ELIGIBILITY_EXPIRED")
    story.after(600).one.change(coverage=Scan(ScanState.COMPLETE, None, Source.ENHANCED, story.moment))
    slow = story.start("scans")
    while slow.last != "read_document":
        story.step(slow)
    story.after(1).one.change(coverage=Scan(ScanState.EXPIRED, None, Source.ENHANCED, story.moment))
    story.receive(story.one.covered())
    story.finish(slow)
    assert story.status == {1: "OPEN"}
    assert story.head.scan.state is ScanState.EXPIRED


def test_an_update_its_reversal_and_the_update_again_delivered_third_before_second():
    story = Story()
    first = story.one.flaw(1, severity=CRITICAL)
    second = story.after(1).one.flaw(1, severity=HIGH)
    third = story.after(1).one.flaw(1, severity=CRITICAL)
    story.receive(first)
    story.receive(third)
    story.receive(second)
    story.drain()
    assert one_finding(story).severity is CRITICAL
    story.check()


def test_an_update_back_to_what_is_stored_delivered_before_the_update_is_mended_by_the_later_look():
    story = Story(mode="observe")
    change = story.one.flaw(1, severity=CRITICAL)
    back = story.after(1).one.flaw(1, severity=HIGH)
    story.receive(back)
    story.receive(change)
    assert one_finding(story).severity is CRITICAL
    assert story.looks_sent == [60]
    story.drain()
    assert one_finding(story).severity is HIGH


def crash_at(story: Story, name: str, *events) -> None:
    """The worker that handles these dies just before the call `name`; the queue delivers them again later."""
    story.deliver(*events)
    worker = story.work_on(story.waiting("scans"))
    while worker.last != name:
        story.step(worker)
    story.kill(worker)


@pytest.mark.parametrize("known", [True, False])
def test_a_crash_between_document_and_header(known):
    story = Story(known=known)
    story.one.scanned()
    story.one.flaw(2, severity=MEDIUM)
    crash_at(story, "put_header", story.one.scanned())
    assert story.doc.revision == 1 + known
    story.drain()
    assert 2 in story.status
    story.check()


def test_a_duplicate_is_not_covered_by_a_header_that_does_not_agree_with_its_document():
    story = Story()
    old = story.one.scanned()
    story.after(300).one.flaw(2)
    crash_at(story, "put_header", story.one.scanned())
    story.receive(old)
    stored = story.stored.read_headers([story.ref])[story.ref]
    assert stored.header.revision == stored.document_revision


def crash_after(story: Story, name: str, *events) -> list[Envelope]:
    """As `crash_at`, just after the call. Returns what the worker had: SQS may show it to another worker as well, for
    the first time, and delete it when that one is done."""
    story.deliver(*events)
    taken = story.waiting("scans")
    worker = story.work_on(taken)
    while worker.last != name:
        story.step(worker)
    story.step(worker)
    story.kill(worker)
    return [msgspec.structs.replace(envelope, at=story.moment, receives=0) for envelope in taken]


def test_a_crash_after_the_put_that_promises_a_refresh_leaves_the_refresh_sent():
    story = Story()
    crash_after(story, "put_header", story.one.flaw(2, severity=CRITICAL))
    assert story.head.refresh_due_at is not None
    assert story.looks_sent == [60]
    story.drain()
    story.check()


def test_a_refresh_is_sent_also_where_another_worker_is_done_with_the_message_of_one_that_died():
    story = Story()
    shown = crash_after(story, "put_header", story.one.flaw(2, severity=CRITICAL))
    story.envelopes = [e for e in story.envelopes if e.number != shown[0].number] + shown
    story.drain()
    assert story.head.refresh_due_at is None
    assert story.status[2] == "OPEN"


def test_a_write_that_takes_longer_than_its_refresh_waits_sends_it_again():
    story = Story()
    story.deliver(story.one.flaw(2, severity=CRITICAL))
    worker = story.work_on(story.waiting("scans"))
    while worker.last != "put_header":
        story.step(worker)
    story.moment += timedelta(seconds=61)
    refresh = story.work_on(story.waiting("scans"))
    story.finish(refresh)
    story.finish(worker)
    story.drain()
    story.check()


def test_a_crash_between_an_archive_and_its_look_of_an_image_never_listed():
    story = Story(known=False)
    story.receive(story.one.action("PUSH", tag="v1"))
    crash_after(story, "put_header", story.one.archive()[-1])
    assert story.head.refreshed_at is None
    assert story.head.refresh_due_at is not None
    story.drain()
    assert story.head.refresh_due_at is None


def test_events_that_relied_on_a_look_whose_sender_died_are_not_lost():
    story = Story(known=False)
    story.one.scanned()
    crash_after(story, "mark_refresh", story.one.flaw(1))
    story.receive(story.one.flaw(2))
    story.drain()
    assert story.status == {1: "OPEN", 2: "OPEN"}


def test_a_crash_before_the_acknowledgement_writes_nothing_twice_and_looks_once_more():
    story = Story()
    crash_at(story, "acknowledge", story.one.flaw(2, severity=MEDIUM))
    before = story.doc.revision
    story.drain()
    assert story.doc.revision == before


def test_a_finding_that_vanishes_within_the_settle_is_resolved_by_the_later_look():
    story = Story()
    story.receive(story.one.flaw(2))
    story.after(5).one.vanish(2)
    story.receive(story.one.covered())
    assert story.status == {1: "OPEN", 2: "OPEN"}
    story.drain()
    assert story.status == {1: "OPEN", 2: "RESOLVED"}


def test_a_finding_that_closes_within_the_settle_is_resolved_by_the_later_look():
    story = Story()
    story.receive(story.one.close(1))
    assert story.status == {1: "OPEN"}
    story.after(59)
    story.receive(story.one.covered())
    assert story.status == {1: "OPEN"}
    story.drain()
    assert (story.status, story.head.decision) == ({1: "RESOLVED"}, Decision.ALLOW)


@pytest.mark.parametrize("lag", [20, 55])
def test_a_stale_listing_right_after_an_event_resolves_nothing_and_is_looked_at_again(lag):
    story = Story()
    story.receive(story.one.flaw(2))
    story.lags = (lag,)
    story.after(1)
    story.receive(story.one.covered())
    assert story.status == {1: "OPEN", 2: "OPEN"}
    story.drain()
    assert story.status == {1: "OPEN", 2: "OPEN"}


def test_a_stale_listing_that_finds_nothing_new_is_looked_at_again():
    story = Story()
    story.lags = (55,)
    story.one.flaw(2)
    story.receive(story.one.scanned())
    assert story.status == {1: "OPEN"}
    assert story.looks_sent == [60]
    story.drain()
    assert story.status == {1: "OPEN", 2: "OPEN"}


def test_two_states_with_one_updated_at_end_as_the_listing_says():
    for order in (0, 1):
        story = Story(mode="observe")
        events = [story.one.flaw(1, severity=CRITICAL), story.one.flaw(1, severity=MEDIUM)]
        for event in events if order else reversed(events):
            story.receive(event)
        story.drain()
        assert one_finding(story).severity is MEDIUM


def test_coverage_that_lags_behind_an_archive_releases_nothing():
    story = Story()
    events = story.one.archive()
    story.lags = (55,)
    for _ in range(6):
        story.after(10)
        story.receive(*events)
        assert (story.status, story.head.decision) == ({1: "OPEN"}, Decision.BLOCK)
    story.drain()
    assert (story.status, story.head.decision) == ({1: "OPEN"}, Decision.BLOCK)
    assert story.head.scan.state is ScanState.ARCHIVED


def test_an_image_that_is_restored_is_not_released_by_a_list_that_still_shows_the_archive():
    story = Story()
    story.receive(*story.one.archive())
    story.drain()
    story.after(900)
    story.receive(*story.one.restore())
    story.drain()
    story.after(300).lags = (0,)
    scanned = story.one.scanned()
    before, after = story.one.history[-2][1], story.one.current
    answers = iter((before, before, after))  # which scanner, its findings (lagging), its coverage (not)
    story.one.as_of = lambda at: next(answers, story.one.current)
    story.receive(scanned)
    assert story.status == {1: "OPEN"}
    assert story.looks_sent == [60]
    story.drain()
    assert (story.status, story.head.decision) == ({1: "OPEN"}, Decision.BLOCK)


def test_what_closed_while_the_image_was_archived_is_resolved_a_settle_after_it_came_back():
    story = Story()
    story.receive(*story.one.archive())
    story.drain()
    story.one.ever_gone.add(story.one.flaws.pop(1).source_finding_id)
    story.after(900)
    story.receive(*story.one.restore())
    story.after(300)
    story.receive(story.one.scanned())
    assert story.status == {1: "OPEN"}
    story.drain()
    assert (story.status, story.head.decision) == ({1: "RESOLVED"}, Decision.ALLOW)


# ---- covered messages


def test_what_a_complete_listing_has_seen_is_done_and_costs_nothing():
    story = Story()
    event = story.one.flaw(2)
    story.receive(event)
    story.drain()
    story.after(3600)
    story.receive(story.one.covered())
    story.drain()
    story.forget()
    late = msgspec.structs.replace(event)
    story.receive(late, late)
    assert (story.writes, story.met["look"], story.envelopes) == ({}, 0, [])


@pytest.mark.parametrize(("later", "is_seen"), [(0, False), (60, False), (61, True)])
def test_a_listing_has_seen_only_what_was_announced_longer_ago_than_inspector_may_lag(later, is_seen):
    story = Story()
    story.drain()
    event = story.one.flaw(2)
    (stored,) = story.stored.read_headers([story.ref]).values()
    head = msgspec.structs.replace(stored.header, refreshed_at=event.time + timedelta(seconds=later))
    beside = msgspec.structs.replace(stored, header=head)
    assert is_covered(story.delivery(event), beside, timedelta(seconds=60)) is is_seen


@pytest.mark.parametrize("how", [{"receives": 2}, {"attempt": 1}])
def test_a_message_that_comes_again_is_never_covered(how):
    story = Story()
    event = story.one.scanned()
    story.drain()
    story.after(600)
    story.receive(story.one.covered())
    story.drain()
    story.forget()
    story.receive(event, **how)
    assert story.met["look"] == 1
    assert story.looks_sent == [60]


def test_nothing_is_covered_while_something_is_still_to_be_done():
    story = Story()
    event = story.one.flaw(1, severity=CRITICAL)
    story.receive(event)
    story.after(600)
    story.receive(Refresh(story.ref, story.moment))
    stored = story.stored.read_headers([story.ref])[story.ref]
    done = msgspec.structs.replace(stored, header=msgspec.structs.replace(stored.header, pending=()))
    covered = [is_covered(story.delivery(event), s, SETTLE) for s in (stored, done)]
    assert covered == [False, True]


def test_a_coverage_message_is_never_covered():
    story = Story()
    event = story.one.covered()
    story.after(3600)
    story.receive(story.one.scanned())
    story.forget()
    story.receive(event)
    assert story.met["look"] == 1


def test_a_scan_event_of_the_other_scanner_is_not_covered():
    story = Story()
    basic = msgspec.structs.replace(story.one.scanned(), source=Source.BASIC, time=START)
    story.forget()
    story.receive(basic)
    assert story.met["look"] == 1


# ---- marks


def test_the_first_event_of_an_unknown_image_marks_it_outside_the_index_and_sends_a_look():
    story = Story(known=False)
    story.receive(story.one.flaw(1))
    assert (story.head.exists, story.head.refresh_due_at) == (False, story.moment + SETTLE)
    assert (story.writes, story.looks_sent) == ({"mark_refresh": 1}, [60])


def test_events_that_a_look_to_come_will_see_are_not_written():
    story = Story(known=False)
    story.receive(story.one.flaw(1))
    story.forget()
    story.receive(story.one.flaw(2), story.one.flaw(3))
    assert (story.writes, story.looks_sent) == ({}, [60])
    story.drain()
    assert story.status == {1: "OPEN", 2: "OPEN", 3: "OPEN"}


def test_an_event_too_young_for_the_look_to_come_marks_again():
    story = Story(known=False)
    story.receive(story.one.flaw(1))
    story.after(1)
    story.receive(story.one.flaw(2))
    assert story.looks_sent == [59, 60]


def test_two_hundred_events_of_one_image_cost_one_mark():
    story = Story(known=False)
    story.receive(*[story.one.flaw(n) for n in range(200)])
    assert story.writes == {"mark_refresh": 1}


def test_a_lost_race_for_the_mark_leaves_it_to_the_winner():
    story = Story(known=False)
    story.deliver(story.one.flaw(1))
    slow = story.start("scans")
    while slow.last != "mark_refresh":
        story.step(slow)
    story.receive(story.one.flaw(2))
    story.finish(slow)
    assert (story.writes, story.looks_sent) == ({"mark_refresh": 1}, [60])


def test_a_redelivered_event_marks_and_looks_again():
    story = Story(known=False)
    event = story.one.flaw(1)
    story.receive(event)
    story.after(30)
    story.receive(event, receives=2)
    assert story.looks_sent == [30, 60]
    assert story.head.refresh_due_at == story.moment + SETTLE


def test_an_event_of_a_listed_image_is_merged_at_once_unless_a_look_is_due():
    story = Story()
    story.receive(story.one.flaw(2))
    assert story.status == {1: "OPEN", 2: "OPEN"}
    story.forget()
    story.receive(story.one.flaw(3))
    assert (story.status, story.writes) == ({1: "OPEN", 2: "OPEN"}, {})
    story.drain()
    assert story.status == {1: "OPEN", 2: "OPEN", 3: "OPEN"}


# ---- looks


def test_what_opens_while_an_archive_is_wanted_is_not_left_to_a_look_that_finds_it_closed():
    story = Story()
    first, later = story.one.flaw(2, severity=Severity.CRITICAL), story.one.flaw(3)
    story.receive(first)
    assert story.head.refresh_due_at == story.moment + SETTLE
    assert story.head.act is not None
    story.after(1).receive(later)
    story.drain()
    assert story.head.storage is StorageStatus.ARCHIVED
    assert story.status == {1: "OPEN", 2: "OPEN", 3: "OPEN"}


def test_a_look_that_comes_before_its_time_by_the_clock_of_aws_looks_again():
    story = Story()
    due = story.moment + timedelta(seconds=30)
    story.receive(Refresh(story.ref, due))
    assert story.looks_sent == [30]
    assert story.head.refresh_due_at == due
    story.drain()
    assert (story.head.refresh_due_at, story.looks_sent) == (None, [])


def test_a_look_fulfils_only_what_was_due_when_it_looked():
    story = Story()
    story.receive(story.one.flaw(2))
    story.after(30)
    story.receive(Refresh(story.ref, story.moment))
    assert story.head.refresh_due_at == story.moment + timedelta(seconds=30)


@pytest.mark.parametrize("state", [ScanState.PENDING, ScanState.EXPIRED, ScanState.ARCHIVED, ScanState.UNAVAILABLE])
def test_an_incomplete_listing_releases_nothing_and_ends_the_chain(state):
    story = Story()
    story.one.lapse(state, "a reason of AWS")
    story.after(61)
    story.receive(Refresh(story.ref, story.moment))
    assert (story.status, story.head.scan.state, story.looks_sent) == ({1: "OPEN"}, state, [])
    assert story.head.scan.reason == "a reason of AWS"
    assert story.head.decision is Decision.BLOCK


def test_a_look_that_finds_nothing_new_writes_the_header_only_and_ends_the_chain():
    story = Story()
    story.receive(Refresh(story.ref, story.moment, Source.ENHANCED))
    assert (story.writes, story.envelopes, story.head.refreshed_at) == ({"put_header": 1}, [], story.moment)


def test_a_look_at_a_deleted_image_is_dropped():
    story = Story()
    story.one.change(exists=False)
    story.receive(story.one.action("DELETE"))
    story.forget()
    story.receive(Refresh(story.ref, story.moment))
    assert (story.writes, story.met["look"]) == ({}, 0)


def test_closed_findings_older_than_the_history_are_not_written_again_with_every_look():
    story = Story()
    story.change_policy(history_days=1)
    story.drain()
    story.one.close(1)
    story.after(3 * 86400)
    for _ in range(3):
        story.receive(Refresh(story.ref, story.moment))
        story.drain()
    revision = story.doc.revision
    story.receive(Refresh(story.ref, story.moment))
    assert (story.doc.revision, story.envelopes) == (revision, [])


# ---- failed look-ups


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AbsentError("image", "gone"), "image not found"),
        (DeniedError("no"), "access denied"),
        (UpstreamError("a ValidationException"), "a ValidationException"),
    ],
)
def test_a_failed_look_up_gives_the_scan_state_its_reason_and_releases_nothing(error, reason, monkeypatch):
    story = Story()
    monkeypatch.setattr(story, "look", raising(error))
    story.after(61)
    story.receive(Refresh(story.ref, story.moment))
    assert (story.head.scan.state, story.head.scan.reason) == (ScanState.UNAVAILABLE, reason)
    assert (story.status, story.head.decision, story.head.refresh_due_at) == ({1: "OPEN"}, Decision.BLOCK, None)


def test_an_unknown_image_that_cannot_be_looked_up_is_listed_as_unavailable(monkeypatch):
    story = Story(known=False)
    monkeypatch.setattr(story, "look", raising(AbsentError("repository", "gone")))
    story.receive(story.one.scanned())
    assert (story.head.exists, story.head.scan.state) == (True, ScanState.UNAVAILABLE)
    assert story.head.decision is Decision.PENDING


def raising(error):
    def look(*_, **__):
        raise error

    return look


@pytest.mark.parametrize("body", ["event", "look"])
def test_a_transient_failure_puts_the_message_back_with_a_delay_and_one_attempt_more(body, monkeypatch):
    story = Story()
    with monkeypatch.context() as patch:
        patch.setattr(story, "look", raising(TransientError("throttled", 17)))
        story.receive(story.one.covered() if body == "event" else Refresh(story.ref, story.moment))
    (envelope,) = story.envelopes
    assert envelope.at == story.moment + seconds(17)
    assert isinstance(envelope.body, RetriedEvent if body == "event" else Refresh)
    assert envelope.body.attempt == 1
    assert story.writes == {}
    story.drain()
    story.check()


# ---- policy, waivers, other writers


def test_a_policy_that_is_newer_after_the_put_decides_again():
    story = Story()
    story.current()
    story.policies.append(msgspec.structs.replace(story.policies[-1], rules=()))
    story.versions = (7, 0)
    story.receive(story.one.flaw(2, severity=CRITICAL))
    assert (story.head.decision, story.head.policy_version) == (Decision.ALLOW, 7)


def test_rules_older_than_those_the_header_was_decided_by_are_not_used():
    story = Story()
    story.receive(story.one.flaw(2, severity=CRITICAL))
    number = story.head.verdict.number
    story.kept = (story.moment, msgspec.structs.replace(story.current(), policy_version=-1))
    story.stored.headers[story.ref] = msgspec.structs.replace(story.head, policy_version=0)
    story.kept = (story.moment, msgspec.structs.replace(story.kept[1], policy=story.policies[0], policy_version=-1))
    story.after(1)
    story.receive(Decide(story.ref, "child"))
    assert story.head.verdict.number == number


def test_a_policy_change_is_written_even_when_the_verdict_stays():
    story = Story()
    story.change_policy()
    story.drain()
    assert (story.head.policy_version, story.head.verdict.policy_version) == (1, 0)


def test_a_header_written_by_another_worker_in_between_is_read_again_and_nothing_is_lost():
    story = Story()
    story.deliver(story.one.flaw(2, severity=CRITICAL))
    slow = story.start("scans")
    while slow.last != "put_header":
        story.step(slow)
    story.receive(story.one.action("PUSH", tag="v2"))
    story.finish(slow)
    assert (story.head.tags, story.head.decision) == (("v1", "v2"), Decision.QUARANTINE)
    story.drain()


def test_whoever_loses_every_race_puts_its_message_back(monkeypatch):
    story = Story()
    monkeypatch.setattr(story.stored, "put_header", raising(ConflictError("somebody else")))
    event = story.one.flaw(2)
    story.receive(event)
    again = story.sent(RetriedEvent)
    assert [a.attempt for a in again] == [1]


def test_effects_still_to_be_done_are_carried_over_by_every_write():
    story = Story()
    story.receive(story.one.flaw(2, severity=CRITICAL))
    quarantine, alert = pending = story.head.pending
    story.receive(Refresh(story.ref, story.moment), story.one.action("PUSH", tag="v9"), Decide(story.ref, "tag"))
    assert story.head.pending == pending
    assert [act.effect for act in story.sent(Act)] == [quarantine.key, alert.key]


def test_no_archive_wanted_any_more_is_followed_by_a_look_at_what_was_not_believed():
    story = Story()
    story.receive(story.one.flaw(1, severity=CRITICAL))
    story.after(61).receive(story.one.close(1))
    assert (story.status, story.head.decision) == ({1: "OPEN"}, Decision.QUARANTINE)
    story.change_policy(mode="observe")
    story.drain()
    assert (story.status, story.head.decision) == ({1: "RESOLVED"}, Decision.ALLOW)
    assert story.acts.calls == []


def test_what_an_exempt_repository_gives_back_is_judged_by_its_next_scan():
    story = Story()
    story.receive(story.one.flaw(1, severity=CRITICAL))
    story.drain()
    story.after(600).one.close(1)
    story.receive(story.one.covered())
    story.drain()
    assert (story.status, story.head.decision) == ({1: "OPEN"}, Decision.QUARANTINE)
    story.change_policy(exempt={"repository": ["*"]})
    story.drain()
    assert [call[0] for call in story.acts.calls] == ["archive", "restore"]
    assert (story.status, story.head.decision) == ({1: "OPEN"}, Decision.QUARANTINE)
    story.after(600).receive(story.one.scanned())
    story.drain()
    assert (story.status, story.head.decision) == ({1: "RESOLVED"}, Decision.ALLOW)


# ---- what it costs


def test_many_messages_of_one_image_in_a_batch_are_one_pull_and_one_write():
    story = Story()
    story.one.flaw(2)
    story.receive(story.one.scanned(), story.one.covered(), story.one.flaw(3), story.one.flaw(4), story.one.covered())
    assert story.met["look"] == 1
    assert story.writes == {"put_document": 1, "put_header": 1}


def test_an_enhanced_scan_without_news_costs_one_header_and_one_look():
    story = Story()
    story.receive(story.one.scanned())
    assert story.writes == {"put_header": 1}
    story.drain()
    assert story.writes == {"put_header": 2}


def test_a_basic_scan_without_news_costs_one_header():
    story = Story(source=Source.BASIC)
    story.receive(story.one.basic_scanned(1))
    story.drain()
    assert story.writes == {"put_header": 1}
    story.after(600)
    story.forget()


def test_a_duplicate_of_a_basic_scan_costs_nothing():
    story = Story(source=Source.BASIC)
    event = story.one.basic_scanned(1)
    story.receive(event)
    story.drain()
    story.forget()
    story.after(3)
    story.receive(event, event)
    assert (story.writes, story.met["look"]) == ({}, 0)


# ---- ECR's own scanner


def test_a_stale_basic_answer_is_put_back_at_most_ten_times_then_it_stands():
    story = Story(source=Source.BASIC)
    story.lags = (10**6,)
    story.one.history.insert(0, (START - timedelta(days=99), story.one.current))
    story.after(600)
    story.receive(story.one.basic_scanned(1, 2))
    attempts = []
    while story.sent(RetriedEvent):
        (envelope,) = story.envelopes
        story.envelopes.remove(envelope)
        story.moment = envelope.at
        attempts.append(envelope.body.attempt)
        story.receive(story.events[envelope.body.event["number"]], attempt=envelope.body.attempt)
    assert attempts == list(range(1, 11))
    assert story.status == {1: "OPEN"}


def test_a_basic_scan_that_still_runs_is_put_back():
    story = Story(source=Source.BASIC)
    story.after(600)
    event = story.one.basic_scanned(1, 2)
    story.one.basic_starts()
    story.receive(event)
    assert len(story.sent(RetriedEvent)) == 1


def test_a_failed_basic_scan_is_never_clean():
    story = Story(source=Source.BASIC)
    failed = story.one.basic_scanned()
    story.one.change(finished=Scan(ScanState.FAILED, "UnsupportedImageError", Source.BASIC))
    story.receive(msgspec.structs.replace(failed, scan=Scan(ScanState.FAILED)))
    assert (story.status, story.head.scan.state, story.head.decision) == ({1: "OPEN"}, ScanState.FAILED, Decision.BLOCK)


def test_the_newer_basic_scan_wins_as_a_whole():
    story = Story(source=Source.BASIC)
    story.after(600)
    story.receive(story.one.basic_scanned(2, 3))
    assert story.status == {1: "RESOLVED", 2: "OPEN", 3: "OPEN"}


# ---- one scanner, then the other


def test_after_a_switch_to_inspector_basic_findings_stay_until_its_first_complete_listing():
    story = Story(source=Source.BASIC)
    story.one.switch(Source.ENHANCED)
    story.receive(story.one.covered())
    assert (story.status, story.head.scan.state) == ({1: "OPEN"}, ScanState.PENDING)
    story.after(90)
    row = story.one.flaw(2)
    story.receive(row)
    assert story.status == {1: "OPEN"}
    story.receive(story.one.scanned())
    story.drain()
    assert {(f.source, f.status) for f in story.doc.findings} == {(Source.BASIC, RESOLVED), (Source.ENHANCED, OPEN)}
    story.check()


@pytest.mark.parametrize("scanner", [Source.ENHANCED, Source.BASIC])
def test_an_image_that_its_new_scanner_never_scans_becomes_stale_by_the_clock(scanner):
    story = Story(source=Source.BASIC if scanner is Source.ENHANCED else Source.ENHANCED)
    story.policies = [policy(stale={"decision": "block", "after_days": 30}, rules=[])]
    story.versions = (1, 0)
    story.one.switch(scanner)
    story.receive(Refresh(story.ref, story.moment))
    assert (story.head.scan.state, story.head.scan.source) == (ScanState.PENDING, scanner)
    story.drain()
    assert story.head.decision is Decision.ALLOW
    story.after(31 * 86400)
    re_decide(shard_of(story.ref), story)
    assert [r.rule for r in story.head.verdict.reasons] == ["stale"]
    assert story.head.decision is Decision.BLOCK


def test_a_scan_of_the_new_scanner_is_merged_whenever_the_former_one_scanned_last():
    story = Story()
    story.one.switch(Source.BASIC)
    story.receive(Refresh(story.ref, story.moment))
    story.after(200)
    story.receive(story.one.basic_scanned(2))
    story.drain()
    assert story.status == {1: "RESOLVED", 2: "OPEN"}
    story.check()


def test_a_late_message_of_inspectors_after_a_switch_to_basic_changes_nothing():
    story = Story()
    late = story.one.flaw(3)
    story.after(120).one.switch(Source.BASIC)
    story.receive(story.one.basic_scanned(2))
    story.drain()
    story.receive(late, receives=2)
    story.drain()
    assert (story.head.scan.source, story.head.scan.state) == (Source.BASIC, ScanState.COMPLETE)
    assert {f.source for f in story.doc.findings if f.status is OPEN} == {Source.BASIC}


def test_a_look_for_inspector_at_an_image_it_does_not_cover_any_more_asks_ecr():
    story = Story()
    story.one.switch(Source.BASIC)
    story.one.basic_scanned(2)
    story.after(120)
    story.receive(Refresh(story.ref, story.moment, Source.ENHANCED))
    assert story.head.scan.source is Source.BASIC


# ---- first fill


def test_a_first_fill_tells_nobody_of_single_images_and_what_comes_later_is_news():
    story = Story(known=False)
    story.one.scanned()
    story.one.flaw(1, severity=CRITICAL)
    story.after(300)
    story.receive(Refresh(story.ref, story.moment, quiet=True))
    (quarantine,) = story.head.pending
    assert (quarantine.kind, quarantine.quiet) == (ActionType.QUARANTINE, True)
    assert story.head.announced is Decision.QUARANTINE
    assert [look.quiet for look in story.sent(Refresh)] == [False]


def test_a_quiet_look_in_one_batch_with_an_event_is_not_quiet():
    story = Story(known=False)
    story.one.scanned()
    story.one.flaw(1, severity=CRITICAL)
    story.receive(Refresh(story.ref, story.moment, quiet=True), story.one.scanned())
    assert [effect.kind for effect in story.head.pending] == [ActionType.QUARANTINE, ActionType.ALERT]
    assert not story.head.act.quiet


# ---- messages about nothing known


@pytest.mark.parametrize("kind", ["decide", "age"])
def test_a_message_of_ours_about_an_unknown_image_makes_none(kind):
    story = Story(known=False)
    story.receive(Decide(story.ref, "child") if kind == "decide" else InheritFirstSeen(story.ref, story.ref))
    assert story.stored.headers == {}


def test_events_from_before_a_deletion_are_dropped_and_later_ones_are_not():
    story = Story()
    old = story.one.flaw(2)
    story.after(5).one.change(exists=False)
    story.receive(story.one.action("DELETE"))
    story.forget()
    story.receive(old)
    assert story.writes == {}
    story.after(5)
    story.receive(story.one.flaw(3))
    assert story.looks_sent or 3 in story.status


# ---- what is said of a verdict that stays


def test_a_scan_that_failed_is_not_shown_as_one_that_is_still_to_come():
    story = Story(known=False)
    story.receive(story.one.action("PUSH", tag="v1"))
    story.receive(story.one.covered())
    before = story.head.verdict
    assert before is not None
    assert before.reasons[0].detail == "no complete scan yet; scan PENDING: PENDING_INITIAL_SCAN"
    story.one.change(coverage=Scan(ScanState.FAILED, "IMAGE_SIZE_EXCEEDED", Source.ENHANCED))
    story.after(300).receive(story.one.covered())
    after = story.head.verdict
    assert after is not None
    assert (after.decision, before.decision) == (Decision.PENDING, Decision.PENDING)
    assert after.reasons[0].detail == "no complete scan yet; scan FAILED: IMAGE_SIZE_EXCEEDED"
    assert (after.number, after.decided_at, story.head.notices) == (before.number, before.decided_at, ())
    assert disagreements([story.head]) == []


# ---- what a crash may not do


@pytest.mark.parametrize("call", range(1, 14))
def test_a_crash_at_any_call_ends_as_without_it(call):
    story = Story()
    story.one.flaw(2, severity=CRITICAL)
    story.deliver(story.one.scanned(), story.one.flaw(3))
    worker = story.work_on(story.waiting("scans"))
    while worker.calls < call and not worker.done:
        story.step(worker)
    if not worker.done:
        story.kill(worker)
    story.drain()
    story.check()
    assert story.status == {1: "OPEN", 2: "OPEN", 3: "OPEN"}


def test_a_crash_is_no_failure_that_a_handler_may_catch():
    assert not issubclass(Crash, Exception)


def test_documents_and_headers_of_the_world_begin_empty():
    story = Story(known=False)
    assert story.doc == FindingsDocument(story.ref)
    assert story.header_or_none(story.ref) is None
    assert Header(ref=story.ref).version == 0


@pytest.mark.parametrize("state", [ScanState.FAILED, ScanState.UNSUPPORTED, ScanState.PENDING])
def test_the_reason_of_an_image_that_stays_pending_follows_its_scan(state: ScanState) -> None:
    """That the scan failed is another matter than that it has not come yet; it is no other verdict, and no news."""
    story = Story(known=False)
    story.receive(story.one.action("PUSH", tag="v1"))
    story.drain()
    before = story.head.verdict
    assert before is not None
    assert "scan PENDING" in before.reasons[0].detail
    story.one.change(coverage=Scan(state, "ANY_WORD", Source.ENHANCED))
    story.receive(story.one.covered())
    story.drain()
    after = story.head.verdict
    assert after is not None
    assert (story.head.scan.state, story.head.decision) == (state, Decision.PENDING)
    assert f"scan {state}: ANY_WORD" in after.reasons[0].detail
    assert (after.number, after.decided_at) == (before.number, before.decided_at)
