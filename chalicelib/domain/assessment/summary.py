"""What all images together look like at one moment. Pure: where the rows come from, and where it is kept, is not said.

A snapshot, not a counter: whatever was missed or counted twice yesterday is right in the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from heapq import nsmallest
from typing import Annotated, Protocol

import msgspec

from chalicelib.domain.alerts.alert import summary_words
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageRef, ScanState
from chalicelib.domain.images.verdict import Decision

WORST_SHOWN = 10
REPOSITORIES_SHOWN = 100
NONE, NOT_SCANNED = "NONE", "NOT_SCANNED"


class SummaryRow(Protocol):
    """One image that exists. `counts`: open findings in the order of `Severity`; None: not known, or an index."""

    @property
    def ref(self) -> ImageRef: ...
    @property
    def decision(self) -> Decision: ...
    @property
    def worst(self) -> Severity | None: ...
    @property
    def counts(self) -> tuple[int, ...] | None: ...
    @property
    def scan_state(self) -> ScanState: ...
    @property
    def tags(self) -> tuple[str, ...]: ...


class BadImage(msgspec.Struct, frozen=True):
    """`findings` None: not known (no complete scan yet), or an index. `worst` is the worst heard of, even so."""

    image: str
    tags: tuple[str, ...]
    decision: Decision
    worst: Severity | None
    findings: dict[Severity, int] | None


class RepositorySummary(msgspec.Struct, frozen=True):
    """`findings`: of the images whose findings are known."""

    registry: str
    region: str
    repository: str
    images: int
    decisions: dict[Decision, int]
    findings: dict[Severity, int]


class RegistrySummary(msgspec.Struct, frozen=True):
    """`unscanned`: how many of its images lack a complete scan."""

    registry: str
    region: str
    images: int
    unscanned: int


class Summary(msgspec.Struct, frozen=True):
    """Every decision, scan state and severity is there, with 0 where there is none.

    `findings`: open ones by severity, of the images whose findings are known. `images_by_worst`: images by their worst
    open severity (`NONE`: nothing open, which is clean only where the scan is COMPLETE; `NOT_SCANNED`: there has been
    no complete scan, or it is an index, whose images are scanned). `repositories`: at most 100, the worst first, of
    `repositories_total`. `registries`: all of them, by account and Region; null in a
    snapshot of a former version.
    """

    taken_at: Annotated[datetime, msgspec.Meta(tz=True)]
    images: int
    decisions: dict[Decision, int]
    scan_states: dict[ScanState, int]
    findings: dict[Severity, int]
    images_by_worst: dict[str, int]
    worst: tuple[BadImage, ...]
    repositories_total: int
    repositories: tuple[RepositorySummary, ...]
    registries: tuple[RegistrySummary, ...] | None = None


def summarize(rows: Iterable[SummaryRow], now: datetime) -> Summary:
    """One pass; keeps a few numbers a repository and the worst images, whatever the number of rows."""
    tally = _Tally()
    worst: list[SummaryRow] = []
    for row in rows:
        tally.add(row)
        worst.append(row)
        if len(worst) >= 1000:
            worst = nsmallest(WORST_SHOWN, worst, key=_badness)
    bad = [r for r in worst if r.decision is not Decision.ALLOW or r.worst is not None]
    homes = sorted(tally.homes.values(), key=_repository_badness)
    return Summary(
        taken_at=now,
        images=tally.images,
        decisions=tally.decisions,
        scan_states=tally.scan_states,
        findings=_by_severity(tally.findings),
        images_by_worst=tally.by_worst,
        worst=tuple(_bad_image(r) for r in nsmallest(WORST_SHOWN, bad, key=_badness)),
        repositories_total=len(homes),
        repositories=tuple(homes[:REPOSITORIES_SHOWN]),
        registries=tuple(RegistrySummary(*p, n, tally.unscanned[p]) for p, n in sorted(tally.registries.items())),
    )


def summary_lines(summary: Summary) -> tuple[str, ...]:
    """For people, in an alert."""
    decisions = ", ".join(f"{n} {decision}" for decision, n in summary.decisions.items() if n)
    lacking = summary.images - summary.scan_states[ScanState.COMPLETE]
    return (
        f"Images: {summary.images}" + (f" ({decisions})" if decisions else ""),
        f"Images without a complete scan, or whose scan has lapsed: {lacking}",
        f"Open findings: {summary_words(tuple(summary.findings.values()))}",
    )


class _Tally:
    def __init__(self) -> None:
        self.images = 0
        self.decisions = dict.fromkeys(Decision, 0)
        self.scan_states = dict.fromkeys(ScanState, 0)
        self.findings = [0] * len(Severity)
        self.by_worst = {**dict.fromkeys((s.value for s in Severity), 0), NONE: 0, NOT_SCANNED: 0}
        self.homes: dict[tuple[str, str, str], RepositorySummary] = {}
        self.registries: Counter[tuple[str, str]] = Counter()
        self.unscanned: Counter[tuple[str, str]] = Counter()

    def add(self, row: SummaryRow) -> None:
        self.images += 1
        self.decisions[row.decision] += 1
        self.scan_states[row.scan_state] += 1
        self.by_worst[_bucket(row)] += 1
        ref = row.ref
        self.registries[ref.registry, ref.region] += 1
        self.unscanned[ref.registry, ref.region] += row.scan_state is not ScanState.COMPLETE
        place = (ref.registry, ref.region, ref.repository)
        former = self.homes.get(place) or RepositorySummary(
            *place, 0, dict.fromkeys(Decision, 0), dict.fromkeys(Severity, 0)
        )
        decisions, findings = former.decisions, former.findings
        decisions[row.decision] += 1
        if row.counts is not None:
            self.findings = [a + b for a, b in zip(self.findings, row.counts, strict=True)]
            for severity, count in zip(Severity, row.counts, strict=True):
                findings[severity] += count
        self.homes[place] = msgspec.structs.replace(former, images=former.images + 1)


def _bucket(row: SummaryRow) -> str:
    if row.counts is None:
        return NOT_SCANNED
    return NONE if row.worst is None else row.worst.value


def _badness(row: SummaryRow) -> tuple[object, ...]:
    """Among the same decisions, those whose findings are not known come last: there is nothing to compare."""
    return (-row.decision.rank, row.counts is None, tuple(-c for c in row.counts or ()), row.ref)


def _repository_badness(home: RepositorySummary) -> tuple[object, ...]:
    decisions = tuple(-home.decisions[d] for d in sorted(Decision, key=lambda d: -d.rank))
    return (decisions, tuple(-home.findings[s] for s in Severity), home.registry, home.region, home.repository)


def _bad_image(row: SummaryRow) -> BadImage:
    findings = None if row.counts is None else _by_severity(row.counts)
    return BadImage(str(row.ref), row.tags, row.decision, row.worst, findings)


def _by_severity(counts: Sequence[int]) -> dict[Severity, int]:
    return dict(zip(Severity, counts, strict=True))
