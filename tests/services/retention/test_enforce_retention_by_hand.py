"""The plan that a person has read is carried out: all of it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.images.image import InUseState
from chalicelib.domain.retention.image import RetainedImage
from chalicelib.errors import AbsentError, ConflictError, TransientError
from chalicelib.services.retention.enforce_retention import CarriedOut, carry_out_plan
from chalicelib.services.retention.plan_retention import plan_retention
from tests.fakes.registries import HOME, NOW, digest, retained
from tests.services.retaining import Retaining, replaced

NEWEST = {"keep": {"newest": 1}, "max_share": 1.0}


@pytest.fixture(autouse=True)
def _three_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.services.usage.find_image_uses.MOST_LOOKED_UP", 3)


def ten(said: dict[str, Any] = NEWEST, **policy: Any) -> Retaining:
    return Retaining([retained(n, f"t{n}", days=n) for n in range(1, 11)], said, **policy)


def carried_out(world: Retaining, tell: Callable[[int], None] = lambda gone: None, plan: str = "") -> CarriedOut:
    context: Any = world
    return carry_out_plan(HOME, plan or plan_retention(HOME, context).plan.id, "person:alice", context, tell)


def test_all_of_it_is_taken_beyond_what_the_plan_had_looked_up() -> None:
    world, told = ten(), list[int]()
    done = carried_out(world, told.append)
    assert world.left == {digest(1)}
    assert len(done.gone) == 9
    assert told == [3, 6, 9]
    assert world.stored.repositories[HOME]["retention"]["taken"] == 9
    assert {record.actor for record in world.records("EXPIRE")} == {"person:alice"}


def test_what_fails_and_what_stays_at_its_front_does_not_keep_it_from_the_rest() -> None:
    world = ten()
    world.keeper.refused |= {digest(n): "KmsError: no" for n in (2, 3)}
    world.runtime.run(HOME.image(digest(4)))
    done = carried_out(world)
    assert world.left == {digest(n) for n in (1, 2, 3, 4)}
    assert set(done.failed) == {digest(2), digest(3)}
    assert not done.kept


def test_what_came_after_it_was_read_stays() -> None:
    """Another image that the rule would take, and one that it kept, are none of the plan's."""
    world = ten({"keep": {"tag": "t1"}, "max_share": 1.0})

    def meanwhile(gone: int) -> None:
        world.push(retained(50, "x50", days=90))
        replaced(world, digest(1), tags=("old",))

    done = carried_out(world, meanwhile)
    assert world.left == {digest(1), digest(50)}
    assert len(done.gone) == 9


def test_what_changes_while_it_is_carried_out_stays_also_at_a_second_try() -> None:
    world = ten()
    calls = 0

    def meanwhile(call: str) -> None:
        nonlocal calls
        calls += call == "describe"
        if call == "describe" and calls == 1:
            replaced(world, digest(3), last_pulled_at=NOW)

    world.keeper.before = meanwhile
    done = carried_out(world)
    assert world.left == {digest(1), digest(3)}
    assert done.kept == {digest(3): "it has changed since the plan was made"}
    assert not done.failed


def test_what_changes_stays_also_where_its_part_is_planned_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.services.retention.apply_retention.IN_A_BATCH", 1)
    world, calls = ten(), list[str]()

    def meanwhile(call: str) -> None:
        calls.append(call)
        if call == "describe" and calls.count(call) == 1:
            replaced(world, digest(3), last_pulled_at=NOW)
        if call == "delete" and calls.count(call) == 2:
            raise TransientError("throttled")

    world.keeper.before = meanwhile
    done = carried_out(world)
    assert world.left == {digest(1), digest(3)}
    assert [*done.kept] == [digest(3)]


def test_a_waiver_of_the_meantime_counts_and_another_policy_ends_it() -> None:
    world = ten()

    def meanwhile(gone: int) -> None:
        world.change_policy(retention=[{"repository": "team/*", "keep": {"newest": 9}}])

    done = carried_out(world, meanwhile)
    assert done.stopped == "the policy has changed meanwhile"
    assert len(done.gone) == 3


def test_limits_count_what_went_earlier_in_it() -> None:
    world = ten({"keep": {"newest": 4}, "max_share": 0.6})

    def meanwhile(gone: int) -> None:
        for n in (30, 31, 32):
            world.push(retained(n, f"x{n}", days=90))

    assert len(carried_out(world, meanwhile).gone) == 6, "what is new does not go, and so does not count"


@pytest.mark.parametrize(
    ("world", "why"),
    [
        (ten(), "has changed since plan"),
        (ten({"keep": {"newest": 1}, "max_share": 0.1}), "the plan is stopped"),
        (ten(mode="observe"), "only observes"),
    ],
)
def test_nothing_is_done_by_a_plan_that_may_not_be_carried_out(world: Retaining, why: str) -> None:
    with pytest.raises(ConflictError, match=why):
        carried_out(world, plan="0" * 16 if "changed" in why else "")
    assert len(world.left) == 10


def test_a_repository_that_is_gone_is_absent() -> None:
    context: Any = ten()
    with pytest.raises(AbsentError):
        carry_out_plan(msgspec.structs.replace(HOME, name="team/gone"), "0", "person:alice", context)


def test_throttling_before_anything_went_is_said_and_later_gone_on_with() -> None:
    world = ten()
    calls = 0

    def throttled(call: str) -> None:
        nonlocal calls
        calls += call == "delete"
        if call == "delete" and calls == 1:
            raise TransientError("throttled")

    world.keeper.before = throttled
    with pytest.raises(TransientError):
        carried_out(world)
    assert len(carried_out(world).gone) == 9


@settings(max_examples=60, deadline=None)
@given(
    running=st.sets(st.integers(1, 10)),
    refused=st.sets(st.integers(1, 10)),
    newest=st.integers(0, 5),
    share=st.sampled_from((0.3, 0.6, 1.0)),
)
def test_whatever_runs_or_fails_what_goes_is_what_the_plan_names_and_nobody_runs(
    running: set[int], refused: set[int], newest: int, share: float
) -> None:
    world = ten({"keep": {"newest": newest}, "max_share": share})
    for n in running:
        world.runtime.run(HOME.image(digest(n)))
    world.keeper.refused = {digest(n): "no" for n in refused}
    plan = plan_retention(HOME, world).plan  # type: ignore[arg-type]
    if plan.stopped:
        return
    done = carried_out(world)
    named = {f.image.digest for f in plan.decisions if f.taken or f.open}
    expected = named - {digest(n) for n in running | refused}
    assert {*done.gone} == expected
    assert len(done.gone) <= share * 10
    assert {f.asked for f in plan.takes} <= {InUseState.NO}
    assert {*done.failed} == (named & {digest(n) for n in refused}) - {digest(n) for n in running}


def images_of(*days: int) -> list[RetainedImage]:
    return [retained(n, f"t{n}", days=n) for n in days]


def test_an_index_goes_before_its_images_although_they_are_looked_up_in_parts() -> None:
    platforms = [retained(n, days=90) for n in range(1, 6)]
    index = retained(6, "v1", days=90, contains=tuple(digest(n) for n in range(1, 6)))
    world = Retaining([*platforms, index, *images_of(20, 21, 22)], {"keep": {"newest": 1}, "max_share": 1.0})
    world.moment = NOW + timedelta(seconds=1)
    done = carried_out(world)
    assert len(done.gone) == 8
    assert not done.failed
    order = [d for _, d in world.keeper.log]
    assert all(order.index(digest(6)) < order.index(digest(n)) for n in range(1, 6))
