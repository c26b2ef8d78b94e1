"""Which verdicts are told, to whom, and what people read."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.alerts.alert import AlertDetails, hears, top_findings
from chalicelib.domain.alerts.verdict_alert import compose_summary, compose_verdict_alert, should_announce
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import EndedWaivers, PendingAlert
from chalicelib.domain.images.finding import Finding, FindingStatus, Package, Severity
from chalicelib.domain.images.image import ImageRef, InUse, InUseState, Kind, Scan, Source
from chalicelib.domain.images.names import console_url
from chalicelib.domain.images.text import sanitize
from chalicelib.domain.images.verdict import Decision, Reason, Verdict, VerdictSummary
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.section import Route

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REF = ImageRef("111122223333", "eu-west-1", "prod/api", "sha256:" + "a" * 64)
SLACK = Route(channel="slack", word="warn", repository=("prod/*",))
SNS = Route(channel="sns", word="block")
ALLOW, WARN, PENDING, BLOCK, QUARANTINE = Decision


def verdict(
    decision: Decision, *, kev: int = 0, critical: int = 0, rule: str = "r", number: int = 1, **reason
) -> Verdict:
    reasons = () if decision is ALLOW else (Reason(rule, decision, kev=kev, critical=critical, **reason),)
    return Verdict(decision, reasons, 1, NOW, number)


def told(new: Verdict, former: Verdict | None = None, announced: Decision | None = None, routes=(SLACK,)) -> bool:
    return should_announce(REF, new, former, announced, routes)


def finding(vulnerability_id: str = "CVE-2024-1", severity: Severity = Severity.CRITICAL, **facts) -> Finding:
    facts.setdefault("packages", (Package("openssl", "3.0.1", fixed_version="3.0.2"),))
    return Finding(vulnerability_id, severity, severity.value, Source.ENHANCED, f"arn:{vulnerability_id}", **facts)


def composed(decided: Verdict, *, ref: ImageRef = REF, listed: bool = True, source: Source | None = None, **facts):
    """`facts`: of the header, of the alert that it asks for, of what is said beside it, and of the policy."""
    asked = {"number": decided.number, "decision": decided.decision, "former": None}
    asked |= {name: facts.pop(name) for name in ("number", "decision", "former") if name in facts}
    if "ended" in facts:
        asked["ended"] = EndedWaivers(facts.pop("ended"), VerdictSummary(ALLOW))
    details = {n: facts.pop(n) for n in ("findings", "registry", "left_alone", "radius", "in_use") if n in facts}
    policy = Policy(
        1,
        suppressed="ignore" if facts.pop("suppressing_excuses", False) else "count",
        unknown_severity=facts.pop("unknown_severity", Severity.MEDIUM),
    )
    now = facts.pop("now", NOW)
    known = {"exists": True, "refreshed_at": NOW if listed else None, "scan": Scan(source=source)} | facts
    effect = PendingAlert(wanted_at=now, **asked)
    header = Header(ref=ref, verdict=decided, **known)
    return compose_verdict_alert(header, effect, AlertDetails(**details), policy, now)


def test_a_loud_decision_is_told_once():
    assert told(verdict(BLOCK))
    assert not told(verdict(BLOCK), verdict(BLOCK), BLOCK)


def test_an_allow_is_not_told_where_nothing_was_announced():
    everything = Route(channel="sns", word="allow")
    assert not told(verdict(ALLOW), routes=(everything,))
    assert not told(verdict(ALLOW), verdict(PENDING, rule="pending"), None, (everything,))
    assert told(verdict(ALLOW), verdict(BLOCK), BLOCK, (everything,))


def test_a_plain_pending_is_never_told_and_hides_nothing():
    waiting = verdict(PENDING, rule="pending")
    assert not told(waiting)
    assert not told(waiting, verdict(BLOCK), BLOCK)
    assert not told(verdict(BLOCK, critical=3), waiting, BLOCK)
    assert not told(verdict(PENDING, rule="child"))


@pytest.mark.parametrize("rule", ["unscanned", "stale"])
def test_an_image_that_is_not_scanned_is_told_once_where_pending_is_loud(rule):
    assert told(verdict(PENDING, rule=rule), verdict(PENDING, rule="pending"))
    assert not told(verdict(PENDING, rule=rule), verdict(PENDING, rule=rule), PENDING)
    assert not told(verdict(PENDING, rule=rule), routes=(SNS,))


def test_a_warning_about_a_stale_scan_is_not_what_makes_a_pending_loud():
    both = Verdict(PENDING, (Reason("pending", PENDING), Reason("stale", WARN)), 1, NOW)
    assert not told(both)


@pytest.mark.parametrize("more", [{"kev": 1}, {"critical": 1}])
def test_the_same_decision_is_told_again_only_when_it_got_worse(more):
    assert told(verdict(BLOCK, **more), verdict(BLOCK), BLOCK)
    assert not told(verdict(BLOCK), verdict(BLOCK, **more), BLOCK)
    assert not told(verdict(BLOCK, count=9), verdict(BLOCK, count=1), BLOCK)


def test_falling_below_what_is_loud_is_told_once():
    assert told(verdict(ALLOW), verdict(BLOCK), BLOCK)
    assert not told(verdict(ALLOW), verdict(ALLOW), ALLOW)
    assert told(verdict(WARN), verdict(BLOCK), BLOCK, (SNS,))
    assert not told(verdict(ALLOW), verdict(WARN), WARN, (SNS,))


def test_a_repository_or_an_event_that_no_route_names_is_told_to_nobody():
    assert not should_announce(REF.home.image(REF.digest), verdict(BLOCK), None, None, [])
    assert not told(verdict(BLOCK), routes=(Route(channel="slack", repository="dev/*"),))
    assert not told(verdict(BLOCK), routes=(Route(channel="slack", repository=("*", "!prod/*")),))
    assert not told(verdict(BLOCK), routes=(Route(channel="slack", events=("fuse", "waiver")),))


@given(st.lists(st.sampled_from(Decision), max_size=30), st.sampled_from(["allow", "warn", "pending", "block"]))
def test_no_decision_is_told_twice_in_a_row_and_no_loud_one_is_missed(decisions, word):
    route, announced, former = Route(channel="sns", word=word), None, None
    for number, decision in enumerate(decisions, 1):
        new = verdict(decision, rule="unscanned" if decision is PENDING else "r", number=number)
        if told(new, former, announced, (route,)):
            assert decision is not announced
            announced = decision
        elif decision.rank >= route.min_decision.rank:
            assert decision is announced or (decision is ALLOW and announced is None)
        else:
            assert announced is None or announced.rank < route.min_decision.rank
        former = new


def test_a_blocked_image_is_told_with_reason_finding_fix_and_commands():
    decided = verdict(BLOCK, rule="critical-overdue", count=7, vulnerability_ids=("CVE-2024-1",), detail="too old")
    alert = composed(
        decided, tags=["v1.2"], findings=[finding(kev=True, epss=0.5, score=9.8)], counts=(7, 0, 0, 0, 0, 1)
    )
    assert alert.title == "BLOCK: prod/api:v1.2 (new)"
    assert alert.reasons[0].line == "BLOCK by critical-overdue: too old (7 matched)"
    assert alert.findings[0].line == (
        "CRITICAL CVE-2024-1 in openssl 3.0.1: fixed in 3.0.2, known exploited, score 9.8, EPSS 0.50"
    )
    assert alert.more_findings == 6
    assert alert.what_to_do[0] == "Upgrade openssl to 3.0.2 (CVE-2024-1)."
    waive = "lazaretto waive --repository prod/api --rule critical-overdue --expires 30d --reason WHY --approved-by WHO"
    assert f"To accept it for a while: {waive}" in alert.what_to_do
    assert "Suppressing it in Inspector does not excuse it here." in alert.what_to_do
    assert alert.what_to_do[-1] == f"All about it: lazaretto image {REF}"
    assert dict(alert.facts)["Open findings"] == "7 CRITICAL, 1 UNKNOWN"
    assert dict(alert.facts)["Running"] == "unknown, treated as running"
    assert alert.kev
    assert alert.worst is Severity.CRITICAL


def test_absent_facts_of_a_finding_are_not_shown_as_zero_or_no():
    alert = composed(verdict(WARN, vulnerability_ids=("X",), count=1), findings=[finding("X", packages=())])
    assert alert.findings[0].line == "CRITICAL X: no fixed version known"
    assert not alert.kev


def test_what_is_said_of_the_registry_is_what_was_recorded():
    untouched = "Nothing has been done to it: it can still be pulled from there."
    for decision in (PENDING, BLOCK, QUARANTINE):
        assert composed(verdict(decision, count=1)).registry == (untouched,)
    said = "Quarantined (archive) at 2026-03-01 11:30:00 UTC: it cannot be pulled."
    done = composed(verdict(QUARANTINE, count=1), registry=[said])
    assert done.registry == (said,)
    assert f"To have it pulled all the same: lazaretto release {REF} --reason WHY" in done.what_to_do
    assert composed(verdict(ALLOW), registry=[said]).registry == (said,)


def test_nothing_is_said_of_the_registry_where_the_image_is_gone():
    assert composed(verdict(QUARANTINE, count=1), exists=False).registry == ()


def test_a_rule_about_the_image_is_named_and_a_suppression_is_no_question_there():
    lines = composed(verdict(BLOCK, rule="not-signed")).what_to_do
    assert any("lazaretto waive --repository prod/api --rule not-signed" in line for line in lines)
    assert not any("Suppressing" in line for line in lines)


def test_where_suppressions_excuse_nobody_is_told_that_they_do_not():
    lines = composed(verdict(BLOCK, count=1), suppressing_excuses=True).what_to_do
    assert not any("Suppressing" in line for line in lines)


def test_a_single_flaw_is_accepted_by_its_id_and_several_by_the_rule():
    one, two = (verdict(BLOCK, count=n, vulnerability_ids=("CVE-2024-1", "CVE-2024-2")[:n]) for n in (1, 2))
    assert any("--cve CVE-2024-1 " in line for line in composed(one).what_to_do)
    assert not any("--cve" in line for line in composed(two).what_to_do)


def test_built_in_reasons_name_no_rule_to_change():
    lines = composed(verdict(PENDING, rule="unscanned")).what_to_do
    assert lines[0].startswith("No scan has come")
    assert not any("lazaretto waive" in line for line in lines)


def test_an_image_that_was_never_listed_has_no_count_of_findings():
    said = dict(composed(verdict(PENDING, rule="unscanned"), counts=(0,) * 6, listed=False).facts)
    assert said["Open findings"] == "not known: no complete scan yet"
    heard = dict(composed(verdict(BLOCK), counts=(1, 0, 0, 0, 0, 0), listed=False).facts)
    assert heard["Open findings"] == "not known: no complete scan yet; heard of so far: 1 CRITICAL"
    assert dict(composed(verdict(WARN), counts=(0,) * 6).facts)["Open findings"] == "none"


def test_an_index_sends_to_its_images():
    said = dict(composed(verdict(BLOCK, rule="child"), counts=(0,) * 6, kind=Kind.INDEX, listed=False).facts)
    assert said["Open findings"] == "see its images"


@given(st.text(max_size=60) | st.sampled_from(["CVE-1; rm -rf /", "$(id)", "`id`", "CVE-1\nrm", "-x", "--force"]))
def test_no_command_holds_a_word_that_a_shell_would_obey(hostile):
    decided = verdict(BLOCK, count=1, rule=hostile, vulnerability_ids=(hostile,))
    ref = ImageRef("111122223333", "eu-west-1", hostile, "sha256:" + "a" * 64)
    alert = composed(decided, ref=ref, findings=[finding(hostile)])
    for line in alert.what_to_do:
        _, found, words = line.partition("All about it: ")
        if found:
            assert shlex.split(words) == ["lazaretto", "image", str(ref)]
            assert not set(words) & set(";$`|&<>(){}\n\\'\"*?!")


def test_the_worst_come_first_and_one_row_a_vulnerability():
    findings = [
        finding("LOW", Severity.LOW),
        finding("UNRATED", Severity.UNKNOWN),
        finding("HIGH", Severity.HIGH),
        finding("KEV", Severity.HIGH, kev=True),
        finding("DONE", status=FindingStatus.RESOLVED),
        finding("HIDDEN", status=FindingStatus.SUPPRESSED),
        finding("NAMED", Severity.LOW, status=FindingStatus.SUPPRESSED),
        finding("HIGH", Severity.HIGH, packages=(Package("other"),)),
    ]
    top, matched = top_findings(verdict(WARN, count=40, vulnerability_ids=("NAMED",)), findings)
    assert [f.id for f in top] == ["NAMED", "KEV", "HIGH", "UNRATED", "LOW"]
    assert top[2].package == "openssl"
    assert matched == 40


def test_an_allow_names_no_finding():
    assert top_findings(verdict(ALLOW), [finding()]) == ((), 0)


def test_an_alert_that_comes_late_says_what_it_announced_and_what_holds_now():
    alert = composed(verdict(WARN, number=9), number=7, decision=BLOCK, former=WARN, exists=False)
    assert alert.title.startswith("BLOCK: ")
    assert "(was WARN)" in alert.title
    assert "WARN now, verdict 9" in alert.notes[0]
    assert alert.notes[1] == "The image has been deleted since."


def test_a_worsening_says_so():
    alert = composed(verdict(BLOCK, kev=1, count=1), former=BLOCK)
    assert alert.worse
    assert alert.kev
    assert alert.title.endswith("(worse)")


def test_links_lead_to_the_finding_list_in_the_console_of_the_partition():
    digest = "sha256:" + "a" * 64
    assert console_url(REF, Source.BASIC) == (
        "https://console.aws.amazon.com/ecr/repositories/private/111122223333/prod/api/_/image/"
        f"{digest}/scan-results?region=eu-west-1"
    )
    assert console_url(REF, Source.ENHANCED) == (
        "https://console.aws.amazon.com/inspector/v2/home?region=eu-west-1#/findings/container-image/"
        f"prod%2Fapi%2Fsha256%3A{'a' * 64}"
    )
    china = ImageRef("111122223333", "cn-north-1", "a", digest)
    assert console_url(china, None).startswith("https://console.amazonaws.cn/ecr/")
    gov = ImageRef("111122223333", "us-gov-west-1", "a", digest)
    assert console_url(gov, Source.ENHANCED).startswith("https://console.amazonaws-us-gov.com/inspector/")
    assert console_url(ImageRef("public/x1", "us-east-1", "a/b", digest), None) == "https://gallery.ecr.aws/x1/a/b"


def test_a_summary_counts_before_and_after_and_names_ten():
    worst = [(REF, BLOCK, (3, 0, 0, 0, 0, 0))] * 12
    alert = compose_summary("policy 4 applied", {ALLOW: 20}, {ALLOW: 8, BLOCK: 12}, worst, NOW)
    assert alert.notes[:2] == ("BLOCK: 12 (before: 0)", "ALLOW: 8 (before: 20)")
    assert len(alert.notes) == 2 + 10 + 1
    assert alert.notes[-1] == "and 2 more that are blocked or quarantined"
    assert (alert.decision, alert.former) == (BLOCK, ALLOW)
    assert alert.repository is None


def test_who_was_to_hear_of_what_was_blocked_hears_that_nothing_is_any_more():
    alert = compose_summary("policy 5", {ALLOW: 1, BLOCK: 12}, {ALLOW: 13}, [], NOW)
    for word, heard in (("warn", True), ("block", True), ("quarantine", False)):
        route = Route(channel="sns", word=word)
        assert hears(route, alert.event, alert.repository, alert.decision, alert.former) is heard


def test_a_summary_does_not_call_unknown_findings_none():
    alert = compose_summary("policy 4", {}, {PENDING: 1}, [(REF, PENDING, None)], NOW)
    assert alert.notes[1] == f"PENDING {REF}: open findings not known, or those of its images"


def test_a_summary_of_nothing_is_quiet():
    alert = compose_summary("first fill", {}, {}, [], NOW)
    assert alert.decision is None
    assert alert.notes == ()


def test_many_tags_are_counted():
    said = dict(composed(verdict(WARN), tags=[f"v{i}" for i in range(9)]).facts)
    assert said["Tags"] == "v0, v1, v2, v3, v4 and 4 more"
    assert dict(composed(verdict(WARN)).facts)["Tags"] == "none"


def test_running_is_said_in_words():
    alert = composed(verdict(WARN), in_use=InUse(InUseState.NO))
    assert dict(alert.facts)["Running"] == "no"


@given(st.text(max_size=400), st.integers(1, 80))
def test_inert_text_is_one_short_line_that_stays_as_it_is(text, limit):
    shown = sanitize(text, limit)
    assert len(shown) <= limit
    assert sanitize(shown, limit) == shown
    assert "://" not in shown
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u2066\u200b\u2028\ufeff" for c in shown)
    shown.encode()


def test_inert_text_cuts_a_hundred_kilobytes_and_says_so():
    assert sanitize("x" * 100_000, 10) == "x" * 9 + "…"
    assert sanitize("\u202e" * 100_000 + "x", 10) == "…"
    assert (
        sanitize("see http://evil.example and www.evil.example", 80)
        == "see http[:]//evil.example and www[.]evil.example"
    )
