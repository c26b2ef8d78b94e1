"""The spoke's template: it hears what the hub hears, lets in the hub's functions, and no more than they may at home."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.cli.deploy.spoke import TEMPLATE, spoke_template
from tests.fakes.iam import listed
from tests.fakes.packaged import ACCOUNT, REGION, ROOT, merged, of_type, rendered, rendered_of

HUB = "210987654321"
BUS = f"arn:aws:events:us-east-1:{HUB}:event-bus/default"
RULE, QUEUE, ROLE = "AWS::Events::Rule", "AWS::SQS::Queue", "AWS::IAM::Role"
SERVICES = (
    "ecr",
    "inspector2",
    "ecs",
    "eks",
    "events",
    "lambda",
    "scheduler",
    "ec2",
    "iam",
    "batch",
    "apprunner",
    "codebuild",
    "sagemaker",
)
HERE = "${AWS::Region}"


def spoke(access: str = "act", bus: str = BUS, **parameters: str) -> dict[str, Any]:
    return rendered_of(spoke_template("dev"), {"HubBusArn": bus, "Access": access, **parameters})


def statements(policy: str) -> list[dict[str, Any]]:
    """Of the role, as they stand in the template."""
    policies = spoke_template("dev")["Resources"]["SpokeRole"]["Properties"]["Policies"]
    named = {p["PolicyName"]: p for p in (p["Fn::If"][1] if "Fn::If" in p else p for p in policies)}
    found: list[dict[str, Any]] = named[policy]["PolicyDocument"]["Statement"]
    return found


def at_home() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each statement of each function."""
    for path in sorted((ROOT / ".chalice").glob("policy-*.json")):
        for statement in json.loads(path.read_text())["Statement"]:
            yield path.stem.removeprefix("policy-"), statement.get("Fn::If", (0, statement))[1]


def actions(found: list[dict[str, Any]], effect: str = "Allow") -> set[str]:
    return {action for s in found if s["Effect"] == effect for action in listed(s["Action"])}


def allowed(found: list[dict[str, Any]]) -> set[tuple[str, str, bool]]:
    """Action, resource, and whether in named Regions alone."""
    return {
        (action, json.dumps(resource).replace(f":{HERE}:", ":*:"), "Condition" in s)
        for s in found
        if s["Effect"] == "Allow"
        for action in listed(s["Action"])
        for resource in listed(s["Resource"])
        if action.partition(":")[0] in SERVICES
    }


