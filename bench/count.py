"""Counts what a program costs while it runs: calls of every AWS client, and DynamoDB's units.

`Count` stands at the one place every botocore call passes, `Endpoint.make_request`; the answers come from moto in the
same process, whose stored items are looked at before and after each write. Writes pass one at a time, so that the items
around them are theirs. No server, no port; wall time under it says nothing.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest.mock import patch

from botocore.endpoint import Endpoint

from bench.stored import StoredItems
from bench.units import Item, Layout, item_bytes, query_units, read_units, write_units

WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"})
REFUSED = frozenset({"ConditionalCheckFailedException", "TransactionCanceledException"})
Row = tuple[Layout, dict[str, Any], Item | None]


class Count:
    """A context manager. `calls` by (service, operation); units by place: "" the table, otherwise an index.

    `wru_by_kind` groups by the words before the first `#` of the keys: what each sort of item costs.
    """

    def __init__(self, region: str, account: str = "123456789012") -> None:
        self._items = StoredItems(account, region)
        self._turn = threading.RLock()
        self._layouts: dict[str, Layout] = {}
        self.reset()

    def reset(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self.wru_by_place: Counter[str] = Counter()
        self.wru_by_kind: Counter[str] = Counter()
        self.rru = 0.0
        self.refused = 0

    @property
    def wru(self) -> int:
        return self.wru_by_place.total()

    def calls_of(self, *services: str) -> int:
        """All calls, or those of the named services."""
        return sum(n for (service, _), n in self.calls.items() if not services or service in services)

    def __enter__(self) -> Count:
        self._patch = patch.object(Endpoint, "make_request", self._counted(Endpoint.make_request))
        self._patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.stop()

    def _counted(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def make_request(endpoint: Endpoint, model: Any, request: dict[str, Any]) -> Any:
            service, operation = model.service_model.service_name, model.name
            if service != "dynamodb":
                answer = original(endpoint, model, request)
            elif operation in WRITES:
                answer = self._write(lambda: original(endpoint, model, request), operation, _body(request))
            else:
                answer = original(endpoint, model, request)
                self._read(operation, _body(request), answer[1])
            with self._turn:
                self.calls[service, operation] += 1 + answer[1].get("ResponseMetadata", {}).get("RetryAttempts", 0)
            return answer

        return make_request

    def _write(self, send: Callable[[], Any], operation: str, body: dict[str, Any]) -> Any:
        factor = 2 if operation == "TransactWriteItems" else 1
        with self._turn:
            before = [self._row(table, item) for table, item in _targets(operation, body)]
            answer = send()
            code = answer[1].get("Error", {}).get("Code")
            if code in REFUSED:
                self.refused += 1
                for _layout, key, item in before:
                    self._add(key, {"": factor * write_units(item_bytes(item))})
            elif code is None:
                for layout, key, item in before:
                    units = layout.write(item, self._items.item(layout.name, key))
                    # In a transaction an index entry costs no more (measured on AWS: nubo-db/dynoxide #188).
                    self._add(key, {place: n if place else factor * n for place, n in units.items()})
        return answer

    def _read(self, operation: str, body: dict[str, Any], answer: Mapping[str, Any]) -> None:
        if "Error" in answer:
            return
        with self._turn:
            self.rru += sum(self._units_read(operation, body, answer))

    def _units_read(self, operation: str, body: dict[str, Any], answer: Mapping[str, Any]) -> Iterator[float]:
        """Query and Scan are priced by the items they returned: nothing of ours filters."""
        if operation in ("GetItem", "BatchGetItem"):
            asked = {body["TableName"]: body} if operation == "GetItem" else body["RequestItems"]
            for table, one in asked.items():
                for key in one.get("Keys") or [one["Key"]]:
                    yield read_units(item_bytes(self._row(table, key)[2]), bool(one.get("ConsistentRead")))
        elif operation in ("Query", "Scan"):
            layout = self._layout(body["TableName"])
            items = [self._items.item(layout.name, layout.key_of(item)) or {} for item in answer.get("Items", ())]
            index = next((i for i in layout.indexes if i.name == body.get("IndexName")), None)
            read = items if index is None else [index.entry(item, layout.keys) or {} for item in items]
            yield query_units(read, bool(body.get("ConsistentRead")))

    def _add(self, key: Item, units: Mapping[str, int]) -> None:
        kind = "/".join(str(value.get("S", "")).split("#")[0] for value in key.values())
        for place, n in units.items():
            self.wru_by_place[place] += n
            self.wru_by_kind[kind] += n

    def _row(self, table: str, item: Item) -> Row:
        layout = self._layout(table)
        key = dict(layout.key_of(item))
        return layout, key, self._items.item(layout.name, key)

    def _layout(self, table: str) -> Layout:
        if table not in self._layouts:
            self._layouts[table] = Layout.of(self._items.description(table))
        return self._layouts[table]


def _body(request: Mapping[str, Any]) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(request["body"])
    return parsed


def _targets(operation: str, body: Mapping[str, Any]) -> list[tuple[str, Item]]:
    """(table, item or key) of each item the write touches."""
    if operation == "BatchWriteItem":
        return [
            (table, one["PutRequest"]["Item"] if "PutRequest" in one else one["DeleteRequest"]["Key"])
            for table, ones in body["RequestItems"].items()
            for one in ones
        ]
    actions = [a for one in body["TransactItems"] for a in one.values()] if "TransactItems" in body else [body]
    return [(action["TableName"], action.get("Item") or action["Key"]) for action in actions]
