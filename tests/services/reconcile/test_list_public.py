"""Public repositories are known by their listing alone: images, tags, last push; half a listing changes nothing."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.events.sweep_message import MOST_PARTS, SyntheticEvent
from chalicelib.domain.images.image import ImageRef, Kind, Repository
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.reconcile.difference import DifferenceKind as K
from chalicelib.domain.reconcile.difference import left_words
from chalicelib.errors import DeniedError, TransientError
from chalicelib.services.reconcile import list_public as module
from chalicelib.services.reconcile.list_public import list_public
from tests.extent import killed_at
from tests.fakes.images import digest
from tests.services.public_world import HOME, Killed, PublicWorld

HOUR = timedelta(hours=1)


@pytest.fixture
def world() -> PublicWorld:
    return PublicWorld()


def image(number: int, home: Repository = HOME) -> ImageRef:
    return home.image(digest(number))


def test_a_first_sweep_knows_every_image_with_its_tags_and_its_push(world: PublicWorld) -> None:
    world.hold(image(1), "1.0", days=3)
    world.hold(image(2), "2.0", "latest", days=2)
    world.hold(image(3), days=1)
    result = world.sweep()
    assert (result.images, result.found, result.filling, result.lost_events) == (3, {K.MISSING: 4}, True, 0)
    headers = world.stored.headers
    assert [headers[image(n)].tags for n in (1, 2, 3)] == [("1.0",), ("2.0", "latest"), ()]
    assert headers[image(1)].pushed_at == world.moment - timedelta(days=3)
    assert world.stored.read_tag(HOME, "latest") == digest(2)
    facts = world.stored.repositories[HOME]
    assert (facts["public_at"], facts["last_push_at"]) == (world.moment, world.moment - timedelta(days=1))


def test_a_public_image_that_nobody_knows_is_never_clean(world: PublicWorld) -> None:
    world.hold(image(1), "1.0")
    world.sweep()
    header = world.stored.headers[image(1)]
    assert (header.decision, header.refreshed_at) == (Decision.PENDING, None)


def test_a_second_sweep_that_finds_the_same_writes_its_time_and_nothing_else(world: PublicWorld) -> None:
    world.hold(image(1), "1.0")
    world.sweep()
    world.moment += 6 * HOUR
    before, writes = dict(world.stored.headers), dict(world.stored.writes)
    result = world.sweep()
    assert (result.found, world.stored.headers, world.stored.writes) == ({}, before, writes)
    assert world.stored.repositories[HOME]["public_at"] == world.moment


def test_a_tag_that_moved_and_an_image_that_is_gone_are_seen(world: PublicWorld) -> None:
    world.hold(image(1), "1.0", "latest")
    world.hold(image(2), "0.9")
    world.sweep()
    world.moment += 6 * HOUR
    world.hold(image(3), "latest", days=0.1)
    del world.images_[HOME][digest(2)]
    world.sweep()
    headers = world.stored.headers
    assert (headers[image(1)].tags, headers[image(3)].tags) == (("1.0",), ("latest",))
    assert not headers[image(2)].exists
    assert world.stored.read_tag(HOME, "0.9") is None


def test_an_image_that_counted_as_an_artifact_is_one_by_its_media_type_and_nothing_is_said_of_signatures(
    world: PublicWorld,
) -> None:
    world.hold(image(1), "1.0")
    world.sweep()
    assert world.stored.headers[image(1)].signed is None
    world.stored.headers[image(1)] = msgspec.structs.replace(world.stored.headers[image(1)], kind=Kind.ARTIFACT)
    world.moment += 6 * HOUR
    assert world.sweep().found == {K.KIND_UNREAD: 1}
    assert world.stored.headers[image(1)].kind is Kind.IMAGE
    world.moment += 6 * HOUR
    assert K.KIND_UNREAD not in world.sweep().found


def test_a_repository_that_is_gone_takes_its_images_with_it_and_is_not_swept_again(world: PublicWorld) -> None:
    world.hold(image(1), "1.0")
    world.sweep()
    world.moment += 6 * HOUR
    del world.images_[HOME]
    world.sweep()
    assert not world.stored.headers[image(1)].exists
    assert module.AT in world.stored.repositories[HOME]
    assert world.stored.repositories[HOME]["deleted_at"] == world.moment - world.consistency_delay


@pytest.mark.parametrize("error", [DeniedError("not permitted"), TransientError("throttled")])
def test_a_listing_that_failed_changes_no_image(world: PublicWorld, error: Exception) -> None:
    world.hold(image(1), "1.0")
    world.sweep()
    before, at = world.state(), world.stored.repositories[HOME]["public_at"]
    world.moment += 6 * HOUR
    world.images_[HOME], world.failure = {}, error
    if isinstance(error, TransientError):
        with pytest.raises(TransientError):
            world.sweep()
    else:
        assert world.sweep().error == "not permitted"
    assert (world.state(), world.stored.repositories[HOME]["public_at"]) == (before, at)


def test_a_dry_run_tells_and_does_nothing(world: PublicWorld) -> None:
    world.hold(image(1), "1.0")
    result = list_public(world.message(), world, dry_run=True)  # type: ignore[arg-type]
    assert ([d.ref for d in result.differences], world.sent, world.stored.repositories) == ([image(1)], [], {})


def test_an_index_whose_images_nobody_can_tell_is_not_told_again_and_again(world: PublicWorld) -> None:
    world.hold(image(1), "1.0", media_type="application/vnd.oci.image.index.v1+json")
    world.sweep()
    world.moment += 6 * HOUR
    assert world.sweep().found == {}


def test_who_is_out_of_time_goes_on_where_it_was(world: PublicWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", timedelta(seconds=-1))
    for number in range(1, 4):
        world.hold(image(number), f"{number}.0", f"v{number}")
    message, told = world.message(), []
    while True:
        result = list_public(message, world)  # type: ignore[arg-type]
        told += [(found.ref, found.tag) for found in world.messages(SyntheticEvent)]
        if not result.more:
            break
        message = world.sent[-1][1]
        world.sent.clear()
    assert sorted(told) == sorted((image(n), tag) for n in range(1, 4) for tag in (f"{n}.0", f"v{n}"))
    assert result.found == {K.MISSING: 6}


def test_a_chain_is_bounded_and_what_is_left_is_told(world: PublicWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", timedelta(seconds=-1))
    for number in range(1, MOST_PARTS + 4):
        world.hold(image(number), f"{number}.0")
    results = [list_public(world.message(), world)]  # type: ignore[arg-type]
    while results[-1].more:
        results.append(list_public(world.sent[-1][1], world))  # type: ignore[arg-type]
    assert (len(results), results[-1].error) == (MOST_PARTS, left_words(3))


def swept(world: PublicWorld) -> PublicWorld:
    world.hold(image(1), "1.0", "latest")
    world.hold(image(2), "0.9")
    world.sweep()
    world.moment += 6 * HOUR
    world.hold(image(3), "latest", days=0.1)
    del world.images_[HOME][digest(2)]
    return world


def calls() -> range:
    world = swept(PublicWorld())
    world.calls = 0
    list_public(world.message(), world)  # type: ignore[arg-type]
    return range(1, world.calls + 1)


@killed_at(calls())
def test_killed_at_any_call_and_run_again_it_ends_in_the_same_state(world: PublicWorld, dies_at: int) -> None:
    expected = swept(PublicWorld())
    expected.sweep()
    swept(world)
    world.calls, world.dies_at = 0, dies_at
    with pytest.raises(Killed):
        list_public(world.message(), world)  # type: ignore[arg-type]
    world.dies_at = 0
    world.drain()
    world.sweep()
    assert world.state() == expected.state()
    for home, tag in expected.stored.moves:
        assert world.stored.read_tag(home, tag) == expected.stored.read_tag(home, tag)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(1, 4), st.sets(st.sampled_from(["a", "b", "c"]), max_size=2)),
        st.tuples(st.just("delete"), st.integers(1, 4), st.just(set[str]())),
        st.tuples(st.just("sweep"), st.just(0), st.just(set[str]())),
    ),
    max_size=15,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_whatever_happened_in_between_a_sweep_knows_what_is_there(steps: list[tuple[str, int, set[str]]]) -> None:
    world = PublicWorld()
    world.images_[HOME] = {}
    for what, number, tags in (*steps, ("sweep", 0, set[str]())):
        world.moment += HOUR
        if what == "push" and (digest(number) not in world.images_[HOME] or tags):
            kept = world.images_[HOME].get(digest(number))
            world.hold(image(number), *sorted({*tags, *(kept.tags if kept else ())}), days=0)
        elif what == "delete":
            world.images_[HOME].pop(digest(number), None)
        elif what == "sweep":
            world.moment += HOUR
            world.sweep()
    there = {h.ref.digest: set(h.tags) for h in world.stored.headers.values() if h.exists}
    assert there == {d: set(detail.tags) for d, detail in world.images_[HOME].items()}
    for tag in "abc":
        holders = [d for d, detail in world.images_[HOME].items() if tag in detail.tags]
        assert world.stored.read_tag(HOME, tag) == (holders[0] if holders else None)
