"""What happened to a repository is kept with it in any order; a deleted one takes its images along; what a listing
shows is recorded as if its event had come.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.events.event import ApiCall, PulledThrough, ScanningRule, ScanResourceChanged
from chalicelib.domain.events.message import SendAlert
from chalicelib.domain.events.sweep_message import SETTLE_TAG, Sweep, SweepRepository, SyntheticEvent
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.image import Scan, ScanState, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import TransientError
from chalicelib.services.handlers.receive_batch import receive_batch
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


def failed(story, seconds=0, tag=None, code="Denied"):
    at = START + timedelta(seconds=seconds)
    return PulledThrough(
        story.ref.home,
        "FAILED",
        at,
        "event",
        tag=tag,
        upstream="quay.io",
        failure_code=code,
        failure_reason="no secret",
    )


def test_a_pull_through_that_failed_is_kept_with_its_reason():
    story = Story()
    story.receive(failed(story))
    assert facts(story)["pull_through_failure"] == "Denied: no secret"
    assert facts(story)["pull_through_failed_at"] == START
    assert "pull_through_synced_at" not in facts(story)


@pytest.mark.parametrize("order", [0, 1])
def test_of_two_pull_throughs_that_failed_the_later_is_kept_in_either_order(order):
    story = Story()
    both = [failed(story, 5, "2.0", "Late"), failed(story, 1, "1.0", "Early")]
    story.receive(*(both if order else reversed(both)))
    assert facts(story)["pull_through_failure"] == "2.0: Late: no secret"
    assert facts(story)["pull_through_failed_at"] == START + timedelta(seconds=5)


def test_what_a_pull_through_fetched_has_its_copies_checked_as_what_was_pushed(monkeypatch):
    story, asked = Story(), []
    monkeypatch.setattr(
        "chalicelib.services.handlers.receive_batch.schedule_replication_check", lambda e, _: asked.append(e)
    )
    story.receive(PulledThrough(story.ref.home, "SUCCESS", START, "event", story.ref, "v1"))
    story.receive(failed(story, 1))
    assert [(event.ref, event.action, event.tag) for event in asked] == [(story.ref, "PUSH", "v1")]


def test_a_failure_is_announced_once_a_day_for_each_code():
    story = Story()
    story.change_policy(notify=[{"channel": "slack"}])
    story.receive(failed(story), failed(story, 5, "2.0"), failed(story, 9, code="Other"), failed(story, 24 * 3600))
    keys = [message.key for message in story.sent(SendAlert)]
    assert len(keys) == 4
    assert len({(key.effect, key.wanted_at) for key in keys}) == 3
    assert {key.subject for key in keys} == {f"repository/{story.ref.home.path}"}


def test_a_pull_through_that_succeeds_is_no_failure_and_one_that_names_no_image_has_its_repository_compared():
    story = Story()
    story.receive(PulledThrough(story.ref.home, "SUCCESS", START, "event", story.ref, "v1"))
    assert facts(story)["pull_through_synced_at"] == START
    assert not story.sent(SweepRepository)
    story.receive(PulledThrough(story.ref.home, "SUCCESS", START + timedelta(seconds=1), "event", tag="v1"))
    assert "pull_through_failure" not in facts(story)
    (sent,) = story.sent(SweepRepository)
    assert (sent.sweep, sent.repository) == (Sweep.RECONCILE, story.ref.home)


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


def told(story: Story) -> list[ActionType]:
    return [e.kind for e in story.head.pending]


def test_a_push_that_was_found_makes_the_image_known_with_its_tag() -> None:
    story = Story(known=False)
    story.one.change(tags=("v1",))
    story.after(3_600).receive(SyntheticEvent(story.ref, "PUSH", story.moment - timedelta(minutes=1), "v1"))
    assert (story.head.exists, story.head.tags) == (True, ("v1",))
    assert story.head.existence_at == story.moment - timedelta(minutes=1)
    assert story.table.read_tag(story.ref.home, "v1") == story.ref.digest


def test_a_deletion_that_was_found_is_one() -> None:
    story = Story()
    story.one.change(exists=False, tags=())
    story.receive(SyntheticEvent(story.ref, "DELETE", story.moment))
    assert (story.head.exists, story.head.tags) == (False, ())
    assert story.table.read_tag(story.ref.home, "v1") is None


def test_an_event_that_comes_after_what_was_found_changes_nothing() -> None:
    story = Story()
    push = story.one.action("PUSH", tag="v1")
    story.after(600).one.change(exists=False, tags=())
    story.receive(SyntheticEvent(story.ref, "DELETE", story.moment - timedelta(minutes=1)))
    known = story.head
    story.receive(push)
    assert (story.head.exists, story.head.tags) == (known.exists, known.tags)


def test_an_archive_that_was_found_is_asked_for() -> None:
    story = Story(mode="observe")
    story.one.archive()
    story.receive(SyntheticEvent(story.ref, "UPDATE_STORAGE_CLASS", story.moment))
    assert story.head.storage is StorageStatus.ARCHIVED


def test_a_header_that_says_of_a_tag_what_its_item_does_not_is_settled() -> None:
    story = Story()
    story.stored.move_tag(story.ref.home, "v1", "sha256:" + "f" * 64, story.moment)
    assert story.head.tags == ("v1",)
    story.receive(SyntheticEvent(story.ref, SETTLE_TAG, story.moment, "v1"))
    assert story.head.tags == ()


@pytest.mark.parametrize("quiet", [True, False])
def test_an_image_of_long_ago_is_told_of_only_where_that_is_news(quiet: bool) -> None:
    """Pushed days ago and not scanned: an alert, unless a look or a summary tells people better."""
    story = Story(known=False)
    story.change_policy(mode="observe", unscanned={"after_minutes": 60, "then": "block"})
    story.drain()
    story.after(3 * 86_400).receive(SyntheticEvent(story.ref, "PUSH", story.moment, quiet=quiet))
    assert story.head.scan == Scan(ScanState.PENDING)
    assert (ActionType.ALERT in told(story)) is not quiet


def test_what_only_needs_time_is_put_back_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story()

    def throttled(*_: object) -> None:
        raise TransientError("slow down")

    monkeypatch.setattr(story, "describe_image", throttled)
    found = SyntheticEvent(story.ref, "PUSH", story.moment, "v1", True)
    assert receive_batch([story.delivery(found)], story) == {}  # type: ignore[arg-type]
    (again,) = story.sent(SyntheticEvent)
    assert again == SyntheticEvent(story.ref, "PUSH", story.moment, "v1", True, attempt=1)
