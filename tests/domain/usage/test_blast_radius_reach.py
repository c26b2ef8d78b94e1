"""Whom a policy of ECR lets pull: told rather once too often."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.usage.blast_radius import EVERY_ACCOUNT, PULL, let_in

OURS, THEIRS, OTHERS = "111122223333", "999900009999", "888800008888"
ARN = f"arn:aws:ecr:eu-west-1:{OURS}:repository/team/api"
ORGANISATION = "o-abcdefghij"


def allow(principal: Any = None, action: Any = PULL, **more: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": principal, "Action": action, **more}
    return {key: value for key, value in statement.items() if value is not None}


def told(*statements: Any) -> tuple[str, ...]:
    return let_in(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}), ARN, OURS)


def test_a_policy_without_statements_lets_nobody_in():
    assert told() == ()


@pytest.mark.parametrize(
    ("principal", "who"),
    [
        ({"AWS": THEIRS}, f"account {THEIRS}"),
        ({"AWS": [f"arn:aws:iam::{THEIRS}:root", f"arn:aws:iam::{THEIRS}:role/x"]}, f"account {THEIRS}"),
        ({"AWS": f"arn:aws:sts::{THEIRS}:assumed-role/x/y"}, f"account {THEIRS}"),
        ("*", EVERY_ACCOUNT),
        ({"AWS": "*"}, EVERY_ACCOUNT),
        ({"AWS": ["*", THEIRS]}, EVERY_ACCOUNT),
        ({"Service": "codebuild.amazonaws.com"}, "service codebuild.amazonaws.com"),
        ({"Federated": "cognito"}, "identities of cognito"),
        ({"AWS": "something else"}, "principal something else"),
        (None, EVERY_ACCOUNT),
    ],
)
def test_whom_a_principal_means(principal: Any, who: str):
    assert told(allow(principal)) == (who,)


@pytest.mark.parametrize(
    "principal",
    [
        {"AWS": OURS},
        {"AWS": f"arn:aws:iam::{OURS}:role/deploy"},
        {"AWS": "AIDACKCEVSQ6C2EXAMPLE"},
        {"AWS": []},
        {"Service": "lambda.amazonaws.com"},
        {"Service": ["ecr.amazonaws.com", "replication.ecr.amazonaws.com", "inspector2.amazonaws.com"]},
    ],
)
def test_our_own_account_and_what_runs_nothing_are_nobody_else(principal: Any):
    assert told(allow(principal)) == ()


def test_all_but_one_principal_are_everybody():
    assert told({"Effect": "Allow", "NotPrincipal": {"AWS": THEIRS}, "Action": PULL}) == (EVERY_ACCOUNT,)


@pytest.mark.parametrize(
    "action", ["ecr:BatchGetImage", "ECR:batchgetimage", "ecr:*", "*", "ecr:Batch*Image", ["x", "ecr:Ba?chGetImage"]]
)
def test_an_action_that_includes_pulling_lets_in(action: Any):
    assert told(allow({"AWS": THEIRS}, action)) == (f"account {THEIRS}",)


@pytest.mark.parametrize(
    "action", ["ecr:PutImage", "ecr:GetDownloadUrlForLayer", ["ecr:Describe*"], [], "s3:*", "ecr:batchget"]
)
def test_no_pull_does_without_the_manifest(action: Any):
    assert told(allow({"AWS": THEIRS}, action)) == ()


def test_all_actions_but_others_let_in_and_all_but_pulling_do_not():
    assert told(allow({"AWS": THEIRS}, None, NotAction="ecr:PutImage")) == (f"account {THEIRS}",)
    assert told(allow({"AWS": THEIRS}, None, NotAction="ecr:Batch*")) == ()


@pytest.mark.parametrize(
    ("resource", "speaks_of_it"),
    [
        (ARN, True),
        ("*", True),
        ("arn:aws:ecr:*:*:repository/team/*", True),
        ("arn:aws:ecr:eu-west-1:111122223333:repository/${aws:PrincipalTag/team}/api", True),
        (ARN[:-1], False),
        (f"{ARN}/more", False),
        ("arn:aws:ecr:eu-west-1:111122223333:repository/tools/*", False),
        ([], False),
    ],
)
def test_a_statement_of_a_registry_is_about_the_repositories_it_names(resource: Any, speaks_of_it: bool):
    assert bool(told(allow({"AWS": THEIRS}, Resource=resource))) is speaks_of_it


def test_all_repositories_but_another_one_include_it():
    assert told(allow({"AWS": THEIRS}, NotResource="arn:aws:ecr:*:*:repository/tools/*")) == (f"account {THEIRS}",)
    assert told(allow({"AWS": THEIRS}, NotResource=ARN)) == ()


@pytest.mark.parametrize(
    ("condition", "who"),
    [
        ({"StringEquals": {"aws:PrincipalAccount": [THEIRS, OURS]}}, (f"account {THEIRS}",)),
        ({"StringEquals": {"AWS:principalACCOUNT": OURS}}, ()),
        ({"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{THEIRS}:role/*"}}, (f"account {THEIRS}",)),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/x"}}, (EVERY_ACCOUNT,)),
        ({"StringEquals": {"aws:PrincipalOrgID": ORGANISATION}}, (f"organisation {ORGANISATION}",)),
        (
            {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": f"{ORGANISATION}/r-1/*"}},
            (f"organisation {ORGANISATION}",),
        ),
        ({"StringLike": {"aws:PrincipalOrgID": "*"}}, (EVERY_ACCOUNT,)),
        ({"StringEqualsIfExists": {"aws:PrincipalAccount": OURS}}, (EVERY_ACCOUNT,)),
        ({"StringNotEquals": {"aws:PrincipalAccount": THEIRS}}, (EVERY_ACCOUNT,)),
        ({"ForAllValues:StringEquals": {"aws:PrincipalOrgPaths": f"{ORGANISATION}/r-1/*"}}, (EVERY_ACCOUNT,)),
        ({"StringEquals": {"aws:SourceVpc": "vpc-1"}}, (EVERY_ACCOUNT,)),
        (
            {
                "StringEquals": {"aws:PrincipalAccount": THEIRS},
                "ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{OURS}:*"},
            },
            (),
        ),
    ],
)
def test_a_condition_counts_only_as_far_as_it_surely_keeps_others_out(condition: Any, who: tuple[str, ...]):
    assert told(allow("*", Condition=condition)) == who


def test_a_condition_may_leave_out_a_principal_that_is_named():
    named = {"AWS": [THEIRS, OTHERS]}
    assert told(allow(named, Condition={"StringEquals": {"aws:PrincipalAccount": OTHERS}})) == (f"account {OTHERS}",)


def test_lambda_of_another_account_is_named_by_its_condition():
    condition = {"ArnLike": {"aws:SourceArn": f"arn:aws:lambda:eu-west-1:{THEIRS}:function:*"}}
    lambda_ = {"Service": "lambda.amazonaws.com"}
    assert told(allow(lambda_, Condition=condition)) == (f"AWS Lambda of account {THEIRS}",)


def test_a_deny_is_not_weighed_and_lets_nobody_in():
    deny = {"Effect": "Deny", "Principal": "*", "Action": "*"}
    assert (told(deny), told(deny, allow({"AWS": THEIRS}))) == ((), (f"account {THEIRS}",))


def test_a_single_statement_may_stand_without_a_list():
    assert let_in(json.dumps({"Statement": allow({"AWS": THEIRS})}), ARN, OURS) == (f"account {THEIRS}",)


def test_what_is_told_is_harmless_on_a_screen():
    (who,) = told(allow({"AWS": "\x1b[31m" + "x" * 500}))
    assert "\x1b" not in who
    assert len(who) < 100


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"Statement": 5}',
        '{"Statement": [{}]}',
        json.dumps({"Statement": [allow(5)]}),
        json.dumps({"Statement": [allow({"AWS": 5})]}),
        json.dumps({"Statement": [allow({"AWS": THEIRS}, 5)]}),
        json.dumps({"Statement": [allow("*", Condition={"StringEquals": {"aws:PrincipalAccount": 5}})]}),
        "[" * 100_000,
    ],
)
def test_a_text_that_is_no_policy_is_refused(text: str):
    with pytest.raises(ValueError, match=r"."):
        let_in(text, ARN, OURS)


_principals = st.sampled_from(
    ["*", {"AWS": "*"}, {"AWS": THEIRS}, {"AWS": [OURS, OTHERS]}, {"Service": "x.amazonaws.com"}]
)
_statements = st.builds(allow, _principals, st.sampled_from([PULL, "ecr:*", "ecr:PutImage", ["*"]]))


@given(st.lists(_statements, max_size=5))
def test_more_statements_never_let_in_less(statements: list[dict[str, Any]]):
    whole = told(*statements)
    for number in range(len(statements)):
        part = told(*statements[:number])
        assert set(part) <= set(whole) or EVERY_ACCOUNT in whole
    assert len(set(whole)) == len(whole)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(["AWS", "Service", "x"]), x, max_size=3),
        max_leaves=6,
    )
)
def test_whatever_stands_in_a_policy_is_told_or_refused(principal: Any):
    with contextlib.suppress(ValueError):
        assert all(isinstance(who, str) for who in told(allow(principal)))
