"""Payloads of every kind, made up for tests: what AWS would write of images, accounts and flaws that do not exist."""

from __future__ import annotations

import hashlib
from typing import Any

Json = dict[str, Any]
ACCOUNT, REGION, REPOSITORY = "111122223333", "eu-west-1", "team/api"


def digest(seed: str = "team/api 1.4.2") -> str:
    return f"sha256:{hashlib.sha256(seed.encode()).hexdigest()}"


def repository_arn(name: str = REPOSITORY, account: str = ACCOUNT, region: str = REGION) -> str:
    return f"arn:aws:ecr:{region}:{account}:repository/{name}"


def image_arn(image: str | None = None, **home: str) -> str:
    return f"{repository_arn(**home)}/{image or digest()}"


def package(name: str = "libfoo", **changes: Any) -> Json:
    return {
        "name": name,
        "version": "1.2.3",
        "epoch": 0,
        "release": "1ubuntu1",
        "arch": "ARM64",
        "packageManager": "OS",
        "fixedInVersion": "0:1.2.4-1ubuntu1",
        "sourceLayerHash": digest("layer"),
    } | changes


def resource(**changes: Any) -> Json:
    return {
        "type": "AWS_ECR_CONTAINER_IMAGE",
        "id": image_arn(),
        "partition": "aws",
        "region": REGION,
        "tags": {},
        "details": {
            "awsEcrContainerImage": {
                "repositoryName": REPOSITORY,
                "registry": ACCOUNT,
                "imageHash": digest(),
                "imageTags": ["1.4.2", "latest"],
                "architecture": "arm64",
                "platform": "UBUNTU_24_04",
                "pushedAt": 1772359198.0,
                "lastInUseAt": 1772359230.5,
                "inUseCount": 2,
            }
        },
    } | changes


def finding(number: int = 1, **changes: Any) -> Json:
    return {
        "awsAccountId": ACCOUNT,
        "findingArn": f"arn:aws:inspector2:{REGION}:{ACCOUNT}:finding/{number:032x}",
        "type": "PACKAGE_VULNERABILITY",
        "status": "ACTIVE",
        "severity": "HIGH",
        "title": f"CVE-2026-{number:04d} - libfoo",
        "description": "A made-up flaw.",
        "firstObservedAt": 1772359260.25,
        "lastObservedAt": 1772359260.25,
        "updatedAt": 1772359261,
        "inspectorScore": 7.5,
        "inspectorScoreDetails": {
            "adjustedCvss": {"score": 7.5, "scoringVector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"}
        },
        "epss": {"score": 0.0123},
        "exploitAvailable": "NO",
        "fixAvailable": "YES",
        "packageVulnerabilityDetails": {
            "vulnerabilityId": f"CVE-2026-{number:04d}",
            "source": "UBUNTU_CVE",
            "sourceUrl": f"https://example.invalid/CVE-2026-{number:04d}",
            "cvss": [],
            "referenceUrls": ["https://example.invalid/advisory"],
            "relatedVulnerabilities": ["USN-0000-1"],
            "vulnerablePackages": [package()],
        },
        "resources": [resource()],
    } | changes


def enhanced_finding(number: int = 1, **changes: Any) -> Json:
    """As DescribeImageScanFindings writes a finding of Inspector."""
    row = finding(number, **changes)
    vector = row.pop("inspectorScoreDetails")["adjustedCvss"]
    return row | {"score": row.pop("inspectorScore"), "scoreDetails": {"cvss": vector}}


def about(kind: str = "AWS_EC2_INSTANCE", number: int = 9) -> Json:
    """A finding about something that is no image."""
    return finding(number, resources=[{"type": kind, "id": "i-0123456789abcdef0", "details": {"x": [1, None]}}])


def list_findings(*findings: Json, **changes: Any) -> Json:
    return {"findings": list(findings)} | changes


