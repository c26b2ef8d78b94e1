"""Every push is proven to have led to a usable, recent scan, or its cause is named."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Kind, Scan, ScanState, Source, StorageStatus
from chalicelib.domain.policy.policy import Policy, parse_policy
from chalicelib.domain.reconcile.scan_proof import ScanProof, ScanProofCause, ScanProofs, count_proofs, prove_scan
from chalicelib.domain.reconcile.scan_rule import Frequency, ScanRule, Uncovered
from chalicelib.parsers.findings.coverage import coverage_state, scan_of
from tests.fakes.images import ref
from tests.fakes.queries import NOW

POLICY: Policy = parse_policy({"version": 1, "unscanned": {"after_minutes": 60}, "stale": {"after_days": 30}})
COVERED = ScanRule(Source.BASIC, Frequency.SCAN_ON_PUSH, ("*",))
DAY = timedelta(days=1)


def uncovered(why: Uncovered, scanner: Source = Source.BASIC) -> ScanRule:
    return ScanRule(scanner, Frequency.MANUAL, (), why)


def pushed(scan: Scan | None = None, **changes: Any) -> Header:
    """Two days ago."""
    fields: dict[str, Any] = {"ref": ref(1), "exists": True, "pushed_at": NOW - 2 * DAY, "scan": scan or Scan()}
    return Header(**{**fields, **changes})


def scanned(days: float = 0, source: Source = Source.BASIC, **changes: Any) -> Header:
    scan = Scan(ScanState.COMPLETE, None, source, NOW - days * DAY)
    return pushed(scan, **{"refreshed_at": NOW, "pushed_at": NOW - (days + 1) * DAY, **changes})


def cause(header: Header, rule: ScanRule | None = COVERED, told: Scan | None = None) -> ScanProofCause | None:
    proof = prove_scan(header, rule, POLICY, NOW, told)
    assert proof is not None
    assert proof.detail
    return proof.cause


def test_an_image_with_a_recent_scan_that_was_listed_whole_is_proven() -> None:
    proof = prove_scan(scanned(3), COVERED, POLICY, NOW)
    assert proof == ScanProof(None, "scanned", NOW - 3 * DAY)
    assert proof.proven


def test_whoever_scanned_it_a_usable_scan_is_proven_even_where_no_rule_covers_it() -> None:
    assert cause(scanned(3), uncovered(Uncovered.NO_RULES)) is None


@pytest.mark.parametrize(
    ("why", "named"),
    [
        (Uncovered.NO_RULES, ScanProofCause.SCAN_ON_PUSH_OFF),
        (Uncovered.NO_FILTER_MATCHES, ScanProofCause.NO_FILTER_MATCHES),
        (Uncovered.MANUAL, ScanProofCause.MANUAL),
    ],
)
def test_what_no_rule_covers_names_the_rule_that_is_missing(why: Uncovered, named: ScanProofCause) -> None:
    assert cause(pushed(), uncovered(why)) is named


@pytest.mark.parametrize(
    ("status", "named"),
    [
        ("UNSUPPORTED_IMAGE", ScanProofCause.UNSUPPORTED),
        ("IMAGE_SIZE_EXCEEDED", ScanProofCause.TOO_LARGE),
        ("LIMIT_EXCEEDED", ScanProofCause.LIMIT),
        ("FAILED", ScanProofCause.FAILED),
        ("SCAN_ELIGIBILITY_EXPIRED", ScanProofCause.LAPSED),
        ("IMAGE_ARCHIVED", ScanProofCause.ARCHIVED),
        ("FINDINGS_UNAVAILABLE", ScanProofCause.UNKNOWN),
        ("IN_PROGRESS", ScanProofCause.UNDERWAY),
    ],
)
def test_each_word_of_ecr_names_its_cause(status: str, named: ScanProofCause) -> None:
    assert cause(pushed(scan_of(status, None))) is named


@pytest.mark.parametrize(
    ("reason", "named"),
    [
        ("UNSUPPORTED_OS", ScanProofCause.UNSUPPORTED),
        ("UNSUPPORTED_MEDIA_TYPE", ScanProofCause.UNSUPPORTED),
        ("IMAGE_SIZE_EXCEEDED", ScanProofCause.TOO_LARGE),
        ("ACCESS_DENIED_TO_ENCRYPTION_KEY", ScanProofCause.KEY_DENIED),
        ("ACCESS_DENIED", ScanProofCause.DENIED),
        ("STORAGE_LIMIT_EXCEEDED", ScanProofCause.LIMIT),
        ("INTERNAL_ERROR", ScanProofCause.FAILED),
        ("SCAN_FREQUENCY_MANUAL", ScanProofCause.MANUAL),
        ("SCAN_ELIGIBILITY_EXPIRED", ScanProofCause.LAPSED),
        ("IMAGE_ARCHIVED", ScanProofCause.ARCHIVED),
        ("PENDING_INITIAL_SCAN", ScanProofCause.NOT_STARTED),
    ],
)
def test_each_reason_of_inspector_names_its_cause(reason: str, named: ScanProofCause) -> None:
    scan = Scan(coverage_state(False, reason), reason, Source.ENHANCED)
    assert cause(pushed(scan)) is named


def test_a_scan_that_the_scanner_has_and_nobody_told_of_is_a_lost_event() -> None:
    told = Scan(ScanState.COMPLETE, None, Source.BASIC, NOW - DAY)
    for rule in (COVERED, uncovered(Uncovered.NO_RULES), None):
        assert cause(pushed(), rule, told) is ScanProofCause.EVENT_LOST


def test_a_scan_that_was_heard_of_and_never_listed_whole_is_not_taken_for_one() -> None:
    assert cause(pushed(Scan(ScanState.COMPLETE, None, Source.ENHANCED, NOW))) is ScanProofCause.EVENT_LOST


def test_shortly_after_its_push_an_image_may_wait_for_the_rule_that_scans_it() -> None:
    young = pushed(pushed_at=NOW - timedelta(minutes=59))
    assert cause(young) is ScanProofCause.UNDERWAY
    assert cause(young, uncovered(Uncovered.NO_FILTER_MATCHES)) is ScanProofCause.NO_FILTER_MATCHES
    assert cause(pushed(pushed_at=NOW - timedelta(minutes=60))) is ScanProofCause.NOT_STARTED


def test_a_scan_is_too_old_just_when_the_policy_calls_it_stale() -> None:
    assert cause(scanned(29.9)) is None
    assert cause(scanned(30)) is ScanProofCause.TOO_OLD


def test_a_scan_of_before_the_restore_saw_something_else() -> None:
    back = scanned(3, Source.ENHANCED, activated_at=NOW - DAY)
    assert cause(back) is ScanProofCause.NOT_STARTED


def test_what_lies_in_the_archive_is_scanned_by_nobody() -> None:
    assert cause(scanned(1, storage=StorageStatus.ARCHIVED)) is ScanProofCause.ARCHIVED


def test_where_nothing_is_known_of_the_rules_nothing_is_blamed_on_them() -> None:
    assert cause(pushed(), None) is ScanProofCause.UNKNOWN


def test_what_is_not_scanned_itself_is_not_asked_about() -> None:
    not_asked = [
        pushed(kind=Kind.INDEX),
        pushed(kind=Kind.ARTIFACT),
        pushed(exists=False),
        pushed(ref=ref(1, registry="public/acme", region="us-east-1")),
    ]
    assert [prove_scan(header, COVERED, POLICY, NOW) for header in not_asked] == [None] * 4


def test_counts_name_every_cause_once_in_whatever_order_images_come() -> None:
    proofs = [prove_scan(h, COVERED, POLICY, NOW) for h in (scanned(1), pushed(), scanned(40), pushed(kind=Kind.INDEX))]
    counted = [count_proofs(order) for order in permutations(proofs)]
    assert all(c == ScanProofs(1, {ScanProofCause.NOT_STARTED: 1, ScanProofCause.TOO_OLD: 1}) for c in counted)
    assert count_proofs([]) == ScanProofs()


@given(
    st.sampled_from(ScanState),
    st.none() | st.sampled_from(["x", "ACCESS_DENIED", "never scanned"]),
    st.booleans(),
    st.none() | st.integers(0, 60),
    st.sampled_from([COVERED, None, *map(uncovered, Uncovered)]),
)
def test_nothing_but_a_complete_scan_that_was_listed_whole_is_ever_proven(
    state: ScanState, reason: str | None, listed: bool, days: int | None, rule: ScanRule | None
) -> None:
    at = None if days is None else NOW - days * DAY
    header = pushed(Scan(state, reason, Source.BASIC, at), refreshed_at=NOW if listed else None)
    proof = prove_scan(header, rule, POLICY, NOW)
    assert proof is not None
    recent = days is not None and days < POLICY.stale.after_days
    assert proof.proven is (state is ScanState.COMPLETE and listed and recent)
