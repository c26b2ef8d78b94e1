"""What is allowed in a policy and hardly meant."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.adapters.stores.policy_file import default_policy
from chalicelib.domain.policy.comparison import holds
from chalicelib.domain.policy.operand import ScoreTest
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.domain.policy.review import NEVER, policy_warnings


def doubts(**said: Any) -> dict[str, str]:
    return {d.path: d.reason for d in policy_warnings(parse_policy({"version": 1, **said}))}


def about(match: dict[str, Any], **more: Any) -> dict[str, str]:
    return doubts(rules=[{"id": "r", "match": match, "decision": "warn", **more}])


def test_the_built_in_policy_leaves_no_doubt() -> None:
    assert policy_warnings(default_policy()) == ()


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("score", {"gte": 9, "lte": 5}),
        ("score", {"gt": 10}),
        ("epss", {"gt": 1}),
        ("epss", {"eq": 0.5, "lt": 0.5}),
        ("age_days", {"gt": 3, "lt": 4}),
        ("pushed_days", {"lt": 0}),
        ("severity", {"gte": "CRITICAL", "in": ["LOW"]}),
        ("overdue", True),
        ("repository", ["!*"]),
        ("tag", ["v1", "!v1"]),
        ("region", ["eu-*", "!*"]),
    ],
)
def test_a_condition_that_can_never_hold_is_named(word: str, value: Any) -> None:
    assert about({word: value})[f"rules[0].match.{word}"].startswith(NEVER)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("score", {"gte": 5, "lte": 5}),
        ("score", {"gt": 9.9}),
        ("epss", {"gt": 0.5, "lt": 0.500001}),
        ("age_days", {"gt": 3, "lt": 5}),
        ("age_days", {"gte": 0}),
        ("severity", {"gte": "HIGH", "in": ["CRITICAL"]}),
        ("repository", ["prod/*", "!prod/sandbox-*"]),
        ("repository", ["!mirror/*"]),
    ],
)
def test_what_can_hold_leaves_no_doubt(word: str, value: Any) -> None:
    assert about({word: value}) == {}


def test_nested_blocks_and_counts_are_looked_at_too() -> None:
    never = {"score": {"gte": 9, "lte": 5}}
    assert set(about({"any": [{"kev": True}, {"not": never}]})) == {"rules[0].match.any[1].not.score"}
    assert about({"severity": "HIGH"}, count={"gt": 5, "lt": 6}) == {"rules[0].count": NEVER}


def test_an_exclusion_of_nothing_is_named() -> None:
    assert "excludes nothing" in about({"repository": ["!"]})["rules[0].match.repository"]


def test_settings_that_let_through_are_named() -> None:
    said = doubts(stale={"decision": "allow"}, unscanned={"then": "warn"})
    assert set(said) == {"stale.decision", "unscanned.then"}
    assert said["stale.decision"] == "a lapsed scan will pass as clean"


POINTS = st.integers(0, 20).map(lambda n: n / 2)


@given(st.dictionaries(st.sampled_from(["gte", "gt", "lte", "lt", "eq"]), POINTS, min_size=1))
@settings(max_examples=200, deadline=None)
def test_a_score_is_doubted_exactly_when_no_score_passes(test: dict[str, float]) -> None:
    passes = any(holds(ScoreTest(**test))(n / 4) for n in range(41))
    assert ("rules[0].match.score" in about({"score": test})) is not passes


def test_what_enforcement_may_surprise_with_is_named() -> None:
    assert set(doubts(mode="enforce", quarantine={"when_running": "proceed"})) == {"quarantine.when_running"}
    assert doubts(mode="observe", quarantine={"when_running": "proceed"}) == {}
    rule = {"id": "r", "match": {"repository": ["*"]}, "decision": "block", "enforce": "repository-policy"}
    assert set(doubts(mode="enforce", rules=[rule])) == {"rules[0].enforce"}
    assert doubts(mode="enforce") == {}
