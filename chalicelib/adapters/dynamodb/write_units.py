"""The write units that DynamoDB says it took, counted for every write of a client.

DynamoDB tells them for nothing (`ReturnConsumedCapacity`), indexes included. It does not for a write that it refuses: a
condition that fails takes a unit that is not counted here. Source: DynamoDB API reference, "ConsumedCapacity".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.domain.events.metric import Metric
from chalicelib.services.ports.ports import Meter

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
