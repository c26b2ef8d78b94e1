"""Sees every header on its way to the table: none may count fewer findings than are open all the while.

What stands in the end says nothing of it: a look that failed and was taken for an empty one is mended by the next.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from chalicelib.adapters.table.headers import read_header_item
from tests.chaos.registry import LONGEST_LAG, Living


def missed(request: Any, living: Living, moment: float) -> str | None:
    """`request`: one of PutItem. Says what the header in it lacks, once the image was listed whole; None: it is no
    header, or lacks nothing."""
    item = msgspec.json.decode(request.body)["Item"]
    if not item["sk"]["S"].startswith("IMAGE#"):
        return None
    header = read_header_item({name: _value(said) for name, said in item.items()})
    if header.refreshed_at is None or not header.exists:
        return None
    refreshed_at = header.refreshed_at.timestamp()
    # By row, not by number: while one row is suppressed and another opens, their events come one at a time.
    open_rows = [_open(header.ref.digest, at, living) for at in (refreshed_at - LONGEST_LAG, refreshed_at, moment)]
    open_, counted = len(frozenset.intersection(*open_rows)), sum(header.counts)
    return f"{header.ref.path}: {counted} of {open_} by a look at {refreshed_at:.0f}" if counted < open_ else None


def _open(digest: str, at: float, living: Living) -> frozenset[str]:
    state = living.image(digest, at)
    return frozenset(() if state is None else (row.arn for row in state.findings if row.status == "ACTIVE"))


def _value(said: dict[str, Any]) -> dict[str, Any]:
    return {kind: base64.b64decode(value) if kind == "B" else value for kind, value in said.items()}
