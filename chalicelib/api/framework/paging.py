"""The cursor of one request: read at its beginning, written at its end, for the question the request asks."""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.api.framework.cursor import read_cursor, write_cursor
from chalicelib.api.framework.parameters import CURSOR, LIMIT, LIMIT_DEFAULT
from chalicelib.api.framework.query import Query
from chalicelib.api.framework.reads import House
from chalicelib.errors import ParameterError


class Paging:
    """`start`: the position the cursor names, None at the beginning. Raises ParameterError for a cursor not of this
    question; `limit` may change from page to page."""

    def __init__(self, route: str, query: Query, house: House) -> None:
        self._question = f"{route} {query.without(LIMIT.name, CURSOR.name)}"
        self._secrets, self._now = house.cursor_secrets, house.clock.now()
        self.limit = query.get(LIMIT, LIMIT_DEFAULT)
        cursor = query.get(CURSOR)
        self.start = None if cursor is None else read_cursor(cursor, self._question, self._secrets, self._now)

    def next_cursor(self, position: str | None) -> str | None:
        return None if position is None else write_cursor(position, self._question, self._secrets, self._now)


def write_position(position: object) -> str:
    return msgspec.json.encode(position).decode()


def read_position(text: str, kind: Any) -> Any:
    """The `kind` that `write_position` wrote. Raises ParameterError naming `cursor` for one of another version."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise ParameterError("cursor", "is of another version; ask again without it") from error
