"""The DynamoDB calls the table's adapters make, errors wrapped, batches cut and finished. Nothing here knows an item.

What DynamoDB leaves undone of a batch is asked for again with growing pauses, then it is a TransientError.

The write units that DynamoDB says it took, counted for every write of a client.

DynamoDB tells them for nothing (`ReturnConsumedCapacity`), indexes included. It does not for a write that it refuses: a
condition that fails takes a unit that is not counted here. Source: DynamoDB API reference, "ConsumedCapacity".
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from chalicelib.adapters.aws.errors import aws_call
from chalicelib.adapters.dynamodb.schema import PK, SK, Item
from chalicelib.domain.events.handling import Metric
from chalicelib.errors import ConflictError, TransientError
from chalicelib.services.ports.messages import Meter

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

WRITES = ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems")


def count_write_units(client: DynamoDBClient, meter: Meter) -> None:
    """Once a client, however often it is called."""

    def ask(params: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "TOTAL"

    def count(parsed: dict[str, Any], **_: Any) -> None:
        taken = parsed.get("ConsumedCapacity") or ()
        units = sum(one.get("CapacityUnits", 0.0) for one in ([taken] if isinstance(taken, dict) else taken))
        if units:
            meter.count(Metric.WRITE_UNITS, units)

    for operation in WRITES:
        for event, handler in (("before-parameter-build", ask), ("after-call", count)):
            name = f"{event}.dynamodb.{operation}"
            client.meta.events.register(name, handler, unique_id=f"write-units-{name}")


T = TypeVar("T")

READ_BATCH, WRITE_BATCH = 100, 25
TRIES = 8
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 2.0


def pause_seconds(attempt: int) -> float:
    """Full jitter: those who were refused together do not come back together."""
    return random.uniform(0, min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**attempt))  # noqa: S311


class Dynamo:
    """One table behind a low-level client."""

    def __init__(self, client: DynamoDBClient, table_name: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client, self.table_name, self._sleep = client, table_name, sleep

    def insist(self, what: str, attempt: Callable[[], T]) -> T:
        """Reads and writes again while somebody else is faster. Raises ConflictError when that does not end."""
        for n in range(TRIES):
            try:
                return attempt()
            except ConflictError:
                self._sleep(pause_seconds(n))
        raise ConflictError(f"{what}: too many writers at once")

    def get(self, key: Item, *, consistent: bool = True) -> Item | None:
        with aws_call("DynamoDB GetItem"):
            answer = self._client.get_item(TableName=self.table_name, Key=key, ConsistentRead=consistent)
        return answer.get("Item")

    def put(self, item: Item, condition: str | None = None, values: Item | None = None, **more: Any) -> Item | None:
        """Returns the former item if `ReturnValues` asks for it. Raises ConflictError when the condition fails.

        A put whose answer was lost is sent again by botocore and then fails on its own success: when what is stored is
        just what was to be put, it has been put. Where two writers may put the same, a nonce tells them apart.
        """
        arguments: dict[str, Any] = {"TableName": self.table_name, "Item": item, **more}
        if condition:
            arguments["ConditionExpression"] = condition
        if values:
            arguments["ExpressionAttributeValues"] = values
        try:
            with aws_call("DynamoDB PutItem"):
                return self._client.put_item(**arguments).get("Attributes")
        except ConflictError:
            if self.get({PK: item[PK], SK: item[SK]}) != item:
                raise
            return None

    def update(self, key: Item, **arguments: Any) -> None:
        with aws_call("DynamoDB UpdateItem"):
            self._client.update_item(TableName=self.table_name, Key=key, **arguments)

    def transact(self, *steps: tuple[str, Item]) -> None:
        """`("Put", {…})`, `("Update", {…})`: all or nothing. Raises ConflictError."""
        items: list[Any] = [{kind: {"TableName": self.table_name, **arguments}} for kind, arguments in steps]
        with aws_call("DynamoDB TransactWriteItems"):
            self._client.transact_write_items(TransactItems=items)

    def get_many(
        self, keys: Iterable[Item], attributes: Sequence[str] | None = None, *, consistent: bool = True
    ) -> Iterator[Item]:
        """Those that exist, in no order. Equal keys are asked for once."""
        wanted = list({(k[PK]["S"], k[SK]["S"]): k for k in keys}.values())
        request: dict[str, Any] = {"ConsistentRead": consistent}
        if attributes:
            request["ProjectionExpression"] = ", ".join(f"#{n}" for n in range(len(attributes)))
            request["ExpressionAttributeNames"] = {f"#{n}": name for n, name in enumerate(attributes)}
        for start in range(0, len(wanted), READ_BATCH):
            yield from self._get_batch(request | {"Keys": wanted[start : start + READ_BATCH]})

    def _get_batch(self, request: dict[str, Any]) -> Iterator[Item]:
        left: dict[str, Any] = {self.table_name: request}
        for attempt in range(TRIES):
            with aws_call("DynamoDB BatchGetItem"):
                answer = self._client.batch_get_item(RequestItems=left)
            yield from answer.get("Responses", {}).get(self.table_name, ())
            left = dict(answer.get("UnprocessedKeys") or {})
            if not left:
                return
            self._sleep(pause_seconds(attempt))
        raise TransientError("DynamoDB BatchGetItem: keys left unread")

    def put_many(self, items: Sequence[Item]) -> None:
        """Unconditionally; the keys must differ."""
        self._write_many([{"PutRequest": {"Item": item}} for item in items])

    def delete_many(self, keys: Sequence[Item]) -> None:
        self._write_many([{"DeleteRequest": {"Key": key}} for key in keys])

    def _write_many(self, requests: list[Any]) -> None:
        for start in range(0, len(requests), WRITE_BATCH):
            self._write_batch(requests[start : start + WRITE_BATCH])

    def _write_batch(self, requests: list[Any]) -> None:
        left: dict[str, Any] = {self.table_name: requests}
        for attempt in range(TRIES):
            with aws_call("DynamoDB BatchWriteItem"):
                answer = self._client.batch_write_item(RequestItems=left)
            left = dict(answer.get("UnprocessedItems") or {})
            if not left:
                return
            self._sleep(pause_seconds(attempt))
        raise TransientError("DynamoDB BatchWriteItem: items left unwritten")

    def query(self, condition: str, values: Item, *, limit: int | None = None, **arguments: Any) -> Iterator[Item]:
        """Page by page, as far as the caller goes on. `limit` is the size of a page, not of the answer."""
        request: dict[str, Any] = {
            "TableName": self.table_name,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            **arguments,
        }
        if limit:
            request["Limit"] = limit
        while True:
            with aws_call("DynamoDB Query"):
                page = self._client.query(**request)
            yield from page.get("Items", ())
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
