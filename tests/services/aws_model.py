"""One image as AWS holds it: its findings, its scans, its archive, with a history, so that an answer may lag behind.

The truth apart from archives and lapses is kept beside it (`flaws`): they close what is still there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from chalicelib.domain.events.event import CoverageChanged, FindingChanged, ImageAction, ScanFinished
from chalicelib.domain.images.finding import Finding, FindingRow, FindingStatus, ImageFacts, Listing, Package, Severity
from chalicelib.domain.images.image import Coverage, ImageDetail, ImageRef, Scan, ScanState, Source, StorageStatus
from chalicelib.errors import AbsentError

OPEN, SUPPRESSED, RESOLVED = FindingStatus.OPEN, FindingStatus.SUPPRESSED, FindingStatus.RESOLVED
COMPLETE = ScanState.COMPLETE


def finding(ref: ImageRef, number: int, source: Source = Source.ENHANCED, **changes: Any) -> Finding:
    """Number `number` of the image; of basic scanning when `source` says so."""
    name = f"{number:032x}"
    known = (
        f"basic:{name}" if source is Source.BASIC else f"arn:aws:inspector2:{ref.region}:{ref.registry}:finding/{name}"
    )
    fields: dict[str, Any] = {
        "vulnerability_id": f"CVE-2026-{number:04d}",
        "severity": Severity.HIGH,
        "severity_raw": "HIGH",
        "source": source,
        "source_finding_id": known,
        "packages": (Package("openssl", "3.0.1"),),
    }
    return Finding(**{**fields, **changes})


class Moment(msgspec.Struct, frozen=True):
    """What AWS would say at one time. `scanner` is the one in force; `finished` is the last basic scan."""

    scanner: Source = Source.ENHANCED
    findings: dict[int, Finding] = {}
    coverage: Scan = Scan(ScanState.PENDING, "PENDING_INITIAL_SCAN", Source.ENHANCED)
    basic: dict[int, Finding] = {}
    finished: Scan = Scan(ScanState.PENDING, None, Source.BASIC)
    storage: StorageStatus = StorageStatus.ACTIVE
    exists: bool = True
    tags: tuple[str, ...] = ()
    activated_at: datetime | None = None


class Image:
    """Every change happens at `clock()` and says which events AWS would send of it; delivering them is the test's."""

    def __init__(self, ref: ImageRef, clock: Callable[[], datetime], pushed_at: datetime | None = None) -> None:
        self.ref, self.clock = ref, clock
        self.pushed_at = pushed_at or clock()
        self.history: list[tuple[datetime, Moment]] = []
        self.flaws: dict[int, Finding] = {}
        self.ever_gone: set[str] = set()
        self.ever_found: set[str] = set()
        self.now_is(Moment())

    @property
    def current(self) -> Moment:
        return self.history[-1][1]

    def now_is(self, moment: Moment) -> None:
        self.history.append((self.clock(), moment))

    def change(self, **fields: Any) -> None:
        self.now_is(msgspec.structs.replace(self.current, **fields))

    def as_of(self, at: datetime) -> Moment | None:
        """None: it was not there yet."""
        return next((moment for since, moment in reversed(self.history) if since <= at), None)

    # ---- Inspector

    def flaw(self, number: int, **changes: Any) -> FindingChanged:
        """A new finding, or another state of one: severity, status."""
        now = self.clock()
        former = self.flaws.get(number) or finding(self.ref, number, first_seen=now)
        new = msgspec.structs.replace(former, **{"status": OPEN, **changes}, updated_at=now, last_seen=now)
        self.flaws[number] = new
        if new.status is RESOLVED:
            self.ever_gone.add(new.source_finding_id)
        self.change(findings={**self.current.findings, number: new})
        return self.told(new)

    def close(self, number: int) -> FindingChanged:
        return self.flaw(number, status=RESOLVED)

    def vanish(self, number: int) -> None:
        """Without a word."""
        self.ever_gone.add(self.flaws[number].source_finding_id)
        del self.flaws[number]
        self.change(findings={n: f for n, f in self.current.findings.items() if n != number})

    def told(self, new: Finding) -> FindingChanged:
        return FindingChanged(FindingRow(ImageFacts(self.ref), new), self.clock(), "event")

    def scanned(self) -> ScanFinished:
        """Inspector's scan: what an archive or a lapse had closed is open again, if it is still there."""
        now = self.clock()
        findings = dict(self.current.findings)
        for number, flaw in self.flaws.items():
            if flaw.status is not RESOLVED and (number not in findings or findings[number].status is RESOLVED):
                self.flaws[number] = findings[number] = msgspec.structs.replace(flaw, updated_at=now)
        self.change(findings=findings, coverage=Scan(COMPLETE, None, Source.ENHANCED, now))
        return ScanFinished(self.ref, Source.ENHANCED, Scan(COMPLETE, None, Source.ENHANCED), now, "event")

    def covered(self) -> CoverageChanged:
        scan = self.current.coverage
        coverage = Coverage(self.ref, scan, scan.state is COMPLETE, scan.reason or "SUCCESSFUL")
        return CoverageChanged(coverage, self.clock(), "event")

    def lapse(self, state: ScanState, reason: str, **fields: Any) -> list[FindingChanged]:
        """The image is not scanned any more, and Inspector closes its findings."""
        now, closed = self.clock(), []
        findings = dict(self.current.findings)
        for number, row in findings.items():
            if row.status is not RESOLVED:
                findings[number] = msgspec.structs.replace(row, status=RESOLVED, updated_at=now)
                closed.append(self.told(findings[number]))
        last = self.current.coverage.scanned_at
        self.change(findings=findings, coverage=Scan(state, reason, Source.ENHANCED, last), **fields)
        return closed

    # ---- archive

    def archive(self) -> list[Any]:
        closed = self.lapse(ScanState.ARCHIVED, "IMAGE_ARCHIVED", storage=StorageStatus.ARCHIVED)
        return [*closed, self.covered(), self.action("UPDATE_STORAGE_CLASS", target_storage_class="ARCHIVE")]

    def restore(self) -> list[Any]:
        """To be scanned again some minutes later (`scanned`)."""
        scan = Scan(ScanState.PENDING, "PENDING_REVIVAL_SCAN", Source.ENHANCED, self.current.coverage.scanned_at)
        self.change(coverage=scan, storage=StorageStatus.ACTIVE, activated_at=self.clock())
        return [self.covered(), self.action("UPDATE_STORAGE_CLASS", target_storage_class="STANDARD")]

    def action(self, kind: str, **fields: Any) -> ImageAction:
        return ImageAction(self.ref, kind, "SUCCESS", self.clock(), "event", **fields)

    # ---- ECR's own scanner

    def basic_starts(self) -> None:
        self.change(finished=Scan(ScanState.IN_PROGRESS, None, Source.BASIC))

    def basic_scanned(self, *numbers: int, severity: Severity = Severity.HIGH) -> ScanFinished:
        """What it found is all there is."""
        now = self.clock()
        rows = {n: finding(self.ref, n, Source.BASIC, severity=severity) for n in numbers}
        self.ever_found |= {f.source_finding_id for f in rows.values()}
        self.ever_gone |= self.ever_found - {f.source_finding_id for f in rows.values()}
        self.change(basic=rows, finished=Scan(COMPLETE, None, Source.BASIC, now))
        return ScanFinished(self.ref, Source.BASIC, Scan(COMPLETE, None, Source.BASIC), now, "event")

    def switch(self, scanner: Source) -> None:
        """To the other scanner, which has not scanned yet; what the former found is hidden."""
        never = Scan(ScanState.PENDING, "PENDING_INITIAL_SCAN", Source.ENHANCED)
        if scanner is Source.BASIC:
            self.change(scanner=scanner, finished=Scan(ScanState.PENDING, None, Source.BASIC), basic={})
        else:
            self.change(scanner=scanner, coverage=never)


