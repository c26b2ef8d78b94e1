"""The witness compares rows, not numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from chalicelib.adapters.table.headers import header_item
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef
from tests.chaos.witness import missed

pytestmark = pytest.mark.chaos
REFRESHED_AT, NOW = 1_000_000, 1_003_600
REF = ImageRef("123456789012", "eu-west-1", "team/api", "sha256:" + "a" * 64)


class Registry:
    """`rows`: (arn, status) at each moment after which they changed."""

    def __init__(self, rows: dict[int, set[tuple[str, str]]]) -> None:
        self.rows = rows

    def image(self, _digest: str, at: float) -> Any:
        rows = self.rows[max(moment for moment in self.rows if moment <= at)]
        return SimpleNamespace(findings=[SimpleNamespace(arn=arn, status=status) for arn, status in rows])


def put(counted: int) -> Any:
    header = Header(
        ref=REF,
        known_at=datetime.fromtimestamp(0, UTC),
        refreshed_at=datetime.fromtimestamp(REFRESHED_AT, UTC),
        exists=True,
    )
    item = header_item(msgspec.structs.replace(header, counts=(0, counted, 0, 0, 0, 0)))
    return SimpleNamespace(body=msgspec.json.encode({"Item": item}))


def test_a_finding_that_was_open_all_the_while_and_is_not_counted_is_found() -> None:
    steady: Any = Registry({0: {("one", "ACTIVE"), ("two", "ACTIVE")}})
    assert missed(put(2), steady, NOW) is None
    assert missed(put(1), steady, NOW) is not None


def test_one_row_that_closes_may_be_told_before_another_that_opens() -> None:
    swapped: Any = Registry({0: {("one", "ACTIVE")}, NOW - 1: {("one", "SUPPRESSED"), ("two", "ACTIVE")}})
    assert missed(put(0), swapped, NOW) is None
