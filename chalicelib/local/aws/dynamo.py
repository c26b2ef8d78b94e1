"""moto's DynamoDB without what makes it slow.

For every transaction moto copies whole tables, to be able to roll back: only items a transaction names can change, so
only those are copied deeply. For every query it sorts all items of the table: only those that have what is asked for
are. For every value it writes moto tries several spellings of every type's name.
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
_TYPES = frozenset({"S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL"})


class QuickPicker(XFormedAttributePicker):
    """A DynamoDB value is named as the API names it: no other spelling need be tried."""

    def __call__(self, context: AttributePickerContext) -> Any:
        value = context.obj
        if type(value) is dict and len(value) == 1 and next(iter(value)) in _TYPES:
            return value.get(context.key)
        return super().__call__(context)


class LocalDynamo(DynamoDBBackend):
    @property
    def _url_module(self) -> Any:
        return urls

    def query(self, table_name: str, *arguments: Any, **named: Any) -> Any:
        table = self.get_table(table_name)
        asked = {name: next(iter(value.values())) for name, value in named["hash_key_conditions"]}
        vars(table)["all_items"] = lambda: _items_with(table, asked)
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
                vars(table)["__deepcopy__"] = lambda memo, table=table, keys=named[name]: self._twin(table, keys)
                undo.callback(vars(table).pop, "__deepcopy__")
            super().transact_write_items(transact_items)

    def _twin(self, table: Table, keys: list[Key]) -> Table:
        """What to go back to: containers of its own, copies of the items the transaction names."""
        twin = copy.copy(table)
        vars(twin).pop("__deepcopy__")
        if not table.has_range_key:
            twin.items = copy.deepcopy(table.items)
            return twin
        twin.items = defaultdict(dict, {hash_key: dict(ranges) for hash_key, ranges in table.items.items()})
        for key in keys:
            hash_key, range_key = self.get_keys_value(table, key)
            if (item := table.get_item(hash_key, range_key)) is not None:
                twin.items[hash_key][range_key] = copy.deepcopy(item)
        return twin


def _items_with(table: Table, asked: dict[str, Any]) -> list[Item]:
    """In the order that moto has them in. `asked`: values by the names of attributes."""
    found = [
        item
        for ranges in table.items.values()
        for item in ranges.values()
        if all((own := item.attrs.get(name)) is not None and own.value == value for name, value in asked.items())
    ]
    return sorted(found, key=lambda item: (item.hash_key.value, item.range_key.value))
