"""The clock: decide again what time alone can change, and send again what should have been done by now."""

from __future__ import annotations

from datetime import datetime, timedelta

from chalicelib.domain.header import LOST_AFTER, Header
from chalicelib.domain.image import Kind, ScanState, Source
from chalicelib.domain.message import Act, Decide, Delivery, Look
from chalicelib.errors import UpstreamError
from chalicelib.services.assess_image import CLOCK, assess_image
from chalicelib.services.ports import House, Stored

SHARDS = 8
ASK_EVERY = timedelta(hours=1)
"""An image that was looked at so recently is as stale as it looks."""


def re_decide(shard: int, house: House) -> int:
    """Handles what is due in one shard of the index and returns how many images that were.

    Harmless when run twice or cut off: an image leaves the index only by the write that dealt with it, and what one run
    does not reach the next one finds. An image whose look-ups fail stays due and does not hold up the others.
    """
    now = house.clock.now()
    refs = house.table.due(shard, now)
    stored = house.table.read_headers(refs)
    for ref in refs:
        if ref in stored:
            _catch_up(stored[ref], now, house)
    return len(refs)


def _catch_up(stored: Stored, now: datetime, house: House) -> None:
    header = stored.header
    for effect in header.todo:
        if effect.wanted_at <= now - LOST_AFTER:
            house.outbox.send("actions", Act(header.ref, effect.key, attempt=1))
    if _is_stale_by_age(header, now, house):
        house.outbox.send("scans", Look(header.ref, now, Source.ENHANCED))
        return
    clock = Delivery(message_id=f"{CLOCK}:{header.ref.path}", body=Decide(header.ref, CLOCK))
    try:
        assess_image(header.ref, [clock], stored, house)
    except UpstreamError:
        return


def _is_stale_by_age(header: Header, now: datetime, house: House) -> bool:
    """Whether Inspector must say when it scanned last: it rescans without an event as long as nothing is new."""
    scan = header.scan
    if header.kind is not Kind.IMAGE or scan.source is not Source.ENHANCED or scan.state is not ScanState.COMPLETE:
        return False
    after = timedelta(days=house.rules.current().policy.stale.after_days)
    asked_before = header.scan_seen_at is not None and header.scan_seen_at > now - ASK_EVERY
    return scan.scanned_at is not None and scan.scanned_at + after <= now and not asked_before
