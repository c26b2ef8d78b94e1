""""""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.domain.images.finding import Ecosystem, FindingStatus, FixAvailable, Package, Severity
from chalicelib.domain.images.image import ImageRef, ScanState
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.findings.coverage import parse_list_coverage
from chalicelib.parsers.findings.rows import (
    FindingFacts,
    parse_finding_details,
    parse_list_findings,
)
from tests.parsers.composed import (
    ACCOUNT,
    REGION,
    REPOSITORY,
    about,
    covered,
    digest,
    enhanced_finding,
    finding,
    image_arn,
    list_findings,
    package,
    resource,
)

REF = ImageRef(ACCOUNT, REGION, REPOSITORY, digest())


def one(**changes: Any) -> Any:
    (row,) = parse_list_findings(list_findings(finding(**changes))).rows
    return row


def packages(*listed: dict[str, Any]) -> dict[str, Any]:
    return finding()["packageVulnerabilityDetails"] | {"vulnerablePackages": list(listed)}


def refusal(payload: Any) -> RefusedPayloadError:
    with pytest.raises(RefusedPayloadError) as caught:
        parse_list_findings(payload)
    return caught.value


def test_an_empty_page_has_no_rows_and_names_no_image() -> None:
    page = parse_list_findings(b'{"findings": []}')
    assert (page.rows, page.not_ecr, page.next_token) == ((), 0, None)


def test_one_finding_is_read_whole() -> None:
    row = one()
    assert row.image.ref == REF
    assert row.image.tags == ("1.4.2", "latest")
    assert row.image.in_use_count == 2
    found = row.finding
    assert found.severity is Severity.HIGH
    assert found.status is FindingStatus.OPEN
    assert found.fix_available is FixAvailable.YES
    assert found.ecosystem is Ecosystem.OS
    assert (found.score, found.epss, found.kev, found.exploit_available) == (7.5, 0.0123, None, False)
    assert found.packages[0].version == "1.2.3-1ubuntu1"
    assert found.updated_at > found.last_seen


def test_bytes_text_and_decoded_value_read_the_same() -> None:
    value = list_findings(finding(1), finding(2), about(), nextToken="more")
    text = json.dumps(value)
    assert parse_list_findings(value) == parse_list_findings(text) == parse_list_findings(text.encode())


def test_many_findings_of_two_images_keep_their_image() -> None:
    other = digest("other")
    elsewhere = resource(id=image_arn(other), details={"awsEcrContainerImage": {"imageHash": other}})
    rows = parse_list_findings(list_findings(finding(1), finding(2, resources=[elsewhere]), finding(3))).rows
    assert [row.image.ref.digest for row in rows] == [digest(), other, digest()]


def test_a_finding_listed_twice_about_two_images_is_refused_where_it_stands_again() -> None:
    other = digest("other")
    elsewhere = resource(id=image_arn(other), details={"awsEcrContainerImage": {"imageHash": other}})
    assert refusal(list_findings(finding(), finding(resources=[elsewhere]))).path == "$.findings[1].resources"


def test_what_is_no_image_is_left_out_and_counted_whatever_its_shape() -> None:
    odd = about("AWS_LAMBDA_FUNCTION", 8) | {"inspectorScore": "string", "epss": 7, "packageVulnerabilityDetails": None}
    page = parse_list_findings(list_findings(about(), finding(), odd))
    assert len(page.rows) == 1
    assert page.not_ecr_types == {"AWS_EC2_INSTANCE": 1, "AWS_LAMBDA_FUNCTION": 1}


def test_the_type_decides_not_the_details_beside_it() -> None:
    row = finding(resources=[resource(type="AWS_EC2_INSTANCE")])
    assert parse_list_findings(list_findings(row)).not_ecr == 1


def test_a_finding_listed_twice_counts_once_with_its_later_update() -> None:
    before, after = finding(status="ACTIVE"), finding(status="CLOSED", updatedAt=1772400000)
    for order in ([before, after], [after, before]):
        (row,) = parse_list_findings(list_findings(*order)).rows
        assert row.finding.status is FindingStatus.RESOLVED


