"""The local DynamoDB answers a query as moto does, which looks at every item for it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import Table

from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.local.aws.dynamo import LocalDynamo
from chalicelib.local.aws.server import LocalAws
from chalicelib.local.aws.stack import REGION

PARTITIONS = 5
KEYS = {"pk": "sk", "gsi_pk": "gsi_sk", "due_pk": "due_sk"}
INDEXES = {"pk": {}, "gsi_pk": {"IndexName": "by_state"}, "due_pk": {"IndexName": "by_due"}}


@pytest.fixture(scope="module")
def dynamo() -> Iterator[Any]:
    """A table of 60 items, some of which are in no index."""
    aws, chance = LocalAws(REGION, []), random.Random(1)
    aws.start()
    try:
        given: Any = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
        client = boto3.client("dynamodb", region_name=REGION, endpoint_url=aws.url, **given)
        create_table(client, "t")
        for n in range(60):
            item = {"pk": {"S": f"{n % PARTITIONS}"}, "sk": {"S": f"{chance.randrange(10**6):06d}"}}
            for index in ("gsi_pk", "due_pk"):
                if chance.random() < 0.6:
                    item |= {index: {"S": f"{n % PARTITIONS}"}, KEYS[index]: {"S": f"{chance.randrange(1000)}"}}
            client.put_item(TableName="t", Item=item)
        yield client
    finally:
        aws.stop()


def asked(client: Any, name: str) -> list[Any]:
    """Every partition, from both ends, whole, page by page and from a key on."""
    answers = []
    for n, forward in ((n, forward) for n in range(PARTITIONS + 1) for forward in (True, False)):
        query = {"TableName": "t", "ScanIndexForward": forward, **INDEXES[name]}
        values = {":p": {"S": f"{n}"}, ":s": {"S": "5"}}
        answers += client.get_paginator("query").paginate(
            **query,
            KeyConditionExpression=f"{name} = :p",
            ExpressionAttributeValues={":p": values[":p"]},
            PaginationConfig={"PageSize": 4},
        )
        answers.append(
            client.query(
                **query, KeyConditionExpression=f"{name} = :p AND {KEYS[name]} > :s", ExpressionAttributeValues=values
            )
        )
    return [(answer["Items"], answer.get("LastEvaluatedKey"), answer["ScannedCount"]) for answer in answers]


@pytest.mark.parametrize("name", INDEXES)
def test_a_query_is_answered_as_moto_does(dynamo: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    quick = asked(dynamo, name)
    assert sum(len(items) for items, *_ in quick) > 60
    monkeypatch.setattr(LocalDynamo, "query", DynamoDBBackend.query)
    assert asked(dynamo, name) == quick


def test_a_query_leaves_out_all_other_items(dynamo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    refreshed_at: list[int] = []
    query = Table.query

    def watched(table: Table, *arguments: Any, **named: Any) -> Any:
        refreshed_at.append(len(table.all_items()))
        return query(table, *arguments, **named)

    monkeypatch.setattr(Table, "query", watched)
    dynamo.query(TableName="t", KeyConditionExpression="pk = :p", ExpressionAttributeValues={":p": {"S": "1"}})
    assert refreshed_at == [60 // PARTITIONS]
