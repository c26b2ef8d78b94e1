"""Lists of the API whole, page after page, with a line of progress."""

from __future__ import annotations

from typing import Any

from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import Client, Query


def fetch_list(client: Client, path: str, query: Query, name: str, limit: int | None) -> dict[str, Any]:
    """The last page with the rows of all in its list `name`: at most `limit`, or all (None)."""
    rows: list[dict[str, Any]] = []
    last: dict[str, Any] = {}
    with output.counting(name) as count:
        for last in client.pages(path, query, name, limit):
            rows += last[name]
            count(len(last[name]))
    return {**last, name: rows}
