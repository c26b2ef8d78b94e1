from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.cli.local.parse import parse_payload
from chalicelib.domain.events.event import ImageAction
from chalicelib.domain.images.finding import ScanReport
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.events.payload import read_payloads, read_response
from chalicelib.parsers.findings.coverage import CoveragePage
from chalicelib.parsers.findings.rows import FindingsPage
from chalicelib.parsers.images.images import ImagesPage, RepositoriesPage
from tests.parsers.composed import (
    REPOSITORY,
    about,
    basic_finding,
    covered,
    digest,
    enhanced_finding,
    event,
    every_kind,
    finding,
    image_detail,
    list_findings,
    repository,
    scan_findings,
)

PUSH = event(
    "ECR Image Action",
    {"action-type": "PUSH", "result": "SUCCESS", "repository-name": REPOSITORY, "image-digest": digest()},
)


def split(text: str | bytes) -> list[Any]:
    return [json.loads(part) for part in read_payloads(text.encode() if isinstance(text, str) else text)]


def test_one_payload_may_span_lines() -> None:
    assert split(json.dumps(PUSH, indent=2)) == [PUSH]
    assert split(b"\xef\xbb\xbf" + json.dumps(PUSH).encode()) == [PUSH]


def test_an_array_and_json_lines_are_several_payloads() -> None:
    assert split("[]") == []
    assert split("[1]") == [1]
    assert split(json.dumps([PUSH, {"a": "],[{"}, [1, [2]]], indent=1)) == [PUSH, {"a": "],[{"}, [1, [2]]]
    assert split(f"{json.dumps(PUSH)}\r\n\n{json.dumps(PUSH)}\n") == [PUSH, PUSH]


def test_a_broken_line_stands_alone_and_a_broken_document_stays_whole() -> None:
    good = json.dumps(PUSH).encode()
    assert list(read_payloads(good + b"\n{oops\n" + good)) == [good, b"{oops", good]
    assert list(read_payloads(b"{oops\n" + good)) == [b"{oops", good]
    broken = json.dumps(PUSH, indent=2).encode()[:-5]
    assert list(read_payloads(broken)) == [broken.strip()]
    assert list(read_payloads(b"[" + good + b", oops]")) == [b"[" + good + b", oops]"]
    assert list(read_payloads(b"")) == [b""]


def test_an_element_that_nests_too_deep_does_not_take_the_others_along() -> None:
    good = json.dumps(PUSH).encode()
    deep = b"[" * 100_000 + b"]" * 100_000
    parts = list(read_payloads(b"[" + good + b", " + deep + b"," + good + b"]"))
    assert parts == [good, deep, good]
    with pytest.raises(RefusedPayloadError, match="nesting over 100"):
        parse_payload(deep)


def test_every_kind_is_told_by_its_shape() -> None:
    kinds = [type(read_response(payload)) for payload in every_kind()]
    scans = [ScanReport] * 3
    assert kinds == [FindingsPage, FindingsPage, *scans, ImagesPage, RepositoriesPage, CoveragePage]
    assert isinstance(read_response(PUSH), ImageAction)


def test_every_kind_says_something() -> None:
    for payload in every_kind():
        lines = parse_payload(payload)
        assert lines
        json.dumps(lines, allow_nan=False)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        [],
        5,
        None,
        {"Findings": [], "NextToken": "x"},
        {"findings": [{"SchemaVersion": "2018-10-08", "ProductArn": "arn:aws:securityhub:x", "Resources": []}]},
        {"findings": [finding(), finding() | {"ProductArn": "arn"}]},
        {"bomFormat": "CycloneDX", "specVersion": "1.5", "vulnerabilities": []},
        {"class_uid": 2002, "vulnerabilities": [], "resources": []},
        {"imageIds": [{"imageDigest": digest()}]},
        {"images": [], "failures": []},
        {"imageDetails": {}},
        {"imageDetails": [], "findings": []},
        {"detail-type": "ECR Image Action"},
    ],
)
def test_a_kind_that_is_not_supported_is_refused_whole(payload: Any) -> None:
    with pytest.raises(RefusedPayloadError) as caught:
        parse_payload(json.dumps(payload))
    assert caught.value.path.startswith("$")


def test_nesting_is_allowed_up_to_a_hundred() -> None:
    def nested(depth: int) -> dict[str, Any]:
        return PUSH | {"extra": json.loads("[" * (depth - 1) + "]" * (depth - 1))}

    assert parse_payload(nested(100))[0]["kind"] == "image_action"
    assert parse_payload(json.dumps(nested(100)))[0]["kind"] == "image_action"
    for payload in (nested(101), json.dumps(nested(101))):
        with pytest.raises(RefusedPayloadError, match="nesting over 100"):
            parse_payload(payload)


