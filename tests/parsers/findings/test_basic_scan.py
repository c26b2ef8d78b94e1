from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.images.finding import Ecosystem, FixAvailable, Package, ScanReport, Severity
from chalicelib.domain.images.image import ImageRef, ScanState, Source
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.findings.basic_scan import parse_image_scan_findings
from tests.parsers.composed import (
    ACCOUNT,
    REGION,
    REPOSITORY,
    about,
    basic_finding,
    digest,
    enhanced_finding,
    scan_findings,
)


def basic(*rows: dict[str, Any], **changes: Any) -> ScanReport:
    return parse_image_scan_findings(scan_findings(findings={"findings": list(rows)}, **changes), REGION)


def test_a_complete_scan_without_findings_lists_none_of_them() -> None:
    report = basic()
    assert report.findings == ()
    assert report.scan.state is ScanState.COMPLETE
    assert report.image.ref == ImageRef(ACCOUNT, REGION, REPOSITORY, digest())
    assert report.image.tags == ("1.4.2",)


def test_a_page_without_a_list_says_nothing_about_findings() -> None:
    report = parse_image_scan_findings(scan_findings("IN_PROGRESS"))
    assert report.findings is None
    assert report.scan.state is ScanState.IN_PROGRESS
    assert report.image.ref.region == ""


def test_one_basic_finding_is_read_whole() -> None:
    report = basic(basic_finding(CVSS2_SCORE="4.6", CVSS3_SCORE="7.5", CVSS3_VECTOR="AV:N", patched_version="1.2.4"))
    assert report.findings is not None
    (found,) = report.findings
    assert (found.source, found.severity, found.score, found.cvss_vector) == (Source.BASIC, Severity.HIGH, 7.5, "AV:N")
    assert found.packages == (Package("libfoo", "1.2.3-1", fixed_version="1.2.4"),)
    assert (found.ecosystem, found.fix_available) == (Ecosystem.OS, FixAvailable.YES)
    assert found.source_finding_id.startswith("basic:")
    assert len(found.source_finding_id) == 38


def test_many_findings_of_different_packages_stay_apart() -> None:
    report = basic(basic_finding(), basic_finding(package_name="libbar"), basic_finding("CVE-2026-0002"))
    assert report.findings is not None
    assert len({found.source_finding_id for found in report.findings}) == 3


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (("LOW", "HIGH", "MEDIUM"), "HIGH"),
        (("UNDEFINED", "LOW"), "LOW"),
        (("INFORMATIONAL", "UNDEFINED"), "INFORMATIONAL"),
        (("UNDEFINED", "UNDEFINED"), "UNDEFINED"),
    ],
)
def test_repeats_count_once_with_the_more_severe_rating(words: tuple[str, ...], kept: str) -> None:
    report = basic(*(basic_finding(severity=word) for word in words))
    assert report.findings is not None
    assert [found.severity_raw for found in report.findings] == [kept]


def test_an_absent_package_equals_an_absent_package() -> None:
    bare = {"name": "CVE-2026-0001", "severity": "LOW"}
    report = basic(bare, bare | {"attributes": []}, bare | {"attributes": None})
    assert report.findings is not None
    (found,) = report.findings
    assert (found.packages, found.ecosystem, found.score, found.fix_available) == ((), None, None, None)


@pytest.mark.parametrize("text", ["nan", "inf", "1_0", "high", "", "-1", "1e3"])
def test_a_score_that_is_no_number_is_unknown(text: str) -> None:
    report = basic(basic_finding(CVSS3_SCORE=text))
    assert report.findings is not None
    assert report.findings[0].score is None


