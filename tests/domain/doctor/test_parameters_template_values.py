"""What a template's values are in a stack."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.doctor.parameters import TemplateValues

STACK = "arn:aws-us-gov:cloudformation:us-gov-west-1:111122223333:stack/lazaretto-prod/9"
GOV = "arn:aws-us-gov"
HERE = "us-gov-west-1:111122223333"
TEMPLATE = {
    "Parameters": {"Key": {"Type": "String"}, "Roles": {"Type": "CommaDelimitedList"}},
    "Conditions": {
        "HasKey": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Key"}, ""]}]},
        "Never": {"Fn::Equals": ["a", "b"]},
    },
    "Resources": {
        "Queue": {"Type": "AWS::SQS::Queue"},
        "Table": {"Type": "AWS::DynamoDB::Table"},
        "Role": {"Type": "AWS::IAM::Role"},
        "Log": {"Type": "AWS::Logs::LogGroup"},
        "Topic": {"Type": "AWS::SNS::Topic"},
        "Api": {"Type": "AWS::ApiGateway::RestApi"},
    },
}
NAMES = {
    "Queue": "https://sqs.us-gov-west-1.amazonaws.com/111122223333/lazaretto-prod-scans",
    "Table": "lazaretto-prod",
    "Role": "lazaretto-prod-OnScansRole-X",
    "Log": "/aws/lambda/on_scans",
    "Topic": "arn:aws-us-gov:sns:us-gov-west-1:111122223333:lazaretto-prod-alerts",
    "Api": "a1b2",
}


def test_a_list_is_read_without_the_blanks_that_people_write() -> None:
    """CloudFormation shows a parameter as it was given, and gives its parts to the template without them."""
    assert of({"Ref": "Roles"}, roles="arn:one, arn:two") == ["arn:one", "arn:two"]


def of(value: Any, key: str = "arn:key", roles: str = "arn:one,arn:two") -> Any:
    return TemplateValues(TEMPLATE, NAMES, {"Key": key, "Roles": roles}, STACK).of(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ({"Fn::GetAtt": ["Queue", "Arn"]}, f"{GOV}:sqs:us-gov-west-1:111122223333:lazaretto-prod-scans"),
        ({"Fn::GetAtt": ["Table", "Arn"]}, f"{GOV}:dynamodb:us-gov-west-1:111122223333:table/lazaretto-prod"),
        ({"Fn::GetAtt": ["Log", "Arn"]}, f"{GOV}:logs:{HERE}:log-group:/aws/lambda/on_scans:*"),
        ({"Fn::GetAtt": ["Topic", "Arn"]}, NAMES["Topic"]),
        ({"Ref": "Topic"}, NAMES["Topic"]),
        ({"Ref": "Roles"}, ["arn:one", "arn:two"]),
        ({"Fn::Join": [",", {"Ref": "Roles"}]}, "arn:one,arn:two"),
        ({"Fn::Select": [0, {"Fn::Split": ["#", "arn:a#key"]}]}, "arn:a"),
        (
            {"Fn::Sub": "arn:${AWS::Partition}:x:${AWS::Region}:${AWS::AccountId}:${Table}/*"},
            f"{GOV}:x:{HERE}:lazaretto-prod/*",
        ),
        ({"Fn::Sub": "${Api}-${Table.Arn}"}, f"a1b2-{GOV}:dynamodb:{HERE}:table/lazaretto-prod"),
        ({"Fn::If": ["HasKey", 1, 2]}, 1),
        ({"Fn::If": ["Never", 1, 2]}, 2),
        ([{"Fn::If": ["Never", 1, {"Ref": "AWS::NoValue"}]}, 3], [3]),
        ({"a": {"Ref": "AWS::NoValue"}, "b": 1}, {"b": 1}),
    ],
)
def test_a_function_of_a_template_has_the_value_it_has_in_the_stack(value: Any, expected: Any) -> None:
    assert of(value) == expected


def test_a_condition_goes_by_the_parameters_of_the_stack() -> None:
    assert of({"Fn::If": ["HasKey", 1, 2]}, key="") == 2


@pytest.mark.parametrize(
    "value",
    [
        {"Fn::ImportValue": "x"},
        {"Fn::Or": ["HasKey", "Never"]},
        {"Fn::Sub": ["${Own}", {"Own": "x"}]},
        {"Fn::GetAtt": "Table.Arn"},
        {"Fn::GetAtt": ["Role", "Arn"]},
        {"Fn::GetAtt": ["Queue", "QueueName"]},
        {"Ref": "Nothing"},
        {"Fn::GetAtt": ["Nothing", "Arn"]},
        {"Fn::GetAtt": ["Api", "Arn"]},
        {"Fn::GetAtt": ["Api", "RootResourceId"]},
        {"Fn::If": ["Nothing", 1, 2]},
    ],
)
def test_what_cannot_be_told_is_not_guessed(value: Any) -> None:
    with pytest.raises(ValueError, match=r"not known|no Nothing|no condition"):
        of(value)
