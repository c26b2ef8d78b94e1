"""Scans and findings as they are stored, beside what cheap listings say of them. Pure.

A difference only leads to a refresh by the write protocol, and nothing is taken over from a listing. So a listing that
is wrong, or that AWS does not document well (how Inspector counts), costs a refresh and no more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageDetail, ImageRef, Kind, Scan, ScanState, Source, StorageStatus
from chalicelib.domain.reconcile.difference import Difference
from chalicelib.domain.reconcile.difference import DifferenceKind as K
from chalicelib.domain.reconcile.registry_listing import OpenCounts
from chalicelib.domain.reconcile.repository_view import RepositoryView, is_half_known, is_stored_elsewhere

LOOK_LOST_AFTER = timedelta(minutes=15)
"""SQS delays no message longer: a refresh that was due so long ago is lost."""
ASKED_AGAIN = 2
"""The next listing of changes begins so many times `consistency_delay` before the end of the last one."""
SHARES = 7
TURN = timedelta(hours=6)
_ACTIVE, _COMPLETE, _ENHANCED = StorageStatus.ACTIVE, ScanState.COMPLETE, Source.ENHANCED


class Counted(msgspec.Struct, frozen=True):
    """`seen`: what differs in each image, in words that stay the same until one side changes: what a refresh did not
    repair is not refreshed again."""

    vanished: tuple[Difference, ...] = ()
    seen: tuple[str, ...] = ()


def compare_scan(view: RepositoryView, detail: ImageDetail, header: Header | None) -> Iterator[Difference]:
    """One at most: a refresh repairs all of it. None where a refresh is under way."""
    known = header or Header(ref=detail.ref)
    if not _is_scanned(detail, header) or is_refreshed_later(view, detail, known):
        return
    if known.refresh_due_at is not None:
        yield Difference(K.LOOK_LOST, detail.ref)
        return
    found = _of_coverage(view, detail, known) or _of_changes(view, detail, known)
    if found is not None:
        yield found


def is_refreshed_later(view: RepositoryView, detail: ImageDetail, header: Header) -> bool:
    """Whether another difference refreshes it: it came back, or left or entered the archive."""
    if not header.exists and header.existence_at is not None:
        return True
    if header.exists and not is_half_known(header, detail) and is_stored_elsewhere(header, detail):
        return True
    return header.refresh_due_at is not None and header.refresh_due_at > view.listed.listed_at - LOOK_LOST_AFTER


def _is_scanned(detail: ImageDetail, header: Header | None) -> bool:
    return (Kind.by_media_type(detail.media_type) if header is None else header.kind) is Kind.IMAGE


def _of_coverage(view: RepositoryView, detail: ImageDetail, header: Header) -> Difference | None:
    covered = view.inspected.covered
    if covered is None or (header.scan_seen_at is not None and header.scan_seen_at >= covered.at):
        return None
    scanned, known = covered.scans.get(detail.ref.digest), header.scan
    if scanned is None:
        covers_no_more = known.source is _ENHANCED and known.state is not ScanState.UNAVAILABLE
        gone = covers_no_more and detail.storage is _ACTIVE
        return Difference(K.SCAN_STALE, detail.ref, detail="Inspector covers it no more") if gone else None
    if scanned.scanned_at is not None and scanned.scanned_at > covered.at - view.consistency_delay:
        return None  # its event is on its way; the state differs at the next sweep too
    scan = header.readable(scanned.since(max(filter(None, (detail.pushed_at, detail.activated_at)), default=None)))
    return None if _is_as_known(header, scan) else _differs(detail.ref, header, scan)


def _is_as_known(header: Header, scan: Scan) -> bool:
    """`scan` is Inspector's. When it was is asked by the clock: Inspector scans again and again without news."""
    known = header.scan
    if known.source is not _ENHANCED or known.state is not scan.state:
        return False
    return header.refreshed_at is not None if scan.state is _COMPLETE else known.reason == scan.reason


def _differs(ref: ImageRef, header: Header, scan: Scan) -> Difference:
    waited = header.refreshed_at is None or header.scan.state in (ScanState.PENDING, ScanState.IN_PROGRESS)
    kind = K.SCAN_UNHEARD if waited and scan.state is _COMPLETE else K.SCAN_STALE
    stored = header.scan.state if header.version else "nothing"
    return Difference(kind, ref, detail=f"{stored} is stored, {scan.state} it is")


def _of_changes(view: RepositoryView, detail: ImageDetail, header: Header) -> Difference | None:
    """Findings that changed after the last refresh, or shortly before it. Not in the archive, which closes findings;
    and a change of the last moments is left to its event, and to the next sweep."""
    changed = view.inspected.changed
    if changed is None or header.scan.source is Source.BASIC or detail.storage is not _ACTIVE:
        return None
    at = changed.updated.get(detail.ref.digest)
    if at is not None and at > changed.at - ASKED_AGAIN * view.consistency_delay:
        return None
    if at is None and not changed.whole and header.scan.source is _ENHANCED:
        at = changed.at - ASKED_AGAIN * view.consistency_delay
    if at is None or (header.scan_seen_at is not None and header.scan_seen_at > at + view.consistency_delay):
        return None
    return Difference(K.FINDINGS_CHANGED, detail.ref)


