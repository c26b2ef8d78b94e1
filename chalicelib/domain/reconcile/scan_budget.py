"""How many scans all workers together may ask for within 24 hours, and which images come first. Pure.

ECR's own scanner does 100,000 a day for each registry and Region, scans on push included, and each image once in 24
hours. The budget is counted by the hour, so that the shared item stays small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, InUseState, Kind, ScanState, Source, StorageStatus
from chalicelib.domain.policy.section import Scanning

AGAIN_AFTER = timedelta(hours=24)
HOUR = timedelta(hours=1)
FOR_RUNNING = 0.25
"""The share of a day's budget that is kept for images that run, also of the last repository."""


class ScanRefusal(StrEnum):
    """ECR's answers instead of a scan. LIMIT: the image was scanned within 24 hours, or too many were."""

    LIMIT = "LIMIT"
    UNSUPPORTED = "UNSUPPORTED"
    ARCHIVED = "ARCHIVED"
    ABSENT = "ABSENT"


class Asked(msgspec.Struct, frozen=True):
    """When the scan of an image was last asked for. `refused`: ECR's answer, where it did not scan."""

    at: datetime
    refused: ScanRefusal | None = None

    def bars(self, now: datetime) -> bool:
        """Whether it may not be asked for yet. What ECR does not support stays so: a digest does not change."""
        return self.refused is ScanRefusal.UNSUPPORTED or now < self.at + AGAIN_AFTER


class Hour(msgspec.Struct, frozen=True):
    """`began_at`: a full hour; `asked`: scans within it."""

    began_at: datetime
    asked: int


class ScanBudget(msgspec.Struct, frozen=True):
    """What was taken within the last 24 hours, oldest first."""

    hours: tuple[Hour, ...] = ()

    def spent(self, now: datetime) -> int:
        return sum(hour.asked for hour in self._left(now))

    def take(self, wanted: int, limit: int, now: datetime) -> tuple[ScanBudget, int]:
        """The budget afterwards, and how many of those wanted are granted."""
        granted = max(0, min(wanted, limit - self.spent(now)))
        return self._with(granted, now), granted

    def grant(self, running: int, others: int, daily: int, now: datetime) -> tuple[ScanBudget, int, int]:
        """The budget afterwards, and how many of those that run and of the others are granted."""
        after, granted = self.take(running, daily, now)
        after, more = after.take(others, int(daily * (1 - FOR_RUNNING)), now)
        return after, granted, more

    def give_back(self, unused: int, taken_at: datetime) -> ScanBudget:
        """Of what was taken then: other hours stay as they are."""
        return self._with(-unused, taken_at)

    def _left(self, now: datetime) -> tuple[Hour, ...]:
        """An hour counts as long as any of it may be within the last day."""
        return tuple(hour for hour in self.hours if hour.began_at + HOUR > now - AGAIN_AFTER)

    def _with(self, asked: int, now: datetime) -> ScanBudget:
        if not asked:
            return self
        began_at = now.replace(minute=0, second=0, microsecond=0)
        counts = Counter({hour.began_at: hour.asked for hour in self._left(now)})
        counts[began_at] += asked
        return ScanBudget(tuple(Hour(at, n) for at, n in sorted(counts.items()) if n > 0))


class StartedScans(msgspec.Struct, frozen=True):
    """`refused`: by ECR's answer. `left`: due, and beyond budget or time. `error`: why no more were asked for."""

    started: int = 0
    refused: Mapping[ScanRefusal, int] = {}
    left: int = 0
    error: str | None = None


def to_rescan(
    headers: Iterable[Header], scanning: Scanning, unscanned: timedelta, now: datetime, but: Collection[ImageRef] = ()
) -> list[Header]:
    """Images under basic scanning that are due, in order: running, perhaps running, others; in each the never scanned,
    then the longest ago. `unscanned`: how long a scan on push may take. `but`: images that are refreshed anyway."""
    due = [h for h in headers if h.ref not in but and _may_be_scanned(h) and _is_due(h, scanning, unscanned, now)]
    return sorted(due, key=lambda h: (_USE[h.in_use.state], h.scan.scanned_at is not None, h.scan.scanned_at, h.ref))


def in_turn(due: Iterable[Header], asked: Mapping[ImageRef, Asked]) -> list[Header]:
    """Of equal use the image comes first that was asked for longest ago, or never: one whose scan fails every day does
    not keep others from theirs."""
    return sorted(due, key=lambda h: (_USE[h.in_use.state], asked[h.ref].at.timestamp() if h.ref in asked else 0.0))


_USE = {InUseState.YES: 0, InUseState.UNKNOWN: 1, InUseState.NO: 2}


def _may_be_scanned(header: Header) -> bool:
    there = header.exists and header.kind is Kind.IMAGE and not header.ref.home.public
    return there and header.storage is StorageStatus.ACTIVE


def _is_due(header: Header, scanning: Scanning, unscanned: timedelta, now: datetime) -> bool:
    scan = header.scan
    pushed_at = header.pushed_at or header.known_at
    if scan.state in (ScanState.IN_PROGRESS, ScanState.UNSUPPORTED):
        return False
    if pushed_at is not None and pushed_at + unscanned > now:
        return False
    if scan.state is ScanState.COMPLETE and header.refreshed_at is not None and scan.source is not Source.ENHANCED:
        return scan.scanned_at is None or scan.scanned_at + timedelta(days=scanning.rescan_after_days) <= now
    return True
