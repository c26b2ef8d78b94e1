"""A scanner and a registry whose state a test scripts: what is found, what lags, what is covered, what fails.

Both keep the contract of services.ports.Scanner and Registry. `at` is AWS's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from chalicelib.domain.images.finding import Finding, Listing
from chalicelib.domain.images.image import (
    ImageDetail,
    ImageRef,
    InUse,
    Kind,
    Manifest,
    Repository,
    Scan,
    ScanState,
    Source,
)
from chalicelib.errors import AbsentError

START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Scanned:
    """One image as its scanner knows it. `covered` False: the listing is not complete, for the reason in `scan`."""

    source: Source = Source.ENHANCED
    findings: dict[str, Finding] = field(default_factory=dict)
    scan: Scan = field(default_factory=lambda: Scan(ScanState.COMPLETE, None, Source.ENHANCED, START))
    covered: bool = True
    in_use: InUse | None = None
    tags: tuple[str, ...] = ()
    architecture: str | None = None
    platform: str | None = None


class FakeScanner:
    """`lag` listings still show what was there before a change: `change` keeps the former state for that many looks.

    `errors` are raised, one a look, before anything is answered. `looks` counts what was asked for.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: START) -> None:
        self.now = now
        self.images: dict[ImageRef, Scanned] = {}
        self.kev: dict[str, bool] = {}
        self.errors: list[Exception] = []
        self.looks: list[tuple[ImageRef, str | None]] = []
        self.asked_kev: list[str] = []
        self._former: dict[ImageRef, list[Scanned]] = {}

    def put(self, ref: ImageRef, *findings: Finding, **state: object) -> Scanned:
        """The image with exactly these findings; `state` are fields of Scanned."""
        scanned = Scanned(**state)  # type: ignore[arg-type]
        scanned.findings = {f.source_finding_id: f for f in findings}
        if scanned.source is Source.BASIC and "scan" not in state:
            scanned.scan = msgspec.structs.replace(scanned.scan, source=Source.BASIC)
        self.images[ref] = scanned
        return scanned

    def change(self, ref: ImageRef, *findings: Finding, lag: int = 0, **state: object) -> Scanned:
        """As `put`, but the next `lag` looks still see what was there before."""
        before = self.images.get(ref)
        if lag and before is not None:
            self._former[ref] = [before] * lag
        return self.put(ref, *findings, **state)

    def look(self, ref: ImageRef, source: str | None, since: datetime | None = None) -> Listing:
        self.looks.append((ref, source))
        if self.errors:
            raise self.errors.pop(0)
        waiting = self._former.get(ref)
        scanned = waiting.pop(0) if waiting else self.images.get(ref)
        if scanned is None:
            return self._unknown(ref, source)
        return self._listing(scanned, since)

    def known_exploited(self, finding_ids: Sequence[str]) -> dict[str, bool]:
        self.asked_kev += finding_ids
        return {i: self.kev[i] for i in finding_ids if i in self.kev}

    def _listing(self, scanned: Scanned, since: datetime | None) -> Listing:
        scan = scanned.scan
        if since is not None and scan.scanned_at is not None and scan.scanned_at < since:
            scan = Scan(ScanState.PENDING, "not scanned since its push or restore", scan.source, scan.scanned_at)
        return Listing(
            source=scanned.source,
            findings=tuple(scanned.findings.values()),
            listed_at=self.now().replace(microsecond=0),
            scan=scan,
            complete=scanned.covered and scan.state is ScanState.COMPLETE,
            in_use=scanned.in_use,
            architecture=scanned.architecture,
            platform=scanned.platform,
            tags=scanned.tags,
        )

    def _unknown(self, ref: ImageRef, source: str | None) -> Listing:
        """Inspector lists nothing of an image it does not know; ECR says that it is not there."""
        if source == Source.ENHANCED:
            scan = Scan(ScanState.UNAVAILABLE, "Inspector does not cover this image", Source.ENHANCED)
            return Listing(Source.ENHANCED, (), self.now().replace(microsecond=0), scan, False)
        raise AbsentError("image", f"{ref} is not there")


class FakeRegistry:
    """Images and manifests by reference; what is not there is absent. `errors` are raised first, one a call."""

    def __init__(self) -> None:
        self.images: dict[ImageRef, ImageDetail] = {}
        self.manifests: dict[ImageRef, Manifest] = {}
        self.errors: list[Exception] = []
        self.calls: list[tuple[str, ImageRef]] = []

    def put(self, detail: ImageDetail, manifest: Manifest | None = None) -> None:
        self.images[detail.ref] = detail
        self.manifests[detail.ref] = manifest or Manifest(Kind.IMAGE, detail.media_type or MEDIA_TYPE)

    def remove(self, ref: ImageRef) -> None:
        self.images.pop(ref, None)
        self.manifests.pop(ref, None)

    def describe_image(self, ref: ImageRef) -> ImageDetail:
        self._called("describe_image", ref)
        return self.images[ref]

    def tags_now(self, repository: Repository, digests: Collection[str]) -> frozenset[str]:
        found = (self.images.get(repository.image(digest)) for digest in digests)
        return frozenset(tag for image in found if image is not None for tag in image.tags)

    def read_manifest(self, ref: ImageRef) -> Manifest:
        self._called("read_manifest", ref)
        return self.manifests[ref]

    def read_manifests(self, repository: Repository, digests: Collection[str]) -> Mapping[str, Manifest]:
        return {d: m for d in digests if (m := self.manifests.get(repository.image(d))) is not None}

    def read_layers(self, ref: ImageRef) -> tuple[str, ...]:
        self._called("read_layers", ref)
        return ()

    def _called(self, name: str, ref: ImageRef) -> None:
        self.calls.append((name, ref))
        if self.errors:
            raise self.errors.pop(0)
        if ref not in self.images:
            raise AbsentError("image", f"{ref} is not there")
