"""`GET /v1/summary`: everything at a glance, from a snapshot that is taken again when it is old."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from chalicelib.api.framework.context import context
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.api.framework.query import Query
from chalicelib.domain.assessment.summary import Summary, summarize

area = RouteGroup(__name__)

FRESH_FOR = timedelta(seconds=60)
SMALL_IMAGES = 20_000

if TYPE_CHECKING:
    from chalicelib.context import AppContext


@area.get("/v1/summary", Summary)
def show_summary(query: Query) -> Summary:
    """Images by decision, scan state and severity, the worst of them, and the repositories.

    A snapshot of at most 60 seconds; of more than 20,000 images the one the last sweep took. `taken_at` says when.
    """
    place = context()
    now = place.clock.now()
    stored = _stored(place)
    if stored is not None and (now - stored.taken_at < FRESH_FOR or stored.images > SMALL_IMAGES):
        return stored
    taken = summarize(place.queries.all_rows(), now)
    place.table.put_snapshot(msgspec.json.encode(taken), now)
    return taken


def _stored(place: AppContext) -> Summary | None:
    """None where there is none, or one that another version of this code wrote."""
    snapshot = place.queries.read_snapshot()
    if snapshot is None:
        return None
    try:
        return msgspec.json.decode(snapshot.content, type=Summary)
    except msgspec.ValidationError:
        return None
