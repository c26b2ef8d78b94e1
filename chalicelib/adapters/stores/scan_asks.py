"""Scans that were asked for, in the table: when that of an image was, and how many of a registry within 24 hours.

| item | pk | sk | attributes | a write costs |
|---|---|---|---|---|
| ask | `IMAGE#<path>` | `SCAN_ASKED` | `aa` N when, in seconds; `re` S refused with; `x` B nonce; `ttl` N | 1 |
| budget | `SCANS` | `<registry>/<region>` | `bd` B the last 25 hours, packed | 1 |

Both are outside the indexes. An ask is claimed on condition of the one before it, so that of two workers one asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.plain import encode, expand
from chalicelib.adapters.dynamodb.schema import (
    BODY,
    EXPIRES,
    PK,
    REASON,
    Item,
    key,
    nonce,
    number_of,
    read_number,
)
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.reconcile.scan_budget import Asked, ScanBudget, ScanRefusal
from chalicelib.errors import ConflictError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

KEPT_FOR = timedelta(days=90)
_ASKED, _SCANS = "SCAN_ASKED", "SCANS"
_ASKED_AT = "aa"


class ScanAskItems:
    """services.ports.scanning.ScanAsks on DynamoDB."""

    def __init__(self, client: DynamoDBClient, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._dynamo = Dynamo(client, table_name, sleep)

    def asked(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Asked]:
        found = self._dynamo.get_many(map(_key, refs), consistent=False)
        return {ImageRef.from_path(item[PK]["S"].partition("#")[2]): _read(item) for item in found}

    def claim(self, ref: ImageRef, at: datetime, former: Asked | None) -> bool:
        item = _key(ref) | nonce() | {_ASKED_AT: {"N": number_of(at)}, EXPIRES: _end(at)}
        try:
            if former is None:
                self._dynamo.put(item, f"attribute_not_exists({PK})")
            else:
                self._dynamo.put(item, f"{_ASKED_AT} = :former", {":former": {"N": number_of(former.at)}})
        except ConflictError:
            return False
        return True

    def end_claim(self, ref: ImageRef, at: datetime, asked: Asked | None) -> None:
        """What became of the claim of `at`; None: it was not asked after all. Nothing where there is a newer one."""
        item = _key(ref) | nonce()
        ended = asked or Asked(datetime.fromtimestamp(0, at.tzinfo))
        item |= {_ASKED_AT: {"N": number_of(ended.at)}, EXPIRES: _end(at)}
        if ended.refused is not None:
            item[REASON] = {"S": ended.refused.value}
        try:
            self._dynamo.put(item, f"{_ASKED_AT} = :at", {":at": {"N": number_of(at)}})
        except ConflictError:
            return

    def change_budget(self, registry: Repository, change: Callable[[ScanBudget], ScanBudget]) -> ScanBudget:
        where = key(_SCANS, f"{registry.registry}/{registry.region}")

        def attempt() -> ScanBudget:
            stored = (self._dynamo.get(where) or {}).get(BODY)
            former = ScanBudget() if stored is None else expand(ScanBudget, bytes(stored["B"]))
            budget = change(former)
            if budget != former:
                condition = f"attribute_not_exists({BODY})" if stored is None else f"{BODY} = :former"
                values = None if stored is None else {":former": stored}
                self._dynamo.put(where | nonce() | {BODY: {"B": encode(budget)}}, condition, values)
            return budget

        return self._dynamo.insist(f"the scans of {registry.registry} in {registry.region}", attempt)


def _key(ref: ImageRef) -> Item:
    return key(f"IMAGE#{ref.path}", _ASKED)


def _read(item: Item) -> Asked:
    refused = item[REASON]["S"] if REASON in item else None
    return Asked(read_number(item[_ASKED_AT]["N"]), None if refused is None else ScanRefusal(refused))


def _end(at: datetime) -> Item:
    return {"N": str(int((at + KEPT_FOR).timestamp()))}
