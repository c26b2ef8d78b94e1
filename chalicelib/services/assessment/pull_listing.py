"""Pull what the scanner in force lists for one image, and what belongs to a listing. Nothing is put here.

Messages that a complete listing has seen, and those about an image deleted since, are dropped first. Where a rule asks
whether a vulnerability is known to be exploited and the stored answer is old, Inspector is asked. A first listing takes
the first sights over from the next older image of its line: a rebuild does not make a finding young again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.assessment.merge import age
from chalicelib.domain.events.event import CoverageChanged, FindingChanged, ScanFinished
from chalicelib.domain.events.message import Decide, Delivery, InheritFirstSeen, Refresh
from chalicelib.domain.headers.header import Header, neighbours
from chalicelib.domain.images.finding import Finding, FindingsDocument, Listing
from chalicelib.domain.images.image import ImageRef, Scan, ScanState, Source
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import Stored


def drop_covered(deliveries: Sequence[Delivery], stored: Stored | None, consistency_delay: timedelta) -> list[Delivery]:
    """Those that are left to be handled."""
    return [d for d in deliveries if not is_covered(d, stored, consistency_delay) and not _is_past(d, stored)]


def is_covered(delivery: Delivery, stored: Stored | None, consistency_delay: timedelta) -> bool:
    """Whether a complete listing has seen what the message announces. Only a first receive can be covered."""
    if stored is None or not delivery.fresh:
        return False
    header, event = stored.header, delivery.body
    if header.revision != stored.document_revision or header.pending:
        return False
    if header.refreshed_at is None or not isinstance(event, FindingChanged | ScanFinished):
        return False
    if isinstance(event, ScanFinished) and event.scan.state is not ScanState.COMPLETE:
        return False
    source = event.source if isinstance(event, ScanFinished) else Source.ENHANCED
    if header.scan.source is not source:
        return False
    if source is Source.ENHANCED:
        return header.refreshed_at > event.time + consistency_delay
    scan = header.scan
    return (
        scan.state is ScanState.COMPLETE
        and scan.scanned_at is not None
        and scan.scanned_at >= event.time - consistency_delay
    )


def _is_past(delivery: Delivery, stored: Stored | None) -> bool:
    """Whether the message speaks of an image that has been deleted since. One that we moved is still decided about."""
    if stored is None or stored.header.exists or stored.header.existence_at is None:
        return False
    if isinstance(delivery.body, Decide) and stored.header.present:
        return False
    at = time_of(delivery)
    return at is None or at <= stored.header.existence_at


def time_of(delivery: Delivery) -> datetime | None:
    """When AWS says it happened; None for messages of our own."""
    body = delivery.body
    return body.time if isinstance(body, FindingChanged | ScanFinished | CoverageChanged) else None


def is_inspectors(delivery: Delivery) -> bool:
    """Whether Amazon Inspector sent it."""
    body = delivery.body
    return isinstance(body, FindingChanged | CoverageChanged) or (
        isinstance(body, ScanFinished) and body.source is Source.ENHANCED
    )


FRESH_FOR = timedelta(days=1)


class Exploited(msgspec.Struct, frozen=True):
    """`facts`: KEV by finding id; an id without an answer is absent. `again`: Inspector had no time: ask soon."""

    facts: dict[str, bool] = {}
    again: bool = False


def ask_exploited(
    document: FindingsDocument, asks: Callable[[Finding], bool], now: datetime, context: Context
) -> Exploited:
    """What is known of the findings that `asks` names, asked for where it is old. No answer is null, not false, and
    never takes back what was known.

    Where Inspector may not be asked at all nothing is kept, so that it is asked again as soon as it may. A throttled
    question does not hold back what a scan has found: that is stored, and the question asked again.
    """
    asked = [f for f in document.findings if f.source is Source.ENHANCED and f.open and asks(f)]
    if not asked:
        return Exploited()
    known = context.table.read_kev({f.vulnerability_id for f in asked})
    stale: dict[str, str] = {}
    for finding in asked:
        _, at = known.get(finding.vulnerability_id, (None, None))
        if at is None or at <= now - FRESH_FOR:
            stale.setdefault(finding.vulnerability_id, finding.source_finding_id)
    facts = {vulnerability: fact for vulnerability, (fact, _) in known.items()}
    answers, again = _answers(list(stale.values()), context) if stale else (None, False)
    if answers is not None:
        news = {v: answers.get(arn) for v, arn in stale.items()}
        kept = {v: fact for v, fact in news.items() if fact is not None or facts.get(v) is None}
        context.table.store_kev(kept, now)
        facts |= kept
    by_id = {f.source_finding_id: fact for f in asked if (fact := facts.get(f.vulnerability_id)) is not None}
    return Exploited(by_id, again)


def _answers(finding_ids: list[str], context: Context) -> tuple[dict[str, bool] | None, bool]:
    """The answers, None where there are none, and whether to ask again soon."""
    try:
        return context.scanner.known_exploited(finding_ids), False
    except TransientError:
        return None, True
    except UpstreamError:
        return None, False


AGE_ATTEMPTS = 3


def inherit_first_seen(
    document: FindingsDocument, before: Header, after: Header, deliveries: Sequence[Delivery], context: Context
) -> tuple[FindingsDocument, Header | None]:
    """The document with earlier first sights taken over, and the next newer image of the line, which may take them.

    A first listing asks the next older image of its line; an `InheritFirstSeen` message names the older image. Raises
    TransientError while there is no listing yet that could take over what an `InheritFirstSeen` brings.
    """
    ages = [d for d in deliveries if isinstance(d.body, InheritFirstSeen)]
    again = not all(d.fresh for d in deliveries)
    listed_now = after.refreshed_at is not None and (before.refreshed_at is None or (again and after != before))
    if not (listed_now and after.pushed_at and document.findings) and not ages:
        return document, None
    elder, younger = neighbours(after, context.table.headers_of(after.ref.home))
    aged = document
    if listed_now and elder is not None and elder.revision:
        aged = age(aged, context.table.read_document(elder.ref).findings).document
    for delivery in ages:
        aged = _take_over(aged, after, delivery, context)
    return aged, younger if listed_now or aged is not document else None


def _take_over(document: FindingsDocument, header: Header, delivery: Delivery, context: Context) -> FindingsDocument:
    if not isinstance(delivery.body, InheritFirstSeen):
        return document
    if header.refreshed_at is None and delivery.attempt < AGE_ATTEMPTS:
        raise TransientError(f"{header.ref} has no listing yet that could take over first sights")
    return age(document, context.table.read_document(delivery.body.elder).findings).document


STALE_ANSWERS = 10
UNANSWERED = 10
"""Attempts, within an hour, after which an image that has been in doubt for half a day has no usable scan."""
_LONGEST_REASON = 200


class NotYetError(TransientError):
    """The scanner's answer is older than the scan that was announced: ask again a little later."""


