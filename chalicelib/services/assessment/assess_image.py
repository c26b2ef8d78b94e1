"""Assess one image: pull what was announced, merge, decide, store, say what must follow. The write protocol itself.

"Write now, look later": every observation is merged on condition of the document's revision, every header put on
condition of its version, and whatever was written, spared or redelivered is looked at once more after
`consistency_delay`. No step may be left out or moved: each closes a way in which duplicates, reordering, crashes or a
second worker made a simpler draft wrong (docs/architecture.md has the crashes).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.assessment.conclusion import asks_exploited, is_outdated, observe, with_due
from chalicelib.domain.assessment.merge import Merged, learn, merge_listing, merge_rows
from chalicelib.domain.enforcement.enforcement import archive_wanted, is_freed
from chalicelib.domain.events.event import CoverageChanged, FindingChanged, ScanFinished
from chalicelib.domain.events.message import Decide, Delivery, InheritFirstSeen, Metric, Outcome, Refresh
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.images.finding import Finding, FindingsDocument, FindingStatus, Listing, prune
from chalicelib.domain.images.image import ImageRef, Kind, Scan, Source
from chalicelib.services.assessment.pull_listing import (
    ask_exploited,
    drop_covered,
    inherit_first_seen,
    is_covered,
    is_inspectors,
    pull_listing,
    time_of,
)
from chalicelib.services.assessment.write_header import (
    Attempt,
    HeaderChange,
    Refreshed,
    decide_image,
    indexes_of,
    plan_refresh,
    send_refresh,
    write_header,
)
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import Stored

CLOCK = "clock"
ASK_AGAIN = timedelta(minutes=5)
"""When Inspector had no time to say what is exploited. The clock comes every five minutes: asked within ten."""


def assess_image(ref: ImageRef, deliveries: Sequence[Delivery], stored: Stored | None, context: Context) -> None:
    """Handles all messages of one batch about one image: one pull, one merge, one write.

    `stored` is the header as read for the whole batch (consistent), None for an unknown image. Raises TransientError
    (put the messages back with a delay); any other error is a defect and fails these messages alone.
    """
    left = drop_covered(deliveries, stored, context.consistency_delay)
    for delivery in deliveries:
        if is_covered(delivery, stored, context.consistency_delay):
            context.journal.note(delivery, Outcome.COVERED)
            context.journal.count(Metric.MESSAGES_COVERED)
    if left:
        _Assessment(ref, left, context).run(stored)


class _Assessment:
    """One image's messages on their way through the protocol. What it has learnt outlives a lost race."""

    def __init__(self, ref: ImageRef, deliveries: Sequence[Delivery], context: Context) -> None:
        self.ref, self.context, self.deliveries = ref, context, deliveries
        self.rows = [d for d in deliveries if isinstance(d.body, FindingChanged)]
        self.pulls = [d for d in deliveries if isinstance(d.body, ScanFinished | CoverageChanged | Refresh)]
        self.again = not all(d.fresh for d in deliveries)
        self.quiet = all(isinstance(d.body, Refresh | Decide) and d.body.quiet for d in deliveries)
        self.news = _twins_told(deliveries)
        self.rules: Rules = context.rules.current()
        self.listing: Listing | None = None
        self.unavailable: Scan | None = None
        self.look_again = self.ask_again = False
        self.younger: Header | None = None

    def run(self, stored: Stored | None) -> None:
        if self.pulls:
            self.context.journal.count(Metric.LOOKS)
            pulled = pull_listing(self.ref, self.pulls, stored.header if stored else None, self.context)
            self.listing = pulled if isinstance(pulled, Listing) else None
            self.unavailable = pulled if isinstance(pulled, Scan) else None
            if stored is not None and stored.header.act is not None:
                # What waited may have been begun meanwhile: what an archive closed must not be taken for closed.
                stored = self.context.table.read_headers([self.ref]).get(self.ref)
        write_header(self.ref, self._handle, self.context, stored=stored, rules=self.rules)

    def _handle(self, attempt: Attempt) -> HeaderChange | None:
        header = attempt.stored.header if attempt.stored else None
        self.rules = attempt.rules
        rows = self._rows_left(header)
        unlisted = bool(rows) and not self._listed(header) and not self.pulls
        if len(self.rows) == len(self.deliveries):
            if unlisted:
                self._mark(header)
            if unlisted or not rows:
                return None
        if header is None and not self.pulls and not rows:
            return None
        self.look_again = self.look_again or unlisted
        return self._change(attempt, rows if self._listed(header) else [])

    def _listed(self, header: Header | None) -> bool:
        """Whether rows may be merged: Inspector has listed the image completely before, or just now."""
        if self.listing is not None and self.listing.complete and self.listing.source is Source.ENHANCED:
            return True
        return header is not None and header.refreshed_at is not None and header.scan.source is Source.ENHANCED

    def _rows_left(self, header: Header | None) -> list[Delivery]:
        """The rows that no listing to come will see; beside a pull, all of them. While an archive is wanted what is
        open is among them: the listing may find it closed by that, which proves nothing."""
        due = header.refresh_due_at if header else None
        if self.pulls or header is None or due is None:
            return self.rows
        consistency_delay, archive = self.context.consistency_delay, archive_wanted(header, self.rules.policy)
        return [
            d
            for d in self.rows
            if not d.fresh or due < (time_of(d) or due) + consistency_delay or (archive and not _closes(d))
        ]

    def _mark(self, header: Header | None) -> None:
        due_at = self.context.clock.now() + self.context.consistency_delay
        if header is not None and header.refresh_due_at is not None:
            due_at = max(due_at, header.refresh_due_at)
        # Marked before it is sent: in a burst most workers lose the race to mark, and would send as many refreshes.
        self.context.table.mark_refresh(self.ref, header.version if header else 0, due_at)
        send_refresh(self.ref, due_at, Source.ENHANCED, self.context)

    def _change(self, attempt: Attempt, rows: list[Delivery]) -> HeaderChange:
        now, before = self.context.clock.now(), attempt.header
        self.rules = attempt.rules_as_new_as_header()
        if self.listing is not None:
            # It may have been deleted and pushed again while the scanner was asked.
            self.listing = self.listing.since(before.pushed_at)
        document = attempt.document(doubted=self.again or attempt.retried)
        holds_open = any(f.status is not FindingStatus.RESOLVED for f in document.findings)
        after = observe(before, self.listing, self.unavailable, self.context.consistency_delay, holds_open=holds_open)
        indexes = indexes_of(after, self.context)
        document = self._merge(document, before, after, rows, indexes, now)
        after = decide_image(
            after, document, self.rules, now, self.context, indexes=indexes, news=self.news, quiet=self.quiet
        )
        looked, later = self._looked(before, after, now), now + self.context.consistency_delay
        due_at, refresh_at = plan_refresh(after.refresh_due_at, looked, later)
        after = self._with_due(before, msgspec.structs.replace(after, refresh_due_at=due_at), now)
        younger = () if self.younger is None else (InheritFirstSeen(self.younger.ref, self.ref),)
        return HeaderChange(
            after, document, refresh_at, again=self.again, quiet=self.quiet, messages=younger, indexes=indexes
        )

    def _with_due(self, before: Header, after: Header, now: datetime) -> Header:
        """Anew: whether a refresh is promised is only known by now."""
        clock = all(isinstance(d.body, Decide) and d.body.why == CLOCK for d in self.deliveries)
        if clock or not after.present or after.kind is Kind.ARTIFACT:
            after = with_due(after)
        else:
            after = with_due(msgspec.structs.replace(after, due_at=before.due_at), now)
        if not self.ask_again:
            return after
        at = now + ASK_AGAIN
        decide_at, due_at = min(after.decide_at or at, at), min(after.due_at or at, at)
        return msgspec.structs.replace(after, decide_at=decide_at, due_at=due_at)

    def _merge(
        self,
        document: FindingsDocument,
        before: Header,
        after: Header,
        rows: list[Delivery],
        indexes: Sequence[Header],
        now: datetime,
    ) -> FindingsDocument:
        """Merges what was observed and puts the document if that changed it materially."""
        merged = self._merged_listing(document, before, after).document
        merged, self.younger = inherit_first_seen(merged, before, after, self.deliveries, self.context)
        told = [d.body.row.finding for d in rows if isinstance(d.body, FindingChanged)]
        merged = self._merged_rows(merged, told).document
        exploited = ask_exploited(merged, asks_exploited(after, self.rules, now, indexes), now, self.context)
        self.ask_again = exploited.again
        merged = learn(merged, exploited.facts, now).document
        if merged is document:
            return document
        kept_since = now - timedelta(days=self.rules.policy.history_days)
        merged = prune(merged, kept_since)
        if merged == prune(document, kept_since):
            return document
        self.look_again = True
        self.context.table.store_vulnerabilities([*(self.listing.findings if self.listing else ()), *told])
        put = self.context.table.put_document(merged, document)
        self.context.journal.count(Metric.DOCUMENTS_WRITTEN)
        self.context.journal.count(Metric.FINDINGS_WRITTEN, len(put.findings))
        return put

    def _merged_listing(self, document: FindingsDocument, before: Header, after: Header) -> Merged:
        if self.listing is None:
            return Merged(document, False)
        consistency_delay = self.context.consistency_delay
        basic = before.scan.source is Source.BASIC and document.source is not Source.ENHANCED
        result = merge_listing(
            document,
            self.listing,
            consistency_delay=consistency_delay,
            archive=archive_wanted(before, self.rules.policy) or is_outdated(before, self.listing, consistency_delay),
            scanned_at=before.scan.scanned_at if basic else None,
            revived_at=after.revived_at,
        )
        self.look_again = self.look_again or result.spared
        return result

    def _merged_rows(self, document: FindingsDocument, rows: list[Finding]) -> Merged:
        """Rows of Inspector's do not belong into another scanner's findings: a look says which one is in force."""
        if not rows:
            return Merged(document, False)
        foreign = document.source is not Source.ENHANCED
        result = Merged(document, False, spared=True) if foreign else merge_rows(document, rows)
        self.look_again = self.look_again or result.spared
        return result

    def _looked(self, before: Header, after: Header, now: datetime) -> Refreshed:
        seen_at = self.listing.listed_at if self.listing else now
        again = self.look_again or self.again or self._too_early(seen_at) or is_freed(before, after, self.rules.policy)
        return Refreshed(
            now=now,
            seen_at=seen_at,
            looked=bool(self.pulls),
            promised=tuple(d.body.due_at for d in self.pulls if isinstance(d.body, Refresh)),
            again=again and after.kind is Kind.IMAGE,
        )

    def _too_early(self, seen_at: datetime) -> bool:
        """Whether what was announced may not be listed yet. A basic scan is checked by its own time instead."""
        if not self.pulls:
            return False
        basic = self.listing is not None and self.listing.source is Source.BASIC
        times = [at for d in self.deliveries if (at := time_of(d)) is not None and (is_inspectors(d) or not basic)]
        return bool(times) and seen_at <= max(times) + self.context.consistency_delay


def _twins_told(deliveries: Sequence[Delivery]) -> frozenset[str] | None:
    """The twins that are news, by their paths; None: something else may be."""
    told = [d.body.twin if isinstance(d.body, Decide) else None for d in deliveries]
    return None if None in told else frozenset(path for path in told if path is not None)


def _closes(delivery: Delivery) -> bool:
    row = delivery.body
    return isinstance(row, FindingChanged) and row.row.finding.status is FindingStatus.RESOLVED
