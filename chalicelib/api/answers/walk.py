"""Which findings a request wants, in which order, and how they are read: a document at a time, worst image first, or
sorted together while they are few.

A walk ends at `limit` findings or after `MAX_DOCUMENTS` documents; its position says where the next page goes on. What
is stored may change between two pages: an image that moved up is not seen again, one that moved down may be. A finding
without a value for a filter does not match it, and comes last in every order: absent is neither zero nor "no".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import takewhile
from operator import itemgetter
from typing import Any

import msgspec

from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.parameters import DEFAULT_SORT
from chalicelib.api.framework.query import Query
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import Ecosystem, Finding, FindingStatus, FixAvailable, Severity
from chalicelib.domain.images.image import ImageRef, Source
from chalicelib.domain.images.text import Globs
from chalicelib.errors import ParameterError
from chalicelib.services.ports.answers import pages
from chalicelib.services.ports.table import ImageRow, Page


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
        after = self.first_seen_after
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
            and (after is None or (finding.first_seen is not None and finding.first_seen > after))
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


MAX_DOCUMENTS = 200
MAX_IMAGES = 2000
CHUNK = 50
MAX_BYTES = 3_000_000

Hit = tuple[Header, Finding]
RowPlace = tuple[int, int, int, str]
Pages = Callable[[str | None, int], Page[ImageRow]]
Meant = Callable[[ImageRef], bool]


class PageRoom:
    """How much a page still holds: `limit` findings, and no more bytes than a function may answer (6 MB)."""

    def __init__(self, limit: int) -> None:
        self._findings, self._bytes = limit, MAX_BYTES

    @property
    def full(self) -> bool:
        return self._findings == 0 or self._bytes <= 0

    def fits(self, finding: Finding) -> bool:
        """Takes the room if so. The last one may overflow a little; one that is alone always fits."""
        if self.full:
            return False
        self._findings -= 1
        self._bytes -= _bytes_of(finding)
        return True


def _bytes_of(finding: Finding) -> int:
    """About as long as its JSON: texts, package URLs and field names."""
    texts = sum(len(i) for i in finding.related_ids)
    for package in finding.packages:
        own = (package.name, package.version, package.path, package.fixed_version)
        texts += 300 + 2 * sum(len(x) for x in own if x)
    return 2000 + texts


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a walk goes on: in the chunk after `after`, behind the image at `row`, or in it behind `place`."""

    after: str | None = None
    row: RowPlace | None = None
    place: Place | None = None


class Walk:
    """One page of findings across images. `pages` gives images worst first, `meant` says which of them count."""

    def __init__(self, reads: FindingsQueries, pages: Pages, meant: Meant, wanted: FindingsFilter) -> None:
        self._reads, self._pages, self._meant, self._wanted = reads, pages, meant, wanted
        self._documents = self._images = 0

    def page(self, limit: int, start: Position) -> tuple[list[Hit], Position | None]:
        """At most `limit` findings, and where to go on; None: that was all."""
        order = SortOrder(DEFAULT_SORT)
        hits: list[Hit] = []
        room, at = PageRoom(limit), start
        while True:
            chunk = self._pages(at.after, CHUNK)
            images = self._read(_behind(chunk.items, at))
            for row, header in images:
                found = self._found(header, order, at.place if row == at.row else None)
                taken = [(header, f) for f in found if room.fits(f)]
                hits += taken
                if len(found) > len(taken):
                    return hits, Position(at.after, row, order.place_of(header.ref.path, hits[-1][1]))
                at = Position(at.after, row)
                if (room.full or self._spent) and header is not images[-1][1]:
                    return hits, at
            if chunk.after is None:
                return hits, None
            at = Position(chunk.after)
            if room.full or self._spent:
                return hits, at

    def few(self) -> list[Header]:
        """All the images, for another order needs every document. Raises ParameterError naming `sort` for too many."""
        headers: list[Header] = []
        for chunk in pages(lambda after: self._pages(after, CHUNK)):
            headers += [h for _, h in self._read(chunk.items) if self._wanted.may_be_in(h)]
            if len(headers) > MAX_DOCUMENTS or self._images > MAX_IMAGES:
                reason = f"more than {MAX_DOCUMENTS} images would have to be sorted: narrow the question by repository"
                raise ParameterError("sort", f"{reason}, digest or tag, or take {DEFAULT_SORT}")
        return headers

    @property
    def _spent(self) -> bool:
        return self._documents >= MAX_DOCUMENTS or self._images >= MAX_IMAGES

    def _read(self, rows: Sequence[ImageRow]) -> list[tuple[RowPlace, Header]]:
        """Headers in the order of the rows; what is gone since the index was written is left out."""
        self._images += len(rows)
        meant = [row for row in rows if self._meant(row.ref)]
        found = self._reads.headers([row.ref for row in meant]) if meant else {}
        headers = ((place_of_row(row), found.get(row.ref)) for row in meant)
        return [(place, h) for place, h in headers if h is not None and h.exists]

    def _found(self, header: Header, order: SortOrder, passed: Place | None) -> list[Finding]:
        if not self._wanted.may_be_in(header):
            return []
        self._documents += 1
        return [f for _, _, f in _ranked(self._reads, header, self._wanted, order, passed)]


