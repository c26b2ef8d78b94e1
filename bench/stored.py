"""Items as moto's DynamoDB holds them, read beside its API: moto's own answer to a batch of keys is its slowest one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moto.dynamodb.models import dynamodb_backends

Stored = dict[str, dict[str, Any]]


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

    def _backend(self) -> Any:
        return dynamodb_backends[self._account][self._region]


def _projected(item: Stored, wanted: set[str]) -> Stored:
    return {name: value for name, value in item.items() if name in wanted}
