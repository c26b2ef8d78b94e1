"""A legal hold, by a person's order: what it keeps of a run that has begun, and what the audit log says of it."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.images.image import Repository
from chalicelib.errors import ConflictError, NotFoundError, ParameterError
from chalicelib.services.retention.order_legal_hold import end_legal_hold, order_legal_hold
from tests.fakes.registries import HOME, digest, retained
from tests.services.retaining import Retaining

NEWEST = {"keep": {"newest": 1}, "max_share": 1.0}


@pytest.fixture
def world() -> Any:
    made: Any = Retaining([retained(n, f"t{n}", days=n) for n in (1, 2, 3)], NEWEST)
    made.repository = lambda home: made.stored.repositories.get(home, {}) if home == HOME else None
    return made


def test_a_hold_keeps_its_image_until_it_is_ended(world: Any) -> None:
    order_legal_hold(HOME, digest(3), "counsel", "the claim of 2026", world)
    world.sweep()
    assert world.left == {digest(1), digest(3)}
    end_legal_hold(HOME, digest(3), "counsel", "settled", world)
    world.sweep()
    assert world.left == {digest(1)}
    (begun,), (ended,) = world.records("LEGAL_HOLD"), world.records("LEGAL_HOLD_ENDED")
    assert (begun.actor, begun.reason, begun.after) == (
        "person:counsel",
        "the claim of 2026",
        "legal hold on the image by counsel: the claim of 2026",
    )
    assert (ended.before, ended.reason) == (begun.after, "settled")


def test_a_hold_on_the_repository_stops_retention_there(world: Any) -> None:
    order_legal_hold(HOME, None, "counsel", "the claim of 2026", world)
    world.sweep()
    assert len(world.left) == 3
    assert not world.heard.alerts
    (record,) = world.records("LEGAL_HOLD")
    assert (record.ref, record.subject) == (None, f"repository/{HOME.path}")


@pytest.mark.parametrize("action", ["expire", "archive"])
@pytest.mark.parametrize("about", [None, digest(3)])
def test_a_hold_stops_a_run_that_has_begun_before_its_next_call(action: str, about: str | None) -> None:
    world: Any = Retaining([retained(n, f"t{n}", days=n) for n in (1, 2, 3)], {**NEWEST, "action": action})
    world.repository = lambda home: {}

    def meanwhile(call: str) -> None:
        if call == "describe":
            order_legal_hold(HOME, about, "counsel", "the claim of 2026", world)

    world.keeper.before = meanwhile
    world.sweep()
    taken = {one for _, one in world.keeper.log}
    assert taken == (set() if about is None else {digest(2)})


def test_a_hold_that_stands_is_not_put_again_and_a_dry_run_puts_none(world: Any) -> None:
    order_legal_hold(HOME, None, "counsel", "to see", world, dry_run=True)
    assert world.legal_holds.of(HOME) == ()
    first = order_legal_hold(HOME, None, "counsel", "the claim of 2026", world)
    assert order_legal_hold(HOME, None, "oncall", "another", world) == first
    assert len(world.records("LEGAL_HOLD")) == 1
    assert end_legal_hold(HOME, None, "counsel", "to see", world, dry_run=True).ended_at is not None
    assert world.legal_holds.of(HOME) == (first,)


def test_the_hold_of_another_person_is_ended_only_by_override(world: Any) -> None:
    order_legal_hold(HOME, None, "counsel", "the claim of 2026", world)
    order_legal_hold(HOME, None, "oncall", "mine now", world)
    with pytest.raises(ConflictError, match=r"--override: legal hold on the repository by counsel: the claim of 2026"):
        end_legal_hold(HOME, None, "oncall", "in the way", world)
    world.sweep()
    assert len(world.left) == 3
    assert end_legal_hold(HOME, None, "oncall", "settled", world, override=True).ended_by == "oncall"
    (ended,) = world.records("LEGAL_HOLD_ENDED")
    assert (ended.actor, "by counsel" in ended.before) == ("person:oncall", True)


def test_what_cannot_be_held_is_refused(world: Any) -> None:
    elsewhere = Repository(HOME.registry, HOME.region, "team/none")
    public = Repository("public/acme", "us-east-1", "web")
    with pytest.raises(NotFoundError, match="unknown here"):
        order_legal_hold(elsewhere, None, "counsel", "why", world)
    with pytest.raises(NotFoundError, match="unknown here"):
        order_legal_hold(HOME, digest(9), "counsel", "why", world)
    with pytest.raises(ParameterError, match="must be given"):
        order_legal_hold(HOME, None, "counsel", " ", world)
    with pytest.raises(ParameterError, match="ECR Public"):
        order_legal_hold(public, None, "counsel", "why", world)
    with pytest.raises(ConflictError, match="no legal hold stands"):
        end_legal_hold(HOME, digest(3), "counsel", "why", world)
