"""Two policies compared by section and rule id; and what a policy allows but hardly means."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.adapters.stores.policy_file import default_policy
from chalicelib.domain.policy.comparison import holds
from chalicelib.domain.policy.operand import ScoreTest
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.domain.policy.review import (
    NEVER,
    PolicyDifference,
    PolicyDifferenceKind,
    difference_words,
    policy_differences,
    policy_warnings,
)

RULE = {"id": "r", "match": {"severity": "HIGH", "repository": ["a", "b"]}, "decision": "block"}
ROUTES = [{"channel": "slack", "repository": ["a"]}, {"channel": "sns"}]
BASE: dict[str, Any] = {
    "version": 1,
    "sla_days": {"HIGH": 30},
    "rules": [RULE, {"id": "other", "match": {"kev": True}, "decision": "warn"}],
    "notify": ROUTES,
    "retention": [
        {"repository": "a", "keep": {"newest": 3}},
        {"repository": "*", "keep": {"newest": 9, "tag": ["v*", "x"]}},
    ],
}


def said(after: dict[str, Any], before: dict[str, Any] = BASE) -> list[str]:
    return [str(d) for d in policy_differences(parse_policy(before).document, parse_policy(after).document)]


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(BASE), **changes}


def test_equal_policies_do_not_differ_and_neither_do_defaults_that_are_written_out() -> None:
    assert said(BASE) == []
    assert said(changed(mode="observe", stale={"decision": "warn"}, exempt={"repository": []})) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": "enforce"}, ["mode: observe -> enforce"]),
        ({"quarantine": {"max_per_hour": 5}}, ["quarantine.max_per_hour: 20 -> 5"]),
        ({"sla_days": {}}, ["sla_days.HIGH: 30 -> none"]),
        ({"exempt": {"repository": "mirror/*"}}, ["exempt.repository: [] -> mirror/*"]),
        (
            {"rules": [{**RULE, "decision": "quarantine", "count": {"gte": 2}}, BASE["rules"][1]]},
            ["rules.r.decision: block -> quarantine", "rules.r.count: none -> {gte: 2}"],
        ),
        (
            {"rules": [{**RULE, "match": {"severity": {"gte": "HIGH"}}}, BASE["rules"][1]]},
            ["rules.r.match.severity: HIGH -> {gte: HIGH}", "rules.r.match.repository: [a, b] -> none"],
        ),
        ({"rules": [RULE]}, ["rules.other: removed: warn when {kev: true}"]),
        (
            {
                "rules": [
                    *BASE["rules"],
                    {"id": "new", "match": {"kev": False}, "decision": "warn", "description": "Why"},
                ]
            },
            ["rules.new: added: warn when {kev: false}; description: Why"],
        ),
        (
            {"rules": [*BASE["rules"], {**RULE, "id": "many", "count": {"gte": 3}}]},
            ["rules.many: added: block when {severity: HIGH, repository: [a, b]} for {gte: 3} findings"],
        ),
    ],
)
def test_a_difference_is_said_by_section_and_rule(change: dict[str, Any], words: list[str]) -> None:
    assert said(changed(**change)) == words


def test_a_rule_under_another_id_is_one_gone_and_one_new() -> None:
    found = said(changed(rules=[{**RULE, "id": "renamed"}, BASE["rules"][1]]))
    assert [line.partition(": ")[2].partition(":")[0] for line in found] == ["removed", "added"]


def test_an_entry_of_a_list_that_changed_is_gone_and_a_new_one_is_there() -> None:
    found = policy_differences(
        parse_policy(BASE).document,
        parse_policy(changed(notify=[ROUTES[0], {"channel": "sns", "min_decision": "block"}])).document,
    )
    assert [(d.path, d.kind) for d in found] == [
        ("notify", PolicyDifferenceKind.REMOVED),
        ("notify", PolicyDifferenceKind.ADDED),
    ]
    assert found[1].after["min_decision"] == "block"


def test_an_entry_that_stands_there_twice_is_not_the_same_as_once() -> None:
    assert [line[:13] for line in said(changed(notify=[*ROUTES, ROUTES[0]]))] == ["notify: added"]


@given(st.permutations(BASE["rules"]), st.permutations(ROUTES), st.permutations(["a", "b"]))
def test_order_is_no_difference(rules: list[Any], routes: list[Any], globs: list[str]) -> None:
    other = [{**r, "match": {**r["match"], "repository": globs}} if r["id"] == "r" else r for r in rules]
    assert said(changed(rules=other, notify=routes)) == []


def test_one_value_is_the_same_as_a_list_of_it() -> None:
    one = changed(rules=[{**RULE, "match": {"severity": ["HIGH"], "repository": ["a"]}}])
    assert said(one, changed(rules=[{**RULE, "match": {"severity": "HIGH", "repository": "a"}}])) == []


def test_the_order_of_retentions_may_mean_something() -> None:
    turned = changed(retention=list(reversed(BASE["retention"])))
    assert [line.partition(":")[0] for line in said(turned)] == ["retention"]


def test_many_differences_are_cut_to_one_line() -> None:
    found = tuple(PolicyDifference(f"rules.r{n}", PolicyDifferenceKind.CHANGED, "a", "b") for n in range(99))
    line = difference_words(found, 80)
    assert (len(line), line[-1]) == (80, "…")
    assert difference_words(found[:2]) == "rules.r0: a -> b; rules.r1: a -> b"
    assert difference_words(()) == "no difference"


DOCUMENTS = st.builds(
    lambda mode, days, decision, match, routes: changed(
        mode=mode,
        sla_days={"HIGH": days},
        rules=[{**RULE, "decision": decision, "match": match}],
        notify=routes,
    ),
    st.sampled_from(["observe", "enforce"]),
    st.integers(1, 3),
    st.sampled_from(["warn", "block"]),
    st.sampled_from([{"severity": "HIGH"}, {"severity": {"gte": "HIGH"}}, {"not": {"kev": True}}]),
    st.sampled_from([[], ROUTES, ROUTES[:1]]),
)


@given(DOCUMENTS, DOCUMENTS)
def test_nothing_differs_only_where_all_is_equal_and_both_ways_alike(a: dict[str, Any], b: dict[str, Any]) -> None:
    there = policy_differences(parse_policy(a).document, parse_policy(b).document)
    back = policy_differences(parse_policy(b).document, parse_policy(a).document)
    assert (not there) == (parse_policy(a) == parse_policy(b))
    turned = {(d.path, str(d.after), str(d.before)) for d in there}
    assert turned == {(d.path, str(d.before), str(d.after)) for d in back}


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