# ---- ECR's own scanner: one image at a time


def to_peek(view: RepositoryView, turn: int) -> list[ImageRef]:
    """Images whose scan only ECR knows, each by a call: those without a finished scan, and a seventh of the others.
    None where Inspector scans the registry and its coverage is known."""
    covered = view.inspected.covered
    if view.inspected.scanner is _ENHANCED and covered is not None:
        return []
    return [
        detail.ref
        for digest, detail in sorted(view.listed.images.items())
        if not (covered is not None and digest in covered.scans)
        and _may_be_peeked(view, detail, view.headers.get(digest))
        and (share(digest) == turn or not is_finished(view.headers.get(digest)))
    ]


def _may_be_peeked(view: RepositoryView, detail: ImageDetail, header: Header | None) -> bool:
    if view.is_recent(detail.pushed_at) or detail.storage is not _ACTIVE or not _is_scanned(detail, header):
        return False
    if header is None:
        return True
    return header.refresh_due_at is None and not is_refreshed_later(view, detail, header)


def is_finished(header: Header | None) -> bool:
    """Whether it is stored as scanned."""
    return header is not None and header.refreshed_at is not None and header.scan.state is _COMPLETE


def compare_peeked(header: Header | None, ref: ImageRef, scan: Scan) -> Difference | None:
    """`scan`: the answer of the call. An image that was never scanned needs no refresh."""
    known = header or Header(ref=ref)
    if scan.source is None and known.scan.source is not _ENHANCED and scan.state is known.scan.state:
        return None
    if scan.state is _COMPLETE and scan.source is not _ENHANCED:
        same = known.scan.source is Source.BASIC and known.scan.scanned_at == scan.scanned_at
    else:
        same = known.scan.state is scan.state and known.scan.source is (scan.source or Source.BASIC)
    return None if same else _differs(ref, known, scan)


def turn_of(at: datetime) -> int:
    """Which seventh a sweep of that time reads."""
    return int(at.timestamp() // TURN.total_seconds()) % SHARES


def share(digest: str) -> int:
    """Which seventh of all images it belongs to."""
    return int(digest[-4:], 16) % SHARES


# ---- differences that only counts show


def words_of_counts(view: RepositoryView) -> str | None:
    """Inspector's counts of the repository beside the stored ones, in words that stay the same until one side changes;
    None: they agree, are unknown, or there is nothing to compare."""
    counts, headers = view.inspected.counts, _counted(view).values()
    if counts is None or not headers:
        return None
    ours = [sum(h.counts[digit] for h in headers) for digit in range(len(Severity))]
    suppressed = sum(h.suppressed for h in headers)
    return None if counts.agree_with(ours, suppressed) else _words(counts, ours, suppressed)


def compare_counts(
    view: RepositoryView, counts: Mapping[ImageRef, OpenCounts], seen: Collection[str], but: Collection[ImageRef]
) -> Counted:
    """Images of which Inspector counts other findings than are stored: some vanish, weeks after their end or without
    one. `seen`: of the last sweep. `but`: images that are refreshed anyway."""
    vanished, differing = [], []
    for header in _counted(view).values():
        theirs = counts.get(header.ref, OpenCounts())
        if header.ref in but or theirs.agree_with(header.counts, header.suppressed):
            continue
        words = f"{header.ref.digest[7:19]} {_words(theirs, header.counts, header.suppressed)}"
        differing.append(words)
        if words not in seen:
            detail = f"Inspector counts {theirs.total}, {sum(header.counts)} are stored as open"
            vanished.append(Difference(K.VANISHED, header.ref, detail=detail))
    return Counted(tuple(vanished), tuple(differing))


def _words(theirs: OpenCounts, ours: Iterable[int], suppressed: int) -> str:
    said = ".".join("-" if n is None else str(n) for n in (theirs.total, *theirs.by_severity))
    return f"{said} {'.'.join(map(str, ours))}+{suppressed}"


def _counted(view: RepositoryView) -> dict[str, Header]:
    """Images whose findings Inspector keeps open as we do: not those in the archive, or whose scan has lapsed."""
    found = {}
    for digest, header in view.headers.items():
        detail = view.listed.images.get(digest)
        scanned = header.scan.source is _ENHANCED and header.scan.state is _COMPLETE and header.refreshed_at is not None
        if detail is not None and header.exists and scanned and not header.archive and detail.storage is _ACTIVE:
            found[digest] = header
    return found
