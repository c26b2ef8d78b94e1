"""What each function really calls, recorded from its real handler on the local stack, is what its policy allows.

No less: every call is allowed. No more: whatever action, resource, key of the table or foreign Region is taken out of a
policy, some call misses it. Policies are rendered as CloudFormation would. What no handler calls itself, and nobody can
record therefore, is named here with its reason: `NOT_OURS`.

What needs the record is marked `denied`: `make denied` plays everything once, for `test_denied.py` as well. `make test`
looks at what policies say by themselves; `test_package.py` there compares them all with the calls of all adapters.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from chalicelib.local.aws.stack import REGION
from tests.fakes.iam import ANY, REPLICA_REGION, TEMPLATE, Call, arn, listed, refused, render
from tests.local.play_once import Recorded

CHALICE = Path(__file__).parent.parent / ".chalice"
FUNCTIONS = json.loads((CHALICE / "config.json").read_text())["stages"]["dev"]["lambda_functions"]
POLICIES = {name: json.loads((CHALICE / f["iam_policy_file"]).read_text()) for name, f in FUNCTIONS.items()}
NOT_OURS = {
    "WriteItsOwnLog": "Lambda writes it",
    "ReceiveFromItsQueue": "Lambda polls it",
    "KeepRunsThatFailed": "Lambda sends them",
    "UseKeyOfWhatIsStored": "DynamoDB, SQS, SNS and Secrets Manager ask KMS on our behalf",
}
KEY = arn("kms", REGION, "key/0d5f1c2e-6b0a-4c1e-9a44-2f1f6f3f7a10")
MOST_CHARACTERS = 10_240
"""Of all inline policies of a role together, white space not counted (IAM quotas)."""
AUTHORIZATION = json.loads(
    Path(str(distribution("cfn-lint").locate_file("cfnlint/data/AdditionalSpecs/Policies.json"))).read_text()
)
"""AWS's service authorization reference as cfn-lint ships it: by service its actions, with the types of resource that
each knows, and the ARNs of these."""
ASKED_WITHOUT_RESOURCE = {"ecs:ListTasks"}
"""The reference names the container instance, by which tasks may be listed. By cluster there is none (ECS developer
guide, IAM policy examples: list tasks)."""


def calls_of(recorded: Recorded, function: str) -> list[Call]:
    return [call for call in recorded.calls if call.function == function]


def missed(recorded: Recorded, function: str, policy: dict[str, Any]) -> list[Call]:
    """The calls that `policy` refuses, of those that the function's own allows."""
    calls = calls_of(recorded, function)
    before = refused(calls, POLICIES[function], recorded.cursor_secret)
    return refused([call for call in calls if call not in before], policy, recorded.cursor_secret)


