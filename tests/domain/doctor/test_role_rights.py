"""What IAM's simulator is asked about a policy, and how its answers are read."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.doctor.role_rights import (
    SAMPLE,
    Key,
    SimulatedAction,
    SimulationRequest,
    policy_requests,
    unanswered,
    wrong_answers,
)


def asked(**statement: Any) -> list[SimulationRequest]:
    said = {"Effect": "Allow", "Action": "ecr:PutImage", "Resource": "*", **statement}
    return list(policy_requests({"Statement": said}, "eu-west-1"))


def test_a_pattern_is_asked_about_by_a_name_that_it_matches() -> None:
    (request,) = asked(Resource=["arn:aws:ecr:*:1:repository/*", "arn:aws:ecr:*:1:repository/q/*"])
    wanted = tuple(f"arn:aws:ecr:eu-west-1:1:repository/{name}" for name in (SAMPLE, f"q/{SAMPLE}"))
    assert request == SimulationRequest(("ecr:PutImage",), wanted)


def test_actions_of_two_stores_are_asked_about_the_one_the_secret_lies_in() -> None:
    actions = ["secretsmanager:GetSecretValue", "ssm:GetParameter"]
    (request,) = asked(Action=actions, Resource="arn:aws:ssm:eu-west-1:1:parameter/slack")
    assert request.actions == ("ssm:GetParameter",)


def test_a_role_is_what_sts_is_asked_about() -> None:
    (request,) = asked(Action="sts:AssumeRole", Resource="arn:aws:iam::1:role/spoke")
    assert request.resources == ("arn:aws:iam::1:role/spoke",)


def test_a_condition_is_fulfilled_by_its_first_value() -> None:
    (one,) = asked(Condition={"StringEquals": {"aws:RequestedRegion": ["eu-west-1", "us-east-1"]}})
    assert one.keys == (Key("aws:RequestedRegion", "eu-west-1"),)
    (two,) = asked(Condition={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["IMAGE#*", "POLICY"]}})
    assert two.keys == (Key("dynamodb:LeadingKeys", f"IMAGE#{SAMPLE}", many=True),)


def test_a_condition_nobody_here_can_fulfil_is_not_guessed() -> None:
    with pytest.raises(ValueError, match="NumericLessThan"):
        asked(Condition={"NumericLessThan": {"x": "1"}})


REQUEST = SimulationRequest(("ecr:PutImage",), ("arn:r",))


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((SimulatedAction("ecr:PutImage", "arn:r", "allowed"),), None),
        ((SimulatedAction("ecr:PutImage", "arn:r", "implicitDeny"),), "allowed by nothing"),
        ((SimulatedAction("ecr:PutImage", "arn:r", "explicitDeny"),), "denied by a Deny"),
        ((SimulatedAction("ecr:PutImage", "arn:r", "implicitDeny", by_organisation=False),), "service control policy"),
        ((SimulatedAction("ecr:PutImage", "arn:r", "implicitDeny", by_boundary=False),), "permissions boundary"),
    ],
)
def test_only_a_plain_yes_is_a_yes(answers: tuple[SimulatedAction, ...], words: str | None) -> None:
    said = list(wrong_answers(REQUEST, answers))
    assert said == [] if words is None else words in said[0]


@pytest.mark.parametrize("answers", [(), (SimulatedAction("ecr:PutImage", "arn:other", "implicitDeny"),)])
def test_no_answer_is_neither_a_yes_nor_a_no(answers: tuple[SimulatedAction, ...]) -> None:
    assert list(wrong_answers(REQUEST, answers)) == []
    assert list(unanswered(REQUEST, answers)) == ["ecr:PutImage on arn:r: IAM did not answer"]
    assert list(unanswered(REQUEST, [SimulatedAction("ecr:PutImage", "arn:r", "implicitDeny")])) == []


def test_a_deny_of_the_policy_must_deny() -> None:
    (request,) = asked(Effect="Deny", Resource="arn:aws:ecr:*:1:repository/q/*")
    (resource,) = request.resources
    assert list(wrong_answers(request, [SimulatedAction("ecr:PutImage", resource, "explicitDeny")])) == []
    (line,) = wrong_answers(request, [SimulatedAction("ecr:PutImage", resource, "allowed")])
    assert "allowed, and must not be" in line
