"""Stores API responses in the local AWS, and composes the events that AWS would have sent. Nothing is delivered here.

Where the payloads are silent:

* an image with findings of Inspector was scanned by it just now, unless a ListCoverage answer or an enhanced
  DescribeImageScanFindings says more;
* an image that DescribeImages calls scanned, without a list of its findings, has unavailable findings;
* a response without a Region belongs to the Region of its repository in other payloads, else of its registry, else of
  the stack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from chalicelib.domain.images.finding import ScanReport
from chalicelib.domain.images.image import Coverage, ImageDetail, ImageRef, Source
from chalicelib.local import events as aws_events
from chalicelib.local.ecr.ecr import MANIFEST, HeldImage, ecr_of, manifest_of
from chalicelib.local.ecr.scans import inspector_row, reason_of
from chalicelib.local.events import Event
from chalicelib.local.inspector import inspector_of
from chalicelib.parsers.events.payload import Response
from chalicelib.parsers.findings.coverage import CoveragePage
from chalicelib.parsers.findings.rows import FindingsPage, parse_list_findings
from chalicelib.parsers.images.images import ImagesPage, RepositoriesPage
from chalicelib.parsers.wire.wire import instant

Raw = dict[str, Any]
ECR_IMAGE = "AWS_ECR_CONTAINER_IMAGE"
COMPLETE, ACTIVE = "COMPLETE", "ACTIVE"
_RUNNING = ("IN_PROGRESS", "PENDING")
_BY_FINDINGS, _BY_SCAN, _BY_COVERAGE = 1, 2, 3


class Regions:
    """Regions of images and repositories, learned from the payloads and events that name them."""

    def __init__(self, otherwise: str) -> None:
        self._otherwise = otherwise
        self._known: dict[tuple[str, str, str], str] = {}

    def learn(self, ref: ImageRef) -> None:
        """`ref` without a digest: of a repository."""
        if ref.region:
            for key in _keys(ref):
                self._known.setdefault(key, ref.region)

    def place(self, ref: ImageRef) -> ImageRef:
        """With the Region of the image, else of its repository, its registry, or the stack."""
        if ref.region:
            return ref
        region = next((self._known[key] for key in _keys(ref) if key in self._known), self._otherwise)
        return ImageRef(ref.registry, region, ref.repository, ref.digest)


class Seed:
    """`take` all payloads, in any order, before reading `scans` and `pushes`."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions
        self.images: dict[ImageRef, HeldImage] = {}
        self._said_by: dict[ImageRef, int] = {}
        self._described: dict[ImageRef, tuple[ImageDetail, Raw]] = {}

    def take(self, response: Response, raw: Raw) -> None:
        """`response`: `raw` as parsed. Ignores what is no API response."""
        match response:
            case FindingsPage():
                self._take_findings(response, raw)
            case ScanReport():
                self._take_scan(response, raw)
            case CoveragePage():
                self._take_coverage(response, raw)
            case ImagesPage():
                for detail, row in zip(response.images, raw["imageDetails"], strict=True):
                    self._take_image(detail, row)
            case RepositoriesPage():
                for repository in response.repositories:
                    placed = self._regions.place(repository.repository.image(""))
                    ecr_of(placed.home).hold_repository(placed.repository)

    def scans(self) -> Iterator[Event]:
        """Every scan of the images in the payloads."""
        for ref in self._described:
            self._complete_scan(ref)
        for ref, image in self.images.items():
            yield from scan_events(ref, image)

    def pushes(self) -> Iterator[Event]:
        """The pushes that DescribeImages reports, oldest first. To be delivered after the scans: an old push without a
        scan is an unscanned image."""
        pushes = [event for ref in self._described for event in self._pushes(ref)]
        yield from sorted(pushes, key=lambda event: str(event["time"]))

    # ---- kinds of responses

    def _take_findings(self, page: FindingsPage, raw: Raw) -> None:
        image_of = {row.finding.source_finding_id: row.image.ref for row in page.rows}
        for row in raw["findings"]:
            if (ref := image_of.get(row.get("findingArn"))) is not None:
                inspector_of(ref.region).hold(ref.arn, row)
        for facts in {row.image.ref: row.image for row in page.rows}.values():
            self._hold(facts.ref, facts.tags, facts.pushed_at)
            self._cover(facts.ref, ACTIVE, "SUCCESSFUL", None, _BY_FINDINGS)

    def _take_scan(self, report: ScanReport, raw: Raw) -> None:
        ref = self._regions.place(report.image.ref)
        image = self._hold(ref, report.image.tags, report.image.pushed_at)
        status, listed = raw.get("imageScanStatus") or {}, raw.get("imageScanFindings") or {}
        if report.scan.source is Source.ENHANCED:
            rows = {"findings": [inspector_row(row) for row in listed.get("enhancedFindings") or ()]}
            self._take_findings(parse_list_findings(rows), rows)
            word = status.get("status", "")
            reason = "SUCCESSFUL" if word == ACTIVE else reason_of(word)
            self._cover(ref, ACTIVE if word == ACTIVE else "INACTIVE", reason, report.scan.scanned_at, _BY_SCAN)
            return
        image.basic_scan = _joined(image.basic_scan, {"imageScanStatus": status, "imageScanFindings": dict(listed)})

    def _take_coverage(self, page: CoveragePage, raw: Raw) -> None:
        rows = {row.get("resourceId"): row for row in raw["coveredResources"] if isinstance(row, dict)}
        for item in page.items:
            self._hold(item.ref, item.tags, None)
            inspector_of(item.ref.region).coverage[item.ref.arn] = _resource(item, rows[item.ref.arn])
            self._said_by[item.ref] = _BY_COVERAGE

    def _take_image(self, detail: ImageDetail, row: Raw) -> None:
        ref = self._regions.place(detail.ref)
        image = self._hold(ref, detail.tags, detail.pushed_at)
        image.image_manifest_media_type = detail.media_type or image.image_manifest_media_type
        image.artifact_media_type, image.subject = detail.artifact_media_type, detail.subject_digest
        image.size_bytes, image.status = detail.size_bytes, detail.storage.value
        image.archived_at, image.activated_at = detail.archived_at, detail.activated_at
        media_type = image.image_manifest_media_type or MANIFEST
        image.image_manifest = manifest_of(ref.digest, media_type, detail.artifact_media_type)
        self._described[ref] = detail, row

    # ---- state

    def _hold(self, ref: ImageRef, tags: Iterable[str], pushed_at: datetime | None) -> HeldImage:
        ecr = ecr_of(ref.home)
        image = ecr.hold_image(ref.repository, ref.digest, pushed_at=pushed_at)
        image.pushed_at = pushed_at or image.pushed_at
        for tag in tags:
            ecr.tag_image(image, tag)
        self.images[ref] = image
        return image

    def _cover(self, ref: ImageRef, code: str, reason: str, scanned_at: datetime | None, by: int) -> None:
        """`by`: how much the source knows of the coverage; a lower one does not overwrite it."""
        if self._said_by.get(ref, 0) > by:
            return
        self._said_by[ref] = by
        inspector_of(ref.region).coverage[ref.arn] = covered(ref, code, reason, scanned_at or datetime.now(UTC))

    def _complete_scan(self, ref: ImageRef) -> None:
        """Derives the scan of an image that only DescribeImages calls scanned."""
        image, (detail, row) = self.images[ref], self._described[ref]
        if detail.scan is None or image.basic_scan is not None or ref in self._said_by:
            return
        status = dict(row["imageScanStatus"])
        has_none = detail.summary_counts is not None and not any(detail.summary_counts.values())
        if status.get("status") == ACTIVE and has_none:
            self._cover(ref, ACTIVE, "SUCCESSFUL", detail.scan.scanned_at, _BY_SCAN)
            return
        summary = dict(row.get("imageScanFindingsSummary") or {})
        if status.get("status") == COMPLETE and has_none:
            summary["findings"] = []
        elif status.get("status") in (COMPLETE, ACTIVE):
            status = {"status": "FINDINGS_UNAVAILABLE", "description": "no response lists its findings"}
        image.basic_scan = {"imageScanStatus": status, "imageScanFindings": summary}

    def _pushes(self, ref: ImageRef) -> Iterator[Event]:
        image = self.images[ref]
        for tag in image.image_tags or [""]:
            media_type = image.image_manifest_media_type
            yield aws_events.pushed(ref, tag or None, media_type, image.pushed_at, image.artifact_media_type)