def pull_listing(ref: ImageRef, pulls: Sequence[Delivery], header: Header | None, context: Context) -> Listing | Scan:
    """The listing, or the scan state that says why there is none (absent, denied, refused).

    Raises NotYetError while ECR lists a scan older than the one announced, at most ten times a message; then the
    answer stands. Raises TransientError as the scanner does: that it does not answer is a state only of an image that
    is in doubt already.
    """
    try:
        listing = _look(ref, _source(pulls, header), _since(header), context)
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
        if delivery.attempt < STALE_ANSWERS and _is_stale(listing, delivery, context.consistency_delay):
            raise NotYetError(f"{ref}: the announced scan is not listed yet")
    return listing


def _is_given_up(pull: Delivery) -> bool:
    return isinstance(pull.body, Refresh) and pull.body.doubted and pull.attempt >= UNANSWERED


def _look(ref: ImageRef, source: Source | None, since: datetime | None, context: Context) -> Listing:
    """An image that Inspector does not cover may have been switched to ECR's own scanner meanwhile."""
    listing = context.scanner.look(ref, source, since=since)
    if source is None or listing.scan.state is not ScanState.UNAVAILABLE:
        return listing
    return context.scanner.look(ref, None, since=since)


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
    asked = any(isinstance(b, Refresh) and b.source is Source.ENHANCED for b in bodies)
    return Source.ENHANCED if inspectors or asked or known is Source.ENHANCED else None


def _since(header: Header | None) -> datetime | None:
    """A scan older than the push or the last restore saw something else."""
    if header is None:
        return None
    return max(filter(None, (header.pushed_at, header.activated_at)), default=None)


def _is_stale(listing: Listing, delivery: Delivery, consistency_delay: timedelta) -> bool:
    event = delivery.body
    if not isinstance(event, ScanFinished) or not (event.source is listing.source is Source.BASIC):
        return False
    if listing.scan.state in (ScanState.IN_PROGRESS, ScanState.PENDING):
        return True
    return listing.scan.scanned_at is not None and listing.scan.scanned_at < event.time - consistency_delay
