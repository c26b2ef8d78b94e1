"""Giving and ending waivers: checked, done once, recorded once, and sent on its way; nothing is lost by a crash."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from chalicelib.domain.events.message import WaiversChanged
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.domain.policy.waiver import Waiver, waiver_id
from chalicelib.errors import ConflictError, NotFoundError, ParameterError, TransientError
from chalicelib.services.waivers.manage_waivers import End, Give, manage_waivers
from tests.fakes.queries import NOW, FakeContext

POLICY = parse_policy({"version": 1, "rules": [{"id": "all", "match": {"repository": "*"}, "decision": "block"}]})


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
    built.rules.rules = Rules(POLICY, policy_version=4)
    return built


def records(context: Any, one: Waiver) -> Any:
    return context.queries.records.get(f"waiver/{one.id}", ())


def test_a_waiver_is_given_recorded_and_sent_on_its_way(context: Any) -> None:
    done = manage_waivers(Give(waiver()), "oncall", context)
    assert (done.new, done.changed, done.waiver) == (True, True, waiver())
    (record,) = records(context, waiver())
    assert (record.kind, record.effect, record.actor, record.before) == ("WAIVE", "WAIVE#1", "person:oncall", None)
    assert (record.reason, record.policy_version) == ("not reachable", 4)
    assert record.vulnerability_ids == ("CVE-2026-0001",)
    assert record.undo == f"lazaretto unwaive {waiver().id} --reason undone"
    assert context.outbox.sent == [("sweeps", WaiversChanged())]


def test_what_is_given_again_changes_nothing_and_is_still_sent_on_its_way(context: Any) -> None:
    manage_waivers(Give(waiver()), "oncall", context)
    later = msgspec.structs.replace(waiver(), created_at=NOW + timedelta(minutes=1))
    done = manage_waivers(Give(later), "somebody", context)
    assert (done.new, done.changed, done.waiver) == (False, False, waiver())
    assert len(records(context, waiver())) == len(context.waivers.changes()) == 1
    assert len(context.outbox.sent) == 2


def test_a_change_says_what_stood_before_and_how_to_have_it_back(context: Any) -> None:
    manage_waivers(Give(waiver()), "oncall", context)
    manage_waivers(Give(waiver(reason="it's 'quoted' & $risky")), "oncall", context)
    manage_waivers(Give(waiver(reason="fine")), "oncall", context)
    *_, record = records(context, waiver())
    assert "$risky" in record.before
    assert record.after.startswith("CVE-2026-0001 in team/*: fine")
    assert """--reason 'it'"'"'s '"'"'quoted'"'"' & $risky'""" in record.undo


def test_who_ends_a_waiver_says_why(context: Any) -> None:
    manage_waivers(Give(waiver()), "oncall", context)
    with pytest.raises(ParameterError, match="reason"):
        manage_waivers(End(waiver().id, " "), "oncall", context)
    done = manage_waivers(End(waiver().id, "fixed"), "oncall", context)
    assert (done.waiver, context.waivers.read()) == (waiver(), ())
    *_, record = records(context, waiver())
    assert (record.kind, record.reason, record.after) == ("UNWAIVE", "fixed", "ended")
    with pytest.raises(NotFoundError):
        manage_waivers(End(waiver().id, "again"), "oncall", context)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"expires_at": NOW}, "expires_at"),
        ({"expires_at": NOW + timedelta(days=91)}, "expires_at"),
        ({"vulnerability_id": None, "rule": "al"}, "rule"),
    ],
)
def test_what_must_not_be_accepted_leaves_nothing(context: Any, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ParameterError) as caught:
        manage_waivers(Give(waiver(**changes)), "oncall", context)
    assert caught.value.parameter == field
    assert (context.waivers.read(), context.waivers.changes(), context.outbox.sent) == ((), (), [])


def test_a_rule_that_is_not_there_is_answered_with_the_nearest(context: Any) -> None:
    with pytest.raises(ParameterError, match="did you mean `all`"):
        manage_waivers(Give(waiver(vulnerability_id=None, rule="al")), "oncall", context)


def test_who_loses_a_race_reads_again(context: Any) -> None:
    """Somebody gives the same with other words between our reading and our putting."""
    put, faster = context.waivers.put, waiver(reason="faster")

    def raced(change: Any) -> Any:
        context.waivers.put = put
        manage_waivers(Give(faster), "another", context)
        return put(change)

    context.waivers.put = raced
    done = manage_waivers(Give(waiver()), "oncall", context)
    assert (done.new, context.waivers.read()) == (False, (waiver(),))
    assert [r.actor for r in records(context, waiver())] == ["person:another", "person:oncall"]


def test_to_give_or_end_one_waiver_the_others_are_not_read(context: Any) -> None:
    def costly() -> Any:
        raise AssertionError("reads all waivers")

    context.rules.fresh = context.rules.current = context.waivers.read = costly
    assert manage_waivers(Give(waiver()), "oncall", context).new
    manage_waivers(End(waiver().id, "fixed"), "oncall", context)


def test_who_always_loses_says_so(context: Any) -> None:
    def lost(change: Any) -> Any:
        raise ConflictError("faster")

    context.waivers.put = lost
    with pytest.raises(ConflictError, match="try again"):
        manage_waivers(Give(waiver()), "oncall", context)


@pytest.mark.parametrize("dies_at", ["record", "send"])
def test_what_dies_after_the_waiver_was_put_leaves_its_change_behind(context: Any, dies_at: str) -> None:
    def dead(*_: Any) -> Any:
        raise TransientError("cut off")

    if dies_at == "record":
        context.table.record_action = dead
    else:
        context.outbox = SimpleNamespace(send=dead)
    with pytest.raises(TransientError):
        manage_waivers(Give(waiver()), "oncall", context)
    assert context.waivers.read() == (waiver(),)
    assert [c.seen_at for c in context.waivers.changes()] == [None]
