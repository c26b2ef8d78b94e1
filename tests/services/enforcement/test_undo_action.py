"""What stands is undone by its action id; what was changed since, or cannot be given back, is refused with a reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.audit.action import ActionRecord, action_id
from chalicelib.domain.events.message import PolicyRollout, WaiversChanged
from chalicelib.domain.policy.waiver import Waiver, waiver_id
from chalicelib.errors import ConflictError, NotFoundError, ParameterError, StoredPolicyError
from chalicelib.services.enforcement.undo_action import Undone, undo_action
from chalicelib.services.policy.apply_policy import apply_policy
from chalicelib.services.waivers.manage_waivers import End, Give, manage_waivers
from tests.fakes.images import ref
from tests.fakes.queries import NOW, FakeContext
from tests.services.judged import FIRST, STRICT, FakeRules

THIRD = FIRST.replace("CRITICAL", "HIGH")


def waiver(**changes: Any) -> Waiver:
    said: dict[str, Any] = {
        "repository": "team/*",
        "vulnerability_id": "CVE-2026-0001",
        "package": None,
        "rule": None,
        "reason": "not reachable",
        "approved_by": "platform security",
        "expires_at": NOW + timedelta(days=30),
        "created_at": NOW,
        **changes,
    }
    return Waiver(id=waiver_id(*(said[n] for n in ("repository", "vulnerability_id", "package", "rule"))), **said)


@pytest.fixture
def context() -> Any:
    built: Any = FakeContext()
    built.rules = FakeRules(built.table, built.waivers, built.clock.now)
    return built


def records(context: Any, subject: str) -> list[ActionRecord]:
    return list(context.queries.records.get(subject, ()))


def undo(context: Any, record: ActionRecord, **options: Any) -> Undone:
    context.clock.at += timedelta(minutes=1)
    return undo_action(action_id(record), "oncall", "a mistake", context, **options)


def told(context: Any, one: Waiver) -> list[ActionRecord]:
    return records(context, f"waiver/{one.id}")


class TestWaivers:
    def test_a_waiver_that_was_given_is_ended(self, context: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", context)
        (given,) = told(context, waiver())
        undone = undo(context, given)
        assert context.waivers.read() == ()
        assert undone.lines == (f"The waiver {waiver().id} is ended. The images it touches are decided again.",)
        record = told(context, waiver())[-1]
        assert (record.kind, record.actor, record.reason) == ("UNWAIVE", "person:oncall", "a mistake")
        assert context.outbox.sent == [("sweeps", WaiversChanged())] * 2

    def test_a_waiver_that_was_ended_is_given_again_as_it_was(self, context: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", context)
        manage_waivers(End(waiver().id, "fixed"), "somebody", context)
        undo(context, told(context, waiver())[-1])
        (stored,) = context.waivers.read()
        assert stored.says_as(waiver())
        assert stored.created_at == context.clock.now(), "since when it stands so"
        record = told(context, waiver())[-1]
        assert (record.kind, record.actor, record.reason) == ("WAIVE", "person:oncall", "a mistake; not reachable")

    def test_a_waiver_that_was_changed_says_again_what_it_said(self, context: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", context)
        manage_waivers(Give(waiver(reason="fine", expires_at=NOW + timedelta(days=60))), "somebody", context)
        undo(context, told(context, waiver())[-1])
        (stored,) = context.waivers.read()
        assert stored.says_as(waiver())

    def test_an_undo_is_undone(self, context: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", context)
        for left in (0, 1, 0):
            undo(context, told(context, waiver())[-1])
            assert len(context.waivers.read()) == left
        assert [r.kind for r in told(context, waiver())] == ["WAIVE", "UNWAIVE", "WAIVE", "UNWAIVE"]

    def test_what_is_undone_already_changes_nothing(self, context: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", context)
        (given,) = told(context, waiver())
        undo(context, given)
        again = undo(context, given)
        assert again.lines == (f"Nothing is to be done: the waiver {waiver().id} is as it was before.",)
        assert len(told(context, waiver())) == 2

    def test_a_dry_run_says_the_same_and_changes_nothing(self, context: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", context)
        (given,) = told(context, waiver())
        planned = undo(context, given, dry_run=True)
        assert planned.dry_run
        assert (context.waivers.read(), len(told(context, waiver())), len(context.outbox.sent)) == ((waiver(),), 1, 1)
        assert planned.lines == undo(context, given).lines

    def test_what_was_changed_since_is_left_to_its_own_undo(self, context: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", context)
        changed = waiver(reason="looked at again")
        manage_waivers(Give(changed), "another", context)
        with pytest.raises(ConflictError, match="was changed since: lazaretto audit --subject waiver/w-"):
            undo(context, told(context, waiver())[0])
        assert context.waivers.read() == (changed,)

    def test_what_was_given_anew_since_its_end_is_not_replaced(self, context: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", context)
        manage_waivers(End(waiver().id, "fixed"), "somebody", context)
        anew = waiver(reason="back again")
        manage_waivers(Give(anew), "another", context)
        with pytest.raises(ConflictError, match="was given again"):
            undo(context, told(context, waiver())[1])
        assert context.waivers.read() == (anew,)

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_a_waiver_that_has_expired_is_not_given_again(self, context: Any, dry_run: bool) -> None:
        manage_waivers(Give(waiver()), "somebody", context)
        manage_waivers(End(waiver().id, "fixed"), "somebody", context)
        context.clock.at = waiver().expires_at - timedelta(minutes=1)
        with pytest.raises(ConflictError, match="cannot be given again: expires_at: must be in the future"):
            undo(context, told(context, waiver())[-1], dry_run=dry_run)
        assert context.waivers.read() == ()

    def test_a_waiver_for_a_rule_that_is_gone_is_not_given_again(self, context: Any) -> None:
        one = waiver(vulnerability_id=None, rule="critical")
        manage_waivers(Give(one), "somebody", context)
        manage_waivers(End(one.id, "fixed"), "somebody", context)
        apply_policy("version: 1\n", "somebody", context)
        with pytest.raises(ConflictError, match="no such rule"):
            undo(context, told(context, one)[-1])

    def test_who_changes_it_in_between_is_not_overwritten(self, context: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", context)
        (given,) = told(context, waiver())
        get, faster = context.waivers.get, waiver(reason="faster")

        def raced(name: str) -> Any:
            context.waivers.get = get
            stood = get(name)
            manage_waivers(Give(faster), "another", context)
            return stood

        context.waivers.get = raced
        with pytest.raises(ConflictError, match="at the same moment"):
            undo(context, given)
        assert context.waivers.read() == (faster,)

    def test_a_record_that_does_not_hold_the_waiver_names_the_command(self, context: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", context)
        (given,) = told(context, waiver())
        old = msgspec.structs.replace(given, waivers=None)
        context.queries.records[f"waiver/{waiver().id}"] = (old,)
        with pytest.raises(ConflictError, match="lazaretto unwaive"):
            undo(context, old)


class TestPolicies:
    def test_the_version_before_is_put_again_as_a_new_one(self, context: Any) -> None:
        apply_policy(FIRST, "somebody", context)
        apply_policy(STRICT, "somebody", context)
        undone = undo(context, records(context, "policy")[-1])
        assert context.rules.fresh().policy_version == 3
        assert context.rules.read_policy(3).text == FIRST
        assert undone.lines == ("What policy 1 says is in force as policy 3. Every image is decided again.",)
        record = records(context, "policy")[-1]
        assert (record.actor, record.kind, record.before) == ("person:oncall", "POLICY", "policy 2")
        assert record.reason.startswith("a mistake; ")
        assert context.outbox.sent[-1] == ("sweeps", PolicyRollout())

    def test_an_undo_is_undone(self, context: Any) -> None:
        apply_policy(FIRST, "somebody", context)
        apply_policy(STRICT, "somebody", context)
        for text in (FIRST, STRICT):
            undo(context, records(context, "policy")[-1])
            assert context.rules.read_policy(context.rules.fresh().policy_version).text == text

    def test_a_dry_run_says_the_same_and_changes_nothing(self, context: Any) -> None:
        apply_policy(FIRST, "somebody", context)
        apply_policy(STRICT, "somebody", context)
        put = records(context, "policy")[-1]
        planned = undo(context, put, dry_run=True)
        assert (context.rules.fresh().policy_version, len(records(context, "policy"))) == (2, 2)
        assert planned.lines == undo(context, put).lines

    def test_one_that_does_not_load_any_more_is_undone_all_the_same(self, context: Any) -> None:
        apply_policy(FIRST, "somebody", context)
        apply_policy(STRICT, "somebody", context)
        put = records(context, "policy")[-1]
        context.rules.stored[1] = msgspec.structs.replace(context.rules.stored[1], text="version: 1\nformer_key: 1\n")
        fresh, context.rules.fresh = (
            context.rules.fresh,
            lambda: (_ for _ in ()).throw(StoredPolicyError(2, "unknown key")),
        )
        undo(context, put)
        context.rules.fresh = fresh
        assert context.rules.read_policy(3).text == FIRST

    def test_only_the_policy_in_force_is_undone(self, context: Any) -> None:
        for text in (FIRST, STRICT, THIRD):
            apply_policy(text, "somebody", context)
        with pytest.raises(ConflictError, match="policy 2 is not in force any more, policy 3 is"):
            undo(context, records(context, "policy")[1])
        assert context.rules.fresh().policy_version == 3

    def test_the_first_one_names_the_command(self, context: Any) -> None:
        apply_policy(FIRST, "somebody", context)
        with pytest.raises(ConflictError, match="the policy of the bundle was in force: lazaretto policy apply"):
            undo(context, records(context, "policy")[0])

    def test_who_puts_another_in_between_is_not_overwritten(self, context: Any) -> None:
        apply_policy(FIRST, "somebody", context)
        apply_policy(STRICT, "somebody", context)
        read = context.rules.read_policy

        def raced(version: int) -> Any:
            context.rules.read_policy = read
            apply_policy(THIRD, "another", context)
            return read(version)

        context.rules.read_policy = raced
        with pytest.raises(ConflictError):
            undo(context, records(context, "policy")[-1])
        assert context.rules.fresh().policy_version == 3
        assert context.rules.read_policy(3).text == THIRD


@pytest.mark.parametrize("kind", ["ALERT", "QUARANTINE_FAILED", "WOULD_QUARANTINE", "FUSE_RESET", "TAMPERING"])
def test_what_changed_nothing_is_not_undone(context: Any, kind: str) -> None:
    record = ActionRecord(ref(1), f"{kind}#1", NOW, kind, "system", "because", NOW)
    context.queries.records[ref(1)] = (record,)
    with pytest.raises(ConflictError, match=f"{kind} is not undone: it has changed nothing"):
        undo(context, record)


def test_an_undo_needs_a_reason_and_an_action(context: Any) -> None:
    with pytest.raises(ParameterError, match="reason"):
        undo_action("20261125T093012.123456Z-QUARANTINE-3-1f0c2ab9", "oncall", " ", context)
    with pytest.raises(NotFoundError):
        undo_action("20261125T093012.123456Z-QUARANTINE-3-1f0c2ab9", "oncall", "a mistake", context)
