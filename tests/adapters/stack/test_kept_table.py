"""A table that a deleted stack has left, told in CloudFormation's words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.dynamodb.schema import table_definition
from chalicelib.adapters.stack.kept_table import KeptTables
from tests.fakes.cloudformation import resolved
from tests.fakes.moto_aws import mock_aws

NAME = "lazaretto-dev"
TEMPLATE = json.loads((Path(__file__).parents[3] / ".chalice/resources.json").read_text())["Resources"]["Table"]


@pytest.fixture
def sessions() -> Iterator[Sessions]:
    with mock_aws():
        yield Sessions(session=boto3.Session("x", "x", region_name="eu-west-1"))


def make(sessions: Sessions, **more: Any) -> None:
    """As the template's stack makes it."""
    client = sessions.client("dynamodb")
    client.create_table(
        **{k: v for k, v in table_definition(NAME).items() if not k.startswith(("TimeTo", "Point"))}, **more
    )
    client.update_time_to_live(TableName=NAME, TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": True})
    recovery = {"PointInTimeRecoveryEnabled": True}
    client.update_continuous_backups(TableName=NAME, PointInTimeRecoverySpecification=recovery)


def test_no_table_is_none(sessions: Sessions) -> None:
    assert KeptTables(sessions).find(NAME) is None


def test_a_kept_table_is_told_as_the_template_tells_it(sessions: Sessions) -> None:
    make(sessions, SSESpecification={"Enabled": True})
    found = KeptTables(sessions).find(NAME)
    assert found is not None
    assert (found.name, found.status, found.items, found.protected) == (NAME, "ACTIVE", 0, False)
    wanted = resolved(TEMPLATE["Properties"], {"Stage": "dev"})
    same = ("TableName", "AttributeDefinitions", "KeySchema", "BillingMode", "TimeToLiveSpecification")
    same += ("PointInTimeRecoverySpecification",)
    assert {key: found.properties[key] for key in same} == {key: wanted[key] for key in same}
    assert sorted(map(str, found.properties["GlobalSecondaryIndexes"])) == sorted(
        map(
            str, ({k: i[k] for k in ("IndexName", "KeySchema", "Projection")} for i in wanted["GlobalSecondaryIndexes"])
        )
    )
    assert found.properties["SSESpecification"]["SSEEnabled"] is True


def test_a_key_of_the_customer_is_named_and_aws_own_is_not(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    key = sessions.client("kms").create_key()["KeyMetadata"]["Arn"]
    make(sessions, SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key})
    found = KeptTables(sessions).find(NAME)
    assert found is not None
    assert found.key == key
    assert found.properties["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": key}
    aws = {"KeyMetadata": {"KeyManager": "AWS"}}
    monkeypatch.setattr(sessions.client("kms"), "describe_key", lambda **_: aws)
    found = KeptTables(sessions).find(NAME)
    assert found is not None
    assert found.key == ""
    assert found.properties["SSESpecification"] == {"SSEEnabled": True}


def test_a_table_whose_key_is_gone_can_be_told_of_and_deleted_all_the_same(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = sessions.client("kms").create_key()["KeyMetadata"]["Arn"]
    make(sessions, SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key})

    def gone(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "NotFoundException", "Message": "Key does not exist"}}, "DescribeKey")

    monkeypatch.setattr(sessions.client("kms"), "describe_key", gone)
    found = KeptTables(sessions).find(NAME)
    assert found is not None
    assert found.key == key


def test_what_the_table_lacks_is_not_claimed(sessions: Sessions) -> None:
    """An older table: CloudFormation must see the difference to the template, or it never makes the index."""
    keys = [{"AttributeName": "pk", "KeyType": "HASH"}]
    sessions.client("dynamodb").create_table(
        TableName=NAME,
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=keys,
        ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 6},
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        DeletionProtectionEnabled=True,
    )
    found = KeptTables(sessions).find(NAME)
    assert found is not None
    assert found.protected
    assert found.properties == {
        "TableName": NAME,
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": keys,
        "BillingMode": "PROVISIONED",
        "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6},
        "StreamSpecification": {"StreamViewType": "NEW_IMAGE"},
        "DeletionProtectionEnabled": True,
    }


def test_a_protected_table_goes_when_its_protection_is_taken_off(sessions: Sessions) -> None:
    make(sessions, DeletionProtectionEnabled=True)
    tables = KeptTables(sessions)
    tables.unprotect(NAME)
    found = tables.find(NAME)
    assert found is not None
    assert not found.protected
    tables.delete(NAME)
    assert tables.find(NAME) is None
