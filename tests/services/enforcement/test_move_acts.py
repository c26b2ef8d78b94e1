"""Quarantine by `move`, from the verdict to the last call: what goes on, what is ended, what is not begun."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from datetime import timedelta

import msgspec
import pytest

from chalicelib.domain.enforcement.enforcement import marker, wanted
from chalicelib.domain.headers.pending_action import Holding
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.images.quarantine_place import place_of
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import AbsentError, TransientError, UnfinishedError
from chalicelib.services.enforcement.give_order import release_image
from tests.services.enforcement.test_enforce_verdict import Acting
from tests.services.world import new_ref

MOVE = {"method": "move", "allow_delete": True}


class Scripted:
    """Moves the image of a story; each step is one call, the last is made again and again. `calls` are in order."""

    def __init__(self, story: Acting, *steps: Callable[[], None]) -> None:
        self.story, self.steps, self.calls = story, list(steps), list[str]()

    def move(self, ref: ImageRef, place: Repository, members: Sequence[ImageRef], tags: Container[str]) -> None:
        self.known = tags
        self.calls.append("move")
        self._step()

    def bring_back(
        self, ref: ImageRef, place: Repository, tags: Sequence[str], is_its: Callable[[ImageRef, str], bool]
    ) -> None:
        self.is_its = is_its
        self.calls.append(f"bring back {', '.join(tags)}")
        self._step()

    def _step(self) -> None:
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        step()

    def goes_on(self) -> None:
        raise UnfinishedError("copied so far; goes on", 5)

    def takes(self) -> None:
        self.story.one.change(exists=False, tags=())

    def gives(self) -> None:
        self.story.one.change(exists=True)

    def takes_and_is_throttled(self) -> None:
        self.takes()
        raise TransientError("throttled")

    def gives_and_is_throttled(self) -> None:
        self.gives()
        raise TransientError("throttled")


@pytest.fixture
def story() -> Acting:
    story = Acting(quarantine=MOVE)
    story.mover = Scripted(story)
    return story


def test_a_copy_that_takes_twenty_calls_is_no_failure(story) -> None:
    story.mover.steps = [story.mover.goes_on] * 20 + [story.mover.takes]
    story.worsen()
    story.wait_for(minutes=10)
    assert story.records == ["QUARANTINE"]
    assert (len(story.mover.calls), story.one.current.exists) == (21, False)


def test_a_move_stopped_between_index_and_children_is_ended(story) -> None:
    done: list[str] = []
    story.mover.steps = [story.mover.takes_and_is_throttled, lambda: done.append("children deleted")]
    story.worsen()
    story.wait_for(minutes=10)
    assert done == ["children deleted"]
    assert story.records == ["QUARANTINE"]


def test_a_tag_that_comes_after_the_reading_is_taken_only_when_it_is_known_and_is_given_back(story) -> None:
    """The mover refuses an image that has more tags than it is told; whoever takes the act over reads them."""

    def gets_a_tag() -> None:
        assert "v2" not in story.mover.known
        story.one.change(tags=("v1", "v2"))
        raise TransientError("it got the tag v2 meanwhile", 5)

    def takes() -> None:
        assert {"v1", "v2", marker(story.ref.digest)} == story.mover.known
        story.mover.takes()

    story.mover.steps = [gets_a_tag, takes]
    story.worsen()
    story.wait_for(minutes=10)
    assert (story.records, story.head.hold.tags) == (["QUARANTINE"], ("v1", "v2"))
    story.mover.steps = [story.mover.gives]
    release_image(story.ref, "oncall", "needed", story)
    story.wait_for(minutes=10)
    assert story.mover.calls[-1] == "bring back v1, v2"


def test_an_image_that_is_back_without_its_tags_is_not_taken_for_released(story) -> None:
    done: list[str] = []

    def give_tags() -> None:
        done.append("tags given")
        story.one.change(tags=("v1",))

    story.mover.steps = [story.mover.takes]
    story.worsen()
    story.mover.steps = [story.mover.gives_and_is_throttled, give_tags]
    release_image(story.ref, "oncall", "needed", story)
    story.wait_for(minutes=10)
    assert done == ["tags given"]
    assert story.records == ["QUARANTINE", "ORDER_RELEASE", "RELEASE"]


def test_a_tag_that_has_named_another_image_is_no_longer_its_referrers(story) -> None:
    """Neither while that one has it, heard of or not, nor when it has lost it."""
    home = story.ref.home
    signature, other = home.image(new_ref().digest), home.image(new_ref().digest)
    story.mover.steps = [story.mover.takes]
    story.worsen()
    story.mover.steps = [story.mover.gives]
    release_image(story.ref, "oncall", "needed", story)
    story.wait_for(minutes=10)

    def its() -> bool:
        return story.mover.is_its(signature, "sig")

    assert its(), "nobody has ever heard of the tag"
    for holder, still_its in ((signature, True), (None, True), (other, False), (None, False), (signature, True)):
        story.moment += timedelta(minutes=1)
        story.stored.move_tag(home, "sig", holder and holder.digest, story.moment)
        assert its() is still_its
    story.add(other).change(tags=("sig",))
    assert not its(), "pushed to another one, and not yet heard of"


def test_a_move_that_is_begun_deletes_nothing_once_the_policy_does_not_let_it(story) -> None:
    def forbid() -> None:
        story.change_policy(quarantine={"method": "archive", "when_running": "alert"})
        raise UnfinishedError("copied so far; goes on", 5)

    story.mover.steps = [forbid, story.mover.takes]
    story.worsen()
    story.wait_for(minutes=10)
    assert story.mover.calls == ["move"]
    assert story.one.current.exists


def test_what_is_missing_on_both_sides_stays_open_and_is_told(story) -> None:
    def absent() -> None:
        raise AbsentError("image", "on neither side")

    story.mover.steps = [absent]
    story.worsen()
    assert story.held is Holding.FAILED
    assert story.records == ["QUARANTINE_FAILED"]


def test_nothing_is_done_to_what_lies_in_a_quarantine_repository(story) -> None:
    place = place_of(story.ref.home)
    story.mover.steps = [story.mover.takes]
    story.worsen()
    copied = msgspec.structs.replace(story.head, ref=place.image(story.ref.digest), order=None)
    assert copied.decision is Decision.QUARANTINE
    assert wanted(copied, story.rules.fresh().policy).quarantine is None