def test_an_enhanced_page_takes_image_and_region_from_its_rows() -> None:
    page = scan_findings("ACTIVE", {"enhancedFindings": [enhanced_finding(1), enhanced_finding(2), about()]})
    del page["imageId"]["imageDigest"]
    report = parse_image_scan_findings(page)
    assert report.findings is not None
    assert len(report.findings) == 2
    assert (report.image.ref.region, report.image.ref.digest) == (REGION, digest())
    assert report.image.tags == ("1.4.2", "latest")
    assert (report.scan.state, report.scan.source) == (ScanState.COMPLETE, Source.ENHANCED)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("COMPLETE", ScanState.COMPLETE),
        ("ACTIVE", ScanState.COMPLETE),
        ("IN_PROGRESS", ScanState.IN_PROGRESS),
        ("PENDING", ScanState.PENDING),
        ("FAILED", ScanState.FAILED),
        ("LIMIT_EXCEEDED", ScanState.FAILED),
        ("UNSUPPORTED_IMAGE", ScanState.UNSUPPORTED),
        ("IMAGE_SIZE_EXCEEDED", ScanState.UNSUPPORTED),
        ("SCAN_ELIGIBILITY_EXPIRED", ScanState.EXPIRED),
        ("IMAGE_ARCHIVED", ScanState.ARCHIVED),
        ("FINDINGS_UNAVAILABLE", ScanState.UNAVAILABLE),
        ("A_WORD_OF_TOMORROW", ScanState.UNAVAILABLE),
        ("complete", ScanState.UNAVAILABLE),
        (None, ScanState.UNAVAILABLE),
    ],
)
def test_only_complete_and_active_are_complete(status: str | None, state: ScanState) -> None:
    scan = parse_image_scan_findings(scan_findings(imageScanStatus={"status": status})).scan
    assert scan.state is state
    assert scan.reason == (None if state is ScanState.COMPLETE else status)


def test_a_failure_carries_its_description() -> None:
    assert parse_image_scan_findings(scan_findings("FAILED")).scan.reason == "The scan said so."


def test_a_header_that_disagrees_is_reported_and_the_list_believed() -> None:
    page = scan_findings(findings={"findings": [basic_finding()], "findingSeverityCounts": {"LOW": 1, "TOTAL": 9}})
    report = parse_image_scan_findings(page)
    assert report.header_counts == {Severity.LOW: 1}
    assert report.mismatches == ((Severity.HIGH, 0, 1), (Severity.LOW, 1, 0))
    assert parse_image_scan_findings(page | {"nextToken": "more"}).mismatches == ()


def test_two_words_for_unknown_are_added() -> None:
    page = scan_findings(findings={"findings": [], "findingSeverityCounts": {"UNDEFINED": 2, "UNTRIAGED": 3}})
    assert parse_image_scan_findings(page).header_counts == {Severity.UNKNOWN: 5}


ROWS = {"enhancedFindings": [enhanced_finding()]}


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (scan_findings(registryId="1234"), "$.registryId"),
        (scan_findings(registryId="١٢٣٤٥٦٧٨٩٠١٢"), "$.registryId"),
        (scan_findings(repositoryName="Team/API"), "$.repositoryName"),
        (scan_findings(imageId={"imageTag": "latest"}), "$.imageId.imageDigest"),
        (scan_findings(imageId={"imageDigest": digest().upper()}), "$.imageId.imageDigest"),
        (scan_findings(findings=ROWS, registryId="999988887777"), "$.imageScanFindings.enhancedFindings[0].resources"),
        (scan_findings(findings=ROWS, repositoryName="team/web"), "$.imageScanFindings.enhancedFindings[0].resources"),
        (
            scan_findings(findings=ROWS, imageId={"imageDigest": digest("b")}),
            "$.imageScanFindings.enhancedFindings[0].resources",
        ),
        (scan_findings(findings={"findings": [{"severity": "LOW"}]}), "$.imageScanFindings.findings[0].name"),
        (scan_findings(findings={"findings": {}}), "$.imageScanFindings.findings"),
        (
            scan_findings(findings={"findingSeverityCounts": {"LOW": -1}}),
            "$.imageScanFindings.findingSeverityCounts[...]",
        ),
        (scan_findings(findings={"imageScanCompletedAt": "x"}), "$.imageScanFindings.imageScanCompletedAt"),
    ],
)
def test_identities_and_types_that_are_wrong_are_refused(payload: dict[str, Any], path: str) -> None:
    with pytest.raises(RefusedPayloadError) as caught:
        parse_image_scan_findings(payload)
    assert caught.value.path == path


def test_a_region_that_the_rows_contradict_is_refused() -> None:
    with pytest.raises(RefusedPayloadError, match="Region"):
        parse_image_scan_findings(scan_findings("ACTIVE", ROWS), "us-east-1")
