"""Items as moto's DynamoDB holds them, read beside its API: moto sorts all of a table for each Query, and takes longer
to write an answer than to find it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType

Stored = dict[str, dict[str, Any]]
_BEGINS = re.compile(r"(\w+) = (:\w+)(?: AND begins_with\((\w+), (:\w+)\))?")
_PLAIN = {"TableName", "KeyConditionExpression", "ExpressionAttributeValues", "ConsistentRead"}
_PAGE_BYTES = 1_000_000


class StoredItems:
    """The tables of one account and Region, which must be mocked when a method is called."""

    def __init__(self, account: str, region: str) -> None:
        self._account, self._region = account, region

    def item(self, table: str, key: Mapping[str, Any]) -> Stored | None:
        found = self._backend().get_item(table, {name: dict(value) for name, value in key.items()})
        attributes: Stored | None = None if found is None else found.to_json()["Attributes"]
        return attributes

    def description(self, table: str) -> dict[str, Any]:
        """As DescribeTable answers below `Table`."""
        described: dict[str, Any] = self._backend().describe_table(table)["Table"]
        return described

    def batch_get(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """BatchGetItem of at most 100 keys, of whole attributes: as DynamoDB answers it."""
        answers = dict[str, list[Stored]]()
        for table, one in asked["RequestItems"].items():
            names = one.get("ExpressionAttributeNames", {})
            wanted = {names[word.strip()] for word in one.get("ProjectionExpression", "").split(",") if word.strip()}
            items = [item for key in one["Keys"] if (item := self.item(table, key)) is not None]
            answers[table] = [_projected(item, wanted) if wanted else item for item in items]
        if sum(len(one["Keys"]) for one in asked["RequestItems"].values()) > 100:
            raise AssertionError("BatchGetItem of more than 100 keys")
        return {"Responses": answers, "UnprocessedKeys": {}}

    def get(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """GetItem of whole items: as DynamoDB answers it."""
        if "ProjectionExpression" in asked:
            raise AssertionError("GetItem of some attributes")
        item = self.item(asked["TableName"], asked["Key"])
        return {} if item is None else {"Item": item}

    def query(self, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        """Query of all that begins alike below one key of the table, on one page. None: it asks for something else."""
        condition = _BEGINS.fullmatch(asked["KeyConditionExpression"])
        if condition is None or not asked.keys() <= _PLAIN:
            return None
        values = asked["ExpressionAttributeValues"]
        begins = values[condition[4]]["S"] if condition[4] else ""
        table = self._backend().get_table(asked["TableName"])
        rows = list(table.items.get(DynamoType(values[condition[2]]), {}).values())
        names = (table.hash_key_attr, table.range_key_attr)
        if names != (condition[1], condition[3] or names[1]):
            return None
        found = sorted((r for r in rows if r.range_key.value.startswith(begins)), key=lambda r: r.range_key.value)
        if sum(row.size() for row in found) > _PAGE_BYTES:
            return None
        return {"Items": [row.to_json()["Attributes"] for row in found], "Count": len(found)}

    def _backend(self) -> Any:
        return dynamodb_backends[self._account][self._region]


def _projected(item: Stored, wanted: set[str]) -> Stored:
    return {name: value for name, value in item.items() if name in wanted}