def test_braces_inside_texts_are_no_nesting() -> None:
    assert parse_payload(json.dumps(PUSH | {"extra": '{["\\' * 500}))[0]["kind"] == "image_action"


def test_a_finding_line_carries_image_finding_and_purl() -> None:
    findings = list_findings(finding())
    (line,) = parse_payload(findings)
    assert line["kind"] == "finding"
    assert line["image"]["tags"] == ["1.4.2", "latest"]
    assert line["severity"] == "HIGH"
    assert line["first_seen"] == "2026-03-01T10:01:00.250Z"
    assert line["packages"][0]["purl"] == "pkg:deb/ubuntu/libfoo@1.2.3-1ubuntu1?arch=arm64&distro=ubuntu-24.04"


def test_a_list_of_others_is_ignored_and_a_mixed_one_read() -> None:
    assert [line["kind"] for line in parse_payload(list_findings(about()))] == ["ignored"]
    mixed = parse_payload(list_findings(about(), finding(), about("AWS_LAMBDA_FUNCTION")))
    assert [line["kind"] for line in mixed] == ["finding", "ignored"]
    assert (mixed[1]["count"], mixed[1]["reason"]) == (
        2,
        "not about an ECR image: 1 AWS_EC2_INSTANCE, 1 AWS_LAMBDA_FUNCTION",
    )


def test_an_empty_list_is_ignored_not_refused() -> None:
    for payload in (list_findings(), {"imageDetails": []}, {"coveredResources": []}, {"repositories": []}):
        (line,) = parse_payload(payload)
        assert (line["kind"], line["count"]) == ("ignored", 0)


def test_a_scan_line_believes_the_list_and_reports_the_header() -> None:
    page = scan_findings(findings={"findings": [basic_finding()], "findingSeverityCounts": {"LOW": 1}})
    scan, found = parse_payload(page)
    assert (scan["counts"], scan["header_counts"], scan["header_mismatch"]) == ({"HIGH": 1}, {"LOW": 1}, True)
    assert (scan["complete"], scan["clean"], scan["image"]["region"]) == (True, False, None)
    assert (found["cvss2_score"], found["cvss3_score"]) == (None, None)


@pytest.mark.parametrize(
    ("changes", "findings", "clean"),
    [
        ({}, {"findings": []}, True),
        ({}, {"findings": [], "findingSeverityCounts": {"LOW": 0}}, True),
        ({}, None, False),
        ({}, {}, False),
        ({}, {"findings": [], "findingSeverityCounts": {"LOW": 1}}, False),
        ({"nextToken": "more"}, {"findings": []}, False),
        ({"imageScanStatus": {"status": "FAILED"}}, {"findings": []}, False),
        ({"imageScanStatus": None}, {"findings": []}, False),
        ({"imageScanStatus": {"status": "ACTIVE"}}, {"enhancedFindings": []}, True),
        ({"imageScanStatus": {"status": "ACTIVE"}}, {"enhancedFindings": [enhanced_finding(status="CLOSED")]}, True),
        ({"imageScanStatus": {"status": "ACTIVE"}}, {"enhancedFindings": [enhanced_finding()]}, False),
    ],
)
def test_only_a_finished_whole_and_empty_listing_is_clean(
    changes: dict[str, Any], findings: dict[str, Any] | None, clean: bool
) -> None:
    assert parse_payload(scan_findings(findings=findings, **changes))[0]["clean"] is clean


def test_an_image_line_tells_no_counts_from_counts_of_nothing() -> None:
    rows = [
        image_detail("a", imageScanStatus={"status": "COMPLETE"}),
        image_detail(
            "b", imageScanStatus={"status": "COMPLETE"}, imageScanFindingsSummary={"findingSeverityCounts": {}}
        ),
        image_detail("c", imageScanFindingsSummary={"findingSeverityCounts": {}}),
    ]
    lines = parse_payload({"imageDetails": rows})
    assert [line["clean"] for line in lines] == [False, True, False]
    assert [line["scan_state"] for line in lines] == ["COMPLETE", "COMPLETE", None]


def test_repository_and_coverage_lines_name_what_they_are_about() -> None:
    (line,) = parse_payload({"repositories": [repository()]})
    assert (line["repository"], line["region"], line["scan_on_push"]) == (REPOSITORY, "eu-west-1", True)
    (line,) = parse_payload({"coveredResources": [covered()]})
    assert (line["kind"], line["scan_state"], line["reason"]) == ("coverage", "COMPLETE", "SUCCESSFUL")
