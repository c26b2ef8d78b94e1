"""Our statement in somebody's policy: put in, put right, taken out, and nothing else is ever touched."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.enforcement.repository_policy import (
    ACTIONS,
    MOST_CHARACTERS,
    SID,
    canonical,
    has_statement,
    is_changed,
    marks_of,
    pull_block,
    stands,
    unknown_statements,
    with_statement,
    without_statement,
)
from chalicelib.errors import UpstreamError
from tests.fakes.policies import ROLE, policy_text, statement

NONE = ""


def without(statements: list[dict[str, Any]]) -> str | None:
    return without_statement(json.dumps({"Statement": statements}))


def ours(**changes: Any) -> dict[str, Any]:
    return {**pull_block([ROLE]), **changes}


def test_the_statement_denies_pulls_to_all_but_services_the_scanner_replication_and_ourselves() -> None:
    block = pull_block([ROLE, ROLE])
    assert (block["Sid"], block["Effect"], block["Principal"]) == (SID, "Deny", "*")
    assert set(block["Action"]) == {"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}
    left_out = block["Condition"]["ArnNotLike"]["aws:PrincipalArn"]
    assert left_out[0] == ROLE
    assert [a.split("/")[2] for a in left_out[1:]] == ["inspector2.amazonaws.com", "replication.ecr.amazonaws.com"]
    assert block["Condition"]["BoolIfExists"] == {"aws:PrincipalIsAWSService": "false"}


def test_a_repository_without_a_policy_gets_one_and_is_without_one_afterwards() -> None:
    text = with_statement(None, [ROLE])
    assert json.loads(text) == {"Version": "2012-10-17", "Statement": [pull_block([ROLE])]}
    assert without_statement(text) is None
    assert without_statement(None) is None
    assert not has_statement(None)


@settings(max_examples=300, deadline=None)
@given(policy_text())
def test_adding_and_taking_out_gives_back_the_same_policy(text: str) -> None:
    blocked = with_statement(text, [ROLE])
    assert has_statement(blocked)
    assert not has_statement(text)
    back = without_statement(blocked)
    assert back is not None
    assert canonical(back) == canonical(text)
    before = json.loads(text)
    held = before["Statement"] if isinstance(before["Statement"], list) else [before["Statement"]]
    alike = json.dumps({**before, "Statement": held})
    assert json.dumps(json.loads(back)) == alike, "nothing but the form of a single statement, in the order it had"


@settings(max_examples=300, deadline=None)
@given(policy_text())
def test_what_is_so_already_is_not_written_anew(text: str) -> None:
    blocked = with_statement(text, [ROLE])
    assert with_statement(blocked, [ROLE]) == blocked
    assert with_statement(json.dumps(json.loads(blocked), indent=2), [ROLE]) == json.dumps(
        json.loads(blocked), indent=2
    )
    assert without_statement(text) == text
    assert not is_changed(blocked, [ROLE])


@settings(max_examples=100, deadline=None)
@given(policy_text(), st.data())
def test_our_statement_keeps_its_place_and_is_put_right_there(text: str, data: st.DataObject) -> None:
    policy = json.loads(text)
    others = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    place = data.draw(st.integers(0, len(others)))
    changed = ours(Condition={"StringEquals": {"aws:SourceVpc": "vpc-1"}})
    changed_text = json.dumps({**policy, "Statement": [*others[:place], changed, *others[place:]]})
    assert is_changed(changed_text, [ROLE])
    right = json.loads(with_statement(changed_text, [ROLE]))["Statement"]
    assert right[place] == pull_block([ROLE])
    assert [*right[:place], *right[place + 1 :]] == others


def test_of_two_statements_of_ours_one_stays() -> None:
    text = json.dumps({"Statement": [statement("a"), ours(), statement("b"), ours()]})
    assert is_changed(text, [ROLE])
    kept = json.loads(with_statement(text, [ROLE]))["Statement"]
    assert [s["Sid"] for s in kept] == ["a", SID, "b"]
    assert [s["Sid"] for s in json.loads(without_statement(text) or NONE)["Statement"]] == ["a", "b"]


@pytest.mark.parametrize(
    "same",
    [
        {"Action": ["ECR:batchgetimage", "ecr:GetDownloadUrlForLayer"]},
        {"Principal": {"AWS": "*"}},
        {"Action": [*reversed(ACTIONS), ACTIONS[0]]},
        {"Condition": {**pull_block([ROLE])["Condition"], "BoolIfExists": {"aws:PrincipalIsAWSService": [False]}}},
    ],
)
def test_our_statement_is_known_however_ecr_words_it(same: dict[str, Any]) -> None:
    assert has_statement(json.dumps({"Statement": ours(**same)}))
    assert without([ours(**same)]) is None


def test_other_roles_of_ours_are_a_change() -> None:
    text = with_statement(None, [ROLE])
    assert is_changed(text, [])
    assert not is_changed(None, [])
    assert not is_changed(json.dumps({"Statement": [statement("a")]}), [])


ELSEWHERE = "arn:aws:iam::444455556666:role/elsewhere"
TAMPERED: list[dict[str, Any]] = [
    {"Effect": "Allow"},
    {"Action": "ecr:BatchGetImage"},
    {"Action": [*ACTIONS, "ecr:PutImage"]},
    {"Action": None, "NotAction": "ecr:*"},
    {"Principal": {"AWS": ELSEWHERE}},
    {"Principal": None, "NotPrincipal": "*"},
    {"Resource": "arn:aws:ecr:eu-west-1:111122223333:repository/other"},
    {"Condition": {**pull_block([ROLE])["Condition"], "IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}},
    {"Condition": {"BoolIfExists": {"aws:PrincipalIsAWSService": "false"}}},
    pull_block([ROLE, ELSEWHERE]),
]


@pytest.mark.parametrize("changes", TAMPERED)
def test_a_deny_that_was_narrowed_anywhere_does_not_stand_and_is_put_right(changes: dict[str, Any]) -> None:
    text = json.dumps({"Statement": [statement("a"), ours(**changes), statement("b")]})
    assert not stands(text, [ROLE])
    if "Condition" not in changes or ROLE in json.dumps(changes):
        assert has_statement(text, [ROLE])
    right = with_statement(text, [ROLE])
    assert stands(right, [ROLE])
    assert json.loads(right)["Statement"] == [statement("a"), pull_block([ROLE]), statement("b")]
    assert json.loads(without_statement(text, [ROLE]) or NONE)["Statement"] == [statement("a"), statement("b")]


ANOTHERS: list[dict[str, Any]] = [
    pull_block([ELSEWHERE]),
    {**pull_block([ELSEWHERE]), "Sid": f"{SID}0a1b2c3d"},
    statement(SID),
    {"Sid": SID, "Effect": "Deny", "Principal": "*", "Action": "ecr:*"},
]


@pytest.mark.parametrize("foreign", ANOTHERS)
def test_a_statement_of_another_installation_is_left_alone_and_does_not_count(foreign: dict[str, Any]) -> None:
    text = json.dumps({"Statement": [foreign]})
    assert not stands(text, [ROLE])
    assert not has_statement(text, [ROLE])
    assert without_statement(text, [ROLE]) == text
    both = with_statement(text, [ROLE])
    assert json.loads(both)["Statement"][0] == foreign
    assert stands(both, [ROLE])
    sids = [s["Sid"] for s in json.loads(both)["Statement"]]
    assert len(set(sids)) == 2, "a policy has each Sid once"
    assert with_statement(both, [ROLE]) == both
    assert json.loads(without_statement(both, [ROLE]) or NONE) == json.loads(text)


def test_each_of_two_installations_finds_its_own_deny_beside_the_others() -> None:
    both = with_statement(with_statement(None, [ELSEWHERE]), [ROLE])
    for own in ([ROLE], [ELSEWHERE]):
        assert stands(both, own)
        assert with_statement(both, own) == both


def test_statements_of_others_that_were_not_read_are_found_by_their_marks() -> None:
    known = marks_of(json.dumps({"Statement": [statement("a", Action="ECR:BatchGetImage"), ours()]}))
    theirs = json.dumps({"Statement": [statement("a"), statement("late"), ours(Effect="Allow")]})
    assert [json.loads(one) for one in unknown_statements(theirs, known, [ROLE])] == [statement("late")]
    assert marks_of(None) == frozenset()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "no JSON object"),
        ("{}", "no list of objects"),
        ('{"Statement": "all"}', "no list of objects"),
        ('{"Statement": [1]}', "no list of objects"),
        ('{"Statement": [], "Statement": []}', "twice"),
        ('{"Statement": [{"Sid": "a", "Sid": "b"}]}', "twice"),
        ('{"Statement": [{"Sid": NaN}]}', "NaN"),
        ('{"Statement": [{"a": 0.1000000000000000000001}]}', "more exact"),
        ('{"Statement": [{"a": 1e999}]}', "cannot be read as JSON"),
        ('{"Statement": [{"a": 1e99999999999999999999999}]}', "cannot be read as JSON"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "cannot be read as JSON"),
    ],
)
def test_a_policy_that_cannot_be_understood_is_left_as_it_is(text: str, why: str) -> None:
    for read in (lambda: with_statement(text, []), lambda: without_statement(text), lambda: canonical(text)):
        with pytest.raises(UpstreamError, match="left as it is") as error:
            read()
        assert why in str(error.value)


def test_a_policy_that_would_grow_too_long_is_refused_with_the_numbers() -> None:
    room = MOST_CHARACTERS - len(with_statement(json.dumps({"Statement": [{"Sid": ""}]}), [ROLE]))
    fits = json.dumps({"Statement": [{"Sid": "ü" * room}]}, ensure_ascii=False)
    assert len(with_statement(fits, [ROLE])) == MOST_CHARACTERS
    with pytest.raises(UpstreamError, match=r"10,241 characters, and ECR takes at most 10,240"):
        with_statement(json.dumps({"Statement": [{"Sid": "x" * (room + 1)}]}), [ROLE])


ONE = {"Sid": "a", "Effect": "Allow", "Principal": {"AWS": ["arn:x", "arn:y"]}, "Action": "ecr:*"}


@pytest.mark.parametrize(
    "other",
    [
        {**ONE, "Action": ["ecr:*"]},
        {**ONE, "Principal": {"AWS": ["arn:y", "arn:x", "arn:y"]}},
        dict(reversed(ONE.items())),
    ],
)
def test_what_iam_treats_the_same_is_the_same(other: dict[str, Any]) -> None:
    assert canonical(json.dumps({"Statement": ONE})) == canonical(json.dumps({"Statement": [other]}))


def test_truth_and_numbers_of_conditions_are_the_same_as_texts() -> None:
    one = {"Condition": {"Bool": {"a": True}, "NumericLessThan": {"b": 3}}}
    other = {"Condition": {"Bool": {"a": "true"}, "NumericLessThan": {"b": ["3"]}}}
    assert canonical(json.dumps({"Statement": one})) == canonical(json.dumps({"Statement": other}))


@pytest.mark.parametrize(
    "other",
    [
        {**ONE, "Effect": "Deny"},
        {**ONE, "Action": []},
        {**ONE, "Action": "ecr:Get*"},
        {**ONE, "Principal": {"Service": ["arn:x", "arn:y"]}},
        {**ONE, "Unknown": 1},
        {**{k: v for k, v in ONE.items() if k != "Principal"}, "NotPrincipal": ONE["Principal"]},
    ],
)
def test_what_says_something_else_is_not_the_same(other: dict[str, Any]) -> None:
    assert canonical(json.dumps({"Statement": ONE})) != canonical(json.dumps({"Statement": [other]}))


def test_the_order_of_statements_and_members_beside_them_count() -> None:
    two, turned = [ONE, statement("b")], [statement("b"), ONE]
    assert canonical(json.dumps({"Statement": two})) != canonical(json.dumps({"Statement": turned}))
    assert canonical(json.dumps({"Statement": two})) != canonical(json.dumps({"Id": "x", "Statement": two}))
    assert canonical(None) != canonical(json.dumps({"Statement": []}))
