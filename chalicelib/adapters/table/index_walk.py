"""Lists: pages with a position, and the walk over the index `by_state` that merges its shards worst first.

A position is an opaque text. It says after which row to go on, not where a reader stood, so that it stays right while
rows come and go. Whoever hands it out to strangers signs it.
"""

from __future__ import annotations

import base64
import binascii
import heapq
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Generic, TypeVar

import msgspec

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import BY_STATE, SHARDS, STATE_PK, STATE_SK, Item, image_of, state_pk
from chalicelib.adapters.table.header_items import ImageRow, read_index_entry
from chalicelib.errors import ParameterError

T = TypeVar("T")
WALKED_ROWS = 10_000  # for one page of a filtered list: about 1,000 read units at most
_SHARD_PAGE = 8

_Place = tuple[str, str]


class Page(msgspec.Struct, Generic[T], frozen=True):
    """`after` None: this is the end. A page may be short, even empty, and yet not the last."""

    items: tuple[T, ...]
    after: str | None = None


class IndexWalk:
    """The images that exist, worst first, then newest: eight Queries, each read on as needed. Never a Scan."""

    def __init__(self, dynamo: Dynamo, walked_rows: int = WALKED_ROWS) -> None:
        self._dynamo, self._walked_rows = dynamo, walked_rows

    def page(self, wanted: Callable[[ImageRow], bool], after: str | None, limit: int) -> Page[ImageRow]:
        """Ends early after `walked_rows`, with a position to go on from. Raises ParameterError."""
        rows: list[ImageRow] = []
        last: _Place | None = None
        position = position_of(after, 2)
        start = (position[0], position[1]) if position else None
        for walked, (place, entry) in enumerate(self._merged(start, limit)):
            if walked >= self._walked_rows or len(rows) == limit:
                return Page(tuple(rows), token_of(*last) if last else after)
            row = read_index_entry(entry)
            if wanted(row):
                rows.append(row)
            last = place
        return Page(tuple(rows))

    def all_rows(self) -> Iterator[ImageRow]:
        """Shard by shard, in no useful order."""
        for shard in range(SHARDS):
            yield from self.rows_of(shard)

    def rows_of(self, shard: int) -> Iterator[ImageRow]:
        for entry in self._shard(shard, None, None):
            yield read_index_entry(entry)

    def _merged(self, after: _Place | None, limit: int) -> Iterator[tuple[_Place, Item]]:
        size = max(_SHARD_PAGE, limit // SHARDS + 4)
        start = after[0] if after else None
        shards = [_placed(self._shard(n, start, size), after) for n in range(SHARDS)]
        return heapq.merge(*shards, key=lambda placed: placed[0])

    def _shard(self, shard: int, start: str | None, size: int | None) -> Iterator[Item]:
        values: Item = {":pk": {"S": state_pk(shard)}}
        if start is None:
            return self._dynamo.query(f"{STATE_PK} = :pk", values, limit=size, IndexName=BY_STATE)
        values[":from"] = {"S": start}
        condition = f"{STATE_PK} = :pk AND {STATE_SK} >= :from"
        return self._dynamo.query(condition, values, limit=size, IndexName=BY_STATE)


def _placed(entries: Iterator[Item], after: _Place | None) -> Iterator[tuple[_Place, Item]]:
    """Entries with their places. An index does not order those of equal sort key: here they are, by path."""
    for sk, group in groupby(entries, key=lambda entry: str(entry[STATE_SK]["S"])):
        for path, entry in sorted(((image_of(e).path, e) for e in group), key=lambda pair: pair[0]):
            if after is None or (sk, path) > after:
                yield (sk, path), entry


def page_of(rows: list[T], limit: int, place: Callable[[T], str]) -> Page[T]:
    """Of `limit` + 1 rows that were asked for."""
    shown = tuple(rows[:limit])
    return Page(shown, token_of(place(shown[-1])) if len(rows) > limit and shown else None)


def position_of(token: str | None, parts: int) -> tuple[str, ...] | None:
    """Raises ParameterError for a position that is none of ours."""
    if token is None:
        return None
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        place = msgspec.msgpack.decode(data, type=tuple[str, ...])
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise ParameterError("cursor", "is none that was given out") from error
    if len(place) != parts:
        raise ParameterError("cursor", "is none that was given out for this list")
    return place


def token_of(*place: str) -> str:
    """The inverse of `position_of`."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).rstrip(b"=").decode()
