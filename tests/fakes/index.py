"""The index by state over headers in memory, as `services.ports.Index` has it: its positions are numbers of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from chalicelib.adapters.table.headers import row_of
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Kind
from chalicelib.services.ports.table import ImageRow


class IndexPage(msgspec.Struct, frozen=True):
    items: tuple[ImageRow, ...]
    after: str | None


class FakeIndex:
    """`walked_rows`: how many rows a page looks at, at most."""

    def __init__(self, headers: Callable[[], Iterable[Header]], walked_rows: int = 10_000) -> None:
        self._headers, self._walked_rows = headers, walked_rows
        self.pages = 0

    def all_rows(self) -> Iterator[ImageRow]:
        shown = (h for h in self._headers() if h.present and h.kind is not Kind.ARTIFACT)
        yield from sorted(map(row_of, shown), key=lambda row: row.ref)

    def rows_where(self, wanted: Callable[[ImageRow], bool], after: str | None, limit: int) -> IndexPage:
        self.pages += 1
        rows, start = list(self.all_rows()), int(after or 0)
        found: list[ImageRow] = []
        for place in range(start, len(rows)):
            if place - start >= self._walked_rows or len(found) == limit:
                return IndexPage(tuple(found), str(place))
            if wanted(rows[place]):
                found.append(rows[place])
        return IndexPage(tuple(found), None)
