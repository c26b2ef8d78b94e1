"""Send the message that has an image looked at, at or after a time."""

from __future__ import annotations

from datetime import datetime

from chalicelib.domain.events.message import Look
from chalicelib.domain.images.image import ImageRef, Source
from chalicelib.services.ports.ports import House


def send_look(ref: ImageRef, due_at: datetime | None, source: Source | None, house: House) -> None:
    """Nothing where `due_at` is None. Never quiet: what a later look finds beyond the first fill is news."""
    if due_at is not None:
        delay = max(0.0, (due_at - house.clock.now()).total_seconds())
        house.outbox.send("scans", Look(ref, due_at, source), delay)