def page_of(
    reads: FindingsQueries,
    headers: Iterable[Header],
    wanted: FindingsFilter,
    order: SortOrder,
    passed: Place | None,
    limit: int,
) -> tuple[list[Hit], Place | None]:
    """The wanted findings of some images together, in order, those up to `passed` left out; and where the page ends."""
    found = [(rank, place, (h, f)) for h in headers for rank, place, f in _ranked(reads, h, wanted, order, passed)]
    found.sort(key=itemgetter(0))
    room = PageRoom(limit)
    page = list(takewhile(lambda x: room.fits(x[2][1]), found))
    return [hit for _, _, hit in page], page[-1][1] if len(found) > len(page) else None


def _ranked(
    reads: FindingsQueries, header: Header, wanted: FindingsFilter, order: SortOrder, passed: Place | None
) -> list[tuple[Rank, Place, Finding]]:
    after = None if passed is None else order.rank(passed)
    image, ranked = header.ref.path, []
    for finding in reads.document(header.ref).findings:
        if not wanted.match(finding):
            continue
        place = order.place_of(image, finding)
        rank = order.rank(place)
        if after is None or after < rank:
            ranked.append((rank, place, finding))
    return sorted(ranked, key=itemgetter(0))


def steps(pages: Pages, start: Position) -> Iterator[tuple[ImageRow | None, Position | None]]:
    """Each image from `start` on with the position behind it, None behind the last; no image where a chunk is empty."""
    at = start
    while True:
        chunk = pages(at.after, CHUNK)
        rows = _behind(chunk.items, at)
        then = None if chunk.after is None else Position(chunk.after)
        for row in rows[:-1]:
            yield row, Position(at.after, place_of_row(row))
        yield (rows[-1] if rows else None), then
        if then is None:
            return
        at = then


def place_of_row(row: ImageRow) -> RowPlace:
    """Orders rows as the index does: by decision and worst severity, the newest push first, then by path."""
    severity = len(Severity) if row.worst is None else row.worst.digit
    pushed = 0 if row.pushed_at is None else -int(row.pushed_at.timestamp())
    return (-row.decision.rank, severity, pushed, row.ref.path)


def _behind(rows: Sequence[ImageRow], at: Position) -> Sequence[ImageRow]:
    """The rows not yet seen. Places are compared, so that an image that moved meanwhile hides none of the others."""
    if at.row is None:
        return rows
    whole = at.place is None
    return [r for r in rows if (place := place_of_row(r)) > at.row or (place == at.row and not whole)]