def test_several_packages_are_one_finding() -> None:
    found = one(packageVulnerabilityDetails=packages(package(), package("libbar", epoch=2, release=None))).finding
    assert [p.version for p in found.packages] == ["1.2.3-1ubuntu1", "2:1.2.3"]


@pytest.mark.parametrize("fix", ["NotAvailable", "", None])
def test_no_fixed_version_is_none(fix: str | None) -> None:
    found = one(packageVulnerabilityDetails=packages(package(fixedInVersion=fix))).finding
    assert found.packages[0].fixed_version is None


def test_a_language_package_is_of_a_language() -> None:
    jar = {"name": "org.example:lib", "version": "1.0", "packageManager": "JAR", "filePath": "app/lib.jar"}
    found = one(packageVulnerabilityDetails=packages(jar)).finding
    assert found.ecosystem is Ecosystem.LANGUAGE
    assert found.packages == (Package("org.example:lib", "1.0", "JAR", "app/lib.jar"),)


@pytest.mark.parametrize("word", ["UNTRIAGED", "UNDEFINED", "SEVERE", "high", "", None])
def test_a_severity_not_known_is_unknown_and_kept_as_given(word: str | None) -> None:
    found = one(severity=word).finding
    assert found.severity is Severity.UNKNOWN
    assert found.severity_raw == (word or "")


def test_a_status_not_known_is_open() -> None:
    assert one(status="REOPENED").finding.open
    assert one(status=None).finding.open


def test_a_score_of_zero_is_zero_and_an_absent_one_none() -> None:
    assert one(inspectorScore=0.0).finding.score == 0.0
    assert one(inspectorScore=None).finding.score is None


def test_absent_optional_fields_are_none_not_no() -> None:
    bare = {key: finding()[key] for key in ("findingArn", "resources")} | {
        "packageVulnerabilityDetails": {"vulnerabilityId": "CVE-2026-0001"}
    }
    found = parse_list_findings(list_findings(bare)).rows[0].finding
    optional = (found.score, found.epss, found.kev, found.exploit_available, found.fix_available, found.first_seen)
    assert optional == (None,) * 6
    assert found.packages == ()
    assert found.ecosystem is None


def test_the_names_of_the_other_api_are_read_too() -> None:
    found = parse_list_findings(list_findings(enhanced_finding())).rows[0].finding
    assert found.score == 7.5
    assert found.cvss_vector is not None


def test_the_cloud_neutral_twin_names_the_image_where_it_stands_alone() -> None:
    twin = resource(details={"image": {"imageDigest": digest(), "registry": ACCOUNT, "imageTags": ["x"]}})
    assert one(resources=[twin]).image.tags == ("x",)


def test_details_alone_name_an_image_without_a_region() -> None:
    assert one(resources=[resource(id=None, region="N/A")]).image.ref == ImageRef(ACCOUNT, "", REPOSITORY, digest())


