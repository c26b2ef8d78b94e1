"""The generated registry as the APIs would list it: ListFindings, ListCoverage, DescribeImages, basic scan findings.

Shapes: Inspector API reference (Finding), ECR API reference. Pages hold epochs, as the wire does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from bench.generate import FindingState, ImageState, Plan

ACCOUNT, REGION = "123456789012", "eu-west-1"
PAGE = 25
OUR_STATUS = {"ACTIVE": "OPEN", "SUPPRESSED": "SUPPRESSED", "CLOSED": "RESOLVED"}


def our_severity(severity: str) -> str:
    return "UNKNOWN" if severity == "UNTRIAGED" else severity


def repository_arn(repository: str) -> str:
    return f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{repository}"


def finding_pages(plan: Plan, state: ImageState, size: int = PAGE) -> Iterator[dict[str, Any]]:
    """ListFindings by `resourceId`, all statuses. An image without findings is one empty page."""
    rows = [finding(plan, state, f) for f in state.findings]
    for start in range(0, len(rows) or 1, size):
        page: dict[str, Any] = {"findings": rows[start : start + size]}
        if start + size < len(rows):
            page["nextToken"] = f"{state.number}/{start + size}"
        yield page


def finding(plan: Plan, state: ImageState, row: FindingState, form: str = "epoch") -> dict[str, Any]:
    """One finding. `form` of its dates: `epoch`, `iso`, `long`, `short`."""
    v = row.vulnerability
    body: dict[str, Any] = {
        "awsAccountId": ACCOUNT,
        "description": v.description,
        "exploitAvailable": "YES" if row.exploited else "NO",
        "findingArn": row.arn,
        "firstObservedAt": date_text(row.first_observed_at, form),
        "fixAvailable": row.fixed,
        "lastObservedAt": date_text(row.updated_at, form),
        "packageVulnerabilityDetails": _details(state, row, form),
        "remediation": {"recommendation": {"text": "None Provided"}},
        "resources": [_resource(plan, state, form)],
        "severity": row.severity,
        "status": row.status,
        "title": f"{v.id} - {', '.join(p.name for p in v.packages)}",
        "type": "PACKAGE_VULNERABILITY",
        "updatedAt": date_text(row.updated_at, form),
    }
    if row.score is not None:
        body["inspectorScore"] = row.score
        body["inspectorScoreDetails"] = {"adjustedCvss": _adjusted(v.vector, row.score)}
    if row.epss is not None:
        body["epss"] = {"score": row.epss}
    return body


def basic_page(state: ImageState) -> dict[str, Any]:
    """DescribeImageScanFindings of ECR's own scanner: what is open, one row for each package."""
    rows = [
        {
            "name": f.vulnerability.id,
            "description": f.vulnerability.description,
            "uri": f.vulnerability.references[0],
            "severity": "UNDEFINED" if f.severity == "UNTRIAGED" else f.severity,
            "attributes": [
                {"key": "package_name", "value": package.name},
                {"key": "package_version", "value": package.version},
            ],
        }
        for f in state.findings
        if f.status != "CLOSED"
        for package in f.vulnerability.packages
    ]
    return {
        "registryId": ACCOUNT,
        "repositoryName": state.repository,
        "imageId": {"imageDigest": state.digest},
        "imageScanStatus": {"status": "COMPLETE", "description": "The scan was completed successfully."},
        "imageScanFindings": {
            "imageScanCompletedAt": state.scanned_at,
            "findings": rows,
            "findingSeverityCounts": dict(Counter(row["severity"] for row in rows)),
        },
    }


MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
MANIFEST = msgspec.json.encode(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json"},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}],
    }
).decode()


def image_page(state: ImageState) -> dict[str, Any]:
    """DescribeImages of the one image."""
    detail: dict[str, Any] = {
        "registryId": ACCOUNT,
        "repositoryName": state.repository,
        "imageDigest": state.digest,
        "imageSizeInBytes": 50_000_000 + state.number,
        "imagePushedAt": state.pushed_at,
        "imageManifestMediaType": MANIFEST_TYPE,
        "artifactMediaType": "application/vnd.oci.image.config.v1+json",
        "imageStatus": "ACTIVE",
    }
    return {"imageDetails": [detail | ({"imageTags": list(state.tags)} if state.tags else {})]}


def coverage(state: ImageState) -> dict[str, Any]:
    """The image's row of ListCoverage: it is being scanned."""
    return {
        "accountId": ACCOUNT,
        "resourceId": state.arn,
        "resourceType": "AWS_ECR_CONTAINER_IMAGE",
        "scanType": "PACKAGE",
        "scanStatus": {"statusCode": "ACTIVE", "reason": "SUCCESSFUL"},
        "lastScannedAt": state.scanned_at,
        "resourceMetadata": {"ecrImage": {"tags": list(state.tags)}},
    }


def _details(state: ImageState, row: FindingState, form: str) -> dict[str, Any]:
    v = row.vulnerability
    cvss = [{"baseScore": row.score, "scoringVector": v.vector, "source": "NVD", "version": "3.1"}]
    return {
        "cvss": cvss if row.score is not None else [],
        "referenceUrls": list(v.references),
        "relatedVulnerabilities": list(v.related),
        "source": "DEBIAN_CVE" if v.packages[0].manager == "OS" else "GITHUB_SEC",
        "sourceUrl": f"https://example.invalid/{v.id}",
        "vendorCreatedAt": date_text(v.published_day * 86_400, form),
        "vendorSeverity": row.severity.lower(),
        "vendorUpdatedAt": date_text(v.published_day * 86_400 + 86_400, form),
        "vulnerabilityId": v.id,
        "vulnerablePackages": [_package(state, v.number, package) for package in v.packages],
    }


def _package(state: ImageState, number: int, package: Any) -> dict[str, Any]:
    optional = {"release": package.release, "filePath": package.path}
    return {
        "arch": "X86_64",
        "epoch": 0,
        "fixedInVersion": package.fixed_version,
        "name": package.name,
        "packageManager": package.manager,
        "sourceLayerHash": state.layers[number % len(state.layers)],
        "version": package.version,
        **{name: value for name, value in optional.items() if value is not None},
    }


def _resource(plan: Plan, state: ImageState, form: str) -> dict[str, Any]:
    image = {
        "architecture": "amd64",
        "imageHash": state.digest,
        "imageTags": list(state.tags),
        "platform": "DEBIAN_12",
        "pushedAt": date_text(state.pushed_at, form),
        "registry": ACCOUNT,
        "repositoryName": state.repository,
    }
    if plan.variety and not state.tags:
        del image["imageTags"]
    return {
        "details": {"awsEcrContainerImage": image},
        "id": state.arn,
        "partition": "aws",
        "region": REGION,
        "tags": {},
        "type": "AWS_ECR_CONTAINER_IMAGE",
    }


def _adjusted(vector: str | None, score: float) -> dict[str, Any]:
    return {
        "adjustments": [],
        "cvssSource": "NVD",
        "score": score,
        "scoreSource": "NVD",
        "scoringVector": vector,
        "version": "3.1",
    }


def date_text(seconds: int, form: str) -> float | str:
    if form == "epoch":
        return float(seconds)
    at = datetime.fromtimestamp(seconds, UTC)
    if form == "long":
        return at.strftime("%a %b %d %H:%M:%S.000 UTC %Y")
    if form == "short":
        return at.strftime("%b ") + f"{at.day}, {at.year}, {at.hour % 12 or 12}:{at:%M:%S %p}"
    return f"{at.isoformat()[:19]}Z"