def scan_events(ref: ImageRef, image: HeldImage) -> Iterator[Event]:
    """What AWS sends about the present state of the scan; nothing while it runs."""
    inspector = inspector_of(ref.region)
    if (resource := inspector.coverage.get(ref.arn)) is not None:
        active, reason = resource["scanStatus"]["statusCode"] == ACTIVE, resource["scanStatus"]["reason"]
        at = _time(resource.get("lastScannedAt"))
        if active and resource.get("lastScannedAt") is not None:
            counts = Counter(row.get("severity", "") for row in inspector.rows_of(ref.arn) if row["status"] == ACTIVE)
            yield aws_events.inspector_scan_finished(ref, image.image_tags, counts, at)
        elif not reason.startswith("PENDING"):
            yield aws_events.coverage_changed(ref, active, reason, at)
    elif image.basic_scan is not None:
        status, found = image.basic_scan["imageScanStatus"], image.basic_scan["imageScanFindings"]
        if status.get("status") not in _RUNNING:
            counts_said, at = found.get("findingSeverityCounts"), _time(found.get("imageScanCompletedAt"))
            yield aws_events.basic_scan_finished(ref, image.image_tags, status.get("status", ""), counts_said, at)


def covered(ref: ImageRef, code: str, reason: str, scanned_at: datetime | None) -> Raw:
    """One row of ListCoverage."""
    row = {
        "resourceType": ECR_IMAGE,
        "resourceId": ref.arn,
        "accountId": ref.registry,
        "scanType": "PACKAGE",
        "scanStatus": {"statusCode": code, "reason": reason},
        "resourceMetadata": {"ecrRepository": {"name": ref.repository}},
    }
    return row if scanned_at is None else row | {"lastScannedAt": scanned_at.timestamp()}


