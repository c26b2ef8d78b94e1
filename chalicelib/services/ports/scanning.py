"""Scanners: findings of one image, listings of a registry, and what is asked to be scanned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from chalicelib.domain.images.document import Listing
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.reconcile.registry_listing import ChangesListed, CoverageListed, OpenCounts
from chalicelib.domain.reconcile.scan_budget import Asked, ScanBudget, ScanRefusal
from chalicelib.domain.reconcile.scan_rule import AppliedScanRule, RegistryScanning


class Scanner(Protocol):
    """Amazon Inspector and ECR's own scanner."""

    def look(self, ref: ImageRef, source: str | None, since: datetime | None = None) -> Listing:
        """All pages, then coverage. `source` None: whichever scanner is in force. Raises AbsentError.

        `since`: when the image was pushed or last restored; an Inspector scan older than that makes it incomplete.
        """

    def known_exploited(self, finding_ids: Sequence[str]) -> dict[str, bool]:
        """By findingArn; ids without an answer are absent."""


class Inspection(Protocol):
    """Amazon Inspector, listed: of `home`, or of all of its registry and Region where it has no name.

    `most_pages` ends a listing that is too long.
    """

    def coverage(self, home: Repository, most_pages: int) -> CoverageListed: ...

    def changes(self, home: Repository, since: datetime, most_pages: int) -> ChangesListed: ...

    def repository_counts(self, home: Repository, most_pages: int) -> Mapping[Repository, OpenCounts] | None:
        """Of the registry, those without a finding absent; None where there are more pages than that."""

    def image_counts(self, home: Repository, most_pages: int) -> Mapping[ImageRef, OpenCounts] | None: ...


class Scans(Protocol):
    """How ECR scans, and what it is asked to scan. `registry`: a registry and Region, without a name."""

    def configuration(self, registry: Repository) -> tuple[str, RegistryScanning]:
        """How it scans, with the account id of the registry that is spoken of: another one than was meant where
        nothing lets us look there."""

    def applied(self, registry: Repository, names: Collection[str]) -> Mapping[str, AppliedScanRule]:
        """By name of a repository; those that are not there are absent."""

    def start(self, ref: ImageRef) -> ScanRefusal | None:
        """Has ECR's own scanner scan the image. None: it is at it."""


class ScanAsks(Protocol):
    """Which scans were asked for, by all workers together."""

    def asked(self, refs: Iterable[ImageRef]) -> Mapping[ImageRef, Asked]:
        """Images never asked for are absent; may be a moment behind."""

    def claim(self, ref: ImageRef, at: datetime, former: Asked | None) -> bool:
        """From now on it is asked for. False: somebody else has claimed it since `former`."""

    def end_claim(self, ref: ImageRef, at: datetime, asked: Asked | None) -> None:
        """What became of the claim of `at`; None: it was not asked after all."""

    def change_budget(self, registry: Repository, change: Callable[[ScanBudget], ScanBudget]) -> ScanBudget:
        """Of the registry and Region; `change` may be called more than once."""
