"""The audit log of each image: append-only records, bound by a chain. Part of FindingsTable.

Each link hashes the one before and the record, so that who changes, drops or reorders a stored record breaks every
later link. Record and head are put in one transaction: there is no record without its link.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

import msgspec

from chalicelib.adapters.dynamo import Dynamo
from chalicelib.adapters.table_schema import (
    ACTOR,
    CHAIN,
    KIND,
    NUMBER,
    PK,
    REASON,
    RECORD,
    STATE_PK,
    STATE_SK,
    Item,
    action_key,
    audit_day,
    audit_head_key,
)
from chalicelib.domain.image import ImageRef
from chalicelib.errors import ConflictError
from chalicelib.services.ports import ActionRecord

START = bytes(32)
SHOWN = 200  # characters of actor and reason in the index; the record has them whole


class ActionRow(msgspec.Struct, frozen=True):
    """A record with its place in the image's chain."""

    record: ActionRecord
    number: int
    chain: bytes


def record_bytes(record: ActionRecord) -> bytes:
    """The canonical form: JSON, keys sorted, times in UTC."""
    return msgspec.json.encode(record, order="deterministic")


def link(previous: bytes, record: bytes) -> bytes:
    return hashlib.sha256(previous + record).digest()


def read_action(item: Item) -> ActionRow:
    record = msgspec.json.decode(item[RECORD]["B"], type=ActionRecord)
    return ActionRow(record, int(item[NUMBER]["N"]), bytes(item[CHAIN]["B"]))


class AuditLog:
    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def append(self, record: ActionRecord) -> bool:
        """False: this effect is in the log already."""

        def attempt() -> bool:
            head = self._dynamo.get(audit_head_key(record.ref))
            try:
                self._put(record, head)
            except ConflictError:
                if self.time_of(record.ref, record.effect, record.wanted_at) is not None:
                    return False
                raise
            return True

        return self._dynamo.insist(f"audit log of {record.ref}", attempt)

    def time_of(self, ref: ImageRef, effect: str, wanted_at: datetime) -> datetime | None:
        """When the effect was recorded; None: it was not."""
        item = self._dynamo.get(action_key(ref, wanted_at, effect))
        return read_action(item).record.at if item is not None else None

    def _put(self, record: ActionRecord, head: Item | None) -> None:
        body = record_bytes(record)
        count = int(head[NUMBER]["N"]) if head else 0
        chain = link(bytes(head[CHAIN]["B"]) if head else START, body)
        place: Item = {NUMBER: {"N": str(count + 1)}, CHAIN: {"B": chain}}
        absent = {"ConditionExpression": f"attribute_not_exists({PK})"}
        still = {
            "ConditionExpression": f"{NUMBER} = :count",
            "ExpressionAttributeValues": {":count": {"N": str(count)}},
        }
        self._dynamo.transact(
            ("Put", {"Item": _item(record, body) | place, **absent}),
            ("Put", {"Item": audit_head_key(record.ref) | place, **(still if count else absent)}),
        )


def _item(record: ActionRecord, body: bytes) -> Item:
    day, moment = audit_day(record.at)
    return {
        **action_key(record.ref, record.wanted_at, record.effect),
        RECORD: {"B": body},
        KIND: {"S": record.kind},
        ACTOR: {"S": record.actor[:SHOWN]},
        REASON: {"S": record.reason[:SHOWN]},
        STATE_PK: {"S": day},
        STATE_SK: {"S": f"{moment}#{record.effect}"},
    }
