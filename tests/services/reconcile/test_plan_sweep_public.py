"""The sweep of public repositories reaches each that is there, each that was, and ends in a search for twins."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from chalicelib.domain.events.sweep_message import MatchSameDigest, PlanSweep, SweepRepository
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import PublicRegistry
from chalicelib.services.reconcile import plan_sweep as module
from chalicelib.services.reconcile.list_public import list_public
from chalicelib.services.reconcile.plan_sweep import plan_public
from tests.fakes.images import ACCOUNT, digest
from tests.services.public_world import HOME, PLAN, REGISTRY, PublicWorld

NAMES = ("a", "b", "c", "team/web", "z")


def home(name: str, registry: str = "public/acme") -> Repository:
    return Repository(registry, "us-east-1", name)


@pytest.fixture
def world() -> PublicWorld:
    world = PublicWorld()
    for name in NAMES:
        world.hold(home(name).image(digest(1)), "1.0")
    return world


def plan(world: PublicWorld, after: str | None = None) -> list[Repository]:
    world.sent.clear()
    plan_public(msgspec.structs.replace(PLAN, after=after), world)  # type: ignore[arg-type]
    return [message.repository for message in world.messages(SweepRepository)]


def test_each_repository_gets_one_message_that_names_the_registry(world: PublicWorld) -> None:
    assert plan(world) == [home(name) for name in NAMES]
    (handed,) = {message.handed for message in world.messages(SweepRepository)}
    assert msgspec.json.decode(handed, type=PublicRegistry) == REGISTRY


def test_twins_are_looked_for_in_every_shard_after_the_listings(world: PublicWorld) -> None:
    plan(world)
    matches = [(m.shard, delay) for _, m, delay in world.sent if isinstance(m, MatchSameDigest)]
    assert matches == [(shard, module.MATCHED_AFTER.total_seconds()) for shard in range(8)]
    assert isinstance(world.sent[-9][1], SweepRepository)


def test_only_the_first_sweep_of_public_repositories_is_a_fill_also_where_it_goes_on(world: PublicWorld) -> None:
    plan(world)
    assert {m.filling for m in world.messages(MatchSameDigest)} == {PLAN.started_at}
    later = {"public_at": PLAN.started_at + timedelta(minutes=1)}
    world.table.store_repository(home(NAMES[0]), later)
    plan(world)
    assert {m.filling for m in world.messages(MatchSameDigest)} == {PLAN.started_at}
    world.sent.clear()
    next_one = msgspec.structs.replace(PLAN, started_at=PLAN.started_at + timedelta(hours=6))
    plan_public(next_one, world)  # type: ignore[arg-type]
    assert {m.filling for m in world.messages(MatchSameDigest)} == {None}


def test_a_repository_that_was_known_and_is_not_listed_is_asked_about_until_it_is_known_to_be_gone(
    world: PublicWorld,
) -> None:
    world.sweep()
    del world.images_[HOME]
    world.moment += timedelta(hours=6)
    assert HOME in plan(world)
    world.sweep()
    assert HOME not in plan(world)
    world.hold(HOME.image(digest(1)))
    world.moment += timedelta(hours=6)
    world.sweep()
    del world.images_[HOME]
    assert HOME in plan(world)


def test_what_is_known_by_a_former_alias_of_ours_is_swept_and_what_is_anothers_is_not(world: PublicWorld) -> None:
    former, foreign, private = home("a", "public/x1y2"), home("a", "public/other"), home("a", "111122223333")
    for one in (former, foreign, private):
        world.stored.store_repository(one, {})
    assert {*plan(world)} - {home(name) for name in NAMES} == {former}


@pytest.mark.parametrize("left", [PublicRegistry(ACCOUNT, ("x1y2",)), None])
def test_images_of_an_alias_that_we_have_no_more_are_gone_and_their_repository_is_asked_about_once(
    world: PublicWorld, left: PublicRegistry | None
) -> None:
    """An alias was dropped, or the last one with the registry."""
    world.sweep()
    was = HOME.image(digest(1))
    assert world.stored.headers[was].exists
    world.registry_, world.images_ = left, {}
    world.moment += timedelta(hours=6)
    assert plan(world) == [HOME]
    (message,) = world.messages(SweepRepository)
    list_public(message, world)  # type: ignore[arg-type]
    world.drain()
    assert not world.stored.headers[was].exists
    assert not [row for shard in range(8) for row in world.rows_of(shard) if row.ref.home == HOME]
    assert plan(world) == []


def test_an_account_without_a_public_registry_has_nothing_to_sweep(world: PublicWorld) -> None:
    world.registry_ = None
    assert plan_public(PLAN, world) == 0  # type: ignore[arg-type]
    assert world.sent == []


def test_who_is_out_of_time_goes_on_behind_the_last_repository(
    world: PublicWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", timedelta(seconds=-1))
    found, after = [], None
    for _ in NAMES:
        found += plan(world, after)
        rest = world.messages(PlanSweep)
        after = rest[0].after if rest else None
    assert found == [home(name) for name in NAMES]
    assert after is None
    assert len(world.messages(MatchSameDigest)) == 8
