"""How an observation is merged into the findings of one image. Pure: what is done about it, services decide.

The rules (each has broken a simpler draft):

* Inspector: per finding the newer `updatedAt` (whole seconds) wins; at a tie a listing wins over what is stored, an
  event row never does. An open finding that a complete listing lacks is resolved.
* Closing is believed only when it is older than `consistency_delay`, the image is being scanned, and no archive is
  wanted, begun or done: archiving an image closes its findings, and that must never release it. A closing that is too
  young is `spared`: the caller looks again. So is every closing of an image that has only just come back from an
  archive or a lapse: for a while the list still shows what the archive closed beside a coverage that is complete again.
* Basic: the newer `imageScanCompletedAt` wins as a whole; while closings prove nothing, only what it adds.
* The first complete listing of another source resolves what the former source had left open.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.images.finding import Finding, FindingChange, FindingsDocument, FindingStatus, Listing
from chalicelib.domain.images.image import Source

ABSENT, CLOSED, SOURCE_CHANGED = "absent", "closed", "source-changed"
LOGGED = ("status", "severity", "score", "epss", "kev", "exploit_available", "fix_available")
MATERIAL = (*LOGGED, "packages", "first_seen", "first_seen_in_line")


class Merged(msgspec.Struct, frozen=True):
    """`changed`: the document must be put. `spared`: a closing was too young to believe, look again."""

    document: FindingsDocument
    changed: bool
    spared: bool = False


def merge_listing(
    document: FindingsDocument,
    listing: Listing,
    *,
    consistency_delay: timedelta,
    archive: bool,
    scanned_at: datetime | None = None,
    revived_at: datetime | None = None,
) -> Merged:
    """`archive`: one is wanted, begun or done. `scanned_at`: the newest basic scan the header knows of.

    `revived_at`: the first complete look after the image had not been scanned for a while.
    """
    if listing.source is Source.BASIC:
        return _merge_basic(document, listing, archive, scanned_at)
    if document.source is Source.BASIC and not _supersedes(document, listing):
        return Merged(document, False)
    revived = revived_at is not None and listing.listed_at < revived_at + consistency_delay
    return _EnhancedMerge(
        document, listing, consistency_delay, believe=listing.complete and not archive, revived=revived
    ).run()


def merge_rows(document: FindingsDocument, rows: Iterable[Finding]) -> Merged:
    """Finding events, silent about all other findings. They never close: whether to believe that, a look decides."""
    work, spared = _Work(document, None), False
    for row in rows:
        stored = work.found.get(row.source_finding_id)
        if stored is not None and _second(row) <= _second(stored):
            continue
        if row.status is FindingStatus.RESOLVED:
            spared = spared or stored is None or stored.status is not FindingStatus.RESOLVED
            continue
        work.put(row, stored, row.updated_at)
    return work.merged(spared)


def learn(document: FindingsDocument, kev: dict[str, bool], at: datetime | None = None) -> Merged:
    """KEV facts by finding id. A finding without an answer keeps what it had: no answer is None, not False.

    `at`: when they were learnt, for the log; else they are logged at the finding's last update.
    """
    work = _Work(document, None)
    for finding in document.findings:
        known = kev.get(finding.source_finding_id)
        if known is not None and known is not finding.kev:
            work.put(msgspec.structs.replace(finding, kev=known), finding, at or finding.updated_at)
    return work.merged(False)


def age(document: FindingsDocument, line: Iterable[Finding]) -> Merged:
    """Takes over earlier first sights from the findings of another image of the same line."""
    earlier: dict[tuple[str, str], datetime] = {}
    for finding in line:
        if (seen := finding.first_seen_in_line or finding.first_seen) is None:
            continue
        for package in finding.packages:
            key = (finding.vulnerability_id, package.name)
            earlier[key] = min(seen, earlier.get(key, seen))
    work = _Work(document, None)
    for finding in document.findings:
        keys = [(finding.vulnerability_id, p.name) for p in finding.packages]
        times = [earlier[k] for k in keys if k in earlier]
        mine = finding.first_seen_in_line or finding.first_seen
        if times and (mine is None or min(times) < mine):
            work.put(msgspec.structs.replace(finding, first_seen_in_line=min(times)), finding, finding.updated_at)
    return work.merged(False)


class _EnhancedMerge:
    """One listing of Inspector's on its way into the document."""

    def __init__(
        self,
        document: FindingsDocument,
        listing: Listing,
        consistency_delay: timedelta,
        *,
        believe: bool,
        revived: bool,
    ) -> None:
        self.listing, self.believe, self.revived = listing, believe, revived
        self.young = (listing.listed_at - consistency_delay).timestamp()
        self.work, self.spared = _Work(document, listing.listed_at), False

    def run(self) -> Merged:
        for row in self.listing.findings:
            stored = self.work.found.get(row.source_finding_id)
            if stored is not None and _second(row) < _second(stored):
                continue
            if row.status is FindingStatus.RESOLVED:
                self._close(row, stored)
            else:
                self.work.put(row, stored, row.updated_at)
        if self.believe:
            young = float("-inf") if self.revived else self.young
            self.spared = self.work.resolve_absent(self.listing, young) or self.spared
        return self.work.merged(self.spared, self.listing if self.listing.complete else None)

    def _close(self, row: Finding, stored: Finding | None) -> None:
        if not self.believe or (stored is not None and stored.status is FindingStatus.RESOLVED):
            return
        if _second(row) > self.young or (stored is not None and self.revived):
            self.spared = True
            return
        at = row.updated_at or self.listing.listed_at
        closed = msgspec.structs.replace(row, resolved_at=at, resolved_reason=CLOSED)
        self.work.put(closed, stored, row.updated_at)


