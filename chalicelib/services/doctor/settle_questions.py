"""Look for what AWS's documentation leaves open and this account may show. Nothing here says that anything is wrong.

What is stored is a sample of images; what is not kept of an event cannot be seen afterwards, and is said so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from chalicelib.domain.doctor.health import Check, CheckResult, check_of, ok, unknown
from chalicelib.domain.doctor.installed import Fired, Installed, UseCount
from chalicelib.domain.doctor.sight import LARGE_KIB, Question, Sight
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, Repository, ScanState, Source
from chalicelib.services.doctor.check_work import SINCE
from chalicelib.services.doctor.run_check import run_check

SAMPLE = 500
"""Images that are looked through, the worst first."""
ASKED = 3
NOT_YET = "not seen yet"
TOO_LARGE = "IMAGE_SIZE_EXCEEDED"
"""Inspector's reason for leaving an image out."""
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


class Uses(Protocol):
    def sample(self) -> tuple[UseCount, ...]: ...


Known = Mapping[Repository, Mapping[str, object]]


def settle_questions(
    there: Installed,
    now: datetime,
    queries: Queries,
    known: Callable[[], Known],
    samples: Samples,
    metrics: Metrics,
    quotas: Quotas,
    uses: Uses,
) -> Iterator[Check]:
    """`known`: what is stored of repositories, and with it what events have shown (`domain.sight`)."""
    sample, shown = _Sample(queries), _Shown(known)
    yield run_check("failed-scan-event", lambda: _failed_scan(sample, samples, shown))
    yield run_check("image-action-results", lambda: _results(shown))
    yield check_of("push-events", unknown(f"{NOT_YET}: an event does not say which push it is of"))
    yield run_check("scan-resource-actions", lambda: _scan_changes(there, now, metrics, shown))
    yield run_check("coverage-event", lambda: _coverage(there, now, metrics, shown))
    yield run_check("suppression-event", lambda: _suppressions(shown))
    yield run_check("basic-attributes", lambda: _attributes(sample, samples))
    yield run_check("event-size", lambda: _sizes(shown))
    yield run_check("image-size", lambda: _image_sizes(sample))
    yield run_check("use-count-scope", lambda: _use_counts(uses.sample()))
    yield run_check("scan-under-deny", lambda: _under_deny(sample))
    yield run_check("call-rates", lambda: _rates(quotas.call_rates()))


class _Shown:
    """What events have shown, read once: the answers to a question, with how many repositories showed each."""

    def __init__(self, known: Callable[[], Known]) -> None:
        self._known = known
        self._counts: Counter[Sight] | None = None

    def answers(self, question: Question) -> dict[str, int]:
        if self._counts is None:
            sights = (Sight.read(fact) for facts in self._known().values() for fact in facts)
            self._counts = Counter(sight for sight in sights if sight is not None)
        return {sight.answer: n for sight, n in sorted(self._counts.items()) if sight.question is question}

    def words(self, question: Question) -> str:
        """Empty: nothing was shown."""
        return ", ".join(f"{answer} ({_repositories(n)})" for answer, n in self.answers(question).items())


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


def _failed_scan(sample: _Sample, samples: Samples, shown: _Shown) -> CheckResult:
    if heard := shown.words(Question.FAILED_SCAN):
        return ok(f"ECR tells of them: {heard.replace('_', ' ')}")
    failed = sample.scanned(ScanState.FAILED)
    if not failed:
        return unknown(f"{NOT_YET}: of {len(sample.headers())} images no basic scan has failed")
    asked = failed[:ASKED]
    counted = sum(samples.has_counts(header.ref) for header in asked)
    said = f"{len(failed)} basic scans have failed, and no event told of one"
    return unknown(f"{NOT_YET}: {said}; the API has counts for {counted} of {len(asked)}")


def _results(shown: _Shown) -> CheckResult:
    if heard := shown.words(Question.IMAGE_RESULT):
        return ok(f"beside SUCCESS: {heard}")
    return unknown(f"{NOT_YET}: every image action that was heard says SUCCESS, or none was heard")


def _scan_changes(there: Installed, now: datetime, metrics: Metrics, shown: _Shown) -> CheckResult:
    if heard := shown.words(Question.SCAN_CHANGE):
        return ok(heard)
    times = _heard(there, now, metrics, "ScanResourceRule")
    what = f"{times} events in {SINCE.days} days named no repository" if times else "no such event is known of"
    return unknown(f"{NOT_YET}: {what}")


def _coverage(there: Installed, now: datetime, metrics: Metrics, shown: _Shown) -> CheckResult:
    times = _heard(there, now, metrics, "CoverageRule")
    fields = ", ".join(shown.answers(Question.COVERAGE))
    if fields:
        often = f"{times} in {SINCE.days} days, " if times else ""
        return ok(f"Inspector sends them: {often}about images by their ARN, with {fields}")
    if times:
        return ok(f"Inspector sends them: {times} in {SINCE.days} days, what is in them has not been seen")
    return unknown(f"{NOT_YET}: no such event in {SINCE.days} days is known of")


