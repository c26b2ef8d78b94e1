"""Policy versions in the table, and the book of rules (policy and waivers) that is read for every decision.

A policy is stored as its text (`POLICY`, `<version>`); waivers are `waiver_store`'s. Whoever puts either raises its
version in `VERSIONS` in the same transaction (4 units), so that a header says by its two versions whether it was
decided by the rules of today. Versions are read before what they count: rules are never older than they claim.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import msgspec

from chalicelib.adapters.dynamodb import plain
from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import (
    ACTOR,
    BODY,
    PK,
    POLICY,
    POLICY_VERSION,
    PUT_AT,
    VERSIONS_KEY,
    WAIVER,
    WAIVERS_VERSION,
    Item,
    key,
    number_of,
    read_number,
)
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.errors import ConflictError, NotFoundError, PolicyError, StoredPolicyError
from chalicelib.services.ports.rules import PolicyVersion

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

KEPT_FOR = timedelta(seconds=60)
_ABSENT = f"attribute_not_exists({PK})"


class ReadPolicy(Protocol):
    """Makes a policy of a stored text and its number. Raises PolicyError."""

    def __call__(self, text: str, /, *, number: int) -> Policy: ...


class PolicyStore:
    """`default_policy` is in force until one is stored."""

    def __init__(
        self,
        client: DynamoDBClient,
        table_name: str,
        default_policy: Policy,
        now: Callable[[], datetime],
        read: ReadPolicy,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._dynamo = Dynamo(client, table_name, sleep)
        self._default, self._now, self._read = default_policy, now, read
        self._kept: tuple[datetime, Rules] | None = None
        self._parsed: tuple[int, Policy] | None = None

    def current(self) -> Rules:
        """At most a minute old."""
        if self._kept is not None and self._kept[0] <= self._now() < self._kept[0] + KEPT_FOR:
            return self._kept[1]
        return self.fresh()

    def fresh(self) -> Rules:
        """As stored now; one read where nothing changed. Raises StoredPolicyError."""
        now = self._now()
        policy_version, waivers_version = self._versions()
        kept = self._kept[1] if self._kept else None
        same_waivers = kept is not None and kept.waivers_version == waivers_version
        rules = Rules(
            policy=self._policy(policy_version),
            waivers=kept.waivers if kept and same_waivers else read_waivers(self._dynamo),
            policy_version=policy_version,
            waivers_version=waivers_version,
        )
        self._kept = (now, rules)
        return rules

    def policy_in_force(self) -> tuple[Policy, int]:
        """As stored now, with its version; waivers are not read. Raises StoredPolicyError."""
        version = self._versions()[0]
        return self._policy(version), version

    def policy_of(self, text: str) -> Policy:
        """As it would be put. Raises PolicyError."""
        return self._read(text, number=0)

    def put_policy(self, text: str, put_by: str, *, after: int | None = None) -> int:
        """Returns its version. `after`: only on top of this one.

        Raises PolicyError for a text that does not load: it is not put. Raises ConflictError when another policy was
        put meanwhile.
        """

        def attempt() -> int:
            former = self._versions()[0]
            if after not in (None, former):
                return 0
            version = former + 1
            self._read(text, number=version)
            item = key(POLICY, _policy_sk(version)) | {
                BODY: {"B": plain.encode(text)},
                PUT_AT: {"N": number_of(self._now())},
                ACTOR: {"S": put_by},
            }
            self._dynamo.transact(
                ("Put", {"Item": item, "ConditionExpression": _ABSENT}), raised_version(POLICY_VERSION, version)
            )
            return version

        version = self._dynamo.insist("the policy", attempt)
        if not version:
            raise ConflictError(f"another policy than number {after} is in force by now")
        return version

    def read_policy(self, version: int) -> PolicyVersion:
        """Raises NotFoundError."""
        item = self._dynamo.get(key(POLICY, _policy_sk(version)))
        if item is None:
            raise NotFoundError(f"there is no policy version {version}")
        text = plain.expand(str, item[BODY]["B"])
        return PolicyVersion(version, text, read_number(item[PUT_AT]["N"]), item[ACTOR]["S"])

    def _policy(self, version: int) -> Policy:
        """What a version says never changes: it is read once."""
        if self._parsed is None or self._parsed[0] != version:
            text = self.read_policy(version).text if version else None
            self._parsed = (version, self._default if text is None else self._loaded(text, version))
        return self._parsed[1]

    def _loaded(self, text: str, version: int) -> Policy:
        """It loaded when it was put: that it does not now is no fault of whoever asks."""
        try:
            return self._read(text, number=version)
        except PolicyError as error:
            raise StoredPolicyError(version, str(error)) from error

    def _versions(self) -> tuple[int, int]:
        return read_versions(self._dynamo)


def read_waivers(dynamo: Dynamo) -> tuple[Waiver, ...]:
    """All that are stored, ended ones included; who puts them is `waiver_store.py`."""
    found = dynamo.query(f"{PK} = :pk", {":pk": {"S": WAIVER}}, ConsistentRead=True)
    return tuple(msgspec.json.decode(item[BODY]["B"], type=Waiver) for item in found)


def raised_version(name: str, version: int) -> tuple[str, Item]:
    """The step of a transaction that raises a version to `version`, on condition that it was one less."""
    raising: Item = {
        "Key": VERSIONS_KEY,
        "UpdateExpression": f"SET {name} = :next",
        "ConditionExpression": f"attribute_not_exists({name})" if version == 1 else f"{name} = :former",
        "ExpressionAttributeValues": {":next": {"N": str(version)}},
    }
    if version > 1:
        raising["ExpressionAttributeValues"][":former"] = {"N": str(version - 1)}
    return "Update", raising


def read_versions(dynamo: Dynamo) -> tuple[int, int]:
    """Policy, waivers; 0 where none was stored."""
    item = dynamo.get(VERSIONS_KEY) or {}
    policy, waivers = (int(item[name]["N"]) if name in item else 0 for name in (POLICY_VERSION, WAIVERS_VERSION))
    return policy, waivers


def _policy_sk(version: int) -> str:
    return f"{version:010d}"
