"""What a listing shows is recorded as if its event had come, and told no louder than it should be."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.events.sweep_message import SETTLE_TAG, SyntheticEvent
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.image import Scan, ScanState, StorageStatus
from chalicelib.errors import TransientError
from chalicelib.services.handlers.receive_batch import receive_batch
from tests.services.context import Story


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
