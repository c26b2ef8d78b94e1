"""Send the message that has an image looked at, at or after a time.

When an image must be looked at once more: the bookkeeping of "write now, look later". Nothing is sent here.

What is promised: while a header holds `refresh_due_at`, a look message that is due then or later is on its way, or will
be when the queue delivers a message again whose worker died. Findings events rely on it and are not written.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.domain.events.message import Refresh
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, Source
from chalicelib.services.ports.context import Context


class Refreshed(msgspec.Struct, frozen=True):
    """What one worker has done with its messages. `seen_at`: its look by AWS's clock, or `now` where there was none.

    `looked`: it has asked the scanner, whatever the answer was. `promised`: when the looks it was sent for were due.
    `again`: it wrote, spared, came too early for what was announced, or may repeat what a dead worker did.
    """

    now: datetime
    seen_at: datetime
    looked: bool
    promised: tuple[datetime, ...] = ()
    again: bool = False


def plan_refresh(
    due_at: datetime | None, looked: Refreshed, later: datetime
) -> tuple[datetime | None, datetime | None]:
    """`due_at` as it is stored -> as it must be put, and when the look to be sent is due (None: none is).

    `later`: now + settle. A look that came before its time by AWS's clock is sent again. Whether the answer was
    complete does not matter: what an incomplete one lacks, the event that ends the gap brings.
    """
    if looked.looked and due_at is not None and looked.seen_at >= due_at:
        due_at = None
    early = [at for at in looked.promised if at > looked.seen_at]
    send = max([*early, *([later] if looked.again else [])], default=None)
    return _latest(due_at, send), send


def promised(header: Header, listed_at: datetime | None) -> Header:
    """The header with a look due at `listed_at` (None: none), or later where one is promised already."""
    if listed_at is None:
        return header
    return msgspec.structs.replace(header, refresh_due_at=_latest(header.refresh_due_at, listed_at))


def _latest(*times: datetime | None) -> datetime | None:
    return max(filter(None, times), default=None)


def send_refresh(ref: ImageRef, due_at: datetime | None, source: Source | None, context: Context) -> None:
    """Nothing where `due_at` is None. Never quiet: what a later look finds beyond the first fill is news."""
    if due_at is not None:
        delay = max(0.0, (due_at - context.clock.now()).total_seconds())
        context.outbox.send("scans", Refresh(ref, due_at, source), delay)
