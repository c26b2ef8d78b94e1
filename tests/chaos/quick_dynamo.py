"""moto's DynamoDB, quick enough for tens of thousands of calls on a table that grows.

An index is asked for its entries and not for all items, and a transaction copies what it names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from moto.core import responses
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Item, Table

from chalicelib.local.dynamo import LocalDynamo, QuickPicker

_query = Table.query
_ASKED = "_asked"


def _query_quickly(table: Table, *arguments: Any, **named: Any) -> Any:
    vars(table)[_ASKED] = {name: value.value for name, value in named.get("hash_key_conditions") or ()}
    try:
        return _query(table, *arguments, **named)
    finally:
        del vars(table)[_ASKED]


def _all_items(table: Table) -> list[Item]:
    """Those that have what is asked for; sorted as moto does."""
    asked = vars(table).get(_ASKED, {})
    found = [
        item
        for ranges in table.items.values()
        for item in ranges.values()
        if all((own := item.attrs.get(name)) is not None and own.value == value for name, value in asked.items())
    ]
    return sorted(found, key=lambda item: (item.hash_key.value, item.range_key.value))


@contextmanager
def quick_dynamo() -> Iterator[None]:
    """Within `mock_aws`, before any table is made. Tables have a range key."""
    former = dynamodb_backends.backend
    dynamodb_backends.clear()
    dynamodb_backends.backend = LocalDynamo
    try:
        with (
            patch.object(Table, "query", _query_quickly),
            patch.object(Table, "all_items", _all_items),
            patch.object(responses, "XFormedAttributePicker", QuickPicker),
        ):
            yield
    finally:
        dynamodb_backends.clear()
        dynamodb_backends.backend = former
