"""What each function really calls, recorded from its real handler on the local stack, is what its policy allows.

No less: every call is allowed. No more: whatever action or resource is taken out of a policy, some call misses it.
Policies are rendered as CloudFormation would. What no handler calls itself (its log, receiving from its queue) is
Lambda's: `RUNTIME_OWN`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.local.run_stack import HURRY_SECONDS
from chalicelib.local.stack import REGION, Stack
from tests.fakes.iam import Call, arn, listed, refused
from tests.local.every_function import Played

CHALICE = Path(__file__).parent.parent / ".chalice"
FUNCTIONS = json.loads((CHALICE / "config.json").read_text())["stages"]["dev"]["lambda_functions"]
POLICIES = {name: json.loads((CHALICE / f["iam_policy_file"]).read_text()) for name, f in FUNCTIONS.items()}
RUNTIME_OWN = ("WriteItsOwnLog", "ReceiveFromItsQueue")


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    with Stack(hurry=HURRY_SECONDS) as stack:
        scenes = Played(stack)
        scenes.fill_the_registry()
        scenes.change_what_is_there()
        scenes.change_the_policy("warn")
        scenes.tell_by(arn("ssm", REGION, "parameter/slack"))
        scenes.change_the_policy("pending")
        scenes.lose_an_alert()
        scenes.let_days_pass()
        scenes.ask_everything()
        yield scenes


def calls_of(played: Played, function: str) -> list[Call]:
    return sorted(call for call in played.recorder.calls if call.function == function)


def own(policy: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The statements of a policy that are about what the function itself calls."""
    for statement in policy["Statement"]:
        one = statement["Fn::If"][1] if "Fn::If" in statement else statement
        if one["Sid"] not in RUNTIME_OWN:
            yield one


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_all_it_does(played: Played, function: str) -> None:
    assert calls_of(played, function), "no scenario woke it"
    assert refused(calls_of(played, function), POLICIES[function], played.cursor_secret) == []


def test_nothing_was_refused_by_a_function_while_it_was_watched(played: Played) -> None:
    assert played.stack.dead_letters() == []


def parts(name: str) -> list[Any]:
    """Every action (or resource) of every policy, by its place: what is taken away must be missed."""
    return [
        pytest.param(function, s["Sid"], n, id=f"{function}-{s['Sid']}-{n if name == 'Resource' else one}")
        for function, policy in POLICIES.items()
        for s in own(policy)
        for n, one in enumerate(listed(s[name]))
    ]


def without(function: str, sid: str, name: str, n: int) -> dict[str, Any]:
    policy = copy.deepcopy(POLICIES[function])
    (statement,) = (s for s in own(policy) if s["Sid"] == sid)
    statement[name] = [one for i, one in enumerate(listed(statement[name])) if i != n]
    return policy


@pytest.mark.parametrize(("function", "sid", "n"), parts("Action"))
def test_an_action_taken_away_is_missed(played: Played, function: str, sid: str, n: int) -> None:
    assert refused(calls_of(played, function), without(function, sid, "Action", n), played.cursor_secret)


@pytest.mark.parametrize(("function", "sid", "n"), parts("Resource"))
def test_a_resource_taken_away_is_missed(played: Played, function: str, sid: str, n: int) -> None:
    assert refused(calls_of(played, function), without(function, sid, "Resource", n), played.cursor_secret)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_receives_from_its_own_queue_alone(function: str) -> None:
    statements = [s for s in POLICIES[function]["Statement"] if s.get("Sid") == "ReceiveFromItsQueue"]
    queue = f"{function.removeprefix('on_').title()}Queue"
    assert [s["Resource"] for s in statements] == ([{"Fn::GetAtt": [queue, "Arn"]}] if "on_" in function else [])
