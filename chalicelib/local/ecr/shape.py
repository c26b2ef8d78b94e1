"""How ECR words what Inspector found: DescribeImageScanFindings under enhanced scanning, and Inspector's own words."""

from __future__ import annotations

from typing import Any

_RENAMED = {"inspectorScore": "score", "inspectorScoreDetails": "scoreDetails"}
_INSPECTORS_ALONE = ("epss", "exploitabilityDetails")
_STATUS_OF_REASON = {
    "PENDING_INITIAL_SCAN": "PENDING",
    "PENDING_REVIVAL_SCAN": "PENDING",
    "SCAN_IN_PROGRESS": "PENDING",
    "SCAN_ELIGIBILITY_EXPIRED": "SCAN_ELIGIBILITY_EXPIRED",
    "IMAGE_ARCHIVED": "IMAGE_ARCHIVED",
    "IMAGE_SIZE_EXCEEDED": "IMAGE_SIZE_EXCEEDED",
    "UNSUPPORTED_OS": "UNSUPPORTED_IMAGE",
    "UNSUPPORTED_MEDIA_TYPE": "UNSUPPORTED_IMAGE",
    "UNSUPPORTED_CONFIG_FILE": "UNSUPPORTED_IMAGE",
}
_REASON_OF_STATUS = {
    "PENDING": "PENDING_INITIAL_SCAN",
    "IN_PROGRESS": "SCAN_IN_PROGRESS",
    "SCAN_ELIGIBILITY_EXPIRED": "SCAN_ELIGIBILITY_EXPIRED",
    "IMAGE_ARCHIVED": "IMAGE_ARCHIVED",
    "IMAGE_SIZE_EXCEEDED": "IMAGE_SIZE_EXCEEDED",
    "UNSUPPORTED_IMAGE": "UNSUPPORTED_OS",
}


def enhanced_row(row: dict[str, Any]) -> dict[str, Any]:
    """An Inspector finding as ECR lists it: other names for the score, no EPSS."""
    said = {_RENAMED.get(key, key): value for key, value in row.items() if key not in _INSPECTORS_ALONE}
    details = said.get("scoreDetails") or {}
    if "adjustedCvss" in details:
        said["scoreDetails"] = {"cvss": details["adjustedCvss"]}
    return said


def inspector_row(row: dict[str, Any]) -> dict[str, Any]:
    """An enhanced finding of ECR as Inspector lists it."""
    back = {short: long for long, short in _RENAMED.items()}
    said = {back.get(key, key): value for key, value in row.items()}
    details = said.get("inspectorScoreDetails") or {}
    if "cvss" in details:
        said["inspectorScoreDetails"] = {"adjustedCvss": details["cvss"]}
    return said


def enhanced_status(covered: dict[str, Any]) -> dict[str, str]:
    """`imageScanStatus` for what ListCoverage says of the image."""
    reason = covered["scanStatus"]["reason"]
    if covered["scanStatus"]["statusCode"] == "ACTIVE" and reason in ("SUCCESSFUL", "SCAN_FREQUENCY_SCAN_ON_PUSH"):
        return {"status": "ACTIVE", "description": "Continuous scan is selected for image."}
    return {"status": _STATUS_OF_REASON.get(reason, "FAILED"), "description": reason}


def reason_of(status: str) -> str:
    """Inspector's reason for an `imageScanStatus` that is not ACTIVE."""
    return _REASON_OF_STATUS.get(status, "INTERNAL_ERROR")
