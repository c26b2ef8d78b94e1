"""Every call that a function made in the run is one that its policy allows.

ministack asks the policy of the function's role for each call it answers. What the registry answers is asked about
here, by simulation of the same policies.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.crossing import AT_THE_REGISTRY, Call
from tests.e2e.places import ACCOUNT, REGION
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
BY_OTHER_NAMES = {"ecr:ListImageReferrers": "ecr:BatchGetImage"}


def test_no_call_was_refused_by_a_policy(run: Run) -> None:
    assert run.refused() == []


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
    if call.service == "ecr":
        name = said.get("repositoryName") or next(iter(said.get("repositoryNames", ())), EVERY.get(call.operation))
        return f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}" if name else "*"
    named = said.get(NAMED_BY.get(call.operation), "*")
    return str(named[0] if isinstance(named, list) else named)
