"""What a look, a restore or a second push says of an image beside its findings. Pure.

The order of looks is that of AWS's clock, never that in which workers come to write.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.document import Listing
from chalicelib.domain.images.finding import FindingStatus
from chalicelib.domain.images.image import Scan, ScanState, Source, StorageStatus

NOT_SINCE = "not scanned since it came back"


def observe(
    header: Header,
    listing: Listing | None,
    unavailable: Scan | None,
    consistency_delay: timedelta = timedelta(0),
    *,
    holds_open: bool = False,
) -> Header:
    """What a look says of the image beside its findings. An older look than the one known changes nothing here.

    `holds_open`: the stored document has findings that are not resolved, which this look might close.

    A first look also makes the image known, even one that failed: what cannot be looked up is shown, not left out.
    Whether an image exists that a push or a deletion told of, they decide. Until a complete look says otherwise the
    time of the last scan stays, whichever scanner it was: what was found then is relied on, and grows old.
    """
    told = header.existence_at is not None
    exists = header.exists if told else True
    if unavailable is not None:
        scan = msgspec.structs.replace(header.scan, state=unavailable.state, reason=unavailable.reason)
        return msgspec.structs.replace(header, scan=scan, exists=exists)
    if listing is None or is_outdated(header, listing, consistency_delay):
        return header
    scan = listing.scan
    if scan.scanned_at is None and (not listing.complete or header.scan.source is listing.source):
        scan = msgspec.structs.replace(scan, scanned_at=header.scan.scanned_at)
    revived = listing.complete and holds_open and _comes_back(header, listing, consistency_delay)
    return msgspec.structs.replace(
        header,
        scan=msgspec.structs.replace(scan, source=listing.source),
        scan_seen_at=_latest(listing.listed_at, header.scan_seen_at),
        refreshed_at=_latest(listing.listed_at, header.refreshed_at) if listing.complete else header.refreshed_at,
        revived_at=listing.listed_at if revived else header.revived_at,
        exists=exists,
        in_use=header.in_use.beside(listing.in_use),
        architecture=header.architecture or listing.architecture,
        platform=header.platform or listing.platform,
        tags=header.tags if told else header.tags or listing.tags,
        pushed_at=header.pushed_at or listing.pushed_at,
    )


def _latest(*times: datetime | None) -> datetime | None:
    return max(filter(None, times), default=None)


def _comes_back(header: Header, listing: Listing, consistency_delay: timedelta) -> bool:
    """Whether this may be the first complete look after an archive or a lapse.

    Where no message told us of it, its trace does: a scan younger than `consistency_delay` beside a list in which all
    is closed.
    """
    if header.scan.state is not ScanState.COMPLETE:
        return True
    scanned_at = listing.scan.scanned_at
    if listing.source is Source.BASIC or _is_known(header, listing, consistency_delay):
        return False
    if any(f.status is not FindingStatus.RESOLVED for f in listing.findings):
        return False
    return scanned_at is not None and scanned_at > listing.listed_at - consistency_delay


def _is_known(header: Header, listing: Listing, consistency_delay: timedelta) -> bool:
    """Whether it came back to our knowledge just before: or a scanner always at it would keep all open for ever."""
    since, last = header.revived_at, header.refreshed_at
    if since is None or last is None:
        return False
    return last < since + consistency_delay and listing.listed_at < since + 5 * consistency_delay


def is_outdated(header: Header, listing: Listing, consistency_delay: timedelta) -> bool:
    """Whether more is known than the listing could see: its closings prove nothing, and the header stays as it is.

    Of Inspector's the newer look stands; of ECR's own scanner, whose answers may lag behind, the newer finished scan.
    """
    known, new = header.scan, listing.scan
    older = header.scan_seen_at is not None and listing.listed_at < header.scan_seen_at
    if not (listing.source is known.source is Source.BASIC and known.state is ScanState.COMPLETE and known.scanned_at):
        return older
    if new.scanned_at is None:
        running = new.state in (ScanState.PENDING, ScanState.IN_PROGRESS)
        return older or (running and listing.listed_at <= known.scanned_at + consistency_delay)
    return older if new.scanned_at == known.scanned_at else new.scanned_at < known.scanned_at


def restored(header: Header, at: datetime | None) -> Header:
    """`at`: when the registry says the image was last restored from its archive."""
    if at is None or (header.activated_at is not None and at <= header.activated_at):
        return header
    return come_back(msgspec.structs.replace(header, activated_at=at), at)


def come_back(header: Header, at: datetime) -> Header:
    """The image can be scanned again since `at`: what Inspector found before that is no scan of it now."""
    scan = header.scan
    complete = scan.state is ScanState.COMPLETE and scan.source is Source.ENHANCED and (scan.scanned_at or at) <= at
    archived = scan.state is ScanState.ARCHIVED and header.storage is StorageStatus.ACTIVE
    if not complete and not archived:
        return header
    scan = msgspec.structs.replace(scan, state=ScanState.PENDING, reason=NOT_SINCE)
    return msgspec.structs.replace(header, scan=scan)
