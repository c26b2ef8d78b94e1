"""Pages of images, always worst first, of the registry, Region and repository that are named.

A repository that is fully named has a partition of its own, but by digest: it is read whole and sorted, while it is
small; a larger one is picked out of the index of all images.
"""

from __future__ import annotations

from bisect import bisect_right

import msgspec

from chalicelib.api.answers.walk import MAX_IMAGES, Pages, RowPlace, place_of_row
from chalicelib.api.framework.paging import read_position, write_position
from chalicelib.api.framework.parameters import PLACE
from chalicelib.api.framework.query import Query
from chalicelib.api.framework.reads import ImageRow, Page, Reads

_CHUNK = 500


class _Page(msgspec.Struct, frozen=True):
    items: list[ImageRow]
    after: str | None


def images_of(reads: Reads, query: Query) -> Pages:
    """Rows of other Regions may be among them: the caller keeps what is meant."""
    registry, region, repository = (query.get(x) for x in PLACE)
    if registry and region and repository:
        rows = _whole(reads, registry, region, repository)
        if rows is not None:
            return lambda after, limit: _slice(rows, after, limit)
        region = None
    return lambda after, limit: reads.images(
        registry=registry, region=region, repository=repository, after=after, limit=limit
    )


def _whole(reads: Reads, registry: str, region: str, repository: str) -> list[ImageRow] | None:
    """All images of the repository, worst first; None when there are too many to sort."""
    rows: list[ImageRow] = []
    after: str | None = None
    while len(rows) <= MAX_IMAGES:
        page = reads.images(registry=registry, region=region, repository=repository, after=after, limit=_CHUNK)
        rows += page.items
        if (after := page.after) is None:
            return sorted(rows, key=place_of_row)
    return None


def _slice(rows: list[ImageRow], after: str | None, limit: int) -> Page[ImageRow]:
    start = 0 if after is None else bisect_right(rows, read_position(after, RowPlace), key=place_of_row)
    items = rows[start : start + limit]
    more = start + limit < len(rows)
    return _Page(items, write_position(place_of_row(items[-1])) if more else None)
