"""What an event shows is named once and for all, by few letters, and read back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.doctor.sight import LARGE_KIB, LONGEST, Question, Sight, sights_of
from chalicelib.domain.events.event import (
    Action,
    ApiCall,
    CoverageChanged,
    FindingChanged,
    ImageAction,
    ScanFinished,
    ScanResourceChanged,
    TaskChanged,
)
from chalicelib.domain.events.message import Delivery, Refresh
from chalicelib.domain.images.finding import Finding, FindingRow, FindingStatus, ImageFacts, Severity
from chalicelib.domain.images.image import Coverage, Repository, Scan, ScanState, Source

AT = datetime(2026, 11, 1, tzinfo=UTC)
HOME = Repository("1" * 12, "eu-west-1", "team/web")
REF = HOME.image(f"sha256:{1:064x}")
PUSH = ImageAction(REF, Action.PUSH, "SUCCESS", AT, "e")


def shown(event: Any, size_bytes: int = 0, detail: Any = None) -> list[str]:
    delivery = Delivery("1", event, raw={"detail": detail}, size_bytes=size_bytes)
    found = list(sights_of(delivery))
    assert {home for home, _ in found} <= {HOME}
    return [sight.fact for _, sight in found]


def scanned(state: ScanState, counts: dict[Severity, int] | None, source: Source = Source.BASIC) -> ScanFinished:
    return ScanFinished(REF, source, Scan(state, None, source, AT), AT, "e", counts=counts)


def test_what_goes_as_it_is_documented_shows_nothing() -> None:
    assert shown(PUSH) == shown(scanned(ScanState.COMPLETE, {})) == []
    assert shown(Refresh(REF, AT)) == []


@pytest.mark.parametrize(
    ("counts", "fact"), [(None, "seen_failed_scan__without_counts_"), ({}, "seen_failed_scan__with_counts_")]
)
def test_a_failed_basic_scan_shows_whether_its_event_has_counts(counts: Any, fact: str) -> None:
    assert shown(scanned(ScanState.FAILED, counts)) == [fact]
    assert shown(scanned(ScanState.FAILED, counts, Source.ENHANCED)) == []


def test_a_push_that_failed_shows_its_result() -> None:
    assert shown(msgspec.structs.replace(PUSH, result="FAILURE")) == ["seen_image_result__FAILURE_"]


def test_coverage_shows_the_fields_it_came_with() -> None:
    covered = CoverageChanged(Coverage(REF, Scan(ScanState.COMPLETE), active=True, reason=""), AT, "e")
    fields = {"scanStatus": {}, "extra-field": 1}
    assert shown(covered, detail=fields) == ["seen_coverage__extra_field_", "seen_coverage__scanStatus_"]
    assert shown(covered, detail="none") == []


@pytest.mark.parametrize(("status", "number"), [(FindingStatus.SUPPRESSED, 1), (FindingStatus.OPEN, 0)])
def test_a_suppression_that_an_event_told_is_shown(status: FindingStatus, number: int) -> None:
    finding = Finding("CVE-2026-1", Severity.HIGH, "HIGH", Source.ENHANCED, "arn", status)
    assert len(shown(FindingChanged(FindingRow(ImageFacts(REF), finding), AT, "e"))) == number


@pytest.mark.parametrize(
    ("size_bytes", "step"), [(LARGE_KIB * 1024, 32), (65 * 1024, 64), (256 * 1024, 256), (LARGE_KIB * 1024 - 1, None)]
)
def test_sizes_are_shown_in_powers_of_two_from_a_large_event_on(size_bytes: int, step: int | None) -> None:
    assert shown(PUSH, size_bytes) == ([] if step is None else [f"seen_event_size__ImageAction_{step}_"])


def test_what_is_about_no_single_repository_is_kept_nowhere() -> None:
    call = ApiCall("PutRegistryPolicy", "1" * 12, "eu-west-1", None, AT, "e")
    task = TaskChanged("a", "c", "d", "STOPPED", "STOPPED", 1, None, None, None, (), True, AT, "e")
    for event in (call, task, ScanResourceChanged("X", (), AT, "e")):
        assert shown(event, 10**6) == []
    assert shown(msgspec.structs.replace(call, repository=HOME), 2**18) == ["seen_event_size__ApiCall_256_"]


@given(st.sampled_from(Question), st.text())
def test_whatever_aws_wrote_becomes_the_name_of_a_fact_and_is_read_back(question: Question, text: str) -> None:
    sight = Sight(question, text)
    assert sight.fact.isidentifier()
    assert sight.fact.isascii()
    assert not sight.fact.endswith("_at"), "that would have to hold a time"
    assert len(sight.fact) <= 30 + LONGEST
    read = Sight.read(sight.fact)
    assert read is not None
    assert (read.question, read.fact) == (question, sight.fact)


@pytest.mark.parametrize("fact", ["scan_frequency", "seen_else__x", "seen_coverage", "reconcile_at"])
def test_other_facts_are_no_sights(fact: str) -> None:
    assert Sight.read(fact) is None
