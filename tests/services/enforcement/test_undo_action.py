"""What stands is undone by its action id; what was changed since, or cannot be given back, is refused with a reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.audit.action import action_id
from chalicelib.domain.events.message import CatchUp, Touched
from chalicelib.domain.policy.waiver import Waiver, waiver_id
from chalicelib.errors import ConflictError, NotFoundError, ParameterError, StoredPolicyError
from chalicelib.services.enforcement.undo_action import Undone, undo_action
from chalicelib.services.policy.apply_policy import apply_policy
from chalicelib.services.ports.ports import ActionRecord
from chalicelib.services.waivers.manage_waivers import End, Give, manage_waivers
from tests.fakes.images import ref
from tests.fakes.queries import NOW, FakeHouse
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
def house() -> Any:
    built: Any = FakeHouse()
    built.rules = FakeRules(built.table, built.waivers, built.clock.now)
    return built


def records(house: Any, subject: str) -> list[ActionRecord]:
    return list(house.queries.records.get(subject, ()))


def undo(house: Any, record: ActionRecord, **options: Any) -> Undone:
    house.clock.at += timedelta(minutes=1)
    return undo_action(action_id(record), "oncall", "a mistake", house, **options)


def told(house: Any, one: Waiver) -> list[ActionRecord]:
    return records(house, f"waiver/{one.id}")


class TestWaivers:
    def test_a_waiver_that_was_given_is_ended(self, house: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", house)
        (given,) = told(house, waiver())
        undone = undo(house, given)
        assert house.waivers.read() == ()
        assert undone.lines == (f"The waiver {waiver().id} is ended. The images it touches are decided again.",)
        record = told(house, waiver())[-1]
        assert (record.kind, record.actor, record.reason) == ("UNWAIVE", "person:oncall", "a mistake")
        assert house.outbox.sent == [("sweeps", Touched())] * 2

    def test_a_waiver_that_was_ended_is_given_again_as_it_was(self, house: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", house)
        manage_waivers(End(waiver().id, "fixed"), "somebody", house)
        undo(house, told(house, waiver())[-1])
        (stored,) = house.waivers.read()
        assert stored.says_as(waiver())
        assert stored.created_at == house.clock.now(), "since when it stands so"
        record = told(house, waiver())[-1]
        assert (record.kind, record.actor, record.reason) == ("WAIVE", "person:oncall", "a mistake; not reachable")

    def test_a_waiver_that_was_changed_says_again_what_it_said(self, house: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", house)
        manage_waivers(Give(waiver(reason="fine", expires_at=NOW + timedelta(days=60))), "somebody", house)
        undo(house, told(house, waiver())[-1])
        (stored,) = house.waivers.read()
        assert stored.says_as(waiver())

    def test_an_undo_is_undone(self, house: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", house)
        for left in (0, 1, 0):
            undo(house, told(house, waiver())[-1])
            assert len(house.waivers.read()) == left
        assert [r.kind for r in told(house, waiver())] == ["WAIVE", "UNWAIVE", "WAIVE", "UNWAIVE"]

    def test_what_is_undone_already_changes_nothing(self, house: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", house)
        (given,) = told(house, waiver())
        undo(house, given)
        again = undo(house, given)
        assert again.lines == (f"Nothing is to be done: the waiver {waiver().id} is as it was before.",)
        assert len(told(house, waiver())) == 2

    def test_a_dry_run_says_the_same_and_changes_nothing(self, house: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", house)
        (given,) = told(house, waiver())
        planned = undo(house, given, dry_run=True)
        assert planned.dry_run
        assert (house.waivers.read(), len(told(house, waiver())), len(house.outbox.sent)) == ((waiver(),), 1, 1)
        assert planned.lines == undo(house, given).lines

    def test_what_was_changed_since_is_left_to_its_own_undo(self, house: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", house)
        changed = waiver(reason="looked at again")
        manage_waivers(Give(changed), "another", house)
        with pytest.raises(ConflictError, match="was changed since: lazaretto audit --subject waiver/w-"):
            undo(house, told(house, waiver())[0])
        assert house.waivers.read() == (changed,)

    def test_what_was_given_anew_since_its_end_is_not_replaced(self, house: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", house)
        manage_waivers(End(waiver().id, "fixed"), "somebody", house)
        anew = waiver(reason="back again")
        manage_waivers(Give(anew), "another", house)
        with pytest.raises(ConflictError, match="was given again"):
            undo(house, told(house, waiver())[1])
        assert house.waivers.read() == (anew,)

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_a_waiver_that_has_expired_is_not_given_again(self, house: Any, dry_run: bool) -> None:
        manage_waivers(Give(waiver()), "somebody", house)
        manage_waivers(End(waiver().id, "fixed"), "somebody", house)
        house.clock.at = waiver().expires_at - timedelta(minutes=1)
        with pytest.raises(ConflictError, match="cannot be given again: expires_at: must be in the future"):
            undo(house, told(house, waiver())[-1], dry_run=dry_run)
        assert house.waivers.read() == ()

    def test_a_waiver_for_a_rule_that_is_gone_is_not_given_again(self, house: Any) -> None:
        one = waiver(vulnerability_id=None, rule="critical")
        manage_waivers(Give(one), "somebody", house)
        manage_waivers(End(one.id, "fixed"), "somebody", house)
        apply_policy("version: 1\n", "somebody", house)
        with pytest.raises(ConflictError, match="no such rule"):
            undo(house, told(house, one)[-1])

    def test_who_changes_it_in_between_is_not_overwritten(self, house: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", house)
        (given,) = told(house, waiver())
        get, faster = house.waivers.get, waiver(reason="faster")

        def raced(name: str) -> Any:
            house.waivers.get = get
            stood = get(name)
            manage_waivers(Give(faster), "another", house)
            return stood

        house.waivers.get = raced
        with pytest.raises(ConflictError, match="at the same moment"):
            undo(house, given)
        assert house.waivers.read() == (faster,)

    def test_a_record_that_does_not_hold_the_waiver_names_the_command(self, house: Any) -> None:
        manage_waivers(Give(waiver()), "somebody", house)
        (given,) = told(house, waiver())
        old = msgspec.structs.replace(given, waivers=None)
        house.queries.records[f"waiver/{waiver().id}"] = (old,)
        with pytest.raises(ConflictError, match="lazaretto unwaive"):
            undo(house, old)


class TestPolicies:
    def test_the_version_before_is_put_again_as_a_new_one(self, house: Any) -> None:
        apply_policy(FIRST, "somebody", house)
        apply_policy(STRICT, "somebody", house)
        undone = undo(house, records(house, "policy")[-1])
        assert house.rules.fresh().policy_version == 3
        assert house.rules.read_policy(3).text == FIRST
        assert undone.lines == ("What policy 1 says is in force as policy 3. Every image is decided again.",)
        record = records(house, "policy")[-1]
        assert (record.actor, record.kind, record.before) == ("person:oncall", "POLICY", "policy 2")
        assert record.reason.startswith("a mistake; ")
        assert house.outbox.sent[-1] == ("sweeps", CatchUp())

    def test_an_undo_is_undone(self, house: Any) -> None:
        apply_policy(FIRST, "somebody", house)
        apply_policy(STRICT, "somebody", house)
        for text in (FIRST, STRICT):
            undo(house, records(house, "policy")[-1])
            assert house.rules.read_policy(house.rules.fresh().policy_version).text == text

    def test_a_dry_run_says_the_same_and_changes_nothing(self, house: Any) -> None:
        apply_policy(FIRST, "somebody", house)
        apply_policy(STRICT, "somebody", house)
        put = records(house, "policy")[-1]
        planned = undo(house, put, dry_run=True)
        assert (house.rules.fresh().policy_version, len(records(house, "policy"))) == (2, 2)
        assert planned.lines == undo(house, put).lines

    def test_one_that_does_not_load_any_more_is_undone_all_the_same(self, house: Any) -> None:
        apply_policy(FIRST, "somebody", house)
        apply_policy(STRICT, "somebody", house)
        put = records(house, "policy")[-1]
        house.rules.stored[1] = msgspec.structs.replace(house.rules.stored[1], text="version: 1\nformer_key: 1\n")
        fresh, house.rules.fresh = house.rules.fresh, lambda: (_ for _ in ()).throw(StoredPolicyError(2, "unknown key"))
        undo(house, put)
        house.rules.fresh = fresh
        assert house.rules.read_policy(3).text == FIRST

    def test_only_the_policy_in_force_is_undone(self, house: Any) -> None:
        for text in (FIRST, STRICT, THIRD):
            apply_policy(text, "somebody", house)
        with pytest.raises(ConflictError, match="policy 2 is not in force any more, policy 3 is"):
            undo(house, records(house, "policy")[1])
        assert house.rules.fresh().policy_version == 3

    def test_the_first_one_names_the_command(self, house: Any) -> None:
        apply_policy(FIRST, "somebody", house)
        with pytest.raises(ConflictError, match="the policy of the bundle was in force: lazaretto policy apply"):
            undo(house, records(house, "policy")[0])

    def test_who_puts_another_in_between_is_not_overwritten(self, house: Any) -> None:
        apply_policy(FIRST, "somebody", house)
        apply_policy(STRICT, "somebody", house)
        read = house.rules.read_policy

        def raced(version: int) -> Any:
            house.rules.read_policy = read
            apply_policy(THIRD, "another", house)
            return read(version)

        house.rules.read_policy = raced
        with pytest.raises(ConflictError):
            undo(house, records(house, "policy")[-1])
        assert house.rules.fresh().policy_version == 3
        assert house.rules.read_policy(3).text == THIRD


@pytest.mark.parametrize("kind", ["ALERT", "QUARANTINE_FAILED", "WOULD_QUARANTINE", "FUSE_RESET", "TAMPERING"])
def test_what_changed_nothing_is_not_undone(house: Any, kind: str) -> None:
    record = ActionRecord(ref(1), f"{kind}#1", NOW, kind, "system", "because", NOW)
    house.queries.records[ref(1)] = (record,)
    with pytest.raises(ConflictError, match=f"{kind} is not undone: it has changed nothing"):
        undo(house, record)


def test_an_undo_needs_a_reason_and_an_action(house: Any) -> None:
    with pytest.raises(ParameterError, match="reason"):
        undo_action("20261125T093012.123456Z-QUARANTINE-3-1f0c2ab9", "oncall", " ", house)
    with pytest.raises(NotFoundError):
        undo_action("20261125T093012.123456Z-QUARANTINE-3-1f0c2ab9", "oncall", "a mistake", house)
