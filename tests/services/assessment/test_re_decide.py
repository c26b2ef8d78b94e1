"""The clock: what time alone changes, what was never done, and images that cannot be dealt with."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.domain.events.message import Act, Refresh
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import InUse, InUseState
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import DeniedError, TransientError
from chalicelib.services.assessment.re_decide import re_decide
from tests.services.context import Story
from tests.services.world import new_ref, policy

CRITICAL = Severity.CRITICAL
ASKS_KEV = [{"id": "kev", "match": {"kev": True}, "decision": "quarantine"}]


def clock(story):
    return re_decide(shard_of(story.ref), story)


def test_what_is_not_due_is_not_touched():
    story = Story()
    assert clock(story) == 0
    assert story.writes == {}


def test_an_image_nobody_scanned_becomes_unscanned_by_the_clock_alone():
    story = Story(known=False)
    story.policies = [policy(unscanned={"after_minutes": 60, "then": "block"})]
    story.receive(story.one.action("PUSH"))
    assert story.head.decision is Decision.PENDING
    story.after(3600)
    assert clock(story) == 1
    assert story.head.decision is Decision.BLOCK
    story.drain()
    assert clock(story) == 0


def test_a_due_time_that_has_moved_later_is_corrected_and_not_come_to_again():
    story = Story()
    story.policies = [policy(admission={"running_grace_days": 0})]
    story.stored.headers[story.ref] = msgspec.structs.replace(story.head, due_at=story.moment)
    assert clock(story) == 1
    assert story.head.due_at == story.head.decide_at
    assert clock(story) == 0


def test_an_alert_older_than_five_minutes_is_sent_again_and_a_younger_one_is_not():
    story = Story()
    story.receive(story.one.flaw(2, severity=CRITICAL))
    story.envelopes.clear()
    story.after(299)
    clock(story)
    assert story.sent(Act) == []
    story.after(1)
    clock(story)
    assert [a.effect for a in story.sent(Act)] == [e.key for e in story.head.pending]


def test_the_clock_does_not_come_to_a_deleted_image():
    story = Story()
    story.one.change(exists=False)
    story.receive(story.one.action("DELETE"))
    story.after(10**8)
    assert clock(story) == 0


def test_kev_that_a_rule_asks_for_is_asked_again_after_a_day():
    story = Story()
    story.policies = [policy(rules=ASKS_KEV)]
    story.versions = (1, 0)
    story.receive(story.one.covered())
    assert story.head.decision is Decision.ALLOW
    story.drain()
    story.kev = {story.doc.findings[0].source_finding_id: True}
    story.after(86400)
    clock(story)
    assert (story.doc.findings[0].kev, story.head.decision) == (True, Decision.QUARANTINE)


@pytest.mark.parametrize("answer", [DeniedError("no"), {}])
def test_no_answer_about_kev_is_null_and_stops_nothing(answer, monkeypatch):
    story = Story()
    story.policies = [policy(rules=ASKS_KEV)]
    story.versions = (1, 0)

    def known_exploited(finding_ids):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(story, "known_exploited", known_exploited)
    story.receive(story.one.covered())
    assert story.doc.findings[0].kev is None


@pytest.mark.parametrize("answer", [DeniedError("no"), {}])
def test_no_answer_about_kev_takes_back_nothing_that_was_known(answer, monkeypatch):
    story = Story()
    story.policies = [policy(rules=ASKS_KEV)]
    story.versions = (1, 0)
    story.receive(story.one.covered())
    story.drain()
    (finding,) = story.doc.findings
    story.stored.store_kev({finding.vulnerability_id: True}, story.moment - timedelta(hours=25))

    def known_exploited(finding_ids):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(story, "known_exploited", known_exploited)
    story.receive(story.one.covered())
    assert story.head.decision is Decision.QUARANTINE
    assert story.stored.read_kev([finding.vulnerability_id])[finding.vulnerability_id][0] is True


def test_inspector_is_asked_when_it_scanned_last_before_an_image_is_called_stale():
    story = Story()
    story.policies = [policy(stale={"decision": "warn", "after_days": 30})]
    story.versions = (1, 0)
    story.receive(story.one.covered())
    story.drain()
    before = story.head
    story.after(31 * 86400)
    story.one.scanned()
    clock(story)
    assert [look.ref for look in story.sent(Refresh)] == [story.ref]
    story.drain()
    assert story.head.scan.scanned_at > before.scan.scanned_at
    assert story.head.decision is before.decision
    assert not [r for r in story.head.verdict.reasons if r.rule == "stale"]


def test_an_image_that_is_scanned_no_more_is_stale_after_one_look_and_not_looked_at_for_ever():
    story = Story()
    story.policies = [policy(stale={"decision": "warn", "after_days": 30})]
    story.versions = (1, 0)
    story.receive(story.one.covered())
    story.drain()
    story.after(31 * 86400)
    clock(story)
    story.drain()
    assert [r.rule for r in story.head.verdict.reasons if r.rule == "stale"] == ["stale"]
    clock(story)
    assert story.sent(Refresh) == []


def test_an_image_whose_look_ups_fail_stays_due_and_does_not_hold_up_the_others(monkeypatch):
    story = Story()
    other = story.add(msgspec.structs.replace(new_ref(), digest=story.ref.digest))
    story.receive(other.action("PUSH"))
    for ref in (story.ref, other.ref):
        story.stored.headers[ref] = msgspec.structs.replace(story.header(ref), due_at=story.moment)
    read = story.stored.read_document

    def read_document(ref):
        if ref == story.ref:
            raise TransientError("throttled")
        return read(ref)

    monkeypatch.setattr(story.stored, "read_document", read_document)
    assert clock(story) == 2
    assert story.stored.headers[story.ref].due_at == story.moment
    assert story.stored.headers[other.ref].due_at != story.moment


def test_a_scanner_that_does_not_answer_leaves_the_stored_age_to_decide_and_is_asked_once():
    story = Story()
    story.policies = [policy(stale={"decision": "block", "after_days": 30})]
    story.versions = (1, 0)
    story.receive(story.one.covered())
    story.drain()
    story.after(31 * 86400)
    for _ in range(12):
        clock(story)
        story.after(300)
    assert len(story.sent(Refresh)) == 1
    clock(story)
    assert story.head.decision is Decision.BLOCK
    assert [r.rule for r in story.head.verdict.reasons if r.rule == "stale"] == ["stale"]
    assert len(story.sent(Refresh)) == 1


def test_inspector_is_asked_before_a_rule_about_the_age_of_a_scan_decides():
    story = Story()
    story.policies = [policy(rules=[{"id": "old", "match": {"scan_age_days": {"gte": 7}}, "decision": "block"}])]
    story.versions = (1, 0)
    story.receive(story.one.covered())
    story.drain()
    story.after(8 * 86400)
    story.one.scanned()
    clock(story)
    story.drain()
    assert story.head.decision is Decision.ALLOW


def test_an_alert_about_a_deleted_image_is_sent_and_then_the_clock_comes_no_more():
    story = Story()
    story.receive(story.one.flaw(2, severity=CRITICAL))
    story.one.change(exists=False)
    story.receive(story.one.action("DELETE"))
    story.drain()
    story.after(3600)
    clock(story)
    story.drain()
    assert story.head.pending == ()
    assert clock(story) == 0


def test_an_image_nobody_can_read_does_not_stop_the_clock_for_its_shard(monkeypatch):
    story = Story()
    other = story.add(msgspec.structs.replace(new_ref(), digest=story.ref.digest))
    story.receive(other.action("PUSH"))
    for ref in (story.ref, other.ref):
        story.stored.headers[ref] = msgspec.structs.replace(story.header(ref), due_at=story.moment)
    read = story.stored.read_document

    def read_document(ref):
        if ref == story.ref:
            raise ValueError("findings are in format 9")
        return read(ref)

    monkeypatch.setattr(story.stored, "read_document", read_document)
    with pytest.raises(ExceptionGroup, match="1 of 2"):
        clock(story)
    assert story.stored.headers[other.ref].due_at != story.moment


def test_run_twice_it_changes_nothing_more():
    story = Story()
    story.policies = [policy(admission={"running_grace_days": 0})]
    story.stored.headers[story.ref] = msgspec.structs.replace(story.head, due_at=story.moment)
    clock(story)
    once = story.head
    clock(story)
    assert story.head == once
    assert once.decide_at is None or once.decide_at > story.moment + timedelta(days=1)


def test_of_a_shard_that_takes_long_to_be_read_one_image_is_dealt_with(monkeypatch):
    story = Story()

    def due(shard, before):
        story.after(60)
        return [story.ref]

    monkeypatch.setattr(story.table, "due", due)
    assert clock(story) == 1


def test_a_question_that_could_not_be_sent_is_not_promised(monkeypatch):
    story = Story()
    story.policies = [policy(stale={"decision": "warn", "after_days": 30})]
    story.versions = (1, 0)
    story.receive(story.one.covered())
    story.drain()
    story.after(31 * 86400)

    def send(queue, message, delay_seconds=0):
        raise TransientError("throttled")

    monkeypatch.setattr(story, "send", send)
    clock(story)
    assert story.head.refresh_due_at is None


def test_what_there_is_no_time_for_is_the_next_runs(monkeypatch):
    story = Story(known=False)
    refs = [story.ref.home.image(f"sha256:{n:064x}") for n in range(3)]
    monkeypatch.setattr(story.table, "due", lambda shard, before: refs)

    def read(asked):
        story.after(10)
        return {}

    monkeypatch.setattr(story.table, "read_headers", read)
    assert re_decide(0, story) == 2


HOUR = 3600


def pinned(story):
    return [subject for subject in story.runtime.asked if subject.pinned]


def test_whether_it_runs_is_looked_up_every_twelve_hours_while_a_door_refuses_it():
    story = Story()
    assert story.head.decision is Decision.BLOCK
    assert not story.head.door.is_running(story.moment)
    looks = len(pinned(story))
    story.runtime.run(story.ref)
    for passed, more in ((11 * HOUR, 0), (HOUR, 1), (11 * HOUR, 1)):
        story.after(passed)
        clock(story)
        assert len(pinned(story)) == looks + more
    assert story.head.door.is_running(story.moment)
    assert pinned(story)[-1].tags == frozenset()
    story.runtime.stop(story.ref)
    story.after(HOUR)
    clock(story)
    assert not story.head.door.is_running(story.moment)
    story.after(8 * 24 * HOUR)
    clock(story)
    assert len(pinned(story)) == looks + 2, "no answer would open the door any more"
    assert story.head.due_at is None or story.head.due_at > story.moment


def test_a_look_that_is_not_answered_is_made_again_after_an_hour_and_ends_no_yes():
    story = Story()
    story.runtime.run(story.ref)
    story.after(12 * HOUR)
    clock(story)
    story.runtime.stop(story.ref)
    story.runtime.blind = ("EKS cannot be asked",)
    looks = len(pinned(story))
    for passed, more in ((12 * HOUR, 1), (HOUR - 60, 1), (60, 2)):
        story.after(passed)
        clock(story)
        assert len(pinned(story)) == looks + more
    story.after(5 * 24 * HOUR)
    assert story.head.door.is_running(story.moment)


def test_an_answer_that_does_not_say_when_it_was_true_is_not_asked_for_again_and_again(monkeypatch):
    story = Story()
    story.after(12 * HOUR)
    monkeypatch.setattr(story.runtime, "in_use", lambda subject, since=None: InUse(InUseState.UNKNOWN, looked=True))
    clock(story)
    assert story.head.door.look_at == story.moment + timedelta(hours=1)
    assert clock(story) == 0