def test_cloudformation_takes_the_spoke(tmp_path: Path) -> None:
    for name in ("none", "look", "act"):
        (tmp_path / f"{name}.json").write_text(json.dumps(spoke(name, AlarmEmail="registry@example.com")))
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--non-zero-exit-code", "warning"]
    files = [str(TEMPLATE), *map(str, tmp_path.iterdir())]
    done = subprocess.run([*command, *files], text=True, capture_output=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("", 0)


def test_the_spoke_needs_no_bucket() -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateChangeSet.html: TemplateBody"""
    assert len(json.dumps(spoke_template("a" * 20))) < 51_200


def test_the_spoke_hears_what_the_hub_hears() -> None:
    hears = {name: (rule["Description"], rule["EventPattern"]) for name, rule in of_type(merged(), RULE).items()}
    forwards = {name: (rule["Description"], rule["EventPattern"]) for name, rule in of_type(spoke(), RULE).items()}
    assert forwards == hears


def test_what_the_hub_does_not_take_is_tried_for_a_day_and_kept() -> None:
    template = spoke()
    rules = of_type(template, RULE)
    (policy,) = of_type(template, "AWS::SQS::QueuePolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    admitted = [arn["Fn::GetAtt"][0] for arn in statement["Condition"]["ArnEquals"]["aws:SourceArn"]]
    assert sorted(admitted) == sorted(rules)
    for name, rule in rules.items():
        (target,) = rule["Targets"]
        (ours,) = of_type(merged(), RULE)[name]["Targets"]
        assert target["RetryPolicy"] == ours["RetryPolicy"]
        assert target["Arn"] == BUS
        assert target["RoleArn"] == {"Fn::GetAtt": ["ForwardRole", "Arn"]}
        assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["DeadQueue", "Arn"]}}
    (queue,) = of_type(template, QUEUE).values()
    assert (queue["MessageRetentionPeriod"], queue["SqsManagedSseEnabled"]) == (14 * 24 * 3600, True)


def test_what_is_kept_raises_an_alarm_that_is_told() -> None:
    template = spoke(AlarmEmail="registry@example.com")
    (alarm,) = of_type(template, "AWS::CloudWatch::Alarm").values()
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": ["DeadQueue", "QueueName"]}}]
    assert (alarm["Threshold"], alarm["AlarmActions"]) == (1, [{"Ref": "AlarmTopic"}])
    (mail,) = of_type(template, "AWS::SNS::Subscription").values()
    assert (mail["TopicArn"], mail["Endpoint"]) == ({"Ref": "AlarmTopic"}, "registry@example.com")
    anchor = alarm["AlarmDescription"].rpartition("#")[2].replace("-", " ").capitalize()
    assert f"### {anchor}\n" in (ROOT / "docs/operations.md").read_text()
    assert not of_type(spoke(), "AWS::SNS::Subscription")


def test_rules_may_put_events_on_the_bus_of_the_hub_and_do_nothing_else() -> None:
    role = of_type(spoke("none"), ROLE)["ForwardRole"]
    (policy,) = role["Policies"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Action"], statement["Resource"]) == ("events:PutEvents", BUS)
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "events.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}


@pytest.mark.parametrize("access", ["none", "look", "act"])
def test_in_the_account_and_region_of_the_hub_nothing_goes_round_in_circles(access: str) -> None:
    own = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"
    assert {rule["State"] for rule in of_type(spoke(access, own), RULE).values()} == {"DISABLED"}
    assert {rule["State"] for rule in of_type(spoke(access), RULE).values()} == {"ENABLED"}


def test_without_access_there_is_no_role() -> None:
    assert of_type(spoke("none"), ROLE).keys() == {"ForwardRole"}
    assert "RoleArn" not in spoke("none")["Outputs"]
    assert of_type(spoke("look"), ROLE)["SpokeRole"]["RoleName"] == "lazaretto-dev-spoke"


def trust(function: str) -> dict[str, Any]:
    """The one statement by which a function of the hub (by its name in the template) may take the role."""
    statements = of_type(spoke(), ROLE)["SpokeRole"]["AssumeRolePolicyDocument"]["Statement"]
    role = merged()["Resources"][function]["Properties"]["Role"]["Fn::GetAtt"][0]
    mine = f"arn:aws:iam::{HUB}:role/lazaretto-dev-{role}-*"
    (found,) = (s for s in statements if mine in listed(s["Condition"]["ArnLike"]["aws:PrincipalArn"]))
    return dict(found)


def test_only_the_functions_of_the_hub_that_work_elsewhere_may_take_the_role() -> None:
    statements = of_type(spoke(), ROLE)["SpokeRole"]["AssumeRolePolicyDocument"]["Statement"]
    functions = {function for function, s in at_home() if "sts:AssumeRole" in listed(s["Action"])}
    roles = {f"{function.title().replace('_', '')}Role" for function in functions}
    assert roles <= of_type(merged(), ROLE).keys()
    let_in = [arn for s in statements for arn in listed(s["Condition"]["ArnLike"]["aws:PrincipalArn"])]
    assert sorted(let_in) == sorted(f"arn:aws:iam::{HUB}:role/lazaretto-dev-{role}-*" for role in roles)
    for statement in statements:
        assert (statement["Action"], statement["Principal"]) == ("sts:AssumeRole", {"AWS": f"arn:aws:iam::{HUB}:root"})
        assert statement["Condition"].keys() == {"ArnLike", "StringLike"}


def test_in_the_spoke_too_one_function_acts_and_the_others_look() -> None:
    """By the name of the session, which is the function's (CloudFormation makes it of stack and logical id) and which
    the trust binds to its role. aws:userid is `ROLE-ID:SESSION-NAME`:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html"""
    functions = of_type(merged(), "AWS::Serverless::Function")
    assert not [name for name, function in functions.items() if "FunctionName" in function]
    sessions: dict[str, str] = {}
    for name in functions.keys() - {"Clock"}:
        (taken,) = (p for p in listed(trust(name)["Condition"]["StringLike"]["sts:RoleSessionName"]) if name in p)
        sessions[name] = taken
    assert sessions == {name: f"lazaretto-dev-{name}-*" for name in sessions}
    assert listed(trust("OnActions")["Condition"]["StringLike"]["sts:RoleSessionName"]) == [sessions["OnActions"]]
    for name in sessions.keys() - {"OnActions"}:
        assert sessions["OnActions"] not in trust(name)["Condition"]["StringLike"]["sts:RoleSessionName"]
    assert {function for function, s in at_home() if "ecr:BatchDeleteImage" in listed(s["Action"])} == {"on_actions"}
    policies = of_type(spoke(), ROLE)["SpokeRole"]["Policies"]
    allowing = [s for s in policies[1]["PolicyDocument"]["Statement"] if s["Effect"] == "Allow"]
    assert allowing
    for statement in allowing:
        assert statement["Condition"]["StringLike"] == {"aws:userid": f"*:{sessions['OnActions']}"}


def test_the_hub_may_do_in_the_spoke_what_it_may_do_at_home() -> None:
    """By action and resource. What is asked of our own Region alone at home is asked of the spoke's Regions."""
    home = allowed([s for _, s in at_home() if s["Effect"] == "Allow"])
    there = allowed([*statements("look"), *statements("act")])
    covered = {call for call in home if call[2] and (call[0], call[1], False) in there}
    assert home - covered == there


def test_who_may_look_changes_nothing_but_what_is_scanned() -> None:
    template = spoke("look")
    (policy,) = of_type(template, ROLE)["SpokeRole"]["Policies"]
    reads = re.compile(r"[a-z0-9]+:(Describe|List|Get|BatchGet)\w*")
    found = policy["PolicyDocument"]["Statement"]
    assert {a for a in actions(found) if not reads.fullmatch(a)} == {"ecr:StartImageScan"}
    assert "ecr:GetDownloadUrlForLayer" not in actions(found), "no layer is read"


def test_acts_are_allowed_in_the_regions_that_are_named() -> None:
    for regions, wanted in (("", [REGION, ""]), ("us-east-1", [REGION, "us-east-1"])):
        policies = of_type(spoke("act", Regions=regions), ROLE)["SpokeRole"]["Policies"]
        found = [s for s in policies[1]["PolicyDocument"]["Statement"] if s["Effect"] == "Allow"]
        assert found
        assert all(s["Condition"]["StringEquals"] == {"aws:RequestedRegion": wanted} for s in found)


def test_the_table_in_the_docs_tells_looking_from_acting() -> None:
    section = (ROOT / "docs/operations.md").read_text().partition("### The role in another account")[2]
    rows = section.partition("| for | permissions |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()
    told = [set(re.findall(r"`([a-z0-9]+:[A-Z]\w+)`", row)) for row in rows]
    assert set.union(*told[:-2]) == actions(statements("look"))
    assert set.union(*told[-2:]) == actions(statements("act"))


def test_a_policy_of_the_role_fits_into_it() -> None:
    policies = of_type(spoke("act", Regions=",".join(["ap-southeast-1"] * 20)), ROLE)["SpokeRole"]["Policies"]
    assert sum(len(json.dumps(p["PolicyDocument"], separators=(",", ":"))) for p in policies) < 10_240


def test_the_bus_of_the_hub_is_shut_until_accounts_are_named() -> None:
    assert not of_type(rendered(), "AWS::Events::EventBusPolicy")
    (policy,) = of_type(rendered(SpokeAccountIds=["444455556666"]), "AWS::Events::EventBusPolicy").values()
    statement = policy["Statement"]
    assert statement["Principal"] == {"AWS": ["444455556666"]}
    assert statement["Action"] == "events:PutEvents"
    assert statement["Resource"] == f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"
    heard = {
        source for rule in of_type(merged(), RULE).values() for source in rule.get("EventPattern", {}).get("source", ())
    }
    assert set(statement["Condition"]["StringEquals"]["events:source"]) == heard
    assert all(source.startswith("aws.") for source in heard), "AWS lets nobody but its services put these"


def test_a_template_for_one_stage_takes_no_other() -> None:
    template = spoke_template("prod")
    before = copy.deepcopy(template)
    assert template["Parameters"]["Stage"]["AllowedValues"] == ["prod"]
    assert rendered_of(template, {"HubBusArn": BUS})["Resources"]["DeadQueue"]["Properties"]["QueueName"] == (
        "lazaretto-prod-spoke-dead"
    )
    assert before["Parameters"]["Stage"]["Default"] == "prod"


EXCLUSION = "AWS::ECR::PullTimeUpdateExclusion"


def test_the_roles_that_read_manifests_leave_no_pull_time() -> None:
    excluded = [one["PrincipalArn"] for one in of_type(merged(), EXCLUSION).values()]
    variables = merged()["Globals"]["Function"]["Environment"]["Variables"]
    assert excluded == variables["LAZARETTO_ROLE_ARNS"]["Fn::Join"][1]


@pytest.mark.parametrize("access", ["none", "look", "act"])
def test_the_role_in_another_account_leaves_no_pull_time_in_any_region_of_a_spoke(access: str) -> None:
    """In a second Region of the account the role is the first one's, by its name."""
    (exclusion,) = of_type(spoke(access), EXCLUSION).values()
    made = {"Fn::GetAtt": ["SpokeRole", "Arn"]}
    named = f"arn:aws:iam::{ACCOUNT}:role/lazaretto-dev-spoke"
    assert exclusion["PrincipalArn"] == (named if access == "none" else made)


def test_in_the_hubs_own_account_no_role_of_a_spoke_reads() -> None:
    own = f"arn:aws:events:us-east-1:{ACCOUNT}:event-bus/default"
    assert not of_type(spoke("none", own), EXCLUSION)
