"""Policy versions and waivers in the table, and the book of rules that is read for every decision.

A policy is stored as its text (`POLICY`, `<version>`), a waiver as JSON (`WAIVER`, `<id>`). Whoever puts one raises the
version in `VERSIONS` in the same transaction (4 units), so that a header says by its two versions whether it was
decided by the rules of today. Versions are read before what they count: rules are never older than they claim.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import msgspec

from chalicelib.adapters import plain
from chalicelib.adapters.dynamo import Dynamo
from chalicelib.adapters.table_schema import (
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
from chalicelib.domain.header import Rules
from chalicelib.domain.policy import Policy
from chalicelib.domain.waiver import Waiver
from chalicelib.errors import NotFoundError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

KEPT_FOR = timedelta(seconds=60)
_ABSENT = f"attribute_not_exists({PK})"


class ReadPolicy(Protocol):
    """Makes a policy of a stored text and its number. Raises PolicyError."""

    def __call__(self, text: str, /, *, number: int) -> Policy: ...


class PolicyVersion(msgspec.Struct, frozen=True):
    """One stored policy. `text` is the YAML as it was put."""

    number: int
    text: str
    put_at: datetime
    put_by: str


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

    def current(self) -> Rules:
        """At most a minute old."""
        if self._kept is not None and self._kept[0] <= self._now() < self._kept[0] + KEPT_FOR:
            return self._kept[1]
        return self.fresh()

    def fresh(self) -> Rules:
        """As stored now; one read where nothing changed. Raises PolicyError for a stored text that does not load."""
        now = self._now()
        policy_version, waivers_version = self._versions()
        kept = self._kept[1] if self._kept else None
        same_policy = kept is not None and kept.policy_version == policy_version
        same_waivers = kept is not None and kept.waivers_version == waivers_version
        rules = Rules(
            policy=kept.policy if kept and same_policy else self._policy(policy_version),
            waivers=kept.waivers if kept and same_waivers else self.waivers(),
            policy_version=policy_version,
            waivers_version=waivers_version,
        )
        self._kept = (now, rules)
        return rules

    def put_policy(self, text: str, put_by: str) -> int:
        """Returns its version. Raises PolicyError for a text that does not load: it is not put."""

        def attempt() -> int:
            version = self._versions()[0] + 1
            self._read(text, number=version)
            item = key(POLICY, _policy_sk(version)) | {
                BODY: {"B": plain.squeeze(text)},
                PUT_AT: {"N": number_of(self._now())},
                ACTOR: {"S": put_by},
            }
            self._put_raising(POLICY_VERSION, version, ("Put", {"Item": item, "ConditionExpression": _ABSENT}))
            return version

        return self._dynamo.insist("the policy", attempt)

    def read_policy(self, version: int) -> PolicyVersion:
        """Raises NotFoundError."""
        item = self._dynamo.get(key(POLICY, _policy_sk(version)))
        if item is None:
            raise NotFoundError(f"there is no policy version {version}")
        text = plain.expand(str, item[BODY]["B"])
        return PolicyVersion(version, text, read_number(item[PUT_AT]["N"]), item[ACTOR]["S"])

    def put_waiver(self, waiver: Waiver) -> int:
        """Puts or replaces it; returns the version of the waivers."""
        item = key(WAIVER, waiver.id) | {BODY: {"B": msgspec.json.encode(waiver)}}
        return self._change_waivers(("Put", {"Item": item}))

    def remove_waiver(self, waiver_id: str) -> int:
        """Raises NotFoundError when there is none of that id."""
        if self._dynamo.get(key(WAIVER, waiver_id)) is None:
            raise NotFoundError(f"there is no waiver {waiver_id}")
        return self._change_waivers(("Delete", {"Key": key(WAIVER, waiver_id)}))

    def waivers(self) -> tuple[Waiver, ...]:
        """All that are stored, ended ones included."""
        found = self._dynamo.query(f"{PK} = :pk", {":pk": {"S": WAIVER}}, ConsistentRead=True)
        return tuple(msgspec.json.decode(item[BODY]["B"], type=Waiver) for item in found)

    def _policy(self, version: int) -> Policy:
        return self._read(self.read_policy(version).text, number=version) if version else self._default

    def _versions(self) -> tuple[int, int]:
        return read_versions(self._dynamo)

    def _change_waivers(self, step: tuple[str, Item]) -> int:
        def attempt() -> int:
            version = self._versions()[1] + 1
            self._put_raising(WAIVERS_VERSION, version, step)
            return version

        return self._dynamo.insist("the waivers", attempt)

    def _put_raising(self, name: str, version: int, step: tuple[str, Item]) -> None:
        raising: Item = {
            "Key": VERSIONS_KEY,
            "UpdateExpression": f"SET {name} = :next",
            "ConditionExpression": f"attribute_not_exists({name})" if version == 1 else f"{name} = :former",
            "ExpressionAttributeValues": {":next": {"N": str(version)}},
        }
        if version > 1:
            raising["ExpressionAttributeValues"][":former"] = {"N": str(version - 1)}
        self._dynamo.transact(step, ("Update", raising))


def read_versions(dynamo: Dynamo) -> tuple[int, int]:
    """Policy, waivers; 0 where none was stored."""
    item = dynamo.get(VERSIONS_KEY) or {}
    policy, waivers = (int(item[name]["N"]) if name in item else 0 for name in (POLICY_VERSION, WAIVERS_VERSION))
    return policy, waivers


def _policy_sk(version: int) -> str:
    return f"{version:010d}"
