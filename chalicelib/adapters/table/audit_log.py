"""The audit log: append-only records, bound by one chain for each image and each subject, and the daily copies of the
chains' heads. Part of FindingsTable.

Each link hashes the one before and the record, so a record that is changed, dropped or moved breaks every later link.
Record and head are put in one transaction: there is no record without its link. What became of an alert stands beside
the record of it, outside the bytes that the link covers. `audit_queries` reads the log for people, and
`domain.audit.chain` proves it.

A copy is one item for each day and shard (`SUMMARY`, `HEADS#<yyyy-mm-dd>#<shard>`): name, count and link of every chain
that had a record that day and whose name's hash begins with the shard's byte. So one chain's copies of a hundred days
are one BatchGetItem, and a day of half a million chains is 256 items below 300 KB. A copy is never lowered and never
removed: it is what a chain that was cut afterwards is compared with. The root of all copies up to a day is one more
item (`SUMMARY`, `ROOT#<yyyy-mm-dd>`), put once.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import partial

import msgspec

from chalicelib.adapters.dynamodb import schema as s
from chalicelib.adapters.dynamodb.dynamo import ABSENT, Dynamo, still
from chalicelib.adapters.dynamodb.schema import Item, action_key, audit_day, audit_head_key, key, nonce
from chalicelib.domain.audit.action import ActionRecord, AlertDelivery
from chalicelib.domain.audit.chain import (
    START,
    Chain,
    Copy,
    Head,
    StoredRecord,
    chain_name,
    named_chain,
    next_link,
    shard_of_chain,
)
from chalicelib.domain.audit.root import Copied, DayRoot
from chalicelib.errors import ConflictError, UpstreamError
from chalicelib.services.ports.table import ActionRow

_Heads = dict[str, tuple[int, bytes]]


class AuditCheckpoints:
    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def copy(self, day: date, heads: Mapping[Chain, Head]) -> None:
        shards: dict[int, dict[str, Head]] = {}
        for chain, head in heads.items():
            shards.setdefault(shard_of_chain(chain), {})[chain_name(chain)] = head
        for shard, new in sorted(shards.items()):
            self._dynamo.insist(f"audit heads of {day}", partial(self._add, day, shard, new))

    def of_day(self, day: date) -> Iterator[tuple[Chain, Head]]:
        return ((copied.chain, copied.head) for copied in self.between(day, day))

    def between(self, first: date | None, last: date) -> Iterator[Copied]:
        """`first` None: from the beginning. One Query for all days, in the order of `copied_order`."""
        for item in self._summary(f"HEADS#{first or ''}", f"HEADS#{last}#~"):
            heads = sorted(_read(item).items())
            try:
                day = date.fromisoformat(item[s.SK]["S"].split("#")[1])
                copies = [Copied(day, named_chain(name), Head(count, link)) for name, (count, link) in heads]
            except ValueError as error:
                raise UpstreamError(f"the copied heads {item[s.SK]['S']} were put in: {error}") from error
            yield from copies

    def put_root(self, sealed: DayRoot) -> None:
        self._dynamo.put(key(s.SUMMARY, f"ROOT#{sealed.day}") | {s.BODY: {"B": sealed.root}}, **ABSENT)

    def roots(self, last: date) -> Iterator[DayRoot]:
        for item in self._summary("ROOT#", f"ROOT#{last}", ScanIndexForward=False):
            yield DayRoot(bytes(item[s.BODY]["B"]), date.fromisoformat(item[s.SK]["S"].removeprefix("ROOT#")))

    def _summary(self, first: str, last: str, **arguments: bool) -> Iterator[Item]:
        values = {":pk": {"S": s.SUMMARY}, ":from": {"S": first}, ":to": {"S": last}}
        condition = f"{s.PK} = :pk AND {s.SK} BETWEEN :from AND :to"
        return self._dynamo.query(condition, values, ConsistentRead=True, **arguments)

    def of_chain(self, chain: Chain, days: Iterable[date]) -> Sequence[Copy]:
        """Oldest first."""
        return self.of_shard(shard_of_chain(chain), days).get(chain, ())

    def of_shard(self, shard: int, days: Iterable[date]) -> Mapping[Chain, Sequence[Copy]]:
        """Each chain's oldest first."""
        items = self._dynamo.get_many(_key(day, shard) for day in days)
        found: dict[str, list[Copy]] = {}
        for item in sorted(items, key=lambda i: str(i[s.SK]["S"])):
            day = date.fromisoformat(item[s.SK]["S"].split("#")[1])
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
        self._dynamo.put(_key(day, shard) | {s.BODY: {"B": body}} | nonce(), **still(s.NONCE, item and item[s.NONCE]))


def _key(day: date, shard: int) -> Item:
    return key(s.SUMMARY, f"HEADS#{day}#{shard:02x}")