def _suppressions(shown: _Shown) -> CheckResult:
    if heard := shown.answers(Question.SUPPRESSED):
        seen = _repositories(sum(heard.values()))
        return ok(f"Inspector tells of them by findings ({seen}); whether always, is open")
    return unknown(f"{NOT_YET}: no event has told of a finding that is suppressed")


def _sizes(shown: _Shown) -> CheckResult:
    largest: dict[str, int] = {}
    for answer in shown.answers(Question.EVENT_SIZE):
        kind, _, size_kib = answer.rpartition("_")
        if size_kib.isdecimal():
            largest[kind] = max(largest.get(kind, 0), int(size_kib))
    if not largest:
        return unknown(f"{NOT_YET}: no event of {LARGE_KIB} KiB or more was heard")
    ordered = sorted(largest.items(), key=lambda one: (-one[1], one[0]))
    return ok(", ".join(f"{kind} {size} to {2 * size} KiB" for kind, size in ordered))


def _image_sizes(sample: _Sample) -> CheckResult:
    """Of images that Inspector was to scan."""
    sized = [(h.size_bytes, h.scan) for h in sample.headers() if h.size_bytes and h.scan.source is Source.ENHANCED]
    refused = [size for size, scan in sized if scan.reason == TOO_LARGE]
    scanned = [size for size, scan in sized if scan.state is ScanState.COMPLETE]
    if not sized:
        return unknown(f"{NOT_YET}: Inspector was to scan no image of the sample")
    most = f"the largest that was scanned has {_gb(max(scanned))}" if scanned else "none of known size was scanned"
    if not refused:
        return unknown(f"{NOT_YET}: none of {_images(len(sized))} was refused for its size; {most}")
    return ok(f"the smallest that was refused for its size has {_gb(min(refused))}; {most}")


def _use_counts(found: Sequence[UseCount]) -> CheckResult:
    """One that is counted the same both ways tells nothing."""
    telling = [one for one in found if one.clusters != one.units]
    clusters = sum(one.said == one.clusters for one in telling)
    units = sum(one.said == one.units for one in telling)
    if not telling or clusters == units == 0:
        return unknown(f"{NOT_YET}: of {len(found)} images in use none tells clusters from tasks and pods")
    if clusters and units:
        return ok(f"now clusters ({_images(clusters)}), now tasks and pods ({_images(units)})")
    return ok(f"clusters, by {_images(clusters)}" if clusters else f"tasks and pods, by {_images(units)}")


def _heard(there: Installed, now: datetime, metrics: Metrics, rule: str) -> int:
    """How often; 0 also where no stack tells the rule's name."""
    name = there.names.get(rule)
    return 0 if name is None else metrics.fired([name], now - SINCE, now).get(name, Fired()).times


def _attributes(sample: _Sample, samples: Samples) -> CheckResult:
    scanned = sample.scanned(ScanState.COMPLETE)
    with_findings = [header for header in scanned if any(header.counts)]
    if not with_findings:
        return unknown(f"{NOT_YET}: no image with basic findings among {len(sample.headers())}")
    keys = sorted({key for header in with_findings[:ASKED] for key in samples.attribute_keys(header.ref)})
    if not keys:
        return ok("basic findings have no attributes here")
    more = [key for key in keys if key not in KNOWN_KEYS]
    return ok(f"{', '.join(keys)}" + (f" ({len(more)} beyond what is documented)" if more else ""))


def _under_deny(sample: _Sample) -> CheckResult:
    """An image that its repository denies to all, and that was scanned after that."""
    denied = [h for h in sample.headers() if h.denied and h.enforcement is not None]
    if not denied:
        return unknown(f"{NOT_YET}: no image of the sample is under a Deny of pulls")
    after = [h for h in denied if h.enforcement and h.scan.scanned_at and h.scan.scanned_at > h.enforcement.at]
    if not after:
        return unknown(f"{NOT_YET}: none of {len(denied)} images under a Deny was scanned since")
    return ok(f"{len(after)} of {len(denied)} images under a Deny were scanned since: it does not stop the scanner")


def _rates(names: Sequence[str]) -> CheckResult:
    if not names:
        return unknown(f"{NOT_YET}: Service Quotas names no rate of ECR")
    reading = [name for name in names if any(word in name for word in ("Describe", "List"))]
    told = ", ".join(reading) if reading else "none of a Describe or List call"
    return ok(f"Service Quotas names {len(names)} rates: {told}")


def _repositories(number: int) -> str:
    return "1 repository" if number == 1 else f"{number} repositories"


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"


def _gb(size_bytes: int) -> str:
    """As ECR counts it: compressed."""
    return f"{size_bytes / 10**9:.2f} GB"
