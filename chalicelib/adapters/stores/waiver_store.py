"""Waivers in the table, the changes of them on their way to the images, and what people were told of their ends.

| item | pk | sk | holds |
|---|---|---|---|
| waiver | `WAIVER` | its id | JSON |
| change | `WAIVER_CHANGE` | the waivers' version it made, ten digits | JSON; deleted when it has reached every image |
| notice | `WAIVER_NOTICE` | the waiver's id | JSON: the last that was told of its end |

A waiver, the version in `VERSIONS` and the change are put in one transaction (6 units): whoever dies after it leaves
the change behind, by which the clock goes on. What was told is beside the waiver, so that telling raises no version.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import (
    BODY,
    PK,
    SK,
    WAIVER,
    WAIVER_CHANGE,
    WAIVER_NOTICE,
    WAIVERS_VERSION,
    Item,
    key,
)
from chalicelib.adapters.stores.policy_store import raised_version, read_versions, read_waivers
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.waivers.alert import Notice
from chalicelib.domain.waivers.change import WaiverChange
from chalicelib.errors import ConflictError, TransientError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

RETRY_AFTER_SECONDS = 2.0
_ABSENT = f"attribute_not_exists({PK})"


class WaiverStore:
    """Implements services.ports.Waivers. All reads are consistent."""

    def __init__(self, client: DynamoDBClient, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._dynamo = Dynamo(client, table_name, sleep)

    def read(self) -> tuple[Waiver, ...]:
        """All that are stored, ended ones included."""
        return read_waivers(self._dynamo)

    def get(self, waiver_id: str) -> Waiver | None:
        item = self._dynamo.get(key(WAIVER, waiver_id))
        return None if item is None else _read(item)

    def put(self, change: WaiverChange) -> WaiverChange:
        """Returns it with its version. Raises ConflictError where another waiver than `former` is stored. All waivers
        share one version: who loses it to the change of another waiver tries again, at last with a TransientError."""

        def attempt() -> WaiverChange | None:
            put = msgspec.structs.replace(change, version=read_versions(self._dynamo)[1] + 1)
            if (step := self._step(put)) is None:
                return None
            self._dynamo.transact(
                step,
                raised_version(WAIVERS_VERSION, put.version),
                ("Put", {"Item": _change_item(put), "ConditionExpression": _ABSENT}),
            )
            return put

        try:
            put = self._dynamo.insist("the waivers", attempt)
        except ConflictError as error:
            raise TransientError(str(error), RETRY_AFTER_SECONDS) from error
        if put is None:
            raise ConflictError(f"the waiver {change.subject.id} was changed in between")
        return put

    def changes(self) -> tuple[WaiverChange, ...]:
        """Those that have not reached every image, oldest first."""
        found = self._dynamo.query(f"{PK} = :pk", {":pk": {"S": WAIVER_CHANGE}}, ConsistentRead=True)
        return tuple(msgspec.json.decode(item[BODY]["B"], type=WaiverChange) for item in found)

    def store_change(self, change: WaiverChange) -> None:
        """Nothing where it was ended in between: it has reached every image."""
        try:
            self._dynamo.put(_change_item(change), f"attribute_exists({PK})")
        except ConflictError:
            return

    def end_change(self, version: int) -> None:
        self._dynamo.delete_many([key(WAIVER_CHANGE, _version_sk(version))])

    def notices(self) -> dict[str, Notice]:
        """By the waiver's id."""
        found = self._dynamo.query(f"{PK} = :pk", {":pk": {"S": WAIVER_NOTICE}}, ConsistentRead=True)
        return {item[SK]["S"]: msgspec.json.decode(item[BODY]["B"], type=Notice) for item in found}

    def store_notice(self, waiver_id: str, notice: Notice) -> None:
        self._dynamo.put(key(WAIVER_NOTICE, waiver_id) | {BODY: {"B": msgspec.json.encode(notice)}})

    def drop_notice(self, waiver_id: str) -> None:
        self._dynamo.delete_many([key(WAIVER_NOTICE, waiver_id)])

    def drop(self, waiver: Waiver) -> None:
        """One that is over, so that no decision hangs on it: no version is raised. Nothing where it was given anew."""
        item = self._dynamo.get(key(WAIVER, waiver.id))
        if item is None or _read(item) != waiver:
            return
        try:
            self._dynamo.transact(("Delete", {"Key": key(WAIVER, waiver.id), **_still(item)}))
        except ConflictError:
            return

    def _step(self, change: WaiverChange) -> tuple[str, Item] | None:
        """The waiver put or deleted, on condition that what was stored before still is: its bytes, since an older form
        of them may not be what is made of it today. None where that is another than `former`."""
        place = key(WAIVER, change.subject.id)
        stored = self._dynamo.get(place)
        if (None if stored is None else _read(stored)) != change.former:
            return None
        condition = {"ConditionExpression": _ABSENT} if stored is None else _still(stored)
        if change.waiver is None:
            return "Delete", {"Key": place, **condition}
        return "Put", {"Item": place | {BODY: {"B": msgspec.json.encode(change.waiver)}}, **condition}


def _read(item: Item) -> Waiver:
    return msgspec.json.decode(item[BODY]["B"], type=Waiver)


def _still(item: Item) -> Item:
    return {"ConditionExpression": f"{BODY} = :former", "ExpressionAttributeValues": {":former": item[BODY]}}


def _change_item(change: WaiverChange) -> Item:
    return key(WAIVER_CHANGE, _version_sk(change.version)) | {BODY: {"B": msgspec.json.encode(change)}}


def _version_sk(version: int) -> str:
    return f"{version:010d}"
