"""Acts that were cut off, were given up or could not give back everything: what the header says of them afterwards."""

from __future__ import annotations

import pytest

from chalicelib.domain.enforcement.repository_policy import has_statement
from chalicelib.domain.events.message import Act, Refresh
from chalicelib.domain.headers.pending_action import ActionType, Stage
from chalicelib.domain.images.finding import FindingStatus
from chalicelib.services.enforcement.finish_act import is_reached
from chalicelib.services.enforcement.read_state import read_state
from tests.services.enforcement.test_enforce_verdict import ACTIVE, ARCHIVED, CRITICAL, Acting

BLOCKING = [{"id": "critical", "match": {"severity": "CRITICAL"}, "decision": "block", "enforce": "repository-policy"}]


def dies_before(story: Acting, call: str) -> None:
    """The finding gets worse, and the worker of the act dies before it makes this call."""
    story.receive(story.one.flaw(1, severity=CRITICAL))
    (act,) = [e for e in story.envelopes if isinstance(e.body, Act) and not e.body.effect.startswith("ALERT")]
    worker = story.work_on([act])
    while worker.last != call:
        story.step(worker)
    story.kill(worker)
    assert story.head.begun is not None


# ---- given up


def test_a_quarantine_that_was_begun_and_is_no_longer_wanted_leaves_no_hold_and_is_not_told_as_done() -> None:
    story = Acting()
    dies_before(story, "archive")
    story.change_policy(mode="observe")
    story.wait_for(minutes=5)
    assert (story.storage, story.head.hold, story.head.archive) == (ACTIVE, None, False)
    (record,) = [r for r in story.stored.actions[story.ref] if r.kind == "QUARANTINE"]
    assert (record.before, record.undo) == (record.after, None)
    assert "given up" in record.reason
    assert not any("it cannot be pulled" in line for alert in story.told for line in alert.registry)


def test_the_findings_of_an_image_whose_archive_was_given_up_are_closed_as_they_end() -> None:
    story = Acting()
    dies_before(story, "archive")
    story.runtime.run(story.ref)
    story.wait_for(minutes=5)
    story.receive(story.one.close(1))
    story.wait_for(minutes=5)
    assert story.status == {1: FindingStatus.RESOLVED}
    assert story.head.act is None


@pytest.mark.parametrize("call", ["change_denied", "write_policy"])
def test_a_block_that_was_begun_and_is_no_longer_wanted_denies_nothing_and_counts_no_digest(call: str) -> None:
    story = Acting(rules=BLOCKING)
    dies_before(story, call)
    story.change_policy(mode="observe", rules=BLOCKING)
    story.wait_for(minutes=5)
    assert not story.head.denied
    assert story.stored.read_denied(story.ref.home).digests == ()
    assert story.acts.policies == {}


def test_a_digest_that_counts_is_not_denied_before_the_deny_is_read() -> None:
    story = Acting(rules=BLOCKING)
    dies_before(story, "write_policy")
    header, act = story.head, story.head.act
    assert act is not None
    assert story.stored.read_denied(story.ref.home).digests == (story.ref.digest,)
    assert not is_reached(header, act, read_state(header, act.kind, story), story)


def test_an_unblock_that_is_cut_off_when_blocking_is_wanted_again_leaves_the_deny_and_its_digest() -> None:
    story = Acting(rules=BLOCKING).worsen()
    story.receive(story.one.close(1))
    story.after(70)
    while not (acts := [e for e in story.waiting("actions") if e.body.effect.startswith("UNBLOCK")]):
        story.finish(story.work_on(story.waiting("scans")[:1]))
    worker = story.work_on(acts)
    while worker.last != "delete_policy":
        story.step(worker)
    story.kill(worker)
    story.runtime.run(story.ref)
    story.after(1)
    story.receive(story.one.flaw(1, severity=CRITICAL))
    story.wait_for(minutes=5)
    assert has_statement(story.acts.policies[story.ref.home])
    assert story.head.denied
    assert story.stored.read_denied(story.ref.home).digests == (story.ref.digest,)


def test_an_archive_that_was_done_by_one_that_died_is_recorded_as_any_other() -> None:
    story = Acting()
    dies_before(story, "archive")
    story.acts.archive(story.ref)
    story.wait_for(minutes=5)
    (record,) = [r for r in story.stored.actions[story.ref] if r.kind == "QUARANTINE"]
    assert (story.storage, record.reason) == (ARCHIVED, "1 finding matched")
    assert story.head.enforcement is not None
    assert story.head.enforcement.stage is Stage.DONE


# ---- what follows from a header


def test_a_look_that_a_dead_worker_had_promised_is_sent_by_the_next_one() -> None:
    story = Acting()
    story.runtime.run(story.ref)
    story.receive(story.one.flaw(1, severity=CRITICAL))
    (act,) = [e for e in story.envelopes if isinstance(e.body, Act) and not e.body.effect.startswith("ALERT")]
    worker = story.work_on([act])
    while worker.last != "send Refresh":
        story.step(worker)
    assert story.head.refresh_due_at is not None
    story.kill(worker)
    story.envelopes = [e for e in story.envelopes if not isinstance(e.body, Refresh)]
    story.wait_for(minutes=30)
    assert story.head.refresh_due_at is None
    assert story.head.act is not None
    assert story.head.act.kind is ActionType.QUARANTINE
