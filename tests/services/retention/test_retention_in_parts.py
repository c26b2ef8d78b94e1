"""Whatever the registry is: a run in many small parts, each with little time, ends as one that has all the time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chalicelib.domain.images.image import StorageStatus
from chalicelib.domain.retention.image import RetainedImage, within
from chalicelib.services.retention.plan_retention import plan_retention
from tests.fakes.registries import HOME, NOW, digest, retained
from tests.services.retaining import Retaining
from tests.services.retention.test_enforce_retention import cases, world_of

Case = tuple[list[RetainedImage], dict[str, Any], set[str]]


def made(case: Case, attached: set[str]) -> Retaining:
    """`attached`: the referrers that are signatures; the others may be started."""
    images, said, running = case
    marked = [
        msgspec.structs.replace(image, attached=image.subject is not None and image.digest in attached)
        for image in images
    ]
    return world_of((marked, said, running))


@st.composite
def attachings(draw: st.DrawFn) -> tuple[Case, set[str]]:
    case = draw(cases())
    return case, draw(st.sets(st.sampled_from([i.digest for i in case[0]] or [digest(1)])))


def in_parts(world: Retaining, most: int, batch: int, *, slow: bool) -> None:
    def spend(call: str) -> None:
        world.moment += timedelta(seconds=50 if slow else 0)

    world.keeper.after = spend
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("chalicelib.services.usage.find_image_uses.MOST_LOOKED_UP", most)
        patched.setattr("chalicelib.services.retention.apply_retention.IN_A_BATCH", batch)
        world.sweep()


def state(world: Retaining) -> dict[str, StorageStatus]:
    return {name: row.storage for name, row in world.keeper.rows.items()}


@settings(max_examples=120, deadline=None)
@given(attachings(), st.integers(1, 4), st.integers(1, 2), st.booleans())
def test_in_parts_the_same_goes_as_at_once_and_nothing_twice(
    drawn: tuple[Case, set[str]], most: int, batch: int, slow: bool
) -> None:
    whole, parts = made(*drawn), made(*drawn)
    whole.sweep()
    in_parts(parts, most, batch, slow=slow)
    assert state(parts) == state(whole)
    names = [name for _, name in parts.keeper.log]
    assert len(names) == len(set(names))
    assert not parts.records("EXPIRE_FAILED") + parts.records("ARCHIVE_FAILED")


@settings(max_examples=120, deadline=None)
@given(attachings(), st.integers(1, 4), st.sampled_from((0.1, 0.34, 0.5)), st.integers(1, 3))
def test_in_parts_no_more_goes_than_the_limits_allow_and_nothing_that_must_stay(
    drawn: tuple[Case, set[str]], most: int, share: float, images: int
) -> None:
    (registry, said, running), attached = drawn
    world = made((registry, {**said, "max_share": share, "max_images": images}, running), attached)
    served = sum(image.storage is not StorageStatus.ARCHIVED for image in registry)
    in_parts(world, most, 1, slow=True)
    taken = {name for _, name in world.keeper.log}
    archived = sum(image.storage is StorageStatus.ARCHIVED and image.digest in taken for image in registry)
    assert len(taken) <= min(share * (served + archived), images) + 1e-6
    known = {image.digest: image for image in registry}
    for name in taken:
        image = known[name]
        assert not {name, *within(name, known)} & running
        assert image.guard is None
        assert image.subject not in running or image.digest not in attached
        assert not any(name in within(other.digest, known) for other in registry if other.digest in running)


@settings(max_examples=40, deadline=None)
@given(attachings())
def test_what_is_attached_changes_nothing_of_the_plan_where_every_place_can_be_looked_at(
    drawn: tuple[Case, set[str]],
) -> None:
    case, attached = drawn
    plain, signed = (
        plan_retention(HOME, made(case, these)).plan  # type: ignore[arg-type]
        for these in (set[str](), attached)
    )
    # An image that refers to another has a mind of its own: where it stays, the other one does.
    assume(not any(f.by == "subject" for f in plain.decisions))
    stays = {f.image.digest for f in signed.decisions if not f.taken}
    assert {f.image.digest for f in plain.decisions if not f.taken} <= stays, (
        "a signature that runs keeps what it signs"
    )
    if not case[2]:
        assert stays == {f.image.digest for f in plain.decisions if not f.taken}


def test_a_worker_that_ends_between_an_index_and_its_images_leaves_them_to_the_next_message() -> None:
    """The index is gone, and its images are groups of their own: they come back although the run has passed them."""
    platforms = [retained(n, days=90) for n in (2, 3)]
    index = retained(9, "v1", days=90, contains=(digest(2), digest(3)))
    world = Retaining(
        [*platforms, index, retained(5, "v0", days=95), retained(20, "v2", days=1)],
        {"keep": {"newest": 1}, "max_share": 1.0},
    )
    for one in (digest(2), digest(3)):
        ref = HOME.image(one)
        world.stored.headers[ref] = msgspec.structs.replace(world.stored.headers[ref], parents=(digest(9),))
    world.moment = NOW
    in_parts(world, 1, 1, slow=True)
    assert world.left == {digest(20)}
