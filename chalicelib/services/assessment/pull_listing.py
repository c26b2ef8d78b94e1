"""Pull what the scanner in force lists for one image. Nothing is stored here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from chalicelib.domain.events.event import CoverageChanged, ScanFinished
from chalicelib.domain.events.message import Delivery, Look
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.document import Listing
from chalicelib.domain.images.image import ImageRef, Scan, ScanState, Source
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.ports.ports import House

STALE_ANSWERS = 10
UNANSWERED = 10
"""Attempts, within an hour, after which an image that has been in doubt for half a day has no usable scan."""
_LONGEST_REASON = 200


class NotYetError(TransientError):
    """The scanner's answer is older than the scan that was announced: ask again a little later."""


def pull_listing(ref: ImageRef, pulls: Sequence[Delivery], header: Header | None, house: House) -> Listing | Scan:
    """The listing, or the scan state that says why there is none (absent, denied, refused).

    Raises NotYetError while ECR lists a scan older than the one announced, at most ten times a message; then the
    answer stands. Raises TransientError as the scanner does: that it does not answer is a state only of an image that
    is in doubt already.
    """
    try:
        listing = _look(ref, _source(pulls, header), _since(header), house)
    except TransientError as e:
        if not all(_is_given_up(d) for d in pulls):
            raise
        return Scan(ScanState.UNAVAILABLE, f"no answer: {e}"[:_LONGEST_REASON])
    except AbsentError as e:
        return Scan(ScanState.UNAVAILABLE, f"{e.what} not found")
    except DeniedError:
        return Scan(ScanState.UNAVAILABLE, "access denied")
    except UpstreamError as e:
        return Scan(ScanState.UNAVAILABLE, str(e)[:_LONGEST_REASON])
    for delivery in pulls:
        if delivery.attempt < STALE_ANSWERS and _is_stale(listing, delivery, house.settle):
            raise NotYetError(f"{ref}: the announced scan is not listed yet")
    return listing


def _is_given_up(pull: Delivery) -> bool:
    return isinstance(pull.body, Look) and pull.body.doubted and pull.attempt >= UNANSWERED


def _look(ref: ImageRef, source: Source | None, since: datetime | None, house: House) -> Listing:
    """An image that Inspector does not cover may have been switched to ECR's own scanner meanwhile."""
    listing = house.scanner.look(ref, source, since=since)
    if source is None or listing.scan.state is not ScanState.UNAVAILABLE:
        return listing
    return house.scanner.look(ref, None, since=since)


def _source(pulls: Sequence[Delivery], header: Header | None) -> Source | None:
    """Inspector is asked at once where nothing speaks for ECR's own scanner; else ECR says which one is in force.

    A late message of Inspector's about an image that has been switched to basic scanning must not bring Inspector's
    empty answer over ECR's.
    """
    bodies = [d.body for d in pulls]
    known = header.scan.source if header else None
    if known is Source.BASIC or any(isinstance(b, ScanFinished) and b.source is Source.BASIC for b in bodies):
        return None
    inspectors = any(isinstance(b, ScanFinished | CoverageChanged) for b in bodies)
    asked = any(isinstance(b, Look) and b.source is Source.ENHANCED for b in bodies)
    return Source.ENHANCED if inspectors or asked or known is Source.ENHANCED else None


def _since(header: Header | None) -> datetime | None:
    """A scan older than the push or the last restore saw something else."""
    if header is None:
        return None
    return max(filter(None, (header.pushed_at, header.activated_at)), default=None)


def _is_stale(listing: Listing, delivery: Delivery, settle: timedelta) -> bool:
    event = delivery.body
    if not isinstance(event, ScanFinished) or not (event.source is listing.source is Source.BASIC):
        return False
    if listing.scan.state in (ScanState.IN_PROGRESS, ScanState.PENDING):
        return True
    return listing.scan.scanned_at is not None and listing.scan.scanned_at < event.time - settle