def inspector_listing(
    rows: Moment | None, covered: Moment | None, listed_at: datetime, since: datetime | None
) -> Listing:
    """`rows`: as of the first page; `covered`: as of the question for coverage, asked after the last page.

    When Inspector is switched off its findings stay for a day.
    """
    findings = tuple(rows.findings.values()) if rows else ()
    if covered is None or covered.scanner is not Source.ENHANCED:
        scan = Scan(ScanState.UNAVAILABLE, "Inspector does not cover this image", Source.ENHANCED)
    else:
        scan = covered.coverage
    too_old = since is not None and (scan.scanned_at is None or scan.scanned_at < since)
    if scan.state is COMPLETE and too_old:
        scan = Scan(ScanState.PENDING, "not scanned since its push or restore", Source.ENHANCED, scan.scanned_at)
    return Listing(Source.ENHANCED, findings, listed_at, scan, scan.state is COMPLETE)


def basic_listing(moment: Moment, listed_at: datetime) -> Listing:
    scan = moment.finished
    if moment.storage is not StorageStatus.ACTIVE:
        scan = Scan(ScanState.ARCHIVED, "IMAGE_ARCHIVED", Source.BASIC)
    complete = scan.state is COMPLETE
    return Listing(Source.BASIC, tuple(moment.basic.values()) if complete else (), listed_at, scan, complete)


def described(ref: ImageRef, moment: Moment | None, pushed_at: datetime) -> ImageDetail:
    if moment is None or not moment.exists:
        raise AbsentError("image", f"{ref} is not there")
    return ImageDetail(ref, moment.tags, pushed_at, storage=moment.storage, activated_at=moment.activated_at)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)
