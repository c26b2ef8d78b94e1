"""One image, one decision: the strongest of everything that speaks, every reason kept, and when to ask again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.domain.images.finding import Ecosystem, Finding, FindingStatus, FixAvailable, Package, Severity
from chalicelib.domain.images.image import ImageRef, InUse, InUseState, Kind, Scan, ScanState, Source
from chalicelib.domain.images.verdict import Decision, ImageState, Reason, VerdictSummary
from chalicelib.domain.policy.decision import RuleOutcome, decide
from chalicelib.domain.policy.policy import Policy, parse_policy
from chalicelib.domain.policy.waiver import Waiver, WaiverBook

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
REF = ImageRef("111122223333", "eu-west-1", "prod/api", "sha256:" + "0" * 64)
SCANNED = ImageState(
    REF, ("v1",), pushed_at=NOW - DAY, scan=Scan(ScanState.COMPLETE, scanned_at=NOW - timedelta(hours=1)), listed=True
)


def policy(match: dict[str, Any] | None = None, decision: str = "block", **sections: Any) -> Policy:
    rule = {"id": "r", "match": match, "decision": decision}
    if "count" in sections:
        rule["count"] = sections.pop("count")
    return parse_policy({"version": 1, "rules": [rule] if match else []} | sections, number=3)


def finding(**changes: Any) -> Finding:
    base = Finding("CVE-2024-1", Severity.HIGH, "HIGH", Source.ENHANCED, "f-1", packages=(Package("openssl"),))
    return msgspec.structs.replace(base, **changes)


def image(**changes: Any) -> ImageState:
    return msgspec.structs.replace(SCANNED, **changes)


def waiver(**changes: Any) -> Waiver:
    known = {"id": "w-1", "repository": "prod/*", "reason": "unreachable", "approved_by": "security"}
    return Waiver(**(known | {"created_at": NOW - DAY, "expires_at": NOW + DAY} | changes))


def judged(
    match: dict[str, Any], *findings: Finding, state: ImageState = SCANNED, at: datetime = NOW, **sections: Any
) -> bool:
    """Whether a rule of this match speaks."""
    outcome = decide(state, findings, policy(match, **sections), (), at)
    return any(r.rule == "r" for r in outcome.verdict.reasons)


def index_of(*children: VerdictSummary, **changes: Any) -> ImageState:
    return image(kind=Kind.INDEX, children=children, listed=False, **changes)


def gist(outcome: RuleOutcome) -> tuple[Decision, tuple[Reason, ...]]:
    return outcome.verdict.decision, outcome.verdict.reasons


# How far the image has been looked at


def test_a_scanned_image_without_findings_is_allowed_and_says_by_which_policy() -> None:
    outcome = decide(SCANNED, [], policy(), (), NOW)
    assert (outcome.verdict.decision, outcome.verdict.reasons) == (Decision.ALLOW, ())
    assert (outcome.verdict.number, outcome.verdict.policy_version, outcome.verdict.decided_at) == (1, 3, NOW)


@pytest.mark.parametrize("state", list(ScanState))
def test_an_image_never_listed_is_pending_in_every_scan_state(state: ScanState) -> None:
    outcome = decide(image(listed=False, scan=Scan(state, "WHY"), pushed_at=NOW), [], policy(), (), NOW)
    assert outcome.verdict.decision is Decision.PENDING
    assert outcome.verdict.reasons[0].rule == "pending"
    assert f"{state}: WHY" in outcome.verdict.reasons[0].detail
    assert outcome.decide_at == NOW + 60 * MINUTE


@pytest.mark.parametrize(
    ("then", "decision"), [("warn", Decision.WARN), ("pending", Decision.PENDING), ("block", Decision.BLOCK)]
)
def test_an_image_unscanned_for_too_long_is_what_the_policy_says(then: str, decision: Decision) -> None:
    rules = policy(unscanned={"after_minutes": 10, "then": then})
    state = image(listed=False, scan=Scan(), pushed_at=NOW)
    before = decide(state, [], rules, (), NOW + 10 * MINUTE - timedelta(microseconds=1))
    after = decide(state, [], rules, (), NOW + 10 * MINUTE)
    assert [r.rule for r in before.verdict.reasons] == ["pending"]
    assert [r.rule for r in after.verdict.reasons] == ["unscanned"]
    assert (after.verdict.decision, after.decide_at) == (decision, None)


def test_when_the_push_is_unknown_the_first_hearing_counts_and_without_either_it_stays_pending() -> None:
    state = image(listed=False, pushed_at=None, known_at=NOW - 61 * MINUTE)
    assert decide(state, [], policy(), (), NOW).verdict.reasons[0].rule == "unscanned"
    unheard = decide(image(listed=False, pushed_at=None), [], policy(), (), NOW)
    assert (unheard.verdict.reasons[0].rule, unheard.decide_at) == ("pending", None)


@pytest.mark.parametrize("state", [ScanState.PENDING, ScanState.IN_PROGRESS])
def test_a_known_verdict_stays_in_force_while_a_rescan_runs(state: ScanState) -> None:
    rescanned = image(scan=Scan(state, scanned_at=NOW - DAY))
    assert decide(rescanned, [], policy(), (), NOW).verdict.decision is Decision.ALLOW
    assert decide(rescanned, [finding()], policy({"severity": "HIGH"}), (), NOW).verdict.decision is Decision.BLOCK


@pytest.mark.parametrize(
    "state",
    [ScanState.EXPIRED, ScanState.FAILED, ScanState.UNSUPPORTED, ScanState.UNAVAILABLE, ScanState.ARCHIVED],
)
def test_a_lapsed_scan_turns_allow_into_stale_and_keeps_block(state: ScanState) -> None:
    lapsed = image(scan=Scan(state, scanned_at=NOW))
    clean = decide(lapsed, [], policy(), (), NOW).verdict
    assert (clean.decision, [r.rule for r in clean.reasons]) == (Decision.WARN, ["stale"])
    bad = decide(lapsed, [finding()], policy({"severity": "HIGH"}), (), NOW).verdict
    assert (bad.decision, [r.rule for r in bad.reasons]) == (Decision.BLOCK, ["r", "stale"])


@pytest.mark.parametrize("scan", [Scan(ScanState.ARCHIVED), Scan(ScanState.COMPLETE, scanned_at=NOW - 99 * DAY)])
def test_our_own_quarantine_makes_no_scan_stale(scan: Scan) -> None:
    assert decide(image(scan=scan, held=True), [], policy(), (), NOW).verdict.reasons == ()
    assert [r.rule for r in decide(image(scan=scan), [], policy(), (), NOW).verdict.reasons] == ["stale"]


def test_a_scan_grows_stale_at_the_second_and_warn_becomes_the_stronger_of_both() -> None:
    rules = policy({"severity": "HIGH"}, "warn", stale={"decision": "block", "after_days": 2})
    state = image(scan=Scan(ScanState.COMPLETE, scanned_at=NOW))
    before = decide(state, [finding()], rules, (), NOW + 2 * DAY - timedelta(seconds=1))
    assert (before.verdict.decision, before.decide_at) == (Decision.WARN, NOW + 2 * DAY)
    after = decide(state, [finding()], rules, (), NOW + 2 * DAY)
    assert (after.verdict.decision, [r.rule for r in after.verdict.reasons]) == (Decision.BLOCK, ["stale", "r"])
    assert after.decide_at is None


# Multi-arch


def test_an_index_takes_the_worst_of_its_children_and_has_no_findings_of_its_own() -> None:
    index = index_of(VerdictSummary(Decision.ALLOW), VerdictSummary(Decision.BLOCK), VerdictSummary(Decision.PENDING))
    verdict = decide(index, [finding()], policy({"severity": "HIGH"}, "quarantine"), (), NOW).verdict
    assert verdict.decision is Decision.BLOCK
    assert [(r.rule, r.decision) for r in verdict.reasons] == [("child", Decision.BLOCK), ("child", Decision.PENDING)]


def test_an_index_of_good_children_is_allowed_and_one_of_unknown_children_is_pending() -> None:
    index = index_of(VerdictSummary(Decision.ALLOW), VerdictSummary(Decision.ALLOW))
    assert decide(index, [], policy(), (), NOW).verdict.decision is Decision.ALLOW
    assert decide(image(kind=Kind.INDEX), [], policy(), (), NOW).verdict.decision is Decision.PENDING


def test_rules_about_the_image_also_speak_of_an_index_and_of_an_unscanned_image() -> None:
    rules = policy({"tag": "latest"}, "quarantine")
    index = index_of(VerdictSummary(Decision.ALLOW), tags=("latest",))
    assert decide(index, [], rules, (), NOW).verdict.decision is Decision.QUARANTINE
    unscanned = decide(image(listed=False, tags=("latest",)), [], rules, (), NOW - DAY).verdict
    assert [r.rule for r in unscanned.reasons] == ["r", "pending"]


def test_an_index_is_as_bad_as_its_images_of_each_decision_together() -> None:
    """Two images are quarantined for 3 CRITICALs, one of them known exploited, and one is blocked for 2."""
    bad, worse = VerdictSummary(Decision.QUARANTINE, 1), VerdictSummary(Decision.QUARANTINE, 2, 1)
    verdict = decide(index_of(bad, worse, VerdictSummary(Decision.BLOCK, 2)), [], policy(), (), NOW).verdict
    assert [(r.decision, r.count, r.critical, r.kev) for r in verdict.reasons] == [
        (Decision.QUARANTINE, 0, 3, 1),
        (Decision.BLOCK, 0, 2, 0),
    ]
    assert verdict.standing == VerdictSummary(Decision.QUARANTINE, 5, 1)


@pytest.mark.parametrize(
    ("former", "now", "worse"),
    [
        (VerdictSummary(Decision.QUARANTINE, 1), VerdictSummary(Decision.QUARANTINE, 2), True),
        (VerdictSummary(Decision.QUARANTINE, 1), VerdictSummary(Decision.QUARANTINE, 1, 1), True),
        (VerdictSummary(Decision.BLOCK, 1), VerdictSummary(Decision.QUARANTINE, 1), True),
        (VerdictSummary(Decision.WARN), VerdictSummary(Decision.QUARANTINE, 1), True),
        (VerdictSummary(Decision.QUARANTINE, 2), VerdictSummary(Decision.QUARANTINE, 1), False),
        (VerdictSummary(Decision.QUARANTINE, 1), VerdictSummary(Decision.QUARANTINE, 1), False),
    ],
)
def test_an_index_gets_worse_when_one_of_its_images_does(
    former: VerdictSummary, now: VerdictSummary, worse: bool
) -> None:
    other = VerdictSummary(Decision.BLOCK, 7)
    before = decide(index_of(former, other), [], policy(), (), NOW).verdict
    after = decide(index_of(now, other), [], policy(), (), NOW).verdict
    assert after.worse_than(before) is worse
    assert after.same_as(before) is (former == now)


def test_an_artifact_has_no_verdict_that_anybody_could_take_for_clean() -> None:
    verdict = decide(image(kind=Kind.ARTIFACT), [], policy({"tag": "v1"}), (), NOW).verdict
    assert (verdict.decision, [r.rule for r in verdict.reasons]) == (Decision.PENDING, ["pending"])


# Conditions


@pytest.mark.parametrize(
    ("match", "severity", "speaks"),
    [
        ({"severity": "HIGH"}, Severity.HIGH, True),
        ({"severity": "HIGH"}, Severity.CRITICAL, False),
        ({"severity": ["HIGH", "LOW"]}, Severity.LOW, True),
        ({"severity": {"gte": "HIGH"}}, Severity.CRITICAL, True),
        ({"severity": {"gte": "HIGH"}}, Severity.MEDIUM, False),
        ({"severity": {"gte": "MEDIUM"}}, Severity.UNKNOWN, True),
        ({"severity": {"gte": "HIGH"}}, Severity.UNKNOWN, False),
        ({"severity": {"eq": "MEDIUM"}}, Severity.UNKNOWN, True),
        ({"severity": {"in": ["UNKNOWN"]}}, Severity.UNKNOWN, True),
        ({"severity": {"gte": "LOW", "in": ["UNKNOWN", "HIGH"]}}, Severity.MEDIUM, False),
    ],
)
def test_severity_is_compared_and_unknown_counts_as_the_policy_says(
    match: dict[str, Any], severity: Severity, speaks: bool
) -> None:
    assert judged(match, finding(severity=severity)) is speaks


@pytest.mark.parametrize(
    ("match", "changes", "speaks"),
    [
        ({"score": {"gte": 7.5}}, {"score": 7.5}, True),
        ({"score": {"gt": 7.5}}, {"score": 7.5}, False),
        ({"score": {"lte": 7.5, "gt": 7}}, {"score": 7.5}, True),
        ({"epss": {"lt": 0.5}}, {"epss": 0.5}, False),
        ({"epss": {"eq": 0.5}}, {"epss": 0.5}, True),
        ({"kev": True}, {"kev": True}, True),
        ({"kev": False}, {"kev": True}, False),
        ({"exploit_available": True}, {"exploit_available": True}, True),
        ({"fix_available": True}, {"fix_available": FixAvailable.YES}, True),
        ({"fix_available": True}, {"fix_available": FixAvailable.PARTIAL}, False),
        ({"fix_available": False}, {"fix_available": FixAvailable.PARTIAL}, False),
        ({"fix_available": [True, "partial"]}, {"fix_available": FixAvailable.PARTIAL}, True),
        ({"fix_available": False}, {"fix_available": FixAvailable.NO}, True),
        ({"source": "BASIC"}, {}, False),
        ({"source": ["BASIC", "ENHANCED"]}, {}, True),
        ({"ecosystem": "OS"}, {"ecosystem": Ecosystem.OS}, True),
        ({"package": "open*"}, {}, True),
        ({"package": ["*", "!openssl"]}, {}, False),
        ({"manager": "NPM"}, {"packages": (Package("a", manager="NPM"),)}, True),
        ({"path": "app/*"}, {"packages": (Package("a", path="app/package.json"),)}, True),
        ({"vulnerability_id": "GHSA-*"}, {"related_ids": ("GHSA-1",)}, True),
        ({"vulnerability_id": ["CVE-*", "!GHSA-1"]}, {"related_ids": ("GHSA-1",)}, False),
        ({"all": [{"kev": True}, {"severity": "HIGH"}]}, {"kev": True}, True),
        ({"any": [{"kev": True}, {"severity": "LOW"}]}, {"kev": False}, False),
        ({"any": [{"kev": True}, {"tag": "v1"}]}, {}, True),
        ({"not": {"kev": True}}, {"kev": False}, True),
        ({"not": {"kev": True}}, {"kev": True}, False),
    ],
)
def test_a_condition_speaks_when_it_holds(match: dict[str, Any], changes: dict[str, Any], speaks: bool) -> None:
    assert judged(match, finding(**changes)) is speaks


@pytest.mark.parametrize(
    "condition",
    [
        {"score": {"lte": 10}},
        {"epss": {"gte": 0}},
        {"kev": False},
        {"kev": True},
        {"exploit_available": False},
        {"fix_available": [True, False, "partial"]},
        {"ecosystem": ["OS", "LANGUAGE"]},
        {"manager": "*"},
        {"path": "*"},
        {"age_days": {"gte": 0}},
        {"scan_age_days": {"gte": 0}},
        {"pushed_days": {"gte": 0}},
        {"architecture": "*"},
        {"platform": "*"},
        {"signed": False},
    ],
)
def test_what_is_absent_never_matches_and_never_excuses(condition: dict[str, Any]) -> None:
    state = image(pushed_at=None, scan=Scan(ScanState.COMPLETE))
    anything = {"severity": "HIGH"}
    assert not judged(condition, finding(), state=state)
    assert judged(anything | {"not": condition}, finding(), state=state)
    assert judged(anything | {"not": {"not": condition}}, finding(), state=state)
    assert judged(anything | {"not": {"all": [condition, {"severity": "HIGH"}]}}, finding(), state=state)
    assert not judged(anything | {"not": {"any": [condition, {"severity": "HIGH"}]}}, finding(), state=state)


def test_a_finding_of_several_packages_is_excused_only_when_all_of_them_are_meant() -> None:
    both = finding(packages=(Package("linux-headers"), Package("openssl")))
    assert judged({"package": "linux-*"}, both)
    assert judged({"severity": "HIGH", "not": {"package": "linux-*"}}, both)
    assert not judged({"severity": "HIGH", "not": {"package": ["linux-*", "openssl"]}}, both)


def test_an_image_of_several_tags_is_excused_only_when_all_of_them_are_meant() -> None:
    both = image(tags=("v1", "dev-1"))
    assert judged({"tag": "v*"}, state=both)
    assert judged({"repository": "*", "not": {"tag": "dev-*"}}, state=both)
    assert not judged({"repository": "*", "not": {"tag": "dev-*"}}, state=image(tags=("dev-1", "dev-2")))
    assert not judged({"tag": "*"}, state=image(tags=()))
    assert judged({"tag": "!dev-*"}, state=image(tags=()))


@pytest.mark.parametrize(
    ("asked", "region", "speaks"),
    [
        ("eu-*", "eu-central-1", True),
        (["eu-*"], "us-east-1", False),
        (["us-*", "eu-*"], "eu-west-3", True),
        (["eu-*", "!eu-south-*"], "eu-south-2", False),
        ("!us-gov-*", "us-gov-west-1", False),
        ("!us-gov-*", "us-west-2", True),
    ],
)
def test_a_rule_about_regions_means_the_images_there(asked: Any, region: str, speaks: bool) -> None:
    there = image(ref=msgspec.structs.replace(REF, region=region))
    assert judged({"region": asked}, state=there) is speaks
    assert judged({"severity": "HIGH", "region": asked}, finding(), state=there) is speaks
    assert judged({"severity": "HIGH", "not": {"region": asked}}, finding(), state=there) is not speaks


@pytest.mark.parametrize(
    ("asked", "speaks_of"),
    [
        (True, {InUseState.YES, InUseState.UNKNOWN}),
        (False, {InUseState.NO}),
        ("unknown", {InUseState.UNKNOWN}),
        ([False, "unknown"], {InUseState.NO, InUseState.UNKNOWN}),
    ],
)
def test_in_use_unknown_is_treated_as_running(asked: Any, speaks_of: set[InUseState]) -> None:
    assert {s for s in InUseState if judged({"in_use": asked}, state=image(in_use=InUse(s)))} == speaks_of


def test_days_are_whole_days_that_have_passed() -> None:
    old = finding(first_seen=NOW - 5 * DAY)
    assert judged({"age_days": {"eq": 5}}, old)
    assert not judged({"age_days": {"gt": 5}}, old, at=NOW + DAY - timedelta(seconds=1))
    assert judged({"age_days": {"gt": 5}}, old, at=NOW + DAY)
    assert judged({"age_days": {"lte": 5}}, old, at=NOW + DAY - timedelta(seconds=1))
    assert judged({"age_days": {"gte": 9}}, msgspec.structs.replace(old, first_seen_in_line=NOW - 9 * DAY))
    assert judged({"pushed_days": {"eq": 1}})
    assert judged({"scan_age_days": {"lt": 1}})


def test_a_finding_is_overdue_when_the_days_of_its_severity_have_passed() -> None:
    sla = {"sla_days": {"HIGH": 7, "MEDIUM": 30}}
    late = finding(first_seen=NOW - 7 * DAY)
    assert judged({"overdue": True}, late, **sla)
    assert not judged({"overdue": True}, late, at=NOW - timedelta(microseconds=1), **sla)
    assert not judged({"overdue": True}, finding(first_seen=NOW - 7 * DAY, severity=Severity.UNKNOWN), **sla)
    assert judged({"overdue": True}, finding(first_seen=NOW - 30 * DAY, severity=Severity.UNKNOWN), **sla)
    assert not judged({"overdue": True}, finding(first_seen=NOW - 999 * DAY, severity=Severity.LOW), **sla)
    assert judged({"overdue": False}, finding(severity=Severity.LOW), **sla)
    assert not judged({"overdue": False}, finding(), **sla)


def test_only_open_and_counted_suppressed_findings_match_unless_a_status_is_asked() -> None:
    hidden, gone = finding(status=FindingStatus.SUPPRESSED), finding(status=FindingStatus.RESOLVED)
    assert judged({"severity": "HIGH"}, hidden)
    assert not judged({"severity": "HIGH"}, hidden, suppressed="ignore")
    assert not judged({"severity": "HIGH"}, gone)
    assert judged({"severity": "HIGH", "status": "RESOLVED"}, gone)
    assert judged({"status": ["SUPPRESSED"]}, hidden, suppressed="ignore")
    assert not judged({"severity": "HIGH", "not": {"status": "SUPPRESSED"}}, hidden)
    assert not judged({"severity": "HIGH", "not": {"status": "SUPPRESSED"}}, gone)
    assert decide(SCANNED, [hidden, hidden, gone], policy(suppressed="ignore"), (), NOW).verdict.suppressed == 2


def test_a_count_asks_for_so_many_and_always_for_one() -> None:
    three = [finding(vulnerability_id=f"CVE-{i}") for i in range(3)]
    assert judged({"severity": "HIGH"}, *three, count={"gte": 3})
    assert not judged({"severity": "HIGH"}, *three, count={"gt": 3})
    assert judged({"repository": "*"}, *three, count={"eq": 3})
    assert not judged({"severity": "HIGH"}, count={"lt": 3})


def test_a_reason_names_what_matched_worst_first() -> None:
    findings = [
        finding(vulnerability_id="CVE-B", epss=0.1),
        finding(vulnerability_id="CVE-A", epss=0.1),
        finding(vulnerability_id="CVE-A", epss=0.1, source_finding_id="f-2"),
        finding(vulnerability_id="CVE-C", kev=True),
        finding(vulnerability_id="CVE-D", severity=Severity.CRITICAL),
        finding(vulnerability_id="CVE-E", severity=Severity.LOW, kev=True),
    ]
    (reason,) = decide(SCANNED, findings, policy({"severity": {"gte": "HIGH"}}), (), NOW).verdict.reasons
    assert reason.vulnerability_ids == ("CVE-D", "CVE-C", "CVE-A", "CVE-B")
    assert (reason.count, reason.critical, reason.kev) == (5, 1, 1)


def test_the_strongest_wins_and_every_reason_is_kept() -> None:
    rules = parse_policy(
        {
            "version": 1,
            "rules": [
                {"id": "one", "match": {"severity": "HIGH"}, "decision": "warn"},
                {"id": "two", "match": {"tag": "v1"}, "decision": "quarantine"},
                {"id": "three", "match": {"kev": True}, "decision": "block", "enforce": "repository-policy"},
            ],
        }
    )
    verdict = decide(SCANNED, [finding(kev=True)], rules, (), NOW).verdict
    assert verdict.decision is Decision.QUARANTINE
    assert [(r.rule, r.enforce) for r in verdict.reasons] == [
        ("two", None),
        ("three", "repository-policy"),
        ("one", None),
    ]


# Waivers


def test_a_waiver_excuses_until_the_second_it_expires() -> None:
    rules, given_ = policy({"severity": "HIGH"}), waiver(vulnerability_id="CVE-2024-1")
    before = decide(SCANNED, [finding()], rules, [given_], NOW + DAY - timedelta(microseconds=1))
    assert before.verdict.decision is Decision.ALLOW
    (reason,) = before.verdict.reasons
    assert (reason.rule, reason.decision, reason.count, reason.waived) == ("r", Decision.ALLOW, 0, ("w-1",))
    assert before.decide_at == NOW + DAY
    after = decide(SCANNED, [finding()], rules, [given_], NOW + DAY)
    assert (after.verdict.decision, after.verdict.reasons[0].waived) == (Decision.BLOCK, ())


def test_a_waiver_that_exploitation_has_outdone_is_named_until_the_second_it_expires() -> None:
    rules, given_ = policy({"severity": "HIGH"}), waiver(vulnerability_id="CVE-2024-1")
    before = decide(SCANNED, [finding(kev=True)], rules, [given_], NOW)
    assert before.verdict.reasons[0].detail.endswith("excused no more by w-1")
    assert before.decide_at == NOW + DAY
    after = decide(SCANNED, [finding(kev=True)], rules, [given_], NOW + DAY)
    assert after.verdict.reasons[0].detail == "1 finding matched"


def test_a_waiver_excuses_some_and_the_rule_counts_the_rest() -> None:
    findings = [
        finding(),
        finding(vulnerability_id="GHSA-2", related_ids=("CVE-2",)),
        finding(vulnerability_id="CVE-3"),
    ]
    given_ = [waiver(vulnerability_id="CVE-2024-1"), waiver(id="w-2", vulnerability_id="CVE-2")]
    outcome = decide(SCANNED, findings, policy({"severity": "HIGH"}), given_, NOW)
    (reason,) = outcome.verdict.reasons
    assert outcome.decide_at == NOW + DAY
    assert (reason.count, reason.vulnerability_ids, reason.waived) == (1, ("CVE-3",), ("w-1", "w-2"))
    counted = policy({"severity": "HIGH"}, count={"gte": 2})
    (excused,) = decide(SCANNED, findings, counted, given_, NOW).verdict.reasons
    assert (excused.decision, excused.count, excused.waived) == (Decision.ALLOW, 0, ("w-1", "w-2"))


def test_a_waiver_of_a_rule_excuses_findings_and_images_but_not_a_missing_scan() -> None:
    given_ = [waiver(rule="r"), waiver(id="w-2", rule="pending"), waiver(id="w-3", rule="stale")]
    assert decide(SCANNED, [finding()], policy({"severity": "HIGH"}), given_, NOW).verdict.decision is Decision.ALLOW
    excused = decide(SCANNED, [], policy({"tag": "v1"}), given_, NOW)
    assert (excused.verdict.decision, excused.decide_at) == (Decision.ALLOW, NOW + DAY)
    unscanned = decide(image(listed=False, pushed_at=NOW), [], policy(), given_, NOW).verdict
    assert unscanned.decision is Decision.PENDING


def test_a_waiver_for_another_repository_package_or_vulnerability_excuses_nothing() -> None:
    for given_ in (
        waiver(repository="dev/*", vulnerability_id="CVE-2024-1"),
        waiver(package="curl", vulnerability_id="CVE-2024-1"),
        waiver(vulnerability_id="CVE-2024-10"),
        waiver(rule="other"),
        waiver(rule="other", vulnerability_id="CVE-2024-1"),
        waiver(),
    ):
        verdict = decide(SCANNED, [finding()], policy({"severity": "HIGH"}), [given_], NOW).verdict
        assert (verdict.decision, verdict.reasons[0].waived) == (Decision.BLOCK, ())


# decide_at


def test_decide_at_is_the_next_deadline_that_can_still_matter() -> None:
    rules = policy({"severity": "CRITICAL", "overdue": True}, sla_days={"CRITICAL": 7, "HIGH": 3})
    seen = {"first_seen": NOW - DAY}
    stale_at = NOW - timedelta(hours=1) + 30 * DAY
    assert decide(SCANNED, [finding(**seen)], rules, (), NOW).decide_at == stale_at
    critical = finding(severity=Severity.CRITICAL, **seen)
    assert decide(SCANNED, [critical], rules, (), NOW).decide_at == NOW + 6 * DAY
    elsewhere = policy({"repository": "dev/*", "overdue": True}, sla_days={"HIGH": 3})
    assert decide(SCANNED, [finding(**seen)], elsewhere, (), NOW).decide_at == stale_at


@pytest.mark.parametrize(
    ("match", "due"),
    [
        ({"age_days": {"gte": 3}}, 3),
        ({"age_days": {"gt": 3}}, 4),
        ({"age_days": {"lt": 3}}, 3),
        ({"age_days": {"lte": 3}}, 4),
        ({"age_days": {"eq": 3}}, 3),
        ({"age_days": {"gte": 1, "lt": 5}}, 1),
        ({"severity": "HIGH", "not": {"age_days": {"gte": 3}}}, 3),
        ({"severity": "HIGH", "not": {"kev": True, "overdue": False}}, None),
        ({"any": [{"kev": False}, {"age_days": {"gte": 3}}]}, None),
        ({"severity": "LOW", "age_days": {"gte": 3}}, None),
        ({"repository": "dev/*", "age_days": {"gte": 3}}, None),
        ({"pushed_days": {"gte": 3}}, 3),
        ({"pushed_days": {"gte": 3}, "severity": "HIGH"}, 3),
        ({"pushed_days": {"gte": 3}, "severity": "LOW"}, None),
    ],
)
def test_decide_at_is_the_moment_a_condition_turns_and_none_when_it_cannot_decide(
    match: dict[str, Any], due: int | None
) -> None:
    rules = policy(match, stale={"after_days": 36_500}, sla_days={"HIGH": 9})
    state = image(pushed_at=NOW, scan=Scan(ScanState.COMPLETE))
    outcome = decide(state, [finding(first_seen=NOW, kev=False)], rules, (), NOW)
    assert outcome.decide_at == (None if due is None else NOW + due * DAY)


def test_a_condition_of_an_exact_day_ends_with_that_day() -> None:
    rules = policy({"age_days": {"eq": 3}}, stale={"after_days": 36_500})
    old = finding(first_seen=NOW - 3 * DAY)
    assert decide(image(scan=Scan(ScanState.COMPLETE)), [old], rules, (), NOW).decide_at == NOW + DAY


def test_moments_beyond_the_calendar_never_come() -> None:
    end = datetime.max.replace(tzinfo=UTC)
    state = image(pushed_at=end, scan=Scan(ScanState.COMPLETE, scanned_at=end))
    rules = policy({"age_days": {"gt": 36_500}, "pushed_days": {"gt": 3}}, stale={"after_days": 36_500})
    assert decide(state, [finding(first_seen=end)], rules, (), NOW).decide_at is None


# Properties

moments = st.integers(-5 * 1440, 3 * 1440).map(lambda m: NOW + m * MINUTE)
maybe_moments = st.one_of(moments, moments, st.none())
days = st.fixed_dictionaries({}, optional={w: st.integers(0, 5) for w in ("gte", "gt", "lte", "lt", "eq")}).filter(bool)
parts = st.fixed_dictionaries(
    {}, optional={w: st.sampled_from([0, 0.25, 0.5, 1]) for w in ("gte", "gt", "lte", "lt", "eq")}
).filter(bool)
severities = st.sampled_from(list(Severity))
rated = st.sampled_from([s for s in Severity if s is not Severity.UNKNOWN])
atoms = st.one_of(
    st.fixed_dictionaries({"severity": severities | st.lists(severities, min_size=1)}),
    st.fixed_dictionaries({"severity": st.fixed_dictionaries({"gte": rated})}),
    st.fixed_dictionaries({"epss": parts}),
    st.fixed_dictionaries({"score": parts}),
    st.fixed_dictionaries({"kev": st.booleans()}),
    st.fixed_dictionaries({"exploit_available": st.booleans()}),
    st.fixed_dictionaries({"fix_available": st.sampled_from([True, False, "partial", [True, "partial"]])}),
    st.fixed_dictionaries({"age_days": days}),
    st.fixed_dictionaries({"overdue": st.booleans()}),
    st.fixed_dictionaries({"package": st.sampled_from(["a", "b*", "!a", ["*", "!b"]])}),
    st.fixed_dictionaries({"vulnerability_id": st.sampled_from(["CVE-1", "GHSA-*", "!CVE-2"])}),
    st.fixed_dictionaries({"status": st.sampled_from(list(FindingStatus))}),
    st.fixed_dictionaries({"tag": st.sampled_from(["v*", "!v*", ["*", "!latest"]])}),
    st.fixed_dictionaries({"repository": st.sampled_from(["prod/*", "dev/*", "*"])}),
    st.fixed_dictionaries({"region": st.sampled_from(["eu-*", "us-*", ["*", "!eu-west-1"]])}),
    st.fixed_dictionaries({"pushed_days": days}),
    st.fixed_dictionaries({"scan_age_days": days}),
    st.fixed_dictionaries({"in_use": st.sampled_from([True, False, "unknown", [False, "unknown"]])}),
    st.fixed_dictionaries({"signed": st.booleans()}),
    st.fixed_dictionaries({"architecture": st.sampled_from(["amd64", "!amd64"])}),
)
ticking = st.one_of(
    st.fixed_dictionaries({"age_days": days}),
    st.fixed_dictionaries({"overdue": st.booleans()}),
    st.fixed_dictionaries({"pushed_days": days}),
    st.fixed_dictionaries({"scan_age_days": days}),
)
conjunctions = st.lists(atoms, min_size=1, max_size=3).map(lambda found: {k: v for a in found for k, v in a.items()})
composed = st.recursive(
    conjunctions,
    lambda inner: st.one_of(
        st.builds(lambda own, m: own | {"not": m}, conjunctions, inner),
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"all": st.lists(inner, min_size=1, max_size=3)}),
    ),
    max_leaves=5,
)
matches = st.one_of(
    composed,
    ticking,
    st.builds(lambda m, t: m | t, conjunctions, ticking),
    st.builds(lambda m, t: m | {"not": t}, conjunctions, ticking),
    st.builds(lambda m, t: {"any": [m, t]}, composed, ticking),
    st.builds(lambda m, t: {"not": {"all": [m, {"not": t}]}}, conjunctions, ticking),
)
counts = st.fixed_dictionaries(
    {}, optional={"gte": st.integers(0, 3), "lte": st.integers(1, 3), "eq": st.integers(1, 3)}
).filter(bool)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    rules = []
    for i in range(draw(st.sampled_from([1, 2, 3, 0]))):
        rule = {"id": f"r{i}", "match": draw(matches)}
        rule["decision"] = draw(st.sampled_from(["allow", "warn", "block", "quarantine"]))
        if draw(st.sampled_from([False, False, True])):
            rule["count"] = draw(counts)
        rules.append(rule)
    return parse_policy(
        {
            "version": 1,
            "rules": rules,
            "unknown_severity": draw(rated),
            "suppressed": draw(st.sampled_from(["count", "ignore"])),
            "unscanned": {
                "after_minutes": draw(st.integers(1, 4000)),
                "then": draw(st.sampled_from(["warn", "pending", "block"])),
            },
            "stale": {
                "decision": draw(st.sampled_from(["allow", "warn", "pending", "block"])),
                "after_days": draw(st.integers(1, 6)),
            },
            "sla_days": draw(st.dictionaries(rated.map(lambda s: s.value), st.integers(1, 6))),
        }
    )


packages = st.builds(Package, st.sampled_from(["a", "b1", "c"]), manager=st.sampled_from([None, "NPM"]))
findings_ = st.builds(
    Finding,
    vulnerability_id=st.sampled_from(["CVE-1", "CVE-2", "CVE-3"]),
    severity=severities,
    severity_raw=st.just(""),
    source=st.sampled_from(list(Source)),
    source_finding_id=st.just("f"),
    status=st.sampled_from([FindingStatus.OPEN, FindingStatus.OPEN, *FindingStatus]),
    score=st.none() | st.sampled_from([0.0, 0.5, 9.8]),
    epss=st.none() | st.sampled_from([0.0, 0.25, 0.9]),
    kev=st.none() | st.booleans(),
    exploit_available=st.none() | st.booleans(),
    fix_available=st.none() | st.sampled_from(list(FixAvailable)),
    packages=st.lists(packages, max_size=2).map(tuple),
    related_ids=st.sampled_from([(), ("GHSA-1",)]),
    first_seen=maybe_moments,
    first_seen_in_line=maybe_moments,
)
states = st.builds(
    ImageState,
    st.just(REF),
    tags=st.sampled_from([(), ("v1",), ("latest",), ("v1", "latest")]),
    kind=st.sampled_from([Kind.IMAGE] * 8 + [Kind.INDEX, Kind.ARTIFACT]),
    pushed_at=maybe_moments,
    known_at=maybe_moments,
    architecture=st.sampled_from([None, "amd64", "arm64"]),
    scan=st.builds(
        Scan, st.sampled_from([ScanState.COMPLETE] * 6 + list(ScanState)), st.none(), st.none(), maybe_moments
    ),
    listed=st.sampled_from([True, True, True, False]),
    in_use=st.builds(InUse, st.sampled_from(list(InUseState))),
    signed=st.none() | st.booleans(),
    children=st.lists(st.builds(VerdictSummary, st.sampled_from(list(Decision)), st.integers(0, 2)), max_size=3).map(
        tuple
    ),
)
waivers_ = st.builds(
    Waiver,
    id=st.sampled_from(["w-1", "w-2", "w-3"]),
    repository=st.sampled_from(["prod/*", "*", "dev/*"]),
    reason=st.just("because"),
    approved_by=st.just("security"),
    created_at=st.just(NOW - 9 * DAY),
    expires_at=moments,
    vulnerability_id=st.sampled_from([None, "CVE-1", "CVE-2", "GHSA-1"]),
    package=st.sampled_from([None, None, None, "a", "*"]),
    rule=st.sampled_from([None, None, "r0", "r1"]),
)
worlds = st.tuples(states, st.lists(findings_, min_size=1, max_size=4) | st.just([]), st.lists(waivers_, max_size=3))
quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@given(rules=policies(), world=worlds)
@quick
def test_the_decision_is_always_the_strongest_reason_and_nothing_unlisted_is_ever_allowed(
    rules: Policy, world: tuple[ImageState, list[Finding], list[Waiver]]
) -> None:
    state, findings, waivers = world
    verdict = decide(state, findings, rules, waivers, NOW).verdict
    assert verdict.decision is max((r.decision for r in verdict.reasons), key=lambda d: d.rank, default=Decision.ALLOW)
    assert [r.decision.rank for r in verdict.reasons] == sorted(
        (r.decision.rank for r in verdict.reasons), reverse=True
    )
    if not state.listed and state.kind is Kind.IMAGE:
        assert verdict.decision is not Decision.ALLOW
    if state.listed and state.kind is Kind.IMAGE and state.scan.state.lapsed:
        assert verdict.decision.rank >= rules.stale.decision.rank


@given(rules=policies(), world=worlds)
@quick
def test_each_rule_speaks_alone_as_it_speaks_among_others(
    rules: Policy, world: tuple[ImageState, list[Finding], list[Waiver]]
) -> None:
    state, findings, waivers = world
    together = {r.rule: r for r in decide(state, findings, rules, waivers, NOW).verdict.reasons}
    for rule in rules.rules:
        single = msgspec.structs.replace(rules, rules=(rule,))
        alone = {r.rule: r for r in decide(state, findings, single, waivers, NOW).verdict.reasons}
        assert alone.get(rule.id) == together.get(rule.id)


@given(rules=policies(), world=worlds)
@quick
def test_losing_a_waiver_never_makes_a_verdict_milder_without_an_upper_count(
    rules: Policy, world: tuple[ImageState, list[Finding], list[Waiver]]
) -> None:
    state, findings, waivers = world
    open_ended = msgspec.structs.replace(
        rules, rules=tuple(r for r in rules.rules if not isinstance(r.count, msgspec.Struct))
    )
    strict = decide(state, findings, open_ended, (), NOW).verdict.decision
    assert strict.rank >= decide(state, findings, open_ended, waivers, NOW).verdict.decision.rank


def every_minute(
    days_: Sequence[tuple[ImageState, list[Finding], list[Waiver]]], rules: Policy
) -> list[tuple[datetime, tuple[Decision, tuple[Reason, ...]]]]:
    """When the answer changed, asking at every minute; the world changes once a day."""
    changes: list[tuple[datetime, tuple[Decision, tuple[Reason, ...]]]] = []
    for day, (state, findings, waivers) in enumerate(days_):
        for minute in range(1440):
            at = NOW + day * DAY + minute * MINUTE
            answer = gist(decide(state, findings, rules, waivers, at))
            if not changes or changes[-1][1] != answer:
                changes.append((at, answer))
    return changes


def only_when_due(
    days_: Sequence[tuple[ImageState, list[Finding], list[Waiver]]], rules: Policy
) -> list[tuple[datetime, tuple[Decision, tuple[Reason, ...]]]]:
    """When the answer changed, asking on news and at `decide_at` only."""
    changes: list[tuple[datetime, tuple[Decision, tuple[Reason, ...]]]] = []
    for day, (state, findings, waivers) in enumerate(days_):
        at: datetime | None = NOW + day * DAY
        while at is not None and at < NOW + (day + 1) * DAY:
            outcome = decide(state, findings, rules, waivers, at)
            if not changes or changes[-1][1] != gist(outcome):
                changes.append((at, gist(outcome)))
            assert outcome.decide_at is None or outcome.decide_at > at
            at = outcome.decide_at
    return changes


@given(rules=policies(), days_=st.lists(worlds, min_size=1, max_size=3))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_deciding_only_at_decide_at_and_on_news_equals_deciding_every_minute(
    rules: Policy, days_: list[tuple[ImageState, list[Finding], list[Waiver]]]
) -> None:
    assert only_when_due(days_, rules) == every_minute(days_, rules)


def moments_of(state: ImageState, findings: list[Finding], waivers: list[Waiver], rules: Policy) -> list[datetime]:
    """Every moment at which anything can turn, and the microsecond before it."""
    seen = [t for f in findings for t in (f.first_seen, f.first_seen_in_line)]
    starts = [t for t in (*seen, state.pushed_at, state.known_at, state.scan.scanned_at) if t is not None]
    turns = [t + n * DAY for t in starts for n in range(8)] + [w.expires_at for w in waivers]
    turns += [t + rules.unscanned.after_minutes * MINUTE for t in starts]
    return sorted({moment for t in turns for moment in (t, t - timedelta(microseconds=1))})


@given(rules=policies(), world=worlds)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_changes_between_now_and_decide_at_at_any_microsecond(
    rules: Policy, world: tuple[ImageState, list[Finding], list[Waiver]]
) -> None:
    state, findings, waivers = world
    outcome = decide(state, findings, rules, waivers, NOW)
    until = outcome.decide_at or NOW + 99 * DAY
    for at in moments_of(state, findings, waivers, rules):
        if NOW < at < until:
            assert gist(decide(state, findings, rules, waivers, at)) == gist(outcome)


@given(rules=policies(), world=worlds)
@quick
def test_kev_that_neither_policy_nor_waivers_ask_for_changes_no_answer(
    rules: Policy, world: tuple[ImageState, list[Finding], list[Waiver]]
) -> None:
    state, findings, waivers = world
    book = WaiverBook(waivers, state.ref.repository, NOW)

    def without(flaw: Finding, kev: bool | None) -> Finding:
        by_waiver = book.asks_exploited(flaw) and rules.may_punish(flaw)
        return flaw if by_waiver or rules.asks(flaw, state) else msgspec.structs.replace(flaw, kev=kev)

    def answer(kev: bool | None) -> list[tuple[str, Decision, int]]:
        seen = [without(f, kev) for f in findings]
        return [(r.rule, r.decision, r.count) for r in decide(state, seen, rules, waivers, NOW).verdict.reasons]

    assert answer(None) == answer(True) == answer(False)
    for flaw in findings:
        assert rules.asks(flaw) or not rules.asks(flaw, state)
