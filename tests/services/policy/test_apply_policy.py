"""A policy applied: checked, put, recorded and on its way to every image; nothing of it half."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from chalicelib.domain.events.message import CatchUp
from chalicelib.domain.headers.header import Header
from chalicelib.errors import ConflictError, PolicyError, TransientError
from chalicelib.services.policy.apply_policy import Applied, apply_policy
from tests.services.judged import FIRST, NOW, STRICT, FakeHouse, Judged

BY = "arn:aws:sts::111122223333:assumed-role/Ops/oncall"
SECOND = FIRST.replace("CRITICAL", "HIGH")


@pytest.fixture
def house() -> FakeHouse:
    return FakeHouse()


def records(house: Any) -> list[Any]:
    return house.table.actions.get("policy", [])


def test_a_policy_is_put_recorded_and_sent_on_its_way(house: FakeHouse) -> None:
    assert apply_policy(FIRST, BY, house) == Applied(1, 0)
    assert apply_policy(SECOND, BY, house, reason="as agreed") == Applied(2, 1)
    assert house.rules.fresh().policy.number == 2
    assert house.outbox.of(CatchUp) == [CatchUp(), CatchUp()]
    first, second = records(house)
    assert (first.actor, first.kind, first.at, first.ref) == (f"person:{BY}", "POLICY", NOW, None)
    assert (first.before, first.after) == ("the policy of the bundle", "policy 1")
    assert (first.reason, first.undo) == ("the first policy that was put", "lazaretto policy apply --version 0")
    assert (second.before, second.after, second.policy_version) == ("policy 1", "policy 2", 2)
    assert second.reason == "as agreed; rules.critical.match.severity: CRITICAL -> HIGH"
    assert second.undo == "lazaretto policy apply --version 1"


@pytest.mark.parametrize("again", [SECOND, SECOND + "# in other words\n", f"{SECOND}mode: observe\n"])
def test_what_says_the_same_is_not_put_again(house: FakeHouse, again: str) -> None:
    apply_policy(SECOND, BY, house)
    house.outbox.sent.clear()
    assert apply_policy(again, "another", house) == Applied(1, 1)
    assert not house.outbox.sent
    assert len(records(house)) == 1


def test_the_policy_of_the_bundle_can_be_put_as_it_is(house: FakeHouse) -> None:
    assert apply_policy(FIRST, BY, house).changed


def test_a_policy_that_does_not_load_is_not_put(house: FakeHouse) -> None:
    with pytest.raises(PolicyError, match="did you mean `mode`"):
        apply_policy("version: 1\nmod: enforce\n", BY, house)
    assert (house.rules.stored, records(house), list(house.outbox.sent)) == ([], [], [])


def test_what_was_put_since_the_difference_was_shown_is_not_overwritten(house: FakeHouse) -> None:
    apply_policy(FIRST, BY, house)
    with pytest.raises(ConflictError):
        apply_policy(STRICT, BY, house, after=0)
    assert apply_policy(STRICT, BY, house, after=1) == Applied(2, 1)


def test_a_stored_policy_that_does_not_load_any_more_is_replaced(house: FakeHouse) -> None:
    apply_policy(FIRST, BY, house)
    house.rules.stored[0] = msgspec.structs.replace(house.rules.stored[0], text="version: 1\nformer_key: 1\n")
    assert apply_policy(SECOND, BY, house) == Applied(2, 1)
    assert records(house)[-1].reason == "policy 1 does not load any more"


def test_who_died_before_recording_is_recorded_by_the_next(house: FakeHouse) -> None:
    record = house.table.record_action
    house.table.record_action = lambda _: (_ for _ in ()).throw(TransientError("cut off"))
    with pytest.raises(TransientError):
        apply_policy(FIRST, BY, house)
    house.table.record_action = record
    assert not apply_policy(FIRST, "another", house).changed
    assert [r.actor for r in records(house)] == [f"person:{BY}"]


def cut_off(house: FakeHouse, text: str) -> None:
    """Whoever applies it dies after putting it."""
    record = house.table.record_action
    house.table.record_action = lambda _: (_ for _ in ()).throw(TransientError("cut off"))
    with pytest.raises(TransientError):
        apply_policy(text, BY, house)
    house.table.record_action = record


def test_who_died_before_recording_is_recorded_by_who_puts_another(house: FakeHouse) -> None:
    cut_off(house, FIRST)
    apply_policy(STRICT, "another", house)
    assert [(r.actor, r.after) for r in records(house)] == [
        (f"person:{BY}", "policy 1"),
        ("person:another", "policy 2"),
    ]


def test_who_died_before_recording_is_recorded_by_the_clock() -> None:
    judged = Judged(FakeHouse())
    judged.fill(3)
    cut_off(judged.house, STRICT)
    assert records(judged.house) == []
    judged.carry_policy()
    assert [(r.actor, r.after) for r in records(judged.house)] == [(f"person:{BY}", "policy 1")]


def test_an_applied_policy_decides_every_image_and_can_be_taken_back() -> None:
    judged = Judged(FakeHouse())
    refs = judged.fill(40)
    before = judged.decisions(refs)
    apply_policy(STRICT, BY, judged.house)
    judged.carry_policy()
    assert judged.decisions(refs) != before
    assert {h.policy_version for h in decided(judged, refs)} == {1}
    apply_policy(FIRST, BY, judged.house)
    judged.carry_policy()
    assert judged.decisions(refs) == before


def decided(judged: Judged, refs: Any) -> list[Header]:
    shown = judged.decisions(refs)
    return [header for ref, header in judged.headers(refs).items() if ref in shown]
