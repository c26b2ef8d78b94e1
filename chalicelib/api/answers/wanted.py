"""Which findings a request wants, and in which order. Pure; where the findings come from is the walk's business.

Whatever has no value for a filter does not match it, and comes last in every order: absent is neither zero nor "no".
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.query import Query
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import Ecosystem, Finding, FindingStatus, FixAvailable, Severity
from chalicelib.domain.images.image import Source
from chalicelib.domain.images.patterns import Globs


class FindingsFilter(msgspec.Struct, frozen=True):
    """The filters about findings; None does not filter. `package` holds globs."""

    statuses: tuple[FindingStatus, ...]
    severities: frozenset[Severity]
    vulnerability_id: str | None = None
    package: Globs | None = None
    ecosystems: tuple[Ecosystem, ...] | None = None
    sources: tuple[Source, ...] | None = None
    fixes: frozenset[FixAvailable] | None = None
    kev: bool | None = None
    min_epss: float | None = None
    first_seen_after: datetime | None = None

    def match(self, finding: Finding) -> bool:
        return (
            finding.status in self.statuses
            and finding.severity in self.severities
            and self.vulnerability_id in (None, finding.vulnerability_id, *finding.related_ids)
            and (self.package is None or any(self.package.match(x.name) for x in finding.packages))
            and (self.ecosystems is None or finding.ecosystem in self.ecosystems)
            and (self.sources is None or finding.source in self.sources)
            and (self.fixes is None or finding.fix_available in self.fixes)
            and (self.kev is None or finding.kev is self.kev)
            and (self.min_epss is None or (finding.epss is not None and finding.epss >= self.min_epss))
            and (self.first_seen_after is None or _after(finding.first_seen, self.first_seen_after))
        )

    def may_be_in(self, header: Header) -> bool:
        """False only when the header's counts exclude every match, so that the document need not be read."""
        if FindingStatus.RESOLVED in self.statuses:
            return True
        if FindingStatus.SUPPRESSED in self.statuses and header.suppressed:
            return True
        return FindingStatus.OPEN in self.statuses and any(header.counts[s.digit] for s in self.severities)


def read_wanted(query: Query, unknown_counts_as: Severity) -> FindingsFilter:
    """`unknown_counts_as` is the policy's `unknown_severity`: what UNKNOWN is worth to `min_severity`."""
    severities = frozenset(query.get(p.SEVERITY) or Severity)
    if (least := query.get(p.MIN_SEVERITY)) is not None:
        severities &= {s for s in Severity if _worth(s, unknown_counts_as) <= least.digit}
    package, fixes = query.get(p.PACKAGE), query.get(p.FIX_AVAILABLE)
    return FindingsFilter(
        statuses=query.get(p.STATUS, p.DEFAULT_STATUS),
        severities=severities,
        vulnerability_id=query.get(p.VULNERABILITY_ID),
        package=None if package is None else Globs(package),
        ecosystems=query.get(p.ECOSYSTEM),
        sources=query.get(p.SOURCE),
        fixes=None if fixes is None else p.fixes(fixes),
        kev=query.get(p.KEV),
        min_epss=query.get(p.MIN_EPSS),
        first_seen_after=query.get(p.FIRST_SEEN_AFTER),
    )


def _worth(severity: Severity, unknown_counts_as: Severity) -> int:
    return (unknown_counts_as if severity is Severity.UNKNOWN else severity).digit


def _after(at: datetime | None, limit: datetime) -> bool:
    return at is not None and at > limit


Place = tuple[bool, Any, str, str, str]
Rank = tuple[bool, Any, str, str, str]


class Falling:
    """A value that sorts the other way round."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Falling) and self.value == other.value

    def __lt__(self, other: Falling) -> bool:
        return bool(other.value < self.value)

    __hash__ = None  # type: ignore[assignment]


class SortOrder:
    """`place_of` is JSON-like and goes into cursors; its `rank` compares. Ties: image, vulnerability id, finding id."""

    def __init__(self, sort: str) -> None:
        self.sort = sort
        self._falling = sort.startswith("-")
        self._value = _VALUES[p.SortKey(sort.removeprefix("-"))]

    def place_of(self, image: str, finding: Finding) -> Place:
        value = self._value(finding)
        return (value is None, value, image, finding.vulnerability_id, finding.source_finding_id)

    def rank(self, place: Place) -> Rank:
        absent, value, *ties = place
        ranked = 0 if absent else Falling(value) if self._falling else value
        return (absent, ranked, ties[0], ties[1], ties[2])


_VALUES: dict[p.SortKey, Callable[[Finding], Any]] = {
    p.SortKey.SEVERITY: lambda f: len(Severity) - f.severity.digit,
    p.SortKey.SCORE: lambda f: f.score,
    p.SortKey.EPSS: lambda f: f.epss,
    p.SortKey.FIRST_SEEN: lambda f: None if f.first_seen is None else f.first_seen.timestamp(),
    p.SortKey.VULNERABILITY_ID: lambda f: f.vulnerability_id,
}
