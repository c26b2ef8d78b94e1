"""A scanner's findings over hours and days, merged as the services merge them, with a copy kept of every state."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from hypothesis import strategies as st

from chalicelib.domain.assessment.merge import learn, merge_listing, merge_rows
from chalicelib.domain.images.finding import (
    Finding,
    FindingsDocument,
    FindingStatus,
    FixAvailable,
    Listing,
    Package,
    Severity,
)
from chalicelib.domain.images.image import Scan, ScanState, Source
from tests.fakes.images import finding, ref
from tests.fakes.queries import NOW

SETTLE = timedelta(seconds=60)
OPEN, SUPPRESSED, RESOLVED = FindingStatus.OPEN, FindingStatus.SUPPRESSED, FindingStatus.RESOLVED
COMPLETE = Scan(ScanState.COMPLETE, None, Source.ENHANCED, NOW)


class Scanner:
    """A scanner with its findings, and everything the document said, moment by moment."""

    def __init__(self, kind: Source) -> None:
        self.kind, self.now = kind, NOW
        self.findings: dict[int, Finding] = {}
        self.document = FindingsDocument(ref(1))
        self.copies: list[tuple[datetime, FindingsDocument]] = []

    def change(self, number: int, field: str, value: object) -> None:
        known = self.findings.get(number) or self._new(number)
        if field == "gone":
            self.findings.pop(number, None)
            return
        changed = msgspec.structs.replace(known, **({} if field == "seen" else {field: value}), updated_at=self.now)
        self.findings[number] = changed

    def _new(self, number: int) -> Finding:
        before = next((f for f in self.document.findings if f.vulnerability_id[-4:] == f"{number:04d}"), None)
        prefix = {"source_finding_id": f"basic:{number:032x}"} if self.kind is Source.BASIC else {}
        first = self.now if before is None else before.first_seen
        return finding(number, source=self.kind, first_seen=first, **prefix)

    def look(self) -> None:
        """All that is there, after everything is older than the settle."""
        self.now += 2 * SETTLE
        scan = msgspec.structs.replace(COMPLETE, source=self.kind, scanned_at=self.now)
        listed = Listing(self.kind, tuple(self.findings.values()), self.now, scan, complete=True)
        self._take(merge_listing(self.document, listed, consistency_delay=SETTLE, archive=False).document)

    def tell(self) -> None:
        """Events of what has changed in this step."""
        self._take(merge_rows(self.document, [f for f in self.findings.values() if f.updated_at == self.now]).document)

    def learn(self, number: int, kev: bool) -> None:
        found = self.findings.get(number)
        if found is not None:
            self._take(learn(self.document, {found.source_finding_id: kev}, self.now).document)

    def _take(self, document: FindingsDocument) -> None:
        self.document = msgspec.structs.replace(document, revision=self.document.revision + 1)
        self.copies.append((self.now, self.document))


CHANGES = st.one_of(
    st.tuples(st.just("severity"), st.sampled_from(list(Severity))),
    st.tuples(st.just("score"), st.sampled_from([None, 4.0, 9.8])),
    st.tuples(st.just("epss"), st.sampled_from([None, 0.0, 0.25, 0.9])),
    st.tuples(st.just("exploit_available"), st.sampled_from([None, True, False])),
    st.tuples(st.just("fix_available"), st.sampled_from([None, *FixAvailable])),
    st.tuples(st.just("status"), st.sampled_from([OPEN, SUPPRESSED, RESOLVED])),
    st.tuples(st.just("packages"), st.sampled_from([(Package("zlib"),), (Package("curl", "8.0"),)])),
    st.tuples(st.sampled_from(["gone", "seen"]), st.none()),
)
STEPS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(1, 4), CHANGES), min_size=1, max_size=4),
        st.sampled_from(["look", "tell", "look and learn"]),
        st.integers(1, 100),
    ),
    min_size=1,
    max_size=12,
)


def play(kind: Source, steps: list) -> Scanner:
    source = Scanner(kind)
    for changes, how, hours in steps:
        source.now += timedelta(hours=hours)
        for number, (field, value) in changes:
            if kind is Source.BASIC and field == "status":
                field, value = ("gone", None) if value is RESOLVED else ("seen", None)
            source.change(number, field, value)
        closed = any(f.status is RESOLVED and f.updated_at == source.now for f in source.findings.values())
        if how == "tell" and kind is Source.ENHANCED and not closed:  # an event never closes: that a look finds out
            source.tell()
        else:
            source.look()
        if how == "look and learn" and kind is Source.ENHANCED:
            source.learn(changes[0][0], hours % 2 == 0)
    return source
