"""Every call that a function made in the run is one that its policy allows: the deployed one, and the packaged one.

ministack asks the policy of the function's role for each call it answers. What the registry answers is asked about
here, by simulation of the same policies. Both are of the deployed stack; that no action is called which the function's
policy does not name is asked of the package itself, so that a mistake of ministack hides nothing.

Why this and the record of the source tree together are the policies: tests/test_permissions.py plays everything that a
function can do, and compares both ways: each recorded call is allowed, and each action of a policy is missed by some
call when it is taken out. So the actions of a policy are those of the record, no less and no more. Here less is played
(no EKS, no second account), so nothing here could show that an action is superfluous; what could be wrong with the
record is a call that the deployed code makes and the source tree's does not, or that only a real queue, process or role
brings about. Such a call is in no record, and so in no policy: it is refused by ministack, and named here. Calls of the
run being part of the policies, and policies equal to the record, calls of both together equal the policies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.crossing import AT_THE_REGISTRY, Call
from tests.e2e.places import ACCOUNT, PACKAGE, REGION
from tests.e2e.run import Run

pytestmark = pytest.mark.e2e

NAMED_BY = {
    "DescribeContainerInstances": "containerInstances",
    "DescribeServiceRevisions": "serviceRevisionArns",
    "DescribeServices": "services",
    "DescribeTasks": "tasks",
    "ListServiceDeployments": "service",
}
"""Calls of ECS that name what they are about, and where: our functions do by ARN."""
EVERY = {"DescribeRepositories": "*"}
"""Listing all is asked about with the ARN of all."""
HERE: Any = {"ContextKeyName": "aws:RequestedRegion", "ContextKeyValues": [REGION], "ContextKeyType": "string"}
BY_OTHER_NAMES = {
    "ecr:ListImageReferrers": "ecr:BatchGetImage",
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sns:PublishBatch": "sns:Publish",
}
NEED_NO_RIGHT = {"sts:GetCallerIdentity"}
TRANSACTION = "dynamodb:TransactWriteItems"
PARTS = {b"Put": "PutItem", b"Update": "UpdateItem", b"Delete": "DeleteItem", b"ConditionCheck": "ConditionCheckItem"}
_PART = re.compile(rb'\{"(Put|Update|Delete|ConditionCheck)": ?\{')
"""Found in a body that is cut, too."""
HANDLERS = {"app.app": "api_handler"}
AT_LEAST = {
    "on_scans": 9,
    "on_findings": 5,
    "on_actions": 12,
    "on_alerts": 5,
    "on_sweeps": 8,
    "clock": 1,
    "api_handler": 4,
}
"""Different calls, by function."""


def test_no_call_was_refused_by_a_policy(run: Run) -> None:
    assert run.refused() == []


@pytest.fixture(scope="module")
def named() -> dict[str, set[str]]:
    """The actions that the policy of each function names in the package, by the name of its handler."""
    resources = json.loads((PACKAGE / "sam.json").read_text())["Resources"]
    functions = {n: r["Properties"] for n, r in resources.items() if r["Type"] == "AWS::Serverless::Function"}
    return {
        HANDLERS.get(properties["Handler"], properties["Handler"].removeprefix("app.")): {
            action for policy in policies_of(resources, properties) for action in actions_of(policy)
        }
        for properties in functions.values()
    }


def policies_of(resources: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    role = resources[properties["Role"]["Fn::GetAtt"][0]]["Properties"]
    return (policy["PolicyDocument"] for policy in role["Policies"])


def actions_of(policy: dict[str, Any]) -> Iterator[str]:
    for statement in policy["Statement"]:
        allowed = statement["Fn::If"][1] if "Fn::If" in statement else statement
        if allowed["Effect"] == "Allow":
            yield from [allowed["Action"]] if isinstance(allowed["Action"], str) else allowed["Action"]


def called(run: Run, function: str) -> set[str]:
    """The actions that its calls need."""
    calls = run.calls_of_functions().get(function, ())
    return {action for call in calls for action in needed_by(call)} - NEED_NO_RIGHT


def needed_by(call: Call) -> Iterator[str]:
    """For a transaction, those of what is in it: by its name there is no right."""
    if call.name == TRANSACTION:
        yield from (f"dynamodb:{PARTS[part]}" for part in _PART.findall(call.body))
    else:
        yield BY_OTHER_NAMES.get(call.name, call.name)


def test_each_function_calls_what_the_policy_of_the_package_names_and_nothing_else(
    run: Run, named: dict[str, set[str]]
) -> None:
    assert named.keys() == run.account.functions().keys()
    assert {function: called(run, function) - named[function] for function in named} == {f: set() for f in named}


def test_each_function_was_seen_at_work(run: Run, named: dict[str, set[str]]) -> None:
    """What is compared is not nothing: most of what a function may do was done, but for what Lambda does for it."""
    rarely = {f: sorted(called(run, f)) for f in named if len(called(run, f)) < AT_LEAST[f]}
    assert rarely == {}


def test_a_refused_call_would_be_seen(run: Run) -> None:
    """The very right that was taken away in the run is missed in what is counted here."""
    (taken,) = run.taken
    explained, run.taken = run.taken, []
    try:
        assert set(run.refused()) == {f"{taken.function}: {taken.action}"}
    finally:
        run.taken = explained


def test_every_call_has_a_name(run: Run) -> None:
    unknown = {c.service for calls in run.calls_of_functions().values() for c in calls if c.operation == "?"}
    assert unknown == set()


def test_what_the_registry_was_asked_is_allowed_by_the_policies(run: Run) -> None:
    roles = {name: function["Role"] for name, function in run.account.functions().items()}
    asked = {
        (function, BY_OTHER_NAMES.get(call.name, call.name), resource_of(call))
        for function, calls in run.calls_of_functions().items()
        for call in calls
        if call.service in AT_THE_REGISTRY
    }
    assert asked
    refused = []
    for function, action, resource in sorted(asked):
        (answer,) = run.account.client("iam").simulate_principal_policy(
            PolicySourceArn=roles[function],
            ActionNames=[action],
            ResourceArns=[resource],
            ContextEntries=[HERE],
        )["EvaluationResults"]
        if answer["EvalDecision"] != "allowed":
            refused.append((function, action, resource))
    assert refused == []


def resource_of(call: Call) -> str:
    """The ARN that AWS asks about where the call names something that permissions know; else `*`."""
    try:
        said: Any = json.loads(call.body or b"{}")
    except ValueError:
        return "*"
    if call.name == "ecr-public:DescribeRegistries":
        return f"arn:aws:ecr-public::{ACCOUNT}:registry/{ACCOUNT}"
    if call.service in ("ecr", "ecr-public"):
        name = said.get("repositoryName") or next(iter(said.get("repositoryNames", ())), EVERY.get(call.operation))
        place = f"ecr:{REGION}" if call.service == "ecr" else "ecr-public:"
        return f"arn:aws:{place}:{ACCOUNT}:repository/{name}" if name else "*"
    named = said.get(NAMED_BY.get(call.operation), "*")
    return str(named[0] if isinstance(named, list) else named)