DETAILS = "$.findings[0].resources[0].details.awsEcrContainerImage"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"imageHash": digest("other")}, f"{DETAILS}.imageHash"),
        ({"repositoryName": "team/web"}, f"{DETAILS}.repositoryName"),
        ({"registry": "999988887777"}, f"{DETAILS}.registry"),
        ({"inUseCount": -1}, f"{DETAILS}.inUseCount"),
        ({"inUseCount": True}, f"{DETAILS}.inUseCount"),
        ({"pushedAt": "2026-02-30T00:00:00Z"}, f"{DETAILS}.pushedAt"),
    ],
)
def test_identities_that_contradict_each_other_are_refused(changes: dict[str, Any], path: str) -> None:
    image = resource()["details"]["awsEcrContainerImage"] | changes
    error = refusal(list_findings(finding(resources=[resource(details={"awsEcrContainerImage": image})])))
    assert error.path == path


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"resources": [resource(region="eu-west-2")]}, "$.findings[1].resources[0].region"),
        ({"resources": [resource(id=image_arn("sha256:abc"))]}, "$.findings[1].resources[0].id"),
        ({"resources": [resource(id="arn:aws:s3:::bucket")]}, "$.findings[1].resources[0].id"),
        ({"resources": [resource(), resource(id=image_arn(digest("b")), details={})]}, "$.findings[1].resources[1]"),
        ({"resources": []}, "$.findings[1].resources"),
        ({"resources": [{"id": image_arn()}]}, "$.findings[1].resources[0].type"),
        ({"findingArn": ""}, "$.findings[1].findingArn"),
        ({"severity": 5}, "$.findings[1].severity"),
        ({"epss": {"score": 1.5}}, "$.findings[1].epss.score"),
        ({"updatedAt": "soon"}, "$.findings[1].updatedAt"),
        ({"packageVulnerabilityDetails": {}}, "$.findings[1].packageVulnerabilityDetails.vulnerabilityId"),
        (
            {"packageVulnerabilityDetails": packages({"version": "1"})},
            "$.findings[1].packageVulnerabilityDetails.vulnerablePackages[0].name",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_path(changes: dict[str, Any], path: str) -> None:
    assert refusal(list_findings(finding(7), finding(1, **changes))).path == path


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b'{"findings": {}}', b"{}", b'{"findings": [\xff]}', b'{"findings":[NaN]}']
)
def test_what_is_no_page_is_refused(text: bytes) -> None:
    assert refusal(text).path.startswith("$")


def test_coverage_names_the_images_and_counts_the_rest() -> None:
    page = parse_list_coverage(
        {"coveredResources": [covered(), {"resourceType": "AWS_ECR_REPOSITORY"}], "nextToken": "n"}
    )
    (item,) = page.items
    assert (item.ref, item.active, item.reason, item.in_use_count) == (REF, True, "SUCCESSFUL", 2)
    assert item.scan.state is ScanState.COMPLETE
    assert item.scan.scanned_at is not None
    assert (page.not_ecr, page.next_token) == (1, "n")
    assert parse_list_coverage({"coveredResources": []}).items == ()


@pytest.mark.parametrize(
    ("code", "reason", "state"),
    [
        ("ACTIVE", "SUCCESSFUL", ScanState.COMPLETE),
        ("ACTIVE", "SCAN_FREQUENCY_SCAN_ON_PUSH", ScanState.COMPLETE),
        ("INACTIVE", "SUCCESSFUL", ScanState.UNAVAILABLE),
        ("ACTIVE", "PENDING_INITIAL_SCAN", ScanState.PENDING),
        ("ACTIVE", "SCAN_IN_PROGRESS", ScanState.IN_PROGRESS),
        ("INACTIVE", "UNSUPPORTED_OS", ScanState.UNSUPPORTED),
        ("INACTIVE", "IMAGE_ARCHIVED", ScanState.ARCHIVED),
        ("INACTIVE", "SCAN_ELIGIBILITY_EXPIRED", ScanState.EXPIRED),
        ("INACTIVE", "ACCESS_DENIED_TO_ENCRYPTION_KEY", ScanState.FAILED),
        ("ACTIVE", "A_WORD_OF_TOMORROW", ScanState.UNAVAILABLE),
        ("ACTIVE", None, ScanState.UNAVAILABLE),
        (None, "SUCCESSFUL", ScanState.UNAVAILABLE),
    ],
)
def test_only_active_and_successful_coverage_is_complete(
    code: str | None, reason: str | None, state: ScanState
) -> None:
    status = {"statusCode": code, "reason": reason}
    (item,) = parse_list_coverage({"coveredResources": [covered(scanStatus=status)]}).items
    assert item.scan.state is state


def test_finding_details_say_yes_no_or_nothing() -> None:
    facts = parse_finding_details(
        {
            "findingDetails": [
                {"findingArn": "a", "cisaData": {"dateAdded": 1772359260}, "epssScore": 0.9},
                {"findingArn": "b", "riskScore": 10},
            ],
            "errors": [{"findingArn": "c", "errorCode": "INTERNAL_ERROR", "errorMessage": "x"}],
        }
    )
    assert facts == {"a": FindingFacts(kev=True, epss=0.9), "b": FindingFacts(kev=False)}
