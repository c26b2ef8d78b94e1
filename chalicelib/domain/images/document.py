"""All findings of one image as they are stored, and a listing of them as one look found it. Pure.

How the one is merged into the other is `merge.py`'s business, the protocol around it a service's.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.domain.images.finding import Finding
from chalicelib.domain.images.image import ImageRef, InUse, Scan, Source


class FindingChange(msgspec.Struct, frozen=True):
    """A material change: at `at` the finding's `field` left the value `former` (as JSON would write it)."""

    at: datetime
    finding_id: str
    field: str
    former: str | float | bool | None


class FindingsDocument(msgspec.Struct, frozen=True):
    """`revision` 0: nothing stored yet; whoever puts a document raises it by one.

    `source` is the scanner in force since `source_since` (a look's time). `scanned_at` is the `imageScanCompletedAt` of
    the basic scan the findings come from.
    """

    ref: ImageRef
    revision: int = 0
    findings: tuple[Finding, ...] = ()
    source: Source | None = None
    source_since: datetime | None = None
    scanned_at: datetime | None = None
    log: tuple[FindingChange, ...] = ()


class Listing(msgspec.Struct, frozen=True):
    """All findings of the image, every status, as one look found them.

    `listed_at` is the `Date` of the first page's answer. `complete`: basic COMPLETE, or Inspector's coverage (asked
    after the last page) says the image is being scanned and was since its push or restore.
    """

    source: Source
    findings: tuple[Finding, ...]
    listed_at: datetime
    scan: Scan
    complete: bool
    in_use: InUse | None = None
    architecture: str | None = None
    platform: str | None = None
    tags: tuple[str, ...] = ()
    pushed_at: datetime | None = None


def prune(document: FindingsDocument, before: datetime) -> FindingsDocument:
    """Drops what ended before `before`: resolved findings, and the log of changes."""
    findings = tuple(f for f in document.findings if f.resolved_at is None or f.resolved_at >= before)
    log = tuple(c for c in document.log if c.at >= before)
    return msgspec.structs.replace(document, findings=findings, log=log)
