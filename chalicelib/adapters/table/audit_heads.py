"""The heads of audit chains, copied each day beside the day's summary. Written through FindingsTable.

One item for each day and shard (`SUMMARY`, `HEADS#<yyyy-mm-dd>#<shard>`): name, count and link of every chain that had
a record that day and whose name's hash begins with the shard's byte. So one chain's copies of a hundred days are one
BatchGetItem, and a day of half a million chains still is 256 items below 300 KB. A copy is never lowered and never
removed: it is what a chain that was cut afterwards is compared with.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial

import msgspec

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import BODY, NONCE, PK, SK, SUMMARY, Item, key, nonce
from chalicelib.domain.audit.chain import Chain, Copy, Head, chain_name, named_chain, shard_of_chain
from chalicelib.errors import UpstreamError

_ABSENT = f"attribute_not_exists({PK})"

_Heads = dict[str, tuple[int, bytes]]


class AuditHeads:
    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def copy(self, day: date, heads: Mapping[Chain, Head]) -> None:
        """Adds to the day's copies those that have more records than what was copied. 1 unit a shard that changes."""
        shards: dict[int, dict[str, Head]] = {}
        for chain, head in heads.items():
            shards.setdefault(shard_of_chain(chain), {})[chain_name(chain)] = head
        for shard, new in sorted(shards.items()):
            self._dynamo.insist(f"audit heads of {day}", partial(self._add, day, shard, new))

    def of_day(self, day: date) -> Iterator[tuple[Chain, Head]]:
        values = {":pk": {"S": SUMMARY}, ":day": {"S": f"HEADS#{day}#"}}
        for item in self._dynamo.query(f"{PK} = :pk AND begins_with({SK}, :day)", values, ConsistentRead=True):
            for name, (count, link) in _read(item).items():
                yield named_chain(name), Head(count, link)

    def of_chain(self, chain: Chain, days: Iterable[date]) -> Sequence[Copy]:
        """Oldest first."""
        return self.of_shard(shard_of_chain(chain), days).get(chain, ())

    def of_shard(self, shard: int, days: Iterable[date]) -> Mapping[Chain, Sequence[Copy]]:
        """Each chain's oldest first."""
        items = self._dynamo.get_many(_key(day, shard) for day in days)
        found: dict[str, list[Copy]] = {}
        for item in sorted(items, key=lambda i: str(i[SK]["S"])):
            day = date.fromisoformat(item[SK]["S"].split("#")[1])
            for name, (count, link) in _read(item).items():
                found.setdefault(name, []).append(Copy(day, Head(count, link)))
        return {named_chain(name): copies for name, copies in found.items()}

    def _add(self, day: date, shard: int, new: Mapping[str, Head]) -> None:
        item = self._dynamo.get(_key(day, shard))
        stored = {} if item is None else _read(item)
        risen = {n: (h.count, h.link) for n, h in new.items() if n not in stored or h.count > stored[n][0]}
        if not risen:
            return
        body = zlib.compress(msgspec.msgpack.encode(stored | risen))
        condition = (_ABSENT, None) if item is None else (f"{NONCE} = :former", {":former": item[NONCE]})
        self._dynamo.put(_key(day, shard) | {BODY: {"B": body}} | nonce(), *condition)


def _key(day: date, shard: int) -> Item:
    return key(SUMMARY, f"HEADS#{day}#{shard:02x}")


def _read(item: Item) -> _Heads:
    """Raises UpstreamError for copies that somebody has been at: a proof without them would prove too much."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(item[BODY]["B"]), type=_Heads)
    except (KeyError, zlib.error, msgspec.DecodeError) as error:
        raise UpstreamError(f"the copied heads {item[SK]['S']} were changed, they cannot be read: {error!r}") from error
