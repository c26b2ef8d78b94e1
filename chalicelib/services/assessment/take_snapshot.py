"""Take the snapshot that `GET /v1/summary` serves of a large registry, and that becomes the day's."""

from __future__ import annotations

import msgspec

from chalicelib.domain.assessment.summary import summarize
from chalicelib.services.ports.context import Context


def take_snapshot(context: Context) -> None:
    """Reads the whole index: some 0.6 KB an image, so once an hour is enough."""
    now = context.clock.now()
    context.table.put_snapshot(msgspec.json.encode(summarize(context.queries.all_rows(), now)), now)