def _merge_basic(document: FindingsDocument, listing: Listing, archive: bool, known: datetime | None) -> Merged:
    scanned_at = listing.scan.scanned_at or listing.listed_at
    newest = max(filter(None, (document.scanned_at, known)), default=None)
    if not listing.complete or (newest is not None and _whole(scanned_at) < _whole(newest)):
        return Merged(document, False)
    if document.source is Source.ENHANCED and not _supersedes(document, listing):
        return Merged(document, False)
    work = _Work(document, scanned_at)
    for row in listing.findings:
        seen = msgspec.structs.replace(row, first_seen=scanned_at, last_seen=scanned_at, updated_at=scanned_at)
        work.put(seen, work.found.get(row.source_finding_id), scanned_at)
    if not archive:
        work.resolve_absent(listing, float("inf"))
    return work.merged(False, listing)


def _supersedes(document: FindingsDocument, listing: Listing) -> bool:
    """Whether a complete listing of another source is newer than the source in force. Of two in one second either may
    be; the later look that a write brings about finds out."""
    since = document.source_since
    return listing.complete and (since is None or listing.listed_at >= since)


class _Work:
    """The findings while a merge goes on, with the changes to log."""

    def __init__(self, document: FindingsDocument, at: datetime | None) -> None:
        self.document, self.at = document, at
        self.found = {f.source_finding_id: f for f in document.findings}
        self.log: list[FindingChange] = []
        self.changed = False

    def put(self, new: Finding, stored: Finding | None, at: datetime | None) -> None:
        """Takes `new` over if it differs materially; everything else alone is not worth a write."""
        new = _rounded(new)
        if stored is not None:
            new = _carry_over(new, stored)
            changes = [name for name in MATERIAL if getattr(new, name) != getattr(stored, name)]
            if not changes:
                return
            self._log(new, stored, changes, at or self.at)
        self.changed = True
        self.found[new.source_finding_id] = new

    def _log(self, new: Finding, stored: Finding, changes: list[str], at: datetime | None) -> None:
        if at is None:
            return
        at = at.replace(microsecond=0)
        self.log += [
            FindingChange(at, new.source_finding_id, name, _plain(getattr(stored, name)))
            for name in changes
            if name in LOGGED
        ]

    def resolve_absent(self, listing: Listing, young: float) -> bool:
        """Resolves what the listing lacks, and all of the former source. Returns whether anything was spared."""
        listed, spared = {f.source_finding_id for f in listing.findings}, False
        for finding in list(self.found.values()):
            if finding.source_finding_id in listed or finding.status is FindingStatus.RESOLVED:
                continue
            foreign = finding.source is not listing.source
            if not foreign and _second(finding) > young:
                spared = True
                continue
            gone = msgspec.structs.replace(
                finding,
                status=FindingStatus.RESOLVED,
                resolved_at=self.at,
                resolved_reason=SOURCE_CHANGED if foreign else ABSENT,
            )
            self.put(gone, finding, self.at)
        return spared

    def merged(self, spared: bool, listing: Listing | None = None) -> Merged:
        """`listing` is given when it was complete: its source is the one in force from now on."""
        document = self.document
        switched = listing is not None and document.source is not listing.source
        if not self.changed and not switched:
            return Merged(document, False, spared)
        if listing is not None and switched:
            document = msgspec.structs.replace(document, source=listing.source, source_since=_floor(listing.listed_at))
        if listing is not None and listing.source is Source.BASIC:
            document = msgspec.structs.replace(document, scanned_at=_floor(listing.scan.scanned_at))
        findings, log = tuple(self.found.values()), document.log + tuple(self.log)
        return Merged(msgspec.structs.replace(document, findings=findings, log=log), True, spared)


def _carry_over(new: Finding, stored: Finding) -> Finding:
    """What the source does not say again and we must not forget."""
    return msgspec.structs.replace(
        new,
        kev=stored.kev if new.kev is None else new.kev,
        first_seen=_earlier(new.first_seen, stored.first_seen),
        first_seen_in_line=_earlier(new.first_seen_in_line, stored.first_seen_in_line),
    )


def _earlier(a: datetime | None, b: datetime | None) -> datetime | None:
    return min(a, b) if a is not None and b is not None else a or b


def _rounded(finding: Finding) -> Finding:
    """As stored: times in whole seconds, EPSS at 0.01, so that a comparison with the stored finding is fair."""
    return msgspec.structs.replace(
        finding,
        epss=None if finding.epss is None else round(finding.epss, 2),
        first_seen=_floor(finding.first_seen),
        first_seen_in_line=_floor(finding.first_seen_in_line),
        last_seen=_floor(finding.last_seen),
        updated_at=_floor(finding.updated_at),
        resolved_at=_floor(finding.resolved_at),
    )


def _floor(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(microsecond=0)


def _second(finding: Finding) -> int:
    """When the source last touched the finding, in whole seconds since 1970; 0 where it does not say."""
    at = finding.updated_at or finding.last_seen or finding.first_seen
    return 0 if at is None else _whole(at)


def _whole(at: datetime) -> int:
    return int(at.timestamp())


def _plain(value: object) -> str | float | bool | None:
    return value if isinstance(value, bool | float) or value is None else str(value)
