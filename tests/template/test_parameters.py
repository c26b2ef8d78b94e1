"""The template with each choice of parameters: what would be made is sound, encrypted and least privileged."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.packaged import EVERYTHING, KEY, REGION, merged, of_type, rendered

ENCRYPTED = {
    "AWS::DynamoDB::Table": lambda p: p["SSESpecification"].get("KMSMasterKeyId"),
    "AWS::Logs::LogGroup": lambda p: p.get("KmsKeyId"),
    "AWS::SNS::Topic": lambda p: p.get("KmsMasterKeyId"),
    "AWS::SQS::Queue": lambda p: p.get("KmsMasterKeyId"),
    "AWS::SecretsManager::Secret": lambda p: p.get("KmsKeyId"),
}
"""By type of resource that keeps anything, its key."""
STATEFUL = {*ENCRYPTED}
NEITHER = {"Stage"}
"""Fixed when packaged: it has one value."""


CHOICES = [
    pytest.param({}, id="defaults"),
    *(pytest.param({name: value}, id=name) for name, value in EVERYTHING.items()),
    pytest.param(EVERYTHING, id="everything"),
]


def policies(template: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each statement of each role."""
    for role, properties in of_type(template, "AWS::IAM::Role").items():
        for policy in properties["Policies"]:
            yield from ((role, statement) for statement in policy["PolicyDocument"]["Statement"])


def actions(statement: dict[str, Any]) -> list[str]:
    return statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]


def test_every_parameter_has_a_value_to_be_tried_and_a_default() -> None:
    parameters = merged()["Parameters"]
    assert parameters.keys() - NEITHER == EVERYTHING.keys()
    for name, value in EVERYTHING.items():
        assert value != parameters[name]["Default"]
        for one in value if isinstance(value, list) else [str(value)]:
            assert re.fullmatch(parameters[name].get("AllowedPattern", ".*"), one), name
        assert str(value) in map(str, parameters[name].get("AllowedValues", [value])), name