def _resource(item: Coverage, row: Raw) -> Raw:
    status = {"statusCode": ACTIVE if item.active else "INACTIVE", "reason": item.reason}
    return {**covered(item.ref, status["statusCode"], item.reason, None), **row, "scanStatus": status}


def _joined(before: Raw | None, page: Raw) -> Raw:
    """Merges pages of one scan; of two scans the later one counts."""
    if before is None:
        return page
    old, new = before["imageScanFindings"], page["imageScanFindings"]
    if old.get("imageScanCompletedAt") != new.get("imageScanCompletedAt"):
        return max(before, page, key=lambda scan: _time(scan["imageScanFindings"].get("imageScanCompletedAt")))
    rows = {str(row): row for row in (old.get("findings") or []) + (new.get("findings") or [])}
    found = {**old, **new} | ({"findings": list(rows.values())} if "findings" in old or "findings" in new else {})
    return {**page, "imageScanFindings": found}


def _time(value: Any) -> datetime:
    return instant(value, "$") or datetime.now(UTC)


def _keys(ref: ImageRef) -> list[tuple[str, str, str]]:
    return [(ref.registry, ref.repository, ref.digest), (ref.registry, ref.repository, ""), (ref.registry, "", "")]


def refs_of(response: Response) -> Iterator[ImageRef]:
    """The images and repositories (without a digest) that an API response names."""
    match response:
        case FindingsPage():
            yield from (row.image.ref for row in response.rows)
        case ScanReport():
            yield response.image.ref
        case CoveragePage():
            yield from (item.ref for item in response.items)
        case ImagesPage():
            yield from (detail.ref for detail in response.images)
        case RepositoriesPage():
            yield from (detail.repository.image("") for detail in response.repositories)
