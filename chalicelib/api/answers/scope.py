"""What a list is about, beside its rows: whether all of it is known, and how much of it was never scanned whole.

A list of findings is empty also where nothing was scanned. So each list says how many images that it may be about lack
a complete scan, on its first page: of a repository they are counted, of more they come from the summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import Paging
from chalicelib.api.framework.named import find_named
from chalicelib.api.framework.query import Query
from chalicelib.domain.assessment.summary import Summary, summarize
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Repository, ScanState
from chalicelib.services.ports.answers import pages

if TYPE_CHECKING:
    from chalicelib.context import AppContext

FRESH_FOR = timedelta(seconds=60)
SMALL_IMAGES = 20_000
_PAGE = 1000


class Scope(msgspec.Struct, frozen=True):
    """`unscanned` None: this is not the first page, or the summary is of a former version and not counted by yet."""

    complete: bool
    unscanned: int | None


def find_scope(query: Query, paging: Paging, context: AppContext) -> Scope:
    """Raises UnknownNameError."""
    named = find_named(query, context)
    if paging.start is not None:
        return Scope(named.complete, None)
    if named.homes is not None:
        return Scope(named.complete, sum(_unscanned_of(home, context) for home in named.homes))
    registry, region = query.get(p.REGISTRY_), query.get(p.REGION_)
    registries = read_summary(context).registries
    if registries is None:
        return Scope(named.complete, None)
    meant = (r for r in registries if registry in (None, r.registry) and region in (None, r.region))
    return Scope(named.complete, sum(r.unscanned for r in meant))


def count_unscanned(headers: Sequence[Header]) -> int:
    return sum(header.scan.state is not ScanState.COMPLETE for header in headers)


def _unscanned_of(home: Repository, context: AppContext) -> int:
    named = {"registry": home.registry, "region": home.region, "repository": home.name}
    found = pages(lambda after: context.queries.images(**named, after=after, limit=_PAGE))
    return sum(row.scan_state is not ScanState.COMPLETE for page in found for row in page.items)


def read_summary(context: AppContext) -> Summary:
    """At most a minute old; of many images the one that the last sweep took."""
    now = context.clock.now()
    stored = _stored(context)
    if stored is not None and (now - stored.taken_at < FRESH_FOR or stored.images > SMALL_IMAGES):
        return stored
    taken = summarize(context.queries.all_rows(), now)
    context.table.put_snapshot(msgspec.json.encode(taken), now)
    return taken


def _stored(context: AppContext) -> Summary | None:
    """None where there is none, or one that another version of this code wrote."""
    snapshot = context.queries.read_snapshot()
    if snapshot is None:
        return None
    try:
        return msgspec.json.decode(snapshot.content, type=Summary)
    except msgspec.ValidationError:
        return None
