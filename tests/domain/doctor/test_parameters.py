"""Parameters of the template: kept, given, refused with the right name, and never a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain.doctor.parameters import Value, choose_parameters
from chalicelib.errors import ParameterError

DECLARED: dict[str, Any] = {
    "Stage": {"Type": "String", "Default": "dev", "AllowedValues": ["dev"]},
    "SettleSeconds": {"Type": "Number", "Default": 60, "MinValue": 0, "MaxValue": 900},
    "SlackChannel": {"Type": "String", "Default": ""},
    "Regions": {"Type": "CommaDelimitedList", "Default": "", "AllowedPattern": "[a-z-]+[0-9]|"},
    "Mode": {"Type": "String", "Default": "observe", "AllowedValues": ["observe", "enforce"]},
    "Arn": {"Type": "String", "Default": "", "AllowedPattern": "arn:.*", "ConstraintDescription": "a whole ARN"},
}


def test_what_is_not_given_keeps_the_value_the_stack_has() -> None:
    chosen = choose_parameters(DECLARED, {"Stage", "SlackChannel", "GoneSince"}, {"SettleSeconds": "5"})
    assert chosen == (Value("Stage", None), Value("SettleSeconds", "5"), Value("SlackChannel", None))


def test_a_new_parameter_takes_its_default() -> None:
    assert choose_parameters(DECLARED, {"Stage"}, {}) == (Value("Stage", None),)


def test_a_parameter_is_emptied_by_giving_nothing() -> None:
    assert choose_parameters(DECLARED, {"SlackChannel"}, {"SlackChannel": ""}) == (Value("SlackChannel", ""),)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SettleSecond", "did you mean SettleSeconds"),
        ("slackchannel", "did you mean SlackChannel"),
        ("Quux", "it knows Arn, Mode, Regions, SettleSeconds, SlackChannel, Stage"),
        ("Stage", "give --stage"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_right_one(name: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        choose_parameters(DECLARED, (), {name: "1"})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SettleSeconds", "soon", "must be a number"),
        ("SettleSeconds", "901", "from 0 to 900"),
        ("SettleSeconds", "-1", "from 0 to 900"),
        ("SettleSeconds", "nan", "from 0 to 900"),
        ("Mode", "punish", "one of observe, enforce"),
        ("Regions", "eu-west-1,somewhere", r"as \[a-z-\]"),
        ("Arn", "team/slack", "must be a whole ARN"),
    ],
)
def test_a_value_the_template_does_not_allow_is_refused_and_not_repeated(name: str, value: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words) as refused:
        choose_parameters(DECLARED, (), {name: value})
    assert value not in str(refused.value).split()


@pytest.mark.parametrize(
    ("name", "value"), [("Regions", "eu-west-1,us-east-2"), ("SettleSeconds", "0"), ("Arn", "arn:x")]
)
def test_a_value_the_template_allows_is_taken(name: str, value: str) -> None:
    assert choose_parameters(DECLARED, (), {name: value}) == (Value(name, value),)


@pytest.mark.parametrize(
    "secret",
    [
        "https://hooks.slack.com/services/T0/B0/abcdef",
        "xoxb-1234-abcdef",
        "xapp-1-A-1-b",
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN RSA PRIVATE KEY-----",
    ],
)
def test_a_secret_is_never_a_parameter_nor_repeated(secret: str) -> None:
    with pytest.raises(ParameterError, match="this is a secret") as refused:
        choose_parameters(DECLARED, (), {"SlackChannel": secret})
    assert secret not in str(refused.value)


def test_what_has_no_default_must_be_given_once() -> None:
    declared = {"Hub": {"Type": "String"}}
    with pytest.raises(ParameterError, match="Hub: has no default"):
        choose_parameters(declared, (), {})
    assert choose_parameters(declared, {"Hub"}, {}) == (Value("Hub", None),)
    assert choose_parameters(declared, (), {"Hub": "x"}) == (Value("Hub", "x"),)


def test_every_default_of_the_template_is_allowed_by_the_template() -> None:
    path = Path(__file__).parents[3] / ".chalice/resources.json"
    declared = json.loads(path.read_text())["Parameters"]
    given = {name: str(parameter["Default"]) for name, parameter in declared.items() if name != "Stage"}
    assert len(choose_parameters(declared, (), given)) == len(given) > 3