def test_cloudformation_takes_the_template_with_no_and_with_every_parameter(tmp_path: Path) -> None:
    """Errors and warnings of cfn-lint: there is none that we live with."""
    every = rendered(**EVERYTHING)
    for name, template in {"merged": merged(), "plain": rendered(), "every": every}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(template))
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--non-zero-exit-code", "warning"]
    done = subprocess.run([*command, *map(str, tmp_path.iterdir())], text=True, capture_output=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("", 0)


@pytest.mark.parametrize("chosen", CHOICES)
def test_nothing_of_a_template_refers_to_what_is_not_made(chosen: dict[str, Any]) -> None:
    template = rendered(**chosen)
    text = json.dumps(template)
    named = set(re.findall(r'\{"Ref": "(\w+)"\}', text)) | set(re.findall(r'\{"Fn::GetAtt": \["(\w+)"', text))
    named |= {name.partition(".")[0] for name in re.findall(r"\$\{([\w.]+)\}", text)}
    assert named - {"RestAPIId"} <= template["Resources"].keys()


@pytest.mark.parametrize("kind", ENCRYPTED)
def test_what_is_kept_is_encrypted_by_the_key_that_was_given(kind: str) -> None:
    keeping = of_type(rendered(KmsKeyArn=KEY), kind)
    assert keeping
    assert {ENCRYPTED[kind](properties) for properties in keeping.values()} == {KEY}


def test_without_a_key_aws_has_its_own() -> None:
    template = rendered()
    assert template["Resources"]["Table"]["Properties"]["SSESpecification"] == {"SSEEnabled": True}
    assert all(queue["SqsManagedSseEnabled"] is True for queue in of_type(template, "AWS::SQS::Queue").values())
    assert template["Resources"]["AlertTopic"]["Properties"]["KmsMasterKeyId"] == "alias/aws/sns"


def test_alarms_can_be_published_without_a_key_of_ours() -> None:
    """CloudWatch may not use the key `aws/sns`. An alarm names no image."""
    assert "KmsMasterKeyId" not in rendered()["Resources"]["AlarmTopic"]["Properties"]


def test_a_queue_has_one_kind_of_encryption() -> None:
    for queue in of_type(rendered(KmsKeyArn=KEY), "AWS::SQS::Queue").values():
        assert "SqsManagedSseEnabled" not in queue


def test_a_function_may_use_the_key_that_was_given_and_no_other() -> None:
    assert not [s for _, s in policies(rendered()) if "kms:Decrypt" in actions(s)]
    using = {role: s for role, s in policies(rendered(KmsKeyArn=KEY)) if "kms:Decrypt" in actions(s)}
    assert using.keys() == of_type(rendered(), "AWS::IAM::Role").keys()
    assert {s["Resource"] for s in using.values()} == {KEY}


@pytest.mark.parametrize("role", of_type(merged(), "AWS::IAM::Role"))
def test_a_function_may_use_the_key_through_the_services_it_calls(role: str) -> None:
    statements = [s for r, s in policies(rendered(KmsKeyArn=KEY)) if r == role]
    (of_key,) = (s for s in statements if "kms:Decrypt" in actions(s))
    called = {a.partition(":")[0] for s in statements for a in actions(s)}
    through = {"dynamodb", "sns", "sqs"} & called
    if {"Fn::GetAtt": ["CursorSecret", "Arn"]} in (s["Resource"] for s in statements) or any(
        s["Resource"] == {"Ref": "CursorSecret"} for s in statements
    ):
        through.add("secretsmanager")
    assert of_key["Condition"] == {
        "StringEquals": {"kms:ViaService": [f"{service}.{REGION}.amazonaws.com" for service in sorted(through)]}
    }


@pytest.mark.parametrize(
    ("parameter", "action"),
    [
        ("SlackSecretArn", "ssm:GetParameter"),
        ("AccountRoleArns", "sts:AssumeRole"),
        ("KmsKeyArn", "kms:GenerateDataKey"),
    ],
)
def test_a_function_may_not_what_no_parameter_asks_for(parameter: str, action: str) -> None:
    assert not [role for role, s in policies(rendered()) if action in actions(s)]
    assert [role for role, s in policies(rendered(**{parameter: EVERYTHING[parameter]})) if action in actions(s)]


@pytest.mark.parametrize(("said", "protected"), [("true", True), ("false", False)])
def test_the_table_is_protected_unless_somebody_says_otherwise(said: str, protected: bool) -> None:
    assert rendered()["Resources"]["Table"]["Properties"]["DeletionProtectionEnabled"] is True
    table = rendered(DeletionProtection=said)["Resources"]["Table"]["Properties"]
    assert table["DeletionProtectionEnabled"] is protected


def test_what_outlives_the_stack_is_the_table_and_what_goes_is_said_to() -> None:
    kept = {n: r for n, r in merged()["Resources"].items() if r["Type"] in STATEFUL - {"AWS::SNS::Topic"}}
    assert {n for n, r in kept.items() if r["DeletionPolicy"] == r["UpdateReplacePolicy"] == "Retain"} == {"Table"}
    rest = [r for n, r in kept.items() if n != "Table"]
    assert all(r["DeletionPolicy"] == r["UpdateReplacePolicy"] == "Delete" for r in rest)


def test_an_address_hears_alerts_and_alarms_and_nobody_does_without_one() -> None:
    assert not of_type(rendered(), "AWS::SNS::Subscription")
    subscriptions = of_type(rendered(AlertEmail="a@example.com"), "AWS::SNS::Subscription").values()
    assert [(s["TopicArn"]["Ref"], s["Protocol"], s["Endpoint"]) for s in subscriptions] == [
        ("AlertTopic", "email", "a@example.com"),
        ("AlarmTopic", "email", "a@example.com"),
    ]


def test_only_our_alarms_may_publish_to_their_topic() -> None:
    template = rendered()
    (policy,) = of_type(template, "AWS::SNS::TopicPolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert policy["Topics"] == [{"Ref": "AlarmTopic"}]
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "111122223333"}
    prefix = statement["Condition"]["ArnLike"]["aws:SourceArn"].rpartition(":")[2].removesuffix("*")
    names = [alarm["AlarmName"] for alarm in of_type(template, "AWS::CloudWatch::Alarm").values()]
    assert all(name.startswith(prefix) for name in names)


@pytest.mark.parametrize("function", of_type(merged(), "AWS::Serverless::Function"))
def test_a_function_writes_to_its_own_log_which_the_template_makes(function: str) -> None:
    template = rendered(LogRetentionDays=90)
    made = template["Resources"][function]["Properties"]
    log = made["LoggingConfig"]["LogGroup"]["Ref"]
    assert template["Resources"][log]["Properties"]["RetentionInDays"] == 90
    role = made["Role"]["Fn::GetAtt"][0]
    writing = [s for r, s in policies(template) if r == role and any(a.startswith("logs:") for a in actions(s))]
    assert [(actions(s), s["Resource"]) for s in writing] == [
        (["logs:CreateLogStream", "logs:PutLogEvents"], {"Fn::GetAtt": [log, "Arn"]})
    ]


def test_no_two_functions_share_a_log() -> None:
    functions = of_type(merged(), "AWS::Serverless::Function")
    logs = [function["LoggingConfig"]["LogGroup"]["Ref"] for function in functions.values()]
    assert len(set(logs)) == len(logs) == 7


def test_a_run_of_the_clock_that_fails_is_tried_again_and_then_kept() -> None:
    template = rendered()
    (invocations,) = of_type(template, "AWS::Lambda::EventInvokeConfig").values()
    dead = {"Fn::GetAtt": ["ClockDeadQueue", "Arn"]}
    assert invocations["FunctionName"] == {"Ref": "Clock"}
    assert invocations["MaximumRetryAttempts"] == 2
    assert invocations["DestinationConfig"] == {"OnFailure": {"Destination": dead}}
    assert [role for role, s in policies(template) if s["Resource"] == dead] == ["ClockRole"]


def test_a_run_of_the_clock_that_cannot_be_started_is_kept_and_a_late_one_is_dropped() -> None:
    template = rendered()
    event = template["Resources"]["Clock"]["Properties"]["Events"]["ClockEvent"]["Properties"]
    assert event["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["ClockDeadQueue", "Arn"]}}
    assert event["RetryPolicy"]["MaximumEventAgeInSeconds"] == 300, "then the next one runs"
    (statement,) = template["Resources"]["ClockDeadQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (rule,) = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
    assert rule.rpartition("/")[2] == event["Name"]


def test_no_function_is_traced_or_keeps_room_that_others_would_lack() -> None:
    """X-Ray would keep names of images; reserved concurrency would be taken from the account's other functions."""
    for function in of_type(merged(), "AWS::Serverless::Function").values():
        assert function["Tracing"] == "PassThrough"
        assert "ReservedConcurrentExecutions" not in function


def test_nobody_is_let_in_by_everybody() -> None:
    """No policy of a resource names all principals, and none of ours all actions or all of a service's."""
    template = rendered(**EVERYTHING)
    statements = [s for _, s in policies(template)]
    for kind in ("AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::IAM::ManagedPolicy"):
        for properties in of_type(template, kind).values():
            statements += properties["PolicyDocument"]["Statement"]
    assert len(statements) > 50
    assert not [s for s in statements if s.get("Principal") in ("*", {"AWS": "*"})]
    assert not [a for s in statements for a in actions(s) if "*" in a]
