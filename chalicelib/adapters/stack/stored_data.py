"""What outlives a stack: the S3 bucket with bundle and template, and the table that a deleted stack leaves. Commands
alone call it.

The bucket's name is made of account and Region, so one bucket serves all stages, and anyone can guess it. Every call
therefore names the account that must own it.

CloudFormation believes what a template says of a resource that it imports, and later compares templates only. So the
template must describe the table as it is: otherwise CloudFormation would never make a missing index, and would switch
on again what DynamoDB refuses to switch on twice (time to live, encryption).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from chalicelib.adapters.aws.calls import asked, code_of
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.doctor.installed import KeptTable
from chalicelib.errors import ConflictError, DeniedError, InputError, UpstreamError


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


PREFIX = "lazaretto"
_PRIVATE = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
_ENCRYPTED = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}]}
_ABSENT = ("404", "NoSuchBucket", "NoSuchKey", "NotFound")


class ArtefactBucket:
    """`name` None: ours, of this account and Region, which `ensure` makes. One that is named must be there, in the
    Region of the stack; what it is like is its owner's business.

    `arn` is the caller's. Raises as `aws_call` does.
    """

    def __init__(self, sessions: Sessions, arn: str, region: str, name: str | None = None) -> None:
        self._client = sessions.client("s3")
        self._partition, self._account = arn.split(":")[1], arn.split(":")[4]
        self._region, self._ours = region, name is None
        self.name = name or f"lazaretto-artefacts-{self._account}-{region}"
        self._mine: dict[str, Any] = {"Bucket": self.name}
        if self._ours:
            self._mine["ExpectedBucketOwner"] = self._account

    def ensure(self) -> bool:
        """Private, encrypted, versioned. True: it was made now.

        Raises InputError where a named bucket is in another Region or not there, ConflictError where the name of ours
        belongs to another account.
        """
        region = self._found_in()
        if region is None:
            self._create()
        elif region != self._region:
            raise InputError(f"the bucket {self.name} is in {region}: it must be in {self._region}, as the stack")
        if self._ours and not self._is_finished():
            self._secure()
        return region is None

    def put(self, content: bytes, suffix: str) -> str:
        """The key, which is the content's hash: the same content is sent once. What lies there is compared by the
        checksum S3 keeps, because anyone who may write to the bucket may have written there first."""
        digest = hashlib.sha256(content)
        key, checksum = f"{PREFIX}/{digest.hexdigest()}.{suffix}", base64.b64encode(digest.digest()).decode()
        if self._checksum(key) != checksum:
            asked(
                f"write {key}",
                self._client.put_object,
                **self._mine,
                Key=key,
                Body=content,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=checksum,
            )
        return key

    def url(self, key: str) -> str:
        """As CloudFormation's TemplateURL takes it."""
        return f"{self._client.meta.endpoint_url}/{self.name}/{key}"

    def _found_in(self) -> str | None:
        try:
            answer = asked(f"look for the bucket {self.name}", self._client.head_bucket, **self._mine)
        except DeniedError as error:
            text = f"the bucket {self.name} may not be used: it is another account's, or S3 is denied: give --bucket"
            raise (ConflictError(text) if self._ours else error) from error
        except UpstreamError as error:
            if code_of(error) not in _ABSENT:
                raise
            if not self._ours:
                raise InputError(f"there is no bucket {self.name}") from error
            return None
        return str(answer.get("BucketRegion", self._region))

    def _create(self) -> None:
        place = {} if self._region == "us-east-1" else {"LocationConstraint": self._region}
        wanted: dict[str, Any] = {"CreateBucketConfiguration": place} if place else {}
        try:
            asked(f"make the bucket {self.name}", self._client.create_bucket, Bucket=self.name, **wanted)
        except UpstreamError as error:
            if code_of(error) == "BucketAlreadyExists":
                raise ConflictError(f"the bucket {self.name} is another account's: give --bucket") from error
            if code_of(error) != "BucketAlreadyOwnedByYou":
                raise

    def _is_finished(self) -> bool:
        """Versions are switched on last."""
        answer = asked("read the bucket's versioning", self._client.get_bucket_versioning, **self._mine)
        return bool(answer.get("Status") == "Enabled")

    def _secure(self) -> None:
        client, what = self._client, f"secure the bucket {self.name}"
        asked(what, client.put_public_access_block, **self._mine, PublicAccessBlockConfiguration=_PRIVATE)
        asked(what, client.put_bucket_encryption, **self._mine, ServerSideEncryptionConfiguration=_ENCRYPTED)
        asked(what, client.put_bucket_policy, **self._mine, Policy=json.dumps(self._tls_only()))
        asked(what, client.put_bucket_versioning, **self._mine, VersioningConfiguration={"Status": "Enabled"})

    def _tls_only(self) -> dict[str, Any]:
        arn = f"arn:{self._partition}:s3:::{self.name}"
        statement = {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        return {"Version": "2012-10-17", "Statement": [statement]}

    def _checksum(self, key: str) -> str | None:
        call = self._client.head_object
        try:
            answer = asked(f"look for {key}", call, **self._mine, Key=key, ChecksumMode="ENABLED")
        except UpstreamError as error:
            if code_of(error) in _ABSENT:
                return None
            raise
        checksum: str | None = answer.get("ChecksumSHA256")
        return checksum
