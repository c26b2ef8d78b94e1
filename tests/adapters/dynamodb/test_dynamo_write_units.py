"""Write units as DynamoDB tells them, counted for every write and for nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from chalicelib.adapters.dynamodb.dynamo import WRITES, count_write_units
from chalicelib.domain.events.message import Metric
from tests.fakes.journal import FakeJournal

ITEM = {"pk": {"S": "a"}, "sk": {"S": "b"}}
CALLS: dict[str, Callable[[Any], Any]] = {
    "PutItem": lambda client: client.put_item(TableName="t", Item=ITEM),
    "UpdateItem": lambda client: client.update_item(TableName="t", Key=ITEM),
    "DeleteItem": lambda client: client.delete_item(TableName="t", Key=ITEM),
    "BatchWriteItem": lambda client: client.batch_write_item(RequestItems={"t": [{"PutRequest": {"Item": ITEM}}]}),
    "TransactWriteItems": lambda client: client.transact_write_items(
        TransactItems=[{"Put": {"TableName": "t", "Item": ITEM}}]
    ),
}
TAKEN = {"TableName": "t", "CapacityUnits": 3.0}


class _Raw(BytesIO):
    def stream(self, **_: Any) -> Any:
        yield self.read()


class Played:
    """A client whose calls are answered here; `asked`: their bodies."""

    def __init__(self, answer: dict[str, Any], status: int = 200) -> None:
        self.answer, self.status, self.asked = answer, status, list[dict[str, Any]]()
        self.journal = FakeJournal()
        self.client: Any = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        self.client.meta.events.register_first("before-send.dynamodb", self._answer)
        for _ in range(2):
            count_write_units(self.client, self.journal)

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        self.asked.append(json.loads(request.body))
        return AWSResponse(request.url, self.status, {}, _Raw(json.dumps(self.answer).encode()))


@pytest.mark.parametrize("operation", WRITES)
def test_a_write_asks_for_its_units_and_they_are_counted_once(operation: str) -> None:
    many = operation in ("BatchWriteItem", "TransactWriteItems")
    played = Played({"ConsumedCapacity": [TAKEN, TAKEN] if many else TAKEN})
    CALLS[operation](played.client)
    assert [asked["ReturnConsumedCapacity"] for asked in played.asked] == ["TOTAL"]
    assert played.journal.counted == {(Metric.WRITE_UNITS, None): 6 if many else 3}


def test_a_read_asks_for_nothing() -> None:
    played = Played({"ConsumedCapacity": TAKEN})
    played.client.get_item(TableName="t", Key=ITEM)
    assert "ReturnConsumedCapacity" not in played.asked[0]
    assert not played.journal.counted


def test_a_write_that_is_refused_counts_nothing() -> None:
    played = Played({"__type": "ConditionalCheckFailedException"}, status=400)
    with pytest.raises(played.client.exceptions.ConditionalCheckFailedException):
        CALLS["PutItem"](played.client)
    assert not played.journal.counted
