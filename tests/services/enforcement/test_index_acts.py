"""Acts on multi-arch images: which images go with their index, and what another method does to those that are away."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.events.message import Act
from chalicelib.domain.headers.pending_action import ActionType, Hold, Holding, Order
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.errors import UpstreamError
from tests.services.assessment.test_record_push import action, ref, scan
from tests.services.assessment.test_send_effects import (
    ACTIVE,
    AMD64,
    ARCHIVED,
    ARM64,
    CRITICAL,
    INDEX_OF_BOTH,
    WARNS,
    Fleet,
)
from tests.services.world import POLICY, START

ATTESTATION, OTHER_INDEX = ref(3), ref(8)
MOVE = {"method": "move", "allow_delete": True, "when_running": "proceed"}


class Moving(Fleet):
    """Its index is to be moved, and nobody has begun to. `moved` is what goes with it."""

    def __init__(self) -> None:
        super().__init__(rules=WARNS)
        self.mover: Any = self
        self.moved: set[ImageRef] | None = None
        self.refused: UpstreamError | None = None
        self.change_policy(quarantine=MOVE, rules=POLICY["rules"])
        while not self.acts_on_index():
            scans = self.start("scans")
            assert scans is not None
            self.finish(scans)

    def acts_on_index(self) -> list[Any]:
        return [
            e
            for e in self.envelopes
            if isinstance(e.body, Act) and e.body.ref == INDEX_OF_BOTH and "QUAR" in e.body.effect
        ]

    def move(self, image: ImageRef, place: Repository, members: Sequence[ImageRef], tags: Any) -> None:
        if self.refused is not None:
            raise self.refused
        self.moved = {*members}
        self.images[image].change(exists=False, tags=())

    def move_index(self) -> set[ImageRef] | None:
        self.finish(self.work_on(self.acts_on_index()[:1]))
        return self.moved


def test_an_index_takes_its_images_along() -> None:
    assert Moving().move_index() == {AMD64, ARM64, ATTESTATION}


@pytest.mark.parametrize(
    "said",
    [
        {"parents": (INDEX_OF_BOTH.digest, OTHER_INDEX.digest)},
        {"hold": Hold("untag", 1, START, ("1.0-arm64",))},
        {"order": Order(ActionType.RELEASE, "ann", "needed", START)},
    ],
    ids=lambda said: next(iter(said)),
)
def test_an_image_that_another_index_holds_or_we_do_or_that_is_released_stays(said: dict[str, Any]) -> None:
    story = Moving()
    story.stored.put_header(msgspec.structs.replace(story.header(ARM64), **said))
    assert story.move_index() == {AMD64, ATTESTATION}


def test_another_method_restores_nothing_of_what_is_archived_with_its_index() -> None:
    story = Fleet()
    before = story.storage
    assert before.count(ARCHIVED) == 2
    story.change_policy(quarantine=MOVE)
    story.wait()
    assert story.storage == before
    assert all(name == "archive" for name, _, _ in story.acts.calls)


@pytest.mark.parametrize("child", [AMD64, ARM64], ids=["pushed again", "found to be as bad"])
def test_an_image_that_an_archived_index_keeps_from_being_moved_is_archived_with_it(child: ImageRef) -> None:
    """ECR deletes no image before its index."""
    story = Fleet()
    story.change_policy(quarantine=MOVE)
    story.wait()
    if child == AMD64:
        story.amd64.change(storage=ACTIVE)
        story.push(1, 4_000)
        scan(story, 1, CRITICAL)
    else:
        story.receive(story.images[ARM64].flaw(1, severity=CRITICAL))
    story.wait()
    assert (story.images[child].current.storage, story.storage[2]) == (ARCHIVED, ARCHIVED)
    hold = story.header(child).hold
    assert hold is not None
    assert hold.method == "archive"
    story.release(INDEX_OF_BOTH)
    assert {story.header(image).hold for image in (AMD64, ARM64, INDEX_OF_BOTH)} == {None}


def test_an_image_that_is_pushed_again_without_its_moved_index_is_moved_by_itself() -> None:
    story = Moving()
    for image in (INDEX_OF_BOTH, *(story.move_index() or ())):
        story.images[image].change(exists=False, tags=())
        story.receive(action(image, "DELETE", 1_000))
    story.wait()
    story.push(1, 4_000)
    scan(story, 1, CRITICAL)
    story.wait()
    hold = story.header(AMD64).hold
    assert hold is not None
    assert (hold.method, story.amd64.current.exists) == ("move", False)


def test_an_image_waits_for_its_index_that_cannot_be_moved_and_people_are_told_why() -> None:
    story = Moving()
    story.refused = UpstreamError("the image is too large for the method `move`")
    story.told.clear()
    story.move_index()
    story.wait()
    assert story.storage == [ACTIVE] * 3
    held = story.header(INDEX_OF_BOTH).act
    assert held is not None
    assert held.held is not None
    assert held.held.why is Holding.FAILED
    assert any("too large" in line for alert in story.told for line in alert.registry)
    assert story.header(AMD64).act is None
    story.refused = None
    story.moment += timedelta(hours=1)
    story.wait()
    assert [story.images[image].current.exists for image in (INDEX_OF_BOTH, AMD64)] == [False, False]
