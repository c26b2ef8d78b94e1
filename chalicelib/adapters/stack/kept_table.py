"""A table as DynamoDB has it, in CloudFormation's properties.

CloudFormation trusts the template of a resource that it imports, and later compares templates only. With a wrong
template it would not create a missing index, and would enable time to live or encryption again, which DynamoDB refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.parts import ABSENT, reading
from chalicelib.domain.doctor.installed import KeptTable


class KeptTables:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions, self._client = sessions, sessions.client("dynamodb")

    def find(self, name: str) -> KeptTable | None:
        """None: there is no table of that name."""
        table = self._describe(name)
        return None if table is None else self._kept(name, table)

    @reading("read the key {}")
    def key_state(self, arn: str) -> str:
        """`Enabled`, `Disabled`, `PendingDeletion`, …"""
        return str(self._sessions.client("kms").describe_key(KeyId=arn)["KeyMetadata"]["KeyState"])

    @reading("remove the protection of {}")
    def unprotect(self, name: str) -> None:
        self._client.update_table(TableName=name, DeletionProtectionEnabled=False)

    @reading("delete the table {}")
    def delete(self, name: str) -> None:
        """Only starts it: the table is gone when `find` returns None."""
        self._client.delete_table(TableName=name)

    @reading("read the table {}", ABSENT)
    def _describe(self, name: str) -> Mapping[str, Any]:
        table: Mapping[str, Any] = self._client.describe_table(TableName=name)["Table"]
        return table

    @reading("read the settings of the table {}")
    def _kept(self, name: str, table: Mapping[str, Any]) -> KeptTable:
        protected, key = bool(table.get("DeletionProtectionEnabled")), self._key(table)
        properties = _shape(name, table, key) | {"DeletionProtectionEnabled": protected}
        if (status := table["TableStatus"]) == "ACTIVE":
            properties |= self._time_to_live(name) | self._recovery(name)
        indexes = table.get("GlobalSecondaryIndexes", ())
        unready = tuple(index["IndexName"] for index in indexes if index.get("IndexStatus") != "ACTIVE")
        items, size_bytes = table.get("ItemCount", 0), table.get("TableSizeBytes", 0)
        return KeptTable(name, status, items, size_bytes, protected, key, properties, unready)

    def _time_to_live(self, name: str) -> dict[str, Any]:
        said = self._client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        if said["TimeToLiveStatus"] not in ("ENABLED", "ENABLING"):
            return {}
        return {"TimeToLiveSpecification": {"AttributeName": said["AttributeName"], "Enabled": True}}

    def _recovery(self, name: str) -> dict[str, Any]:
        said = self._client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        on = said.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") == "ENABLED"
        return {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}} if on else {}

    def _key(self, table: Mapping[str, Any]) -> str:
        """DynamoDB names AWS's own key too; only KMS says who manages it."""
        key = table["SSEDescription"].get("KMSMasterKeyArn") if _is_encrypted(table) else None
        # A key that no longer exists was the customer's: AWS does not delete its own.
        return str(key) if key and self._manager(key) in (None, "CUSTOMER") else ""

    @reading("read the key {}", "NotFoundException")
    def _manager(self, key: str) -> str:
        return str(self._sessions.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyManager"])


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
    """By a key of KMS; else one of DynamoDB's own encrypts it."""
    return table.get("SSEDescription", {}).get("Status") in ("ENABLED", "UPDATING")


def _index(index: Mapping[str, Any], mode: str) -> dict[str, Any]:
    shape = {name: index[name] for name in ("IndexName", "KeySchema", "Projection")}
    return shape | ({"ProvisionedThroughput": _throughput(index)} if mode == "PROVISIONED" else {})


def _throughput(of: Mapping[str, Any]) -> dict[str, int]:
    return {name: of["ProvisionedThroughput"][name] for name in ("ReadCapacityUnits", "WriteCapacityUnits")}
