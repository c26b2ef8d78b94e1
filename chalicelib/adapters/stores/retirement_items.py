"""Retired registries as items of the table.

| item | pk | sk | attributes | a write costs |
|---|---|---|---|---|
| retirement | `RETIRED` | `<account>/<Region>` | `bd` B JSON; `r` N revision; `x` B nonce | 1 |

All are one Query. What is no news for a minute is answered without one: every message that is received asks.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from chalicelib.adapters.dynamodb import schema as s
from chalicelib.adapters.dynamodb.dynamo import Dynamo, still
from chalicelib.adapters.dynamodb.schema import Item, key, nonce
from chalicelib.domain.reconcile.retirement import Retirement
from chalicelib.errors import TransientError

REMEMBERED = timedelta(minutes=1)
_RETIRED = "RETIRED"


class RetirementItems:
    """services.ports.context.Retirements on DynamoDB."""

    def __init__(self, dynamo: Dynamo, now: Callable[[], datetime]) -> None:
        self._dynamo, self._now = dynamo, now
        self._recent: tuple[datetime, tuple[Retirement, ...]] | None = None

    def all(self) -> tuple[Retirement, ...]:
        now, values = self._now(), {":pk": {"S": _RETIRED}}
        found = tuple(map(_read, self._dynamo.query(f"{s.PK} = :pk", values, ConsistentRead=True)))
        self._recent = now, found
        return found

    def recent(self) -> tuple[Retirement, ...]:
        known = self._recent
        if known is not None and self._now() - known[0] < REMEMBERED:
            return known[1]
        try:
            return self.all()
        except TransientError:  # else each message would spend a receive on it
            if known is None:
                raise
            return known[1]

    def get(self, account: str, region: str) -> Retirement | None:
        item = self._dynamo.get(key(_RETIRED, f"{account}/{region}"))
        return None if item is None else _read(item)

    def put(self, retirement: Retirement) -> Retirement:
        put = msgspec.structs.replace(retirement, revision=retirement.revision + 1)
        item = key(_RETIRED, put.name) | nonce() | {s.REVISION: {"N": str(put.revision)}}
        former = {"N": str(retirement.revision)} if retirement.revision else None
        self._dynamo.put(item | {s.BODY: {"B": msgspec.json.encode(put)}}, **still(s.REVISION, former))
        self._recent = None
        return put

    def drop(self, retirement: Retirement) -> None:
        self._dynamo.delete_many([key(_RETIRED, retirement.name)])
        self._recent = None


def _read(item: Item) -> Retirement:
    return msgspec.json.decode(item[s.BODY]["B"], type=Retirement)
