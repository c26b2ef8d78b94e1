"""The same digest in a private repository, as the header of a public image keeps it, which no scanner covers. Pure.

A twin in a repository that the public one is published from is an origin: its effective decision is the public image's.
Where no origin says anything, any twin that was scanned lends its findings (`scanned_copy.py`). What is kept of a twin
is all that either needs: so the change of one twin is heard by reading that one alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.headers.pending_action import EndedWaivers
from chalicelib.domain.images.image import ImageRef, Scan, ScanState, Source
from chalicelib.domain.images.verdict import Decision, OriginVerdict, Reason
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.section import Publication
from chalicelib.domain.policy.waiver import Waiver


class Twin(msgspec.Struct, frozen=True):
    """`decision`: the effective one, with how many CRITICAL and known exploited findings closed the doors. `present`
    False: deleted, or never heard of. `judged_at`: when its verdict was known to hold; None: it has none. `excused`:
    the reasons of its verdict that waivers excuse. `released_until`: a person's release of it. `lends`: it has findings
    to judge a copy by: a complete listing, of an index one of each of its images. `revision`: of its findings; an index
    has none. `ended`: the waivers by whose end alone it stands so, which people were not told yet. `counts`: its open
    findings by `Severity`."""

    path: str
    decision: Decision = Decision.PENDING
    critical: int = 0
    kev: int = 0
    present: bool = False
    judged_at: datetime | None = None
    excused: tuple[Reason, ...] = ()
    released_until: datetime | None = None
    lends: bool = False
    scan: Scan = Scan()
    revision: int = 0
    ended: EndedWaivers | None = None
    counts: tuple[int, ...] = ()

    @property
    def ref(self) -> ImageRef:
        return ImageRef.from_path(self.path)

    @property
    def has_last_word(self) -> bool:
        """Whether it is gone and still counts: it had closed the doors, or a waiver had excused what would have."""
        return not self.present and self.judged_at is not None and (self.decision.closes_doors or bool(self.excused))

    def tells(self, before: Twin, *, origin: bool) -> bool:
        """Whether a public image of its digest may stand otherwise than by the twin as it was. `origin`: it is
        published from there."""
        return self._told(origin) != before._told(origin)

    def _told(self, origin: bool) -> tuple[object, ...]:
        stands = self.decision, self.critical, self.kev
        if origin:
            excuses = self.judged_at is None, self.excused, self.released_until, self.ended
            return self.present, *stands, *excuses
        found = self.present, self.lends, self.revision, self.scan.state, self.scan.source
        return found if self.revision else (*found, *stands)


def origins_of(twins: Iterable[Twin], publication: Publication) -> list[Twin]:
    """Those that count."""
    return [t for t in twins if publication.is_from(t.ref) and (t.present or t.has_last_word)]


def origin_verdicts(
    origins: Sequence[Twin], policy: Policy, waivers: Sequence[Waiver], now: datetime
) -> tuple[OriginVerdict, ...]:
    return tuple(_stands(origin, policy, waivers, now) for origin in origins)


def _stands(origin: Twin, policy: Policy, waivers: Sequence[Waiver], now: datetime) -> OriginVerdict:
    """A waiver that is over excuses nothing by then, whether its image was decided again or not."""
    decision, waived, over = origin.decision, set[str](), set[str]()
    punished = {rule.id: rule.decision for rule in policy.rules}
    for reason in origin.excused:
        counted = punished.get(reason.rule, reason.decision)
        if counted.rank <= reason.decision.rank:
            continue
        excusing, lacking = _excusing(reason, origin.ref.repository, waivers, now)
        if lacking:
            decision = max(decision, counted, key=lambda d: d.rank)
            over |= lacking
        else:
            waived |= excusing
    return OriginVerdict(
        decision,
        origin.critical,
        origin.kev,
        tuple(sorted(waived)),
        tuple(sorted(over)),
        judged_at=None if origin.present else origin.judged_at,
        released_until=origin.released_until,
    )


def _excusing(reason: Reason, repository: str, waivers: Iterable[Waiver], now: datetime) -> tuple[set[str], set[str]]:
    """The waivers in force by which the same is excused in its repository, and those that none is in force for. Which
    of several it would have done without is not known: each must have one."""
    by_id = {waiver.id: waiver for waiver in waivers}
    here = [w for w in by_id.values() if w.in_force(now) and w.covers(repository)]
    excusing, lacking = set[str](), set[str]()
    for name in reason.waived:
        given = by_id.get(name)
        found = {w.id for w in here if given is not None and w.names_as(given)}
        excusing |= found
        if not found:
            lacking.add(name)
    return excusing, lacking


def lender_of(twins: Iterable[Twin], publication: Publication) -> Twin | None:
    """The twin whose findings tell most, of those that are no origin: Inspector's before ECR's own, a scan in force
    before one that lapsed, the one that found the worst, the newest. So a copy that somebody pushes to where less is
    seen takes the word from no other. None: nothing was scanned anywhere."""
    lending = [t for t in twins if t.present and t.lends and not publication.is_from(t.ref)]

    def worth(twin: Twin) -> tuple[object, ...]:
        scan, found = twin.scan, (twin.counts, twin.decision.rank, twin.critical, twin.kev)
        at = 0.0 if scan.scanned_at is None else scan.scanned_at.timestamp()
        return scan.source is Source.ENHANCED, scan.state is ScanState.COMPLETE, *found, at, twin.path

    return max(lending, key=worth, default=None)
