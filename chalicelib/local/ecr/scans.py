"""What the scanners say of an image: as ECR words Inspector's findings, and what an archive and a restore change.

Inspector does not scan an archived image: it says so and closes the findings. A restored image counts as pushed anew:
it is scanned again, and here the same is found again. Sources: Amazon ECR User Guide, "Restoring an image"; Amazon
Inspector User Guide, "Understanding findings".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from chalicelib.domain.images.image import ImageRef
from chalicelib.local import events as aws_events
from chalicelib.local.events import Event
from chalicelib.local.inspector import inspector_of

ARCHIVED = "IMAGE_ARCHIVED"
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
_REASON_OF_STATUS = {status: reason for reason, status in reversed(_STATUS_OF_REASON.items())}
_REASON_OF_STATUS |= {"IN_PROGRESS": "SCAN_IN_PROGRESS"}


def scans_end(ref: ImageRef, at: datetime) -> Iterator[Event]:
    """The image was archived. Basic scanning sends no event, and neither does Inspector for what it does not scan."""
    inspector = inspector_of(ref.region)
    covered = inspector.coverage.get(ref.arn)
    if covered is None or covered["scanStatus"]["statusCode"] != "ACTIVE":
        return
    inspector.coverage[ref.arn] = {**covered, "scanStatus": {"statusCode": "INACTIVE", "reason": ARCHIVED}}
    yield aws_events.coverage_changed(ref, False, ARCHIVED, at)
    for row in _turned(ref, "ACTIVE", "CLOSED", at):
        yield aws_events.finding_changed(ref, row, at)


def scans_begin(ref: ImageRef, basic: dict[str, Any] | None, tags: list[str], at: datetime) -> Iterator[Event]:
    """The image was restored. `basic`: its basic scan, which is repeated."""
    inspector = inspector_of(ref.region)
    if (covered := inspector.coverage.get(ref.arn)) is not None:
        if covered["scanStatus"]["reason"] != ARCHIVED:
            return
        status = {"statusCode": "ACTIVE", "reason": "SUCCESSFUL"}
        inspector.coverage[ref.arn] = {**covered, "scanStatus": status, "lastScannedAt": at.timestamp()}
        yield aws_events.coverage_changed(ref, True, "SUCCESSFUL", at)
        for row in _turned(ref, "CLOSED", "ACTIVE", at):
            yield aws_events.finding_changed(ref, row, at)
    elif basic is not None and (found := basic["imageScanFindings"]):
        found["imageScanCompletedAt"] = at.timestamp()
        status = basic["imageScanStatus"]["status"]
        yield aws_events.basic_scan_finished(ref, tags, status, found.get("findingSeverityCounts"), at)


def _turned(ref: ImageRef, former: str, status: str, at: datetime) -> list[Mapping[str, Any]]:
    """The findings that had the status `former`, with the new `status`."""
    inspector = inspector_of(ref.region)
    rows = [row for row in inspector.rows_of(ref.arn) if row["status"] == former]
    turned = [{**row, "status": status, "updatedAt": at.timestamp(), "lastObservedAt": at.timestamp()} for row in rows]
    for row in turned:
        inspector.hold(ref.arn, row)
    return list(turned)


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
    """`imageScanStatus` for a row of ListCoverage."""
    reason = covered["scanStatus"]["reason"]
    if covered["scanStatus"]["statusCode"] == "ACTIVE" and reason in ("SUCCESSFUL", "SCAN_FREQUENCY_SCAN_ON_PUSH"):
        return {"status": "ACTIVE", "description": "Continuous scan is selected for image."}
    return {"status": _STATUS_OF_REASON.get(reason, "FAILED"), "description": reason}


def reason_of(status: str) -> str:
    """Inspector's reason for an `imageScanStatus` that is not ACTIVE."""
    return _REASON_OF_STATUS.get(status, "INTERNAL_ERROR")
