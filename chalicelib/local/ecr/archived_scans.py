"""What the scanners do when an image goes into ECR's archive, and when it comes back out of it.

An archived image is not scanned: Inspector says so and closes its findings. One that comes back is as good as pushed
anew: what was found before the archive is gone, and it is scanned again. Here it is found what was found before.
Sources: Amazon ECR User Guide, "Restoring an image"; Amazon Inspector User Guide, "Understanding findings".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from chalicelib.domain.images.image import ImageRef
from chalicelib.local.events import events as aws_events
from chalicelib.local.events.events import Event
from chalicelib.local.inspector.inspector import inspector_of

ARCHIVED = "IMAGE_ARCHIVED"


def scans_end(ref: ImageRef, at: datetime) -> Iterator[Event]:
    """The image was archived. Nothing ends for one that Inspector does not scan; of basic scanning no event tells."""
    inspector = inspector_of(ref.region)
    covered = inspector.coverage.get(ref.arn)
    if covered is None or covered["scanStatus"]["statusCode"] != "ACTIVE":
        return
    inspector.coverage[ref.arn] = {**covered, "scanStatus": {"statusCode": "INACTIVE", "reason": ARCHIVED}}
    yield aws_events.coverage_changed(ref, False, ARCHIVED, at)
    for row in _turned(ref, "ACTIVE", "CLOSED", at):
        yield aws_events.finding_changed(ref, row, at)


def scans_begin(ref: ImageRef, basic: dict[str, Any] | None, tags: list[str], at: datetime) -> Iterator[Event]:
    """The image can be pulled again. `basic`: its basic scan, which is made anew."""
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
    """The findings of that former status, with their new one."""
    inspector = inspector_of(ref.region)
    rows = [row for row in inspector.rows_of(ref.arn) if row["status"] == former]
    turned = [{**row, "status": status, "updatedAt": at.timestamp(), "lastObservedAt": at.timestamp()} for row in rows]
    for row in turned:
        inspector.hold(ref.arn, row)
    return list(turned)
