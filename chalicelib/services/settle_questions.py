"""Look for what AWS's documentation leaves open and this account may show. Nothing here says that anything is wrong.

What is stored is a sample of images; what is not kept of an event cannot be seen afterwards, and is said so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from chalicelib.domain.header import Header
from chalicelib.domain.health import Check, Seen, check_of, ok, unknown
from chalicelib.domain.image import ImageRef, ScanState, Source
from chalicelib.domain.installed import Fired, Installed
from chalicelib.services.examine import examine
from chalicelib.services.examine_work import SINCE

SAMPLE = 500
"""Images that are looked through, the worst first."""
ASKED = 3
NOT_YET = "not seen yet"
KNOWN_KEYS = frozenset({"package_name", "package_version"})
"""Attributes of basic findings that are documented."""


class Row(Protocol):
    @property
    def ref(self) -> ImageRef: ...
    @property
    def scan_state(self) -> ScanState: ...


class Page(Protocol):
    @property
    def items(self) -> Sequence[Row]: ...


class Queries(Protocol):
    def images(self, *, limit: int = 50) -> Page: ...
    def headers(self, refs: Iterable[ImageRef]) -> Mapping[ImageRef, Header]: ...


class Samples(Protocol):
    def attribute_keys(self, ref: ImageRef) -> tuple[str, ...]: ...
    def has_counts(self, ref: ImageRef) -> bool: ...


class Metrics(Protocol):
    def fired(self, rules: Collection[str], since: datetime, now: datetime) -> dict[str, Fired]: ...


class Quotas(Protocol):
    def call_rates(self) -> tuple[str, ...]: ...


def settle_questions(
    there: Installed, now: datetime, queries: Queries, samples: Samples, metrics: Metrics, quotas: Quotas
) -> Iterator[Check]:
    sample = _Sample(queries)
    yield examine("failed-scan-event", lambda: _failed_scan(sample, samples))
    yield examine("scan-resource-actions", lambda: _scan_changes(there, now, metrics))
    yield examine("coverage-event", lambda: _coverage(there, now, metrics))
    yield examine("basic-attributes", lambda: _attributes(sample, samples))
    yield examine("scan-under-deny", lambda: _under_deny(sample))
    yield examine("call-rates", lambda: _rates(quotas.call_rates()))
    for kind, why in (
        ("image-action-results", "events of pushes that did not succeed are not kept"),
        (
            "push-events",
            "how many events one push gives is not counted: they are told from each other by what they change",
        ),
        ("event-size", "sizes of events are not kept"),
        ("use-count-scope", "Inspector's count and what runs are not compared"),
    ):
        yield check_of(kind, unknown(f"{NOT_YET}: {why}"))


class _Sample:
    """Headers of stored images, read once."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._headers: tuple[Header, ...] | None = None

    def headers(self) -> tuple[Header, ...]:
        if self._headers is None:
            refs = [row.ref for row in self._queries.images(limit=SAMPLE).items if not row.ref.home.public]
            self._headers = tuple(self._queries.headers(refs).values())
        return self._headers

    def scanned(self, state: ScanState) -> list[Header]:
        """By ECR's own scanner."""
        return [h for h in self.headers() if h.scan.state is state and h.scan.source is Source.BASIC]


def _failed_scan(sample: _Sample, samples: Samples) -> Seen:
    failed = sample.scanned(ScanState.FAILED)
    if not failed:
        return unknown(f"{NOT_YET}: of {len(sample.headers())} images no basic scan has failed")
    counted = sum(samples.has_counts(header.ref) for header in failed[:ASKED])
    asked = len(failed[:ASKED])
    said = f"basic scans have failed: {len(failed)}; the API gives counts with {counted} of {asked}"
    return unknown(f"{said}; whether there was an event, and with counts, is not kept")


def _scan_changes(there: Installed, now: datetime, metrics: Metrics) -> Seen:
    times = _heard(there, now, metrics, "ScanResourceRule")
    if not times:
        return unknown(f"{NOT_YET}: no such event in {SINCE.days} days is known of")
    return unknown(f"heard in {SINCE.days} days: {times}; their actions are not kept")


def _coverage(there: Installed, now: datetime, metrics: Metrics) -> Seen:
    times = _heard(there, now, metrics, "CoverageRule")
    if not times:
        return unknown(f"{NOT_YET}: no such event in {SINCE.days} days is known of")
    return ok(f"Inspector sends them: {times} in {SINCE.days} days. What else is in them is not kept")


def _heard(there: Installed, now: datetime, metrics: Metrics, rule: str) -> int:
    """How often; 0 also where no stack tells the rule's name."""
    name = there.names.get(rule)
    return 0 if name is None else metrics.fired([name], now - SINCE, now).get(name, Fired()).times


def _attributes(sample: _Sample, samples: Samples) -> Seen:
    scanned = sample.scanned(ScanState.COMPLETE)
    with_findings = [header for header in scanned if any(header.counts)]
    if not with_findings:
        return unknown(f"{NOT_YET}: no image with basic findings among {len(sample.headers())}")
    keys = sorted({key for header in with_findings[:ASKED] for key in samples.attribute_keys(header.ref)})
    if not keys:
        return ok("basic findings have no attributes here")
    more = [key for key in keys if key not in KNOWN_KEYS]
    return ok(f"{', '.join(keys)}" + (f" ({len(more)} beyond what is documented)" if more else ""))


def _under_deny(sample: _Sample) -> Seen:
    """An image that its repository denies to all, and that was scanned after that."""
    denied = [h for h in sample.headers() if h.denied and h.enforcement is not None]
    if not denied:
        return unknown(f"{NOT_YET}: no image of the sample is under a Deny of pulls")
    after = [h for h in denied if h.enforcement and h.scan.scanned_at and h.scan.scanned_at > h.enforcement.at]
    if not after:
        return unknown(f"{NOT_YET}: none of {len(denied)} images under a Deny was scanned since")
    return ok(f"{len(after)} of {len(denied)} images under a Deny were scanned since: it does not stop the scanner")


def _rates(names: Sequence[str]) -> Seen:
    if not names:
        return unknown(f"{NOT_YET}: Service Quotas names no rate of ECR")
    reading = [name for name in names if any(word in name for word in ("Describe", "List"))]
    told = ", ".join(reading) if reading else "none of a Describe or List call"
    return ok(f"Service Quotas names {len(names)} rates: {told}")
