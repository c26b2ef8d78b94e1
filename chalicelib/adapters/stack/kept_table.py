"""The table as it is outside of any stack: what a deleted stack has left. Called by commands alone.

CloudFormation believes what a template says of a resource that it takes up, and later compares templates only. So it
must be told what the table is really like, or it would never make an index the table lacks, and would switch on again
what DynamoDB refuses to switch on twice (time to live, encryption).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.adapters.aws.calls import asked, code_of
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.doctor.installed import KeptTable
from chalicelib.errors import UpstreamError


class KeptTables:
    """Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions, self._client = sessions, sessions.client("dynamodb")

    def find(self, name: str) -> KeptTable | None:
        """With its properties in CloudFormation's words. None: there is no table of that name."""
        table = self._describe(name)
        if table is None:
            return None
        protected, key = bool(table.get("DeletionProtectionEnabled")), self._key(table)
        properties = _shape(name, table, key) | {"DeletionProtectionEnabled": protected}
        if (status := table["TableStatus"]) == "ACTIVE":
            properties |= self._time_to_live(name) | self._recovery(name)
        indexes = table.get("GlobalSecondaryIndexes", ())
        unready = tuple(index["IndexName"] for index in indexes if index.get("IndexStatus") != "ACTIVE")
        items, size_bytes = table.get("ItemCount", 0), table.get("TableSizeBytes", 0)
        return KeptTable(name, status, items, size_bytes, protected, key, properties, unready)

    def key_state(self, arn: str) -> str:
        """`Enabled`, `Disabled`, `PendingDeletion`, …"""
        answer = asked(f"read the key {arn}", self._sessions.client("kms").describe_key, KeyId=arn)
        return str(answer["KeyMetadata"]["KeyState"])

    def unprotect(self, name: str) -> None:
        call = self._client.update_table
        asked(f"take the protection off {name}", call, TableName=name, DeletionProtectionEnabled=False)

    def delete(self, name: str) -> None:
        """Asks for it; it is gone when `find` no longer finds it."""
        asked(f"delete the table {name}", self._client.delete_table, TableName=name)

    def _describe(self, name: str) -> Mapping[str, Any] | None:
        try:
            answer = asked(f"read the table {name}", self._client.describe_table, TableName=name)
        except UpstreamError as error:
            if code_of(error) == "ResourceNotFoundException":
                return None
            raise
        table: Mapping[str, Any] = answer["Table"]
        return table

    def _time_to_live(self, name: str) -> dict[str, Any]:
        answer = asked(f"read the time to live of {name}", self._client.describe_time_to_live, TableName=name)
        told = answer["TimeToLiveDescription"]
        if told["TimeToLiveStatus"] not in ("ENABLED", "ENABLING"):
            return {}
        return {"TimeToLiveSpecification": {"AttributeName": told["AttributeName"], "Enabled": True}}

    def _recovery(self, name: str) -> dict[str, Any]:
        answer = asked(f"read the backups of {name}", self._client.describe_continuous_backups, TableName=name)
        told = answer["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
        on = told.get("PointInTimeRecoveryStatus") == "ENABLED"
        return {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}} if on else {}

    def _key(self, table: Mapping[str, Any]) -> str:
        """DynamoDB names AWS's own key as well, and only KMS tells whose one is."""
        key = table["SSEDescription"].get("KMSMasterKeyArn") if _is_encrypted(table) else None
        if not key:
            return ""
        call = self._sessions.client("kms").describe_key
        try:
            answer = asked(f"read the key of {table['TableName']}", call, KeyId=key)
        except UpstreamError as error:
            if code_of(error) == "NotFoundException":  # gone for good, which a key of AWS cannot be
                return str(key)
            raise
        return str(key) if answer["KeyMetadata"]["KeyManager"] == "CUSTOMER" else ""


def _shape(name: str, table: Mapping[str, Any], key: str) -> dict[str, Any]:
    mode = table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    shape: dict[str, Any] = {
        "TableName": name,
        "AttributeDefinitions": table["AttributeDefinitions"],
        "KeySchema": table["KeySchema"],
        "BillingMode": mode,
    }
    if mode == "PROVISIONED":
        shape["ProvisionedThroughput"] = _throughput(table)
    if indexes := table.get("GlobalSecondaryIndexes"):
        shape["GlobalSecondaryIndexes"] = [_index(index, mode) for index in indexes]
    if _is_encrypted(table):
        managed = {"SSEType": "KMS", "KMSMasterKeyId": key} if key else {}
        shape["SSESpecification"] = {"SSEEnabled": True, **managed}
    if (stream := table.get("StreamSpecification", {})).get("StreamEnabled"):
        shape["StreamSpecification"] = {"StreamViewType": stream["StreamViewType"]}
    return shape


def _is_encrypted(table: Mapping[str, Any]) -> bool:
    """By a key of KMS; else it is by one of DynamoDB's own."""
    return table.get("SSEDescription", {}).get("Status") in ("ENABLED", "UPDATING")


def _index(index: Mapping[str, Any], mode: str) -> dict[str, Any]:
    shape = {name: index[name] for name in ("IndexName", "KeySchema", "Projection")}
    return shape | ({"ProvisionedThroughput": _throughput(index)} if mode == "PROVISIONED" else {})


def _throughput(of: Mapping[str, Any]) -> dict[str, int]:
    return {name: of["ProvisionedThroughput"][name] for name in ("ReadCapacityUnits", "WriteCapacityUnits")}
