"""moto's DynamoDB without what makes it slow.

moto copies whole tables for every transaction, to roll back: here only the items that the transaction names are copied.
It sorts all items of the table for every query: here only the matching ones. It reads a whole item anew for each
attribute that a projection keeps: here it keeps them as they are. It tries several spellings of a type's name for every
value it writes: here only the API's.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from contextlib import ExitStack
from typing import Any

from moto.core.serialize import AttributePickerContext, XFormedAttributePicker
from moto.dynamodb import urls
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import Item
from moto.dynamodb.models.table import Table

Key = dict[str, Any]
Expressions = list[list[str]]
"""What a projection keeps, each as the path to it."""
_TYPES = frozenset({"S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL"})


class QuickPicker(XFormedAttributePicker):
    """Reads a DynamoDB value by the API's spelling alone."""

    def __call__(self, context: AttributePickerContext) -> Any:
        value = context.obj
        if type(value) is dict and len(value) == 1 and next(iter(value)) in _TYPES:
            return value.get(context.key)
        return super().__call__(context)


_project = Item.project


def _kept(item: Item, expressions: Expressions) -> Item:
    if any(len(path) > 1 or "[" in path[0] for path in expressions):
        return _project(item, expressions)
    kept = Item(item.hash_key, item.range_key, {})
    dict.update(kept.attrs, {name: item.attrs[name] for (name,) in expressions if name in item.attrs})
    return kept


Item.project = _kept  # type: ignore[method-assign, assignment]


class LocalDynamo(DynamoDBBackend):
    @property
    def _url_module(self) -> Any:
        return urls

    def query(self, table_name: str, *arguments: Any, **named: Any) -> Any:
        table = self.get_table(table_name)
        hash_key = {name: next(iter(value.values())) for name, value in named["hash_key_conditions"]}
        vars(table)["all_items"] = lambda: _items_with(table, hash_key)
        try:
            return super().query(table_name, *arguments, **named)
        finally:
            del vars(table)["all_items"]

    def transact_write_items(self, transact_items: list[dict[str, Any]]) -> None:
        named: dict[str, list[Key]] = {}
        for item in transact_items:
            operation = next(iter(item.values()))
            named.setdefault(operation.get("TableName", ""), []).append(operation.get("Key") or operation.get("Item"))
        with ExitStack() as undo:
            for name in named.keys() & self.tables.keys():
                table = self.tables[name]
                vars(table)["__deepcopy__"] = lambda memo, table=table, keys=named[name]: self._copy(table, keys)
                undo.callback(vars(table).pop, "__deepcopy__")
            super().transact_write_items(transact_items)

    def _copy(self, table: Table, keys: list[Key]) -> Table:
        """For a rollback: new containers, and copies of the items that the transaction names."""
        copied = copy.copy(table)
        vars(copied).pop("__deepcopy__")
        if not table.has_range_key:
            copied.items = copy.deepcopy(table.items)
            return copied
        copied.items = defaultdict(dict, {hash_key: dict(ranges) for hash_key, ranges in table.items.items()})
        for key in keys:
            hash_key, range_key = self.get_keys_value(table, key)
            if (item := table.get_item(hash_key, range_key)) is not None:
                copied.items[hash_key][range_key] = copy.deepcopy(item)
        return copied


def _items_with(table: Table, hash_key: dict[str, Any]) -> list[Item]:
    """In moto's order. `hash_key`: the values of its attributes, by name."""
    found = [
        item
        for ranges in table.items.values()
        for item in ranges.values()
        if all((own := item.attrs.get(name)) is not None and own.value == value for name, value in hash_key.items())
    ]
    return sorted(found, key=lambda item: (item.hash_key.value, item.range_key.value))
