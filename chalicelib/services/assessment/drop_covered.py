"""Drop what needs nothing more: messages a complete listing has seen, and those about an image deleted since."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from chalicelib.domain.events.event import CoverageChanged, FindingChanged, ScanFinished
from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.images.image import ScanState, Source
from chalicelib.services.ports.ports import Stored


def drop_covered(deliveries: Sequence[Delivery], stored: Stored | None, settle: timedelta) -> list[Delivery]:
    """Those that are left to be handled."""
    return [d for d in deliveries if not is_covered(d, stored, settle) and not _is_past(d, stored)]


def is_covered(delivery: Delivery, stored: Stored | None, settle: timedelta) -> bool:
    """Whether a complete listing has seen what the message announces. Only a first receive can be covered."""
    if stored is None or not delivery.fresh or not stored.agrees or stored.header.todo:
        return False
    header, event = stored.header, delivery.body
    if header.looked_at is None or not isinstance(event, FindingChanged | ScanFinished):
        return False
    if isinstance(event, ScanFinished) and event.scan.state is not ScanState.COMPLETE:
        return False
    source = event.source if isinstance(event, ScanFinished) else Source.ENHANCED
    if header.scan.source is not source:
        return False
    if source is Source.ENHANCED:
        return header.looked_at > event.time + settle
    scan = header.scan
    return scan.state is ScanState.COMPLETE and scan.scanned_at is not None and scan.scanned_at >= event.time - settle


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
