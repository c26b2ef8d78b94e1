"""Three Regions that copy to each other: in whatever order they close, open, are swept, ordered about or deleted, a
copy ends closed where a source is closed, and nowhere else."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.enforcement.enforcement import closes_copies, is_mirrored, unmirrored
from chalicelib.domain.enforcement.mirrored_order import (
    lapsed,
    mirror_of,
    with_mirror,
    without_mirror,
)
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import SYSTEM, ActionType, Order
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import parse_policy
from tests.domain.enforcement.test_enforcement import NOW, REF, image, verdict

POLICY = parse_policy({"version": 1, "mode": "enforce", "history_days": 30})
PLACES = ("eu-west-1", "eu-central-1", "us-east-1")
A, B, C = PLACES


def at(place: str) -> ImageRef:
    return msgspec.structs.replace(REF, region=place)


class Mesh:
    """What the sweeps of three Regions make of the orders. `records`: how many each copy has had."""

    def __init__(self) -> None:
        self.now = NOW
        self.headers = {place: image(Decision.ALLOW, ref=at(place)) for place in PLACES}
        self.records = dict.fromkeys(PLACES, 0)

    def change(self, place: str, **fields: object) -> None:
        self.headers[place] = msgspec.structs.replace(self.headers[place], **fields)

    def judge(self, place: str, decision: Decision) -> None:
        self.change(place, verdict=verdict(decision))

    def order(self, place: str, kind: ActionType) -> None:
        self.change(place, order=Order(kind, "ann", "why", self.now))

    def delete(self, place: str) -> None:
        self.change(place, exists=False, existence_at=self.now)

    def sweep(self, *places: str) -> None:
        for source, copy in itertools.product(places or PLACES, PLACES):
            if source != copy:
                self._mirror(self.headers[source], copy)
        self.now += timedelta(hours=1)

    def _mirror(self, here: Header, copy: str) -> None:
        order = self.headers[copy].order
        if order is not None and order.by != SYSTEM:
            return
        if closes_copies(here, POLICY):
            mirror = mirror_of(here, POLICY, self.now)
            after = with_mirror(order, mirror, self.now) if mirror.until > self.now else order
        else:
            after = order if order is None or not here.exists else without_mirror(order, here.ref)
        self.records[copy] += (order is None) is not (after is None)
        self.change(copy, order=after)

    def lapse(self) -> None:
        for place, header in self.headers.items():
            if header.order is not None and is_mirrored(header):
                self.change(place, order=lapsed(header.order, self.now))

    def causes(self, place: str) -> set[str]:
        """The sources whose own verdict or order keeps the copy closed."""
        others = (one for name, one in self.headers.items() if name != place and one.exists)
        return {one.ref.path for one in others if closes_copies(unmirrored(one), POLICY)}

    def held_by(self, place: str) -> set[str]:
        order = self.headers[place].order
        return (
            {one.source for one in order.mirrors} if order is not None and is_mirrored(self.headers[place]) else set()
        )


STEPS: Mapping[str, Callable[[Mesh], None]] = {
    "a rule closes A": lambda mesh: mesh.judge(A, Decision.QUARANTINE),
    "A is clean": lambda mesh: mesh.judge(A, Decision.ALLOW),
    "a rule closes B": lambda mesh: mesh.judge(B, Decision.QUARANTINE),
    "a person closes B": lambda mesh: mesh.order(B, ActionType.QUARANTINE),
    "a person releases B": lambda mesh: mesh.order(B, ActionType.RELEASE),
    "A is deleted": lambda mesh: mesh.delete(A),
    "A, then B is swept": lambda mesh: mesh.sweep(A, B),
    "C, then B is swept": lambda mesh: mesh.sweep(C, B),
}


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_in_every_order_of_steps_a_copy_ends_closed_by_what_is_closed_itself_and_by_nothing_else(length: int) -> None:
    for steps in itertools.product(STEPS, repeat=length):
        check(steps)


@given(steps=st.lists(st.sampled_from(list(STEPS)), min_size=5, max_size=16))
@settings(max_examples=500)
def test_and_in_longer_ones(steps: list[str]) -> None:
    check(steps)


def check(steps: Sequence[str]) -> None:
    mesh = Mesh()
    for step in steps:
        STEPS[step](mesh)
    for _ in range(2):
        mesh.sweep()
    settled = {place: mesh.headers[place].order for place in PLACES}
    for place in PLACES:
        if mesh.headers[place].order is None or is_mirrored(mesh.headers[place]):
            assert mesh.causes(place) <= mesh.held_by(place), (steps, place)
    mesh.sweep()
    assert {place: mesh.headers[place].order for place in PLACES} == settled, ("it flips", steps)
    # What was deleted closes nothing for ever.
    mesh.now += timedelta(days=25)
    mesh.sweep()
    mesh.now += timedelta(days=6)
    mesh.lapse()
    mesh.sweep()
    for place in PLACES:
        if mesh.headers[place].order is None or is_mirrored(mesh.headers[place]):
            assert mesh.held_by(place) == mesh.causes(place), (steps, place)


def test_a_day_of_sweeps_leaves_two_records_of_a_copy_that_two_sources_close_and_open() -> None:
    mesh = Mesh()
    for hour in range(24):
        for place, closes in ((A, 3 <= hour < 15), (B, 6 <= hour < 20)):
            mesh.judge(place, Decision.QUARANTINE if closes else Decision.ALLOW)
        mesh.sweep()
    assert mesh.headers[C].order is None
    assert mesh.records[C] == 2


def test_an_order_of_a_former_version_names_no_source_and_ends_with_any() -> None:
    order = Order(ActionType.QUARANTINE, SYSTEM, "its source is quarantined", NOW)
    assert lapsed(order, NOW + timedelta(days=1000)) == order
    assert without_mirror(order, at(A)) is None
    taken = with_mirror(order, mirror_of(image(Decision.QUARANTINE, ref=at(A)), POLICY, NOW), NOW)
    assert [one.source for one in taken.mirrors] == [at(A).path]
    assert without_mirror(taken, at(B)) == taken
