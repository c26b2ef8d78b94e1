"""A finding (one vulnerability in one image as its source reports it), the document of all findings of an image, and a
listing of them. No I/O, no policy.

Absent is None, never 0 and never "no". Sources: Inspector API reference (Finding), ECR API reference (ImageScanFinding,
EnhancedImageScanFinding), severity words as compared in the ECR and Inspector user guides.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from chalicelib.domain.images.image import ImageRef, InUse, Scan, Source


class Severity(StrEnum):
    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"
    INFORMATIONAL = "INFORMATIONAL"
    UNKNOWN = "UNKNOWN"

    @classmethod
    def of(cls, word: str | None) -> Severity:
        """UNDEFINED, UNTRIAGED and every word not known are UNKNOWN: not rated yet, which is not "low"."""
        return _SEVERITY_OF.get(word or "", cls.UNKNOWN)

    @property
    def digit(self) -> int:
        """0 for CRITICAL to 5 for UNKNOWN: the order of columns and of counts, not a ranking of UNKNOWN."""
        return _SEVERITY_DIGIT[self]


_SEVERITY_OF = {s.value: s for s in Severity}
_SEVERITY_DIGIT = {s: i for i, s in enumerate(Severity)}


class FindingStatus(StrEnum):
    OPEN = "OPEN"
    SUPPRESSED = "SUPPRESSED"
    RESOLVED = "RESOLVED"


class FixAvailable(StrEnum):
    YES = "YES"
    NO = "NO"
    PARTIAL = "PARTIAL"


class Ecosystem(StrEnum):
    OS = "OS"
    LANGUAGE = "LANGUAGE"


class Package(msgspec.Struct, frozen=True, gc=False):
    """A vulnerable package. `version` is `[epoch:]version[-release]`, an epoch of 0 left out; `layer` its digest."""

    name: str
    version: str | None = None
    manager: str | None = None
    path: str | None = None
    arch: str | None = None
    fixed_version: str | None = None
    layer: str | None = None


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One Inspector finding however many packages it lists; of basic scanning one per name + package + version.

    `source_finding_id` is Inspector's findingArn; basic: `basic:<32 hex>` made from name, package and version.
    `score` and `epss` are floats or None (`epss` 0..1). `vulnerability_source` is the database (NVD, DEBIAN_CVE, …).
    `title`, `description`, `url`, `references`, `cvss_vector` are texts the catalogue of vulnerabilities keeps once.
    `resolved_at`, `resolved_reason`, `first_seen_in_line` are ours, not the source's. All times are aware UTC.
    """

    vulnerability_id: str
    severity: Severity
    severity_raw: str
    source: Source
    source_finding_id: str
    status: FindingStatus = FindingStatus.OPEN
    score: float | None = None
    cvss_vector: str | None = None
    epss: float | None = None
    kev: bool | None = None
    exploit_available: bool | None = None
    fix_available: FixAvailable | None = None
    packages: tuple[Package, ...] = ()
    ecosystem: Ecosystem | None = None
    related_ids: tuple[str, ...] = ()
    first_seen: datetime | None = None
    first_seen_in_line: datetime | None = None
    last_seen: datetime | None = None
    updated_at: datetime | None = None
    resolved_at: datetime | None = None
    resolved_reason: str | None = None
    vulnerability_source: str | None = None
    title: str | None = None
    description: str | None = None
    url: str | None = None
    references: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        return self.status is FindingStatus.OPEN


STORED_OF_FINDING = frozenset(
    {
        *("vulnerability_id", "severity", "severity_raw", "source", "source_finding_id", "status"),
        *("score", "epss", "kev", "exploit_available", "fix_available", "packages", "ecosystem", "related_ids"),
        *("first_seen", "first_seen_in_line", "last_seen", "updated_at", "resolved_at", "resolved_reason"),
        "vulnerability_source",
    }
)
"""The fields that a findings document gives back. The texts stay behind: the catalogue keeps them once."""


class ImageFacts(msgspec.Struct, frozen=True):
    """What an Inspector finding says of its image beside the finding itself."""

    ref: ImageRef
    tags: tuple[str, ...] = ()
    architecture: str | None = None
    platform: str | None = None
    pushed_at: datetime | None = None
    in_use_count: int | None = None
    last_in_use_at: datetime | None = None


class FindingRow(msgspec.Struct, frozen=True, gc=False):
    """A finding together with the image it is about: an `Inspector2 Finding` event, or a row of ListFindings."""

    image: ImageFacts
    finding: Finding


class ScanReport(msgspec.Struct, frozen=True):
    """One page of DescribeImageScanFindings. `findings` is None where the page lists none at all: unknown, not zero.

    `header_counts` are findingSeverityCounts with normalised names (None: absent). `mismatches` names each severity
    whose header count differs from the listed rows, as `(severity, header, listed)`; the list is believed.
    """

    image: ImageFacts
    scan: Scan
    findings: tuple[Finding, ...] | None
    header_counts: dict[Severity, int] | None = None
    mismatches: tuple[tuple[Severity, int, int], ...] = ()
    next_token: str | None = None


class FindingChange(msgspec.Struct, frozen=True):
    """A material change: at `at` the finding's `field` left the value `former` (as JSON would write it)."""

    at: datetime
    finding_id: str
    field: str
    former: str | float | bool | None


class FindingsDocument(msgspec.Struct, frozen=True):
    """`revision` 0: nothing stored yet; each put raises it by one.

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

    def since(self, at: datetime | None) -> Listing:
        """Not complete where the scan is known to be older than the push or restore of `at`."""
        scan = self.scan.since(at) if self.scan.scanned_at is not None else self.scan
        return self if scan == self.scan else msgspec.structs.replace(self, scan=scan, complete=False)


def prune(document: FindingsDocument, before: datetime) -> FindingsDocument:
    """Drops what ended before `before`: resolved findings, and the log of changes."""
    findings = tuple(f for f in document.findings if f.resolved_at is None or f.resolved_at >= before)
    log = tuple(c for c in document.log if c.at >= before)
    return msgspec.structs.replace(document, findings=findings, log=log)
