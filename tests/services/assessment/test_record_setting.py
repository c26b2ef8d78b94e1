"""What happened to a repository: kept with it, in whatever order it is heard; a deleted one takes its images along."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.events.event import ApiCall, PulledThrough, ScanningRule, ScanResourceChanged
from chalicelib.domain.events.sweep_message import Sweep, SweepRepository
from chalicelib.domain.images.verdict import Decision
from tests.services.context import Story
from tests.services.world import START


def call(story, name, seconds=0, **fields):
    at = START + timedelta(seconds=seconds)
    fields = {"repository": story.ref.home, **fields}
    return ApiCall(name, "111122223333", "eu-west-1", "arn:aws:iam::111122223333:role/ci", at, "event", **fields)


def facts(story):
    return story.stored.repositories.get(story.ref.home, {})


@pytest.mark.parametrize("order", [0, 1])
def test_creation_and_deletion_keep_their_times_in_either_order(order):
    story = Story(known=False)
    calls = [call(story, "CreateRepository", 1), call(story, "DeleteRepository", 5)]
    story.receive(*(calls if order else reversed(calls)))
    assert (facts(story)["created_at"], facts(story)["deleted_at"]) == tuple(
        START + timedelta(seconds=s) for s in (1, 5)
    )


def test_a_deleted_repository_takes_its_images_and_their_tags_with_it():
    story = Story()
    story.one.change(exists=False)
    story.receive(call(story, "DeleteRepository", 3600))
    assert (story.head.exists, story.head.tags, story.head.due_at) == (False, (), None)
    assert story.stored.read_tag(story.ref.home, "v1") is None
    assert story.head.decision is Decision.BLOCK


def test_a_call_that_failed_changes_nothing():
    story = Story()
    story.receive(call(story, "DeleteRepository", 3600, error_code="RepositoryNotEmptyException"))
    assert story.head.exists
    assert facts(story) == {}


def test_a_call_about_the_whole_registry_is_kept_with_no_repository():
    story = Story()
    story.receive(call(story, "PutRegistryPolicy", repository=None))
    assert all(kept == {} for kept in story.stored.repositories.values())


def test_who_changed_what_is_kept():
    story = Story()
    story.receive(call(story, "PutImageTagMutability", 5))
    assert facts(story)["changed_call"] == "PutImageTagMutability"
    assert facts(story)["changed_at"] == START + timedelta(seconds=5)


def test_the_scanning_rule_that_covers_a_repository_is_kept():
    story = Story()
    rule = ScanningRule(story.ref.home, "CONTINUOUS_SCAN", "SCAN_ON_PUSH")
    story.receive(ScanResourceChanged("SCAN_FREQUENCY_CHANGE", (rule,), START, "event"))
    assert facts(story)["scan_frequency"] == "CONTINUOUS_SCAN"


def test_a_pull_through_that_failed_is_kept_with_its_reason():
    story = Story()
    failed = PulledThrough(story.ref.home, "FAILURE", START, "event", failure_code="Denied", failure_reason="no secret")
    story.receive(failed)
    assert facts(story)["pull_through_failure"] == "Denied: no secret"


def test_a_scanning_rule_that_changed_has_its_repository_compared_again():
    story = Story(known=False)
    home = story.ref.home
    rules = (ScanningRule(home, "MANUAL", "SCAN_ON_PUSH"),)
    story.receive(ScanResourceChanged("SCAN_FREQUENCY_CHANGE", rules, START, "event"))
    (sent,) = story.sent(SweepRepository)
    assert (sent.sweep, sent.repository, sent.handed, sent.after) == (Sweep.RECONCILE, home, None, None)


def test_a_scanning_change_that_tells_no_frequency_takes_none_away():
    story = Story()
    for n, action in enumerate(("SCAN_FREQUENCY_CHANGE", "IMAGE_CREATED")):
        rule = ScanningRule(story.ref.home, "MANUAL" if n == 0 else None)
        story.receive(ScanResourceChanged(action, (rule,), START + timedelta(seconds=n), "event"))
    assert facts(story)["scan_frequency"] == "MANUAL"