def statements(policy: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for statement in policy["Statement"]:
        yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def own(policy: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The statements of a policy that allow what the function itself calls."""
    return (s for s in statements(policy) if s["Sid"] not in NOT_OURS and s["Effect"] == "Allow")


@pytest.mark.denied
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_all_it_does(recorded: Recorded, function: str) -> None:
    assert calls_of(recorded, function), "no scenario woke it"
    assert refused(calls_of(recorded, function), POLICIES[function], recorded.cursor_secret) == []


@pytest.mark.denied
def test_nothing_was_refused_by_a_function_while_it_was_watched(recorded: Recorded) -> None:
    assert recorded.dead_letters == ()


@pytest.mark.denied
def test_what_cannot_be_recorded_is_nothing_that_a_function_calls(recorded: Recorded) -> None:
    """An exception must not hide what could be tested."""
    excepted = [
        (action, resource)
        for policy in POLICIES.values()
        for s in statements(policy)
        if s["Sid"] in NOT_OURS
        for action in listed(s["Action"])
        for resource in listed(render(s["Resource"], {"KmsKeyArn": KEY}))
    ]
    assert not [
        c for c in recorded.calls for action, on in excepted if c.action == action and fnmatchcase(c.resource, on)
    ]


def parts(name: str) -> list[Any]:
    """Every action (or resource) of every policy, by its place: what is taken away must be missed."""
    return [
        pytest.param(function, s["Sid"], n, id=f"{function}-{s['Sid']}-{n if name == 'Resource' else one}")
        for function, policy in POLICIES.items()
        for s in own(policy)
        for n, one in enumerate(listed(s[name]))
    ]


def altered(function: str, sid: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A copy of the policy, and the statement in it."""
    policy = copy.deepcopy(POLICIES[function])
    (statement,) = (s for s in statements(policy) if s["Sid"] == sid)
    return policy, statement


def without(function: str, sid: str, name: str, n: int) -> dict[str, Any]:
    policy, statement = altered(function, sid)
    statement[name] = [one for i, one in enumerate(listed(statement[name])) if i != n]
    return policy


@pytest.mark.denied
@pytest.mark.parametrize(("function", "sid", "n"), parts("Action"))
def test_an_action_taken_away_is_missed(recorded: Recorded, function: str, sid: str, n: int) -> None:
    assert missed(recorded, function, without(function, sid, "Action", n))


@pytest.mark.denied
@pytest.mark.parametrize(("function", "sid", "n"), parts("Resource"))
def test_a_resource_taken_away_is_missed(recorded: Recorded, function: str, sid: str, n: int) -> None:
    assert missed(recorded, function, without(function, sid, "Resource", n))


KEYED = [
    pytest.param(function, s["Sid"], key, id=f"{function}-{s['Sid']}-{key}")
    for function, policy in POLICIES.items()
    for s in own(policy)
    for key in s.get("Condition", {}).get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys", ())
]


@pytest.mark.denied
@pytest.mark.parametrize(("function", "sid", "key"), KEYED)
def test_a_key_of_the_table_taken_away_is_missed(recorded: Recorded, function: str, sid: str, key: str) -> None:
    policy, statement = altered(function, sid)
    statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"].remove(key)
    assert missed(recorded, function, policy)


ABROAD = [
    pytest.param(function, s["Sid"], n, id=f"{function}-{s['Sid']}-{n}")
    for function, policy in POLICIES.items()
    for s in own(policy)
    for n, resource in enumerate(listed(s["Resource"]))
    if ":*:${AWS::AccountId}:" in json.dumps(resource)
]


@pytest.mark.denied
@pytest.mark.parametrize(("function", "sid", "n"), ABROAD)
def test_the_other_regions_taken_away_are_missed(recorded: Recorded, function: str, sid: str, n: int) -> None:
    policy, statement = altered(function, sid)
    resources = listed(statement["Resource"])
    text = resources[n]["Fn::Sub"].replace(":*:${AWS::AccountId}:", ":${AWS::Region}:${AWS::AccountId}:")
    statement["Resource"] = [*resources[:n], {"Fn::Sub": text}, *resources[n + 1 :]]
    assert missed(recorded, function, policy)


WRITES = re.compile(r"[a-z0-9-]+:(Batch)?(Create|Put|Set|Update|Delete|Complete|Upload|Initiate|Publish|Send)\w*")


def test_the_api_changes_nothing_but_the_table_and_tells_the_workers() -> None:
    actions = {action for s in statements(POLICIES["api_handler"]) for action in listed(s["Action"])}
    changing = {action for action in actions if WRITES.match(action)}
    written = {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}
    assert changing == written | {"sqs:SendMessage", "logs:CreateLogStream", "logs:PutLogEvents"}
    for statement in own(POLICIES["api_handler"]):
        assert ("Condition" in statement) == (not written.isdisjoint(listed(statement["Action"]))), "any item"


def test_only_one_function_may_act_on_the_registry() -> None:
    acting = {
        function
        for function, policy in POLICIES.items()
        for s in statements(policy)
        for action in listed(s["Action"])
        if action.startswith("ecr:") and WRITES.match(action)
    }
    assert acting == {"on_actions"}


def test_a_deny_of_ours_leaves_out_those_of_our_roles_that_pull() -> None:
    """Whoever may read manifests or layers, and nobody else."""
    pulling = {"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}
    roles = {
        f"{function.title().replace('_', '')}Role"
        for function, policy in POLICIES.items()
        for s in statements(policy)
        if not pulling.isdisjoint(listed(s["Action"]))
    }
    (_, left_out) = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["LAZARETTO_ROLE_ARNS"]["Fn::Join"]
    assert {role["Fn::GetAtt"][0] for role in left_out} == roles


def test_a_registry_is_changed_in_our_region_and_in_those_that_were_named() -> None:
    elsewhere = "ap-south-1"
    changes = [
        Call("on_actions", action, arn("ecr", region, "repository/team/api"))
        for s in statements(POLICIES["on_actions"])
        for action in listed(s["Action"])
        if action.startswith("ecr:") and WRITES.match(action) and s["Effect"] == "Allow" and "Condition" in s
        for region in (REGION, REPLICA_REGION, elsewhere)
    ]
    assert {call.action for call in changes} >= {"ecr:UpdateImageStorageClass", "ecr:SetRepositoryPolicy"}
    denied = refused(changes, POLICIES["on_actions"], "")
    assert denied == [call for call in changes if elsewhere in call.resource]


def test_the_role_in_another_account_may_do_what_the_functions_may_do_at_home() -> None:
    """Operations says so in a table, and whoever makes the role goes by it."""
    section = (CHALICE.parent / "docs/operations.md").read_text().partition("### The role in another account")[2]
    told = re.findall(r"`([a-z0-9]+:[A-Z]\w+)`", section.partition("| for | permissions |")[2].partition("\n\n")[0])
    services = ("ecr", "inspector2", "ecs", "eks", "events", "lambda", "scheduler", "ec2", "iam", "batch")
    services += ("apprunner", "codebuild", "sagemaker")
    actions = {a for policy in POLICIES.values() for s in own(policy) for a in listed(s["Action"])}
    assert len(told) == len(set(told))
    assert set(told) == {action for action in actions if action.partition(":")[0] in services}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_policy_fits_into_a_role(function: str) -> None:
    names = {"SlackSecretArn": arn("secretsmanager", REGION, f"secret:{'x' * 512}"), "CursorSecret": "x" * 600}
    names |= {"KmsKeyArn": KEY, "WebhookSecretArn": arn("secretsmanager", REGION, f"secret:{'x' * 512}")}
    text = json.dumps(render(POLICIES[function], names), separators=(",", ":"))
    assert len(text) < MOST_CHARACTERS


NAMED = [
    pytest.param(action, json.dumps(resource), id=f"{function}-{s['Sid']}-{action}-{n}")
    for function, policy in POLICIES.items()
    for s in statements(policy)
    for n, resource in enumerate(listed(s["Resource"]))
    for action in listed(s["Action"])
]


@pytest.mark.parametrize(("action", "resource"), NAMED)
def test_a_resource_is_one_that_the_action_knows(action: str, resource: str) -> None:
    """All resources only where AWS knows none; else an ARN of a type that the action is about: another one would allow
    nothing."""
    service, _, name = action.partition(":")
    types = AUTHORIZATION[service]["Actions"][name.lower()].get("Resources", [])
    # The Slack secret is one of these two; a policy allows to read either.
    slack = arn(service, REGION, {"secretsmanager": "secret:slack", "ssm": "parameter/slack"}.get(service, ""))
    cursor = arn("secretsmanager", REGION, "secret:cursor")
    names = {"SlackSecretArn": slack, "CursorSecret": cursor, "KmsKeyArn": KEY, "WebhookSecretArn": cursor}
    rendered = render(json.loads(resource), names)
    if rendered == ANY:
        assert not types or action in ASKED_WITHOUT_RESOURCE
    else:
        known = [pattern for one in types for pattern in patterns(service, one)]
        assert all(any(re.fullmatch(pattern, one) for pattern in known) for one in listed(rendered)), types


def patterns(service: str, kind: str) -> list[str]:
    known = {name.lower(): one["ARNFormats"] for name, one in AUTHORIZATION[service]["Resources"].items()}
    return [re.sub(r"\$\{\w+\}", "[^:]*", text) for text in known[kind.lower()]]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_receives_from_its_own_queue_alone(function: str) -> None:
    found = [s for s in POLICIES[function]["Statement"] if s.get("Sid") == "ReceiveFromItsQueue"]
    queue = f"{function.removeprefix('on_').title()}Queue"
    assert [s["Resource"] for s in found] == ([{"Fn::GetAtt": [queue, "Arn"]}] if "on_" in function else [])
