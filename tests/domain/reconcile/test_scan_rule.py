"""Which rule covers a repository: filters as ECR's user guide has them, the stronger frequency, the reason for none."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.images.image import Source
from chalicelib.domain.reconcile.scan_rule import (
    AppliedScanRule,
    Frequency,
    FrequencyRule,
    RegistryScanning,
    Uncovered,
    matches,
    rule_of,
)

ON_PUSH, CONTINUOUS, MANUAL = Frequency.SCAN_ON_PUSH, Frequency.CONTINUOUS_SCAN, Frequency.MANUAL
NAMES = ("prod", "repo-prod", "prod-repo", "repo-prod-repo", "prodrepo")


def basic(*filters: str, frequency: Frequency = ON_PUSH) -> RegistryScanning:
    return RegistryScanning(Source.BASIC, (FrequencyRule(frequency, filters),))


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("prod", NAMES),
        ("*prod", ("prod", "repo-prod")),
        ("prod*", ("prod", "prod-repo", "prodrepo")),
        ("*prod*", NAMES),
        ("prod*repo", ("prod-repo", "prodrepo")),
        ("*", NAMES),
    ],
)
def test_filters_match_as_the_user_guide_tables_them(pattern: str, matched: tuple[str, ...]) -> None:
    assert tuple(name for name in NAMES if matches(pattern, name)) == matched


@given(st.text("ab/*.", min_size=1, max_size=8), st.text("ab/.", min_size=1, max_size=10))
def test_a_star_stands_for_any_characters_and_everything_else_for_itself(pattern: str, name: str) -> None:
    whole = pattern if "*" in pattern else f"*{pattern}*"
    expected = re.match("^" + "".join(".*" if c == "*" else re.escape(c) for c in whole) + "$", name) is not None
    assert matches(pattern, name) is expected


def test_continuous_scanning_wins_over_scan_on_push_in_whatever_order() -> None:
    rules = (FrequencyRule(ON_PUSH, ("*",)), FrequencyRule(CONTINUOUS, ("prod/*",)))
    for ordered in (rules, rules[::-1]):
        rule = rule_of("prod/api", RegistryScanning(Source.ENHANCED, ordered), None)
        assert (rule.frequency, rule.filters, rule.uncovered) == (CONTINUOUS, ("prod/*",), None)


def test_a_registry_without_rules_has_scan_on_push_off() -> None:
    rule = rule_of("team/api", RegistryScanning(Source.BASIC), None)
    assert (rule.frequency, rule.uncovered) == (MANUAL, Uncovered.NO_RULES)
    assert rule.words == "basic scanning, no rule at all: nothing is scanned unless it is asked for"


def test_what_no_filter_matches_is_manual_under_basic_and_never_scanned_under_enhanced_scanning() -> None:
    asked = rule_of("team/api", basic("prod/*"), None)
    never = rule_of("team/api", RegistryScanning(Source.ENHANCED, basic("prod/*").rules), None)
    assert asked.uncovered is never.uncovered is Uncovered.NO_FILTER_MATCHES
    assert asked.words.endswith("nothing is scanned unless it is asked for")
    assert never.words.endswith("nothing is scanned")


def test_a_rule_that_says_manual_is_named_as_the_reason() -> None:
    assert rule_of("team/api", basic("team", frequency=MANUAL), None).uncovered is Uncovered.MANUAL


def test_what_ecr_says_is_applied_counts_more_than_the_rules() -> None:
    rule = rule_of("team/api", basic("team"), AppliedScanRule(MANUAL))
    assert (rule.frequency, rule.uncovered) == (MANUAL, Uncovered.NO_FILTER_MATCHES)
    rule = rule_of("team/api", basic("prod/*"), AppliedScanRule(ON_PUSH, filters=("team*",)))
    assert (rule.frequency, rule.filters, rule.uncovered) == (ON_PUSH, ("team*",), None)


def test_the_older_setting_of_a_repository_scans_on_push_without_a_filter() -> None:
    rule = rule_of("team/api", RegistryScanning(Source.BASIC), AppliedScanRule(MANUAL, scan_on_push=True))
    assert (rule.frequency, rule.filters, rule.uncovered) == (ON_PUSH, (), None)
    assert rule.words == "basic scanning, SCAN_ON_PUSH by the repository's own setting"


def test_a_repositorys_own_scan_on_push_scans_nothing_under_enhanced_scanning() -> None:
    own = AppliedScanRule(MANUAL, scan_on_push=True)
    assert rule_of("team/api", RegistryScanning(Source.BASIC), own).frequency is ON_PUSH
    rule = rule_of("team/api", RegistryScanning(Source.ENHANCED), own)
    assert (rule.frequency, rule.uncovered) == (MANUAL, Uncovered.NO_RULES)
