"""A policy applied: checked, put, recorded and on its way to every image; nothing of it half."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from chalicelib.domain.events.message import PolicyRollout
from chalicelib.domain.headers.header import Header
from chalicelib.errors import ConflictError, PolicyError, TransientError
from chalicelib.services.policy.apply_policy import AppliedPolicy, apply_policy
from tests.services.judged import FIRST, NOW, STRICT, Judged, JudgedContext

BY = "arn:aws:sts::111122223333:assumed-role/Ops/oncall"
SECOND = FIRST.replace("CRITICAL", "HIGH")


@pytest.fixture
def context() -> JudgedContext:
    return JudgedContext()


def records(context: Any) -> list[Any]:
    return context.table.actions.get("policy", [])


def test_a_policy_is_put_recorded_and_sent_on_its_way(context: JudgedContext) -> None:
    assert apply_policy(FIRST, BY, context) == AppliedPolicy(1, 0)
    assert apply_policy(SECOND, BY, context, reason="as agreed") == AppliedPolicy(2, 1)
    assert context.rules.fresh().policy.number == 2
    assert context.outbox.of(PolicyRollout) == [PolicyRollout(), PolicyRollout()]
    first, second = records(context)
    assert (first.actor, first.kind, first.at, first.ref) == (f"person:{BY}", "POLICY", NOW, None)
    assert (first.before, first.after) == ("the policy of the bundle", "policy 1")
    assert first.undo == "lazaretto policy apply --version 0"
    assert (second.before, second.after, second.policy_version) == ("policy 1", "policy 2", 2)
    assert second.reason == "as agreed; rules.critical.match.severity: CRITICAL -> HIGH"
    assert second.undo == "lazaretto policy apply --version 1"


def test_the_record_of_the_first_policy_holds_what_it_changed_of_the_built_in_one(context: JudgedContext) -> None:
    text = SECOND + "mode: enforce\n"
    apply_policy(text, BY, context, reason="as agreed")
    (first,) = records(context)
    assert first.reason == (
        "as agreed; the first policy that was put, against the built-in one: mode: observe -> enforce; "
        "rules.critical.match.severity: CRITICAL -> HIGH"
    )


@pytest.mark.parametrize("again", [SECOND, SECOND + "# in other words\n", f"{SECOND}mode: observe\n"])
def test_what_says_the_same_is_not_put_again(context: JudgedContext, again: str) -> None:
    apply_policy(SECOND, BY, context)
    context.outbox.sent.clear()
    assert apply_policy(again, "another", context) == AppliedPolicy(1, 1)
    assert not context.outbox.sent
    assert len(records(context)) == 1


def test_the_policy_of_the_bundle_can_be_put_as_it_is(context: JudgedContext) -> None:
    assert apply_policy(FIRST, BY, context).changed


def test_a_policy_that_does_not_load_is_not_put(context: JudgedContext) -> None:
    with pytest.raises(PolicyError, match="did you mean `mode`"):
        apply_policy("version: 1\nmod: enforce\n", BY, context)
    assert (context.rules.stored, records(context), list(context.outbox.sent)) == ([], [], [])


def test_what_was_put_since_the_difference_was_shown_is_not_overwritten(context: JudgedContext) -> None:
    apply_policy(FIRST, BY, context)
    with pytest.raises(ConflictError):
        apply_policy(STRICT, BY, context, after=0)
    assert apply_policy(STRICT, BY, context, after=1) == AppliedPolicy(2, 1)


def test_a_stored_policy_that_does_not_load_any_more_is_replaced(context: JudgedContext) -> None:
    apply_policy(FIRST, BY, context)
    context.rules.stored[0] = msgspec.structs.replace(context.rules.stored[0], text="version: 1\nformer_key: 1\n")
    assert apply_policy(SECOND, BY, context) == AppliedPolicy(2, 1)
    assert records(context)[-1].reason == "policy 1 does not load any more"


def test_who_died_before_recording_is_recorded_by_the_next(context: JudgedContext) -> None:
    record = context.table.record_action
    context.table.record_action = lambda _: (_ for _ in ()).throw(TransientError("cut off"))
    with pytest.raises(TransientError):
        apply_policy(FIRST, BY, context)
    context.table.record_action = record
    assert not apply_policy(FIRST, "another", context).changed
    assert [r.actor for r in records(context)] == [f"person:{BY}"]


def cut_off(context: JudgedContext, text: str) -> None:
    """Whoever applies it dies after putting it."""
    record = context.table.record_action
    context.table.record_action = lambda _: (_ for _ in ()).throw(TransientError("cut off"))
    with pytest.raises(TransientError):
        apply_policy(text, BY, context)
    context.table.record_action = record


def test_who_died_before_recording_is_recorded_by_who_puts_another(context: JudgedContext) -> None:
    cut_off(context, FIRST)
    apply_policy(STRICT, "another", context)
    assert [(r.actor, r.after) for r in records(context)] == [
        (f"person:{BY}", "policy 1"),
        ("person:another", "policy 2"),
    ]


def test_who_died_before_recording_is_recorded_by_the_clock() -> None:
    judged = Judged(JudgedContext())
    judged.fill(3)
    cut_off(judged.context, STRICT)
    assert records(judged.context) == []
    judged.carry_policy()
    assert [(r.actor, r.after) for r in records(judged.context)] == [(f"person:{BY}", "policy 1")]


def test_an_applied_policy_decides_every_image_and_can_be_taken_back() -> None:
    judged = Judged(JudgedContext())
    refs = judged.fill(40)
    before = judged.decisions(refs)
    apply_policy(STRICT, BY, judged.context)
    judged.carry_policy()
    assert judged.decisions(refs) != before
    assert {h.policy_version for h in decided(judged, refs)} == {1}
    apply_policy(FIRST, BY, judged.context)
    judged.carry_policy()
    assert judged.decisions(refs) == before


def decided(judged: Judged, refs: Any) -> list[Header]:
    shown = judged.decisions(refs)
    return [header for ref, header in judged.headers(refs).items() if ref in shown]
