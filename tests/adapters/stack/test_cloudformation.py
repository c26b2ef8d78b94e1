"""Stacks as CloudFormation answers: what is not there, what is refused, and values that pass through botocore."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.cloudformation import Stacks
from chalicelib.domain.doctor.parameters import Value
from chalicelib.domain.doctor.stack import ChangeSet, Stack, StackChange
from chalicelib.errors import DeniedError, UpstreamError

ID = "arn:aws:cloudformation:eu-west-1:1:stack/lazaretto-dev/1"
FORMER = Stack(ID, "lazaretto-dev", "CREATE_COMPLETE", tags={"cost": "7", "team": "b", "aws:x": "y"})
WHEN = "2026-01-01T00:00:00Z"


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(session=boto3.Session("x", "x", region_name="eu-west-1"))


@pytest.fixture
def stub(sessions: Sessions) -> Stubber:
    made = Stubber(sessions.client("cloudformation"))
    made.activate()
    return made


def test_a_stack_that_is_not_there_is_none_and_any_other_refusal_is_not(sessions: Sessions, stub: Stubber) -> None:
    stub.add_client_error("describe_stacks", "ValidationError", "Stack with id lazaretto-dev does not exist", 400)
    assert Stacks(sessions).find("lazaretto-dev") is None
    stub.add_client_error("describe_stacks", "ValidationError", "1 validation error detected", 400)
    with pytest.raises(UpstreamError, match="1 validation error"):
        Stacks(sessions).find("lazaretto-dev")
    stub.add_client_error("describe_stacks", "AccessDenied", "no", 403)
    with pytest.raises(DeniedError, match="read the stack lazaretto-dev"):
        Stacks(sessions).find("lazaretto-dev")


def test_a_change_set_says_which_values_are_given_and_which_stay(sessions: Sessions, stub: Stubber) -> None:
    seen: list[dict[str, Any]] = []
    event = "provide-client-params.cloudformation.CreateChangeSet"
    sessions.client("cloudformation").meta.events.register(event, lambda params, **_: seen.append(params))
    made = f"arn:aws:cloudformation:eu-west-1:1:changeSet/lazaretto-{'0' * 32}/1"
    stub.add_response("create_change_set", {"Id": made, "StackId": ID})
    values = (Value("SettleSeconds", "5"), Value("SlackChannel", None))
    Stacks(sessions).make_change_set("lazaretto-dev", FORMER, "https://s3/x", values, {"team": "a"})
    assert seen[0]["Parameters"] == [
        {"ParameterKey": "SettleSeconds", "ParameterValue": "5"},
        {"ParameterKey": "SlackChannel", "UsePreviousValue": True},
    ]
    assert seen[0]["ChangeSetType"] == "UPDATE"
    tags = {tag["Key"]: tag["Value"] for tag in seen[0]["Tags"]}
    assert tags == {"team": "a", "cost": "7"}, "what it has stays, but for what AWS gives"


def test_all_pages_of_a_change_set_are_read(sessions: Sessions, stub: Stubber) -> None:
    made = ChangeSet("arn:aws:cloudformation:eu-west-1:1:changeSet/x/1", ID, "CREATE_PENDING")

    def page(name: str, replacement: str, more: str | None) -> dict[str, object]:
        change = {"Action": "Modify", "LogicalResourceId": name, "ResourceType": "AWS::X", "Replacement": replacement}
        told = {"Status": "CREATE_COMPLETE", "Changes": [{"Type": "Resource", "ResourceChange": change}]}
        return told | ({"NextToken": more} if more else {})

    stub.add_response("describe_change_set", page("A", "False", "next"))
    stub.add_response("describe_change_set", page("B", "Conditional", None))
    found = Stacks(sessions).read_change_set(made)
    assert found.is_made
    assert found.changes == (StackChange("Modify", "AWS::X", "A"), StackChange("Modify", "AWS::X", "B", "Conditional"))


def test_events_end_at_the_last_known_one(sessions: Sessions, stub: Stubber) -> None:
    def page(*ids: str, more: str | None = None) -> dict[str, object]:
        event = {"StackId": ID, "StackName": "lazaretto-dev", "PhysicalResourceId": ID, "Timestamp": WHEN}
        event |= {"LogicalResourceId": "lazaretto-dev", "ResourceType": "AWS::CloudFormation::Stack"}
        told = [{**event, "EventId": id_, "ResourceStatus": "UPDATE_IN_PROGRESS"} for id_ in ids]
        return {"StackEvents": told} | ({"NextToken": more} if more else {})

    stub.add_response("describe_stack_events", page("e5", "e4", more="next"))
    stub.add_response("describe_stack_events", page("e3", "e2", more="never asked for"))
    found = Stacks(sessions).events(ID, after="e2")
    assert [event.id for event in found] == ["e3", "e4", "e5"]
    assert all(event.of_stack for event in found)