def basic_finding(name: str = "CVE-2026-0001", severity: str = "HIGH", **attributes: str | None) -> Json:
    said = {"package_name": "libfoo", "package_version": "1.2.3-1"} | attributes
    return {
        "name": name,
        "description": "A made-up flaw.",
        "uri": f"https://example.invalid/{name}",
        "severity": severity,
        "attributes": [{"key": key, "value": value} for key, value in said.items() if value is not None],
    }


def scan_findings(status: str = "COMPLETE", findings: Json | None = None, **changes: Any) -> Json:
    return (
        {
            "registryId": ACCOUNT,
            "repositoryName": REPOSITORY,
            "imageId": {"imageDigest": digest(), "imageTag": "1.4.2"},
            "imageScanStatus": {"status": status, "description": "The scan said so."},
        }
        | ({"imageScanFindings": findings} if findings is not None else {})
        | changes
    )


def image_detail(seed: str = "team/api 1.4.2", **changes: Any) -> Json:
    return {
        "registryId": ACCOUNT,
        "repositoryName": REPOSITORY,
        "imageDigest": digest(seed),
        "imageTags": ["1.4.2"],
        "imageSizeInBytes": 12_345_678,
        "imagePushedAt": 1772359198.0,
        "imageManifestMediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactMediaType": "application/vnd.oci.image.config.v1+json",
        "lastRecordedPullTime": "2026-03-01T11:00:00+01:00",
    } | changes


def repository(name: str = REPOSITORY, **changes: Any) -> Json:
    return {
        "repositoryArn": repository_arn(name),
        "registryId": ACCOUNT,
        "repositoryName": name,
        "createdAt": 1767225600,
        "imageTagMutability": "IMMUTABLE",
        "imageScanningConfiguration": {"scanOnPush": True},
        "encryptionConfiguration": {
            "encryptionType": "KMS",
            "kmsKey": "arn:aws:kms:eu-west-1:111122223333:key/made-up",
        },
    } | changes


def covered(**changes: Any) -> Json:
    return {
        "resourceType": "AWS_ECR_CONTAINER_IMAGE",
        "resourceId": image_arn(),
        "accountId": ACCOUNT,
        "scanType": "PACKAGE",
        "scanStatus": {"statusCode": "ACTIVE", "reason": "SUCCESSFUL"},
        "lastScannedAt": 1772359260.25,
        "resourceMetadata": {
            "ecrImage": {"tags": ["1.4.2"], "imagePulledAt": 1772359200, "lastInUseAt": 1772359230, "inUseCount": 2}
        },
    } | changes


def event(kind: str, detail: Json, source: str = "aws.ecr", **changes: Any) -> Json:
    return {
        "version": "0",
        "id": "6f0c1f0e-0000-4000-8000-000000000001",
        "detail-type": kind,
        "source": source,
        "account": ACCOUNT,
        "time": "2026-03-01T10:00:00Z",
        "region": REGION,
        "resources": [],
        "detail": detail,
    } | changes


def every_kind() -> list[Json]:
    """One payload of each kind that is an API response; the events are those of `events/`."""
    return [
        list_findings(),
        list_findings(finding(1), finding(2), about(), nextToken="more"),
        scan_findings("IN_PROGRESS"),
        scan_findings(
            findings={
                "imageScanCompletedAt": 1772359260,
                "findingSeverityCounts": {"HIGH": 1, "UNDEFINED": 1},
                "findings": [basic_finding(CVSS3_SCORE="7.5"), basic_finding("CVE-2026-0002", "UNDEFINED")],
            }
        ),
        scan_findings("ACTIVE", {"enhancedFindings": [enhanced_finding()], "findingSeverityCounts": {"HIGH": 1}}),
        {"imageDetails": [image_detail(), image_detail("other", imageScanStatus={"status": "FAILED"})]},
        {"repositories": [repository(), repository("team/web")]},
        {"coveredResources": [covered(), {"resourceType": "AWS_EC2_INSTANCE", "resourceId": "i-0"}]},
    ]
