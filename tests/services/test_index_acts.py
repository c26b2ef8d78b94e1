"""Acts on multi-arch images: which images go with their index, and what another method does to those that are away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from chalicelib.domain.effect import EffectKind, Hold, Order
from chalicelib.domain.image import ImageRef, Repository
from chalicelib.domain.message import Act
from tests.services.test_record_push import ref
from tests.services.test_send_effects import AMD64, ARCHIVED, ARM64, INDEX_OF_BOTH, WARNS, Fleet
from tests.services.world import POLICY, START

ATTESTATION, OTHER_INDEX = ref(3), ref(8)
MOVE = {"method": "move", "allow_delete": True, "when_running": "proceed"}


class Moving(Fleet):
    """Its index is to be moved, and nobody has begun to. `moved` is what goes with it."""

    def __init__(self) -> None:
        super().__init__(rules=WARNS)
        self.mover: Any = self
        self.moved: set[ImageRef] | None = None
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

    def move(self, image: ImageRef, place: Repository, members: Sequence[ImageRef]) -> None:
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
        {"order": Order(EffectKind.RELEASE, "ann", "needed", START)},
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