def _read(item: Item) -> _Heads:
    """Raises UpstreamError for copies that were altered: a proof without them would prove too much."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(item[s.BODY]["B"]), type=_Heads)
    except (KeyError, zlib.error, msgspec.DecodeError) as error:
        raise UpstreamError(
            f"the copied heads {item[s.SK]['S']} were changed, they cannot be read: {error!r}"
        ) from error


SHOWN = 200  # characters of actor and reason in the index; the record has them whole
_NAMES = {
    s.PK: "image or subject",
    s.SK: "key",
    s.KIND: "kind as listed",
    s.ACTOR: "actor as listed",
    s.REASON: "reason as listed",
    s.STATE_PK: "day in the index",
    s.STATE_SK: "time in the index",
}


def record_bytes(record: ActionRecord) -> bytes:
    """The form of a new record: JSON, its fields in the order of the type. Of a stored one its bytes are the truth: it
    may have been written before a field was added."""
    return msgspec.json.encode(record, order="deterministic")


def read_stored(item: Item) -> StoredRecord:
    """What is left of it: an altered record must not stop the search for altered records."""
    place = read_head(item)
    return StoredRecord(
        number=place.count, link=place.link, body=bytes(item.get(s.RECORD, {}).get("B", b"")), wrong=_wrong(item)
    )


def _wrong(item: Item) -> str | None:
    """What beside a record is not what the record says: its keys, what lists show of it, its place in the index."""
    try:
        record = read_action(item).record
        beside = _beside(record)
    except (UpstreamError, KeyError, ValueError):
        return "it cannot be read"
    unlike = [name for name, value in beside.items() if item.get(name) != value]
    return f"it says otherwise than its {', '.join(_NAMES[n] for n in unlike)}" if unlike else None


def read_head(item: Item) -> Head:
    """Whatever is left of it, as of a record; a count that is none is 0."""
    number = item.get(s.NUMBER, {}).get("N", "0")
    return Head(int(number) if number.isdigit() else 0, bytes(item.get(s.CHAIN, {}).get("B", b"")))


def read_action(item: Item) -> ActionRow:
    """Raises UpstreamError for a record that is none any more."""
    try:
        body = bytes(item[s.RECORD]["B"])
        record = msgspec.json.decode(body, type=ActionRecord)
        return ActionRow(record, int(item[s.NUMBER]["N"]), bytes(item[s.CHAIN]["B"]), body)
    except (msgspec.DecodeError, KeyError, ValueError) as error:
        where = f"{item[s.PK]['S']} {item[s.SK]['S']}"
        raise UpstreamError(f"the audit record {where} was changed, it cannot be read: {error}") from error


class AuditLog:
    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def append(self, record: ActionRecord) -> bool:
        """False: this effect is in the log already. Raises ValueError where it names neither image nor subject."""

        def attempt() -> bool:
            item = self._dynamo.get(audit_head_key(record.chain))
            try:
                self._put(record, Head(0, START) if item is None else read_head(item))
            except ConflictError:
                if self.time_of(record.chain, record.effect, record.wanted_at) is not None:
                    return False
                raise
            return True

        return self._dynamo.insist(f"audit log of {record.chain}", attempt)

    def time_of(self, chain: Chain, effect: str, wanted_at: datetime) -> datetime | None:
        """When the effect was recorded; None: it was not."""
        item = self._dynamo.get(action_key(chain, wanted_at, effect))
        return read_action(item).record.at if item is not None else None

    def delivery_of(self, chain: Chain, effect: str, wanted_at: datetime) -> AlertDelivery | None:
        item = self._dynamo.get(action_key(chain, wanted_at, effect))
        if item is None:
            return None
        claimed_at, delivered_at = (_time(item, name) for name in (s.CLAIMED_AT, s.DELIVERED_AT))
        claims = int(item.get(s.CLAIMS, {}).get("N", "1"))
        return AlertDelivery(claimed_at or read_action(item).record.at, claims, delivered_at)

    def claim_delivery(self, chain: Chain, effect: str, wanted_at: datetime, claims: int, at: datetime) -> None:
        """Beside the record, which its link in the chain covers and which stays as it is."""
        former = f"{s.CLAIMS} = :former" if claims > 1 else f"attribute_not_exists({s.CLAIMS})"
        values: Item = {":claims": {"N": str(claims + 1)}, ":at": {"S": at.isoformat()}}
        self._dynamo.update(
            action_key(chain, wanted_at, effect),
            UpdateExpression=f"SET {s.CLAIMS} = :claims, {s.CLAIMED_AT} = :at",
            ConditionExpression=f"{former} AND attribute_exists({s.PK}) AND attribute_not_exists({s.DELIVERED_AT})",
            ExpressionAttributeValues=values | ({":former": {"N": str(claims)}} if claims > 1 else {}),
        )

    def mark_delivered(self, chain: Chain, effect: str, wanted_at: datetime, at: datetime) -> None:
        self._dynamo.update(
            action_key(chain, wanted_at, effect),
            UpdateExpression=f"SET {s.DELIVERED_AT} = :at",
            ConditionExpression=f"attribute_exists({s.PK})",
            ExpressionAttributeValues={":at": {"S": at.isoformat()}},
        )

    def _put(self, record: ActionRecord, head: Head) -> None:
        body = record_bytes(record)
        place: Item = {s.NUMBER: {"N": str(head.count + 1)}, s.CHAIN: {"B": next_link(head.link, body)}}
        former = {"N": str(head.count)} if head.count else None
        self._dynamo.transact(
            ("Put", {"Item": {**_beside(record), s.RECORD: {"B": body}, **place}, **ABSENT}),
            ("Put", {"Item": audit_head_key(record.chain) | place, **still(s.NUMBER, former)}),
        )


def _time(item: Item, name: str) -> datetime | None:
    return datetime.fromisoformat(item[name]["S"]) if name in item else None


def _beside(record: ActionRecord) -> Item:
    """All of an item that repeats what its record says."""
    day, moment = audit_day(record.at)
    return {
        **action_key(record.chain, record.wanted_at, record.effect),
        s.KIND: {"S": record.kind},
        s.ACTOR: {"S": record.actor[:SHOWN]},
        s.REASON: {"S": record.reason[:SHOWN]},
        s.STATE_PK: {"S": day},
        s.STATE_SK: {"S": f"{moment}#{record.effect}"},
    }
