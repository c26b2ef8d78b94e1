"""What sweeps keep in the table: settings of repositories, copies of images, and scans that were asked for.

| item | pk | sk | attributes | a write costs |
|---|---|---|---|---|
| settings | `REPO#<path>` | `SETTINGS` | `bd` B JSON, deflated; `aa` N since when, in seconds | 1 a KB |
| copy | `REPO#<registry>/<region>/<repository>` | `REPLICA#<digest>#<registry>/<region>` | `bd` B JSON; `at` N | 1 |
| repository | same | `REPLICATION` | `bd` B JSON | 1 |
| listing | same | `LISTED#<name>#<part>` | `bd` B msgpack, deflated; `ttl` N | 1 a KB, some 60 bytes an image |
| ask | `IMAGE#<path>` | `SCAN_ASKED` | `aa` N when, in seconds; `re` S refused with; `x` B nonce; `ttl` N | 1 |
| budget | `SCANS` | `<registry>/<region>` | `bd` B the last 25 hours, packed | 1 |

All are outside the indexes and are put only when something differs. Settings have up to 10 KB and lie beside the
repository's own item, which every new fact would otherwise bill with them. `at` of a copy is the time of the listing
that found it so; all copies of a repository are one Query, some 300 bytes each. A listing is kept for the parts of one
check, and never read by its key alone: it counts only whole. An ask is claimed on condition of the
one before it, so that only one of two workers asks.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from sys import intern

import msgspec

from chalicelib.adapters.dynamodb import schema as s
from chalicelib.adapters.dynamodb.dynamo import Dynamo, encode, expand, still
from chalicelib.adapters.dynamodb.schema import Item, key, nonce, number_of, read_number, repository_pk
from chalicelib.domain.images.image import ImageDetail, ImageRef, Repository, StorageStatus
from chalicelib.domain.reconcile.posture import GatheredSettings
from chalicelib.domain.reconcile.scan_budget import Asked, ScanBudget, ScanRefusal
from chalicelib.domain.replication.replica import Replica, ReplicationState, is_missing
from chalicelib.domain.replication.rules import Destination
from chalicelib.services.ports.table import EVERY, DigestRange, Page

LOOKED_THROUGH = 5_000
_REPLICA, _STATE, _LISTED = "REPLICA#", "REPLICATION", "LISTED#"
LISTING_KEPT_FOR = timedelta(days=1)
ROWS_IN_AN_ITEM, MOST_BYTES = 2_000, 380_000


class ReplicaItems:
    """services.ports.registry.Replicas on DynamoDB. All reads are consistent."""

    def __init__(self, dynamo: Dynamo, now: Callable[[], datetime]) -> None:
        self._dynamo, self._now = dynamo, now

    def state(self, home: Repository) -> ReplicationState | None:
        item = self._dynamo.get(_state_key(home))
        return None if item is None else msgspec.json.decode(item[s.BODY]["B"], type=ReplicationState)

    def store_state(self, home: Repository, state: ReplicationState) -> None:
        """The last write stands: its writer has just asked both registries."""
        self._dynamo.put(_state_key(home) | {s.BODY: {"B": msgspec.json.encode(state)}})

    def of(self, home: Repository, between: DigestRange | None = None) -> dict[tuple[str, Destination], Replica]:
        first, last = between or EVERY
        return {(r.ref.digest, r.destination): r for r in self._query(home, first, f"{last}#~")}

    def of_image(self, ref: ImageRef) -> tuple[Replica, ...]:
        return self._query(ref.home, f"{ref.digest}#", f"{ref.digest}#~")

    def page(self, home: Repository, wanted: Callable[[Replica], bool], after: str | None, limit: int) -> Page[Replica]:
        """Those that are wanted, by digest and destination. A page ends early after some thousand were looked
        through."""
        values: Item = {
            ":pk": {"S": repository_pk(home)},
            ":from": {"S": after or _REPLICA},
            ":to": {"S": f"{_REPLICA}~"},
        }
        found: list[Replica] = []
        condition = f"{s.PK} = :pk AND {s.SK} BETWEEN :from AND :to"
        for seen, item in enumerate(self._dynamo.query(condition, values, ConsistentRead=True)):
            if (at := item[s.SK]["S"]) == after:
                continue
            replica = msgspec.json.decode(item[s.BODY]["B"], type=Replica)
            if wanted(replica):
                found.append(replica)
            if len(found) == limit or seen >= LOOKED_THROUGH:
                return Page(tuple(found), at)
        return Page(tuple(found), None)

    def keep(self, replica: Replica) -> bool:
        at = number_of(replica.at)
        condition = f"attribute_not_exists({s.PK}) OR #at <= :at"
        names = {"#at": s.PUT_AT}
        return self._dynamo.put_if(_item(replica), condition, {":at": {"N": at}}, ExpressionAttributeNames=names)

    def store_delivered(self, replica: Replica) -> None:
        values: Item = {":at": {"N": number_of(replica.at)}}
        self._dynamo.put_if(_item(replica), "#at = :at", values, ExpressionAttributeNames={"#at": s.PUT_AT})

    def drop(self, replica: Replica) -> None:
        self._dynamo.delete_many([_copy_key(replica.ref, replica.destination)])

    def missing(self, home: Repository, digests: Collection[str]) -> dict[str, bool | None]:
        """One read for each hundred copies that are owed."""
        state = self.state(home)
        places = [sight.destination for sight in state.sights if sight.gone_at is None] if state else []
        keys = [_copy_key(home.image(digest), place) for digest in digests for place in places]
        found: dict[str, list[Replica]] = {}
        for item in self._dynamo.get_many(keys):
            replica = msgspec.json.decode(item[s.BODY]["B"], type=Replica)
            found.setdefault(replica.ref.digest, []).append(replica)
        return {digest: is_missing(state, found.get(digest, ()), digest) for digest in digests}

    def store_listing(self, home: Repository, images: Iterable[ImageDetail]) -> str:
        """Under a name of its own, so that of two workers neither writes over what the other one has listed."""
        bodies, ends_at = list(_packed([_Row.of(image) for image in images])), self._now() + LISTING_KEPT_FOR
        name = f"{secrets.token_hex(8)}:{len(bodies)}"
        for n, body in enumerate(bodies):
            item = _listing_key(home, name, n) | {s.BODY: {"B": body}, s.EXPIRES: {"N": str(int(ends_at.timestamp()))}}
            self._dynamo.put(item)
        return name

    def stored_listing(self, home: Repository, name: str) -> dict[str, ImageDetail] | None:
        values: Item = {":pk": {"S": repository_pk(home)}, ":begins": {"S": f"{_LISTED}{name}#"}}
        found = self._dynamo.query(f"{s.PK} = :pk AND begins_with({s.SK}, :begins)", values, ConsistentRead=True)
        now = self._now().timestamp()
        bodies = [item[s.BODY]["B"] for item in found if int(item[s.EXPIRES]["N"]) > now]
        if len(bodies) < int(name.partition(":")[2]):
            return None
        rows = (row for body in bodies for row in msgspec.msgpack.decode(zlib.decompress(body), type=list[_Row]))
        return {row.digest: row.image_of(home) for row in rows}

    def _query(self, home: Repository, first: str, last: str) -> tuple[Replica, ...]:
        values: Item = {
            ":pk": {"S": repository_pk(home)},
            ":first": {"S": f"{_REPLICA}{first}"},
            ":last": {"S": f"{_REPLICA}{last}"},
        }
        found = self._dynamo.query(f"{s.PK} = :pk AND {s.SK} BETWEEN :first AND :last", values, ConsistentRead=True)
        return tuple(msgspec.json.decode(item[s.BODY]["B"], type=Replica) for item in found)


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """An image of a listing, as it is stored: what a check of replication reads of it. Append new fields at the end."""

    digest: str
    tags: tuple[str, ...]
    pushed_at: datetime | None
    media_type: str | None
    artifact_media_type: str | None
    subject_digest: str | None
    storage: StorageStatus
    last_pulled_at: datetime | None
    archived_at: datetime | None
    activated_at: datetime | None

    @classmethod
    def of(cls, image: ImageDetail) -> _Row:
        return cls(image.ref.digest, *(getattr(image, name) for name in cls.__struct_fields__[1:]))

    def image_of(self, home: Repository) -> ImageDetail:
        fields = {name: getattr(self, name) for name in self.__struct_fields__[1:]}
        for name in ("media_type", "artifact_media_type"):  # a few words, 100,000 times
            fields[name] = None if fields[name] is None else intern(fields[name])
        return ImageDetail(home.image(self.digest), **fields)


def _packed(rows: Sequence[_Row]) -> Iterator[bytes]:
    """As many in each as an item holds: an image may have a thousand tags."""
    for start in range(0, len(rows), ROWS_IN_AN_ITEM):
        yield from _fitted(rows[start : start + ROWS_IN_AN_ITEM])


def _fitted(rows: Sequence[_Row]) -> Iterator[bytes]:
    body = zlib.compress(msgspec.msgpack.encode(rows))
    if len(body) <= MOST_BYTES or len(rows) == 1:
        yield body
        return
    half = len(rows) // 2
    yield from _fitted(rows[:half])
    yield from _fitted(rows[half:])


def _state_key(home: Repository) -> Item:
    return key(repository_pk(home), _STATE)


def _listing_key(home: Repository, name: str, part: int) -> Item:
    return key(repository_pk(home), f"{_LISTED}{name}#{part:04}")


def _copy_key(ref: ImageRef, destination: Destination) -> Item:
    return key(repository_pk(ref.home), f"{_REPLICA}{ref.digest}#{destination.path}")


def _item(replica: Replica) -> Item:
    body = {s.BODY: {"B": msgspec.json.encode(replica)}, s.PUT_AT: {"N": number_of(replica.at)}}
    return _copy_key(replica.ref, replica.destination) | body


KEPT_FOR = timedelta(days=90)
_ASKED, _SCANS = "SCAN_ASKED", "SCANS"
_ASKED_AT = "aa"


class ScanAskItems:
    """services.ports.registry.ScanAsks on DynamoDB."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def asked(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Asked]:
        found = self._dynamo.get_many(map(_ask_key, refs), consistent=False)
        return {ImageRef.from_path(item[s.PK]["S"].partition("#")[2]): _read(item) for item in found}

    def claim(self, ref: ImageRef, at: datetime, former: Asked | None) -> bool:
        item = _ask_key(ref) | nonce() | {_ASKED_AT: {"N": number_of(at)}, s.EXPIRES: _end(at)}
        return self._dynamo.put_if(item, **still(_ASKED_AT, None if former is None else {"N": number_of(former.at)}))

    def end_claim(self, ref: ImageRef, at: datetime, asked: Asked | None) -> None:
        """What became of the claim of `at`; None: it was not asked after all. Nothing where there is a newer one."""
        item = _ask_key(ref) | nonce()
        ended = asked or Asked(datetime.fromtimestamp(0, at.tzinfo))
        item |= {_ASKED_AT: {"N": number_of(ended.at)}, s.EXPIRES: _end(at)}
        if ended.refused is not None:
            item[s.REASON] = {"S": ended.refused.value}
        self._dynamo.put_if(item, **still(_ASKED_AT, {"N": number_of(at)}))

    def change_budget(self, registry: Repository, change: Callable[[ScanBudget], ScanBudget]) -> ScanBudget:
        where = key(_SCANS, f"{registry.registry}/{registry.region}")

        def attempt() -> ScanBudget:
            stored = (self._dynamo.get(where) or {}).get(s.BODY)
            former = ScanBudget() if stored is None else expand(ScanBudget, bytes(stored["B"]))
            budget = change(former)
            if budget != former:
                self._dynamo.put(where | nonce() | {s.BODY: {"B": encode(budget)}}, **still(s.BODY, stored))
            return budget

        return self._dynamo.insist(f"the scans of {registry.registry} in {registry.region}", attempt)


def _ask_key(ref: ImageRef) -> Item:
    return key(f"IMAGE#{ref.path}", _ASKED)


def _read(item: Item) -> Asked:
    refused = item[s.REASON]["S"] if s.REASON in item else None
    return Asked(read_number(item[_ASKED_AT]["N"]), None if refused is None else ScanRefusal(refused))


def _end(at: datetime) -> Item:
    return {"N": str(int((at + KEPT_FOR).timestamp()))}


_SETTINGS, _SINCE = "SETTINGS", "aa"


class SettingsItems:
    """services.ports.registry.GatheredPosture on DynamoDB."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def read(self, repository: Repository) -> tuple[GatheredSettings, datetime] | None:
        item = self._dynamo.get(_settings_key(repository))
        return None if item is None else (_settings(item), read_number(item[_SINCE]["N"]))

    def keep(self, repository: Repository, settings: GatheredSettings, at: datetime) -> bool:
        """The later look stands."""

        def attempt() -> bool:
            stored = self._dynamo.get(_settings_key(repository))
            if stored is not None and (_settings(stored) == settings or read_number(stored[_SINCE]["N"]) > at):
                return False
            body = {s.BODY: {"B": zlib.compress(msgspec.json.encode(settings))}, _SINCE: {"N": number_of(at)}}
            self._dynamo.put(_settings_key(repository) | body, **still(s.BODY, stored and stored[s.BODY]))
            return True

        return self._dynamo.insist(f"the settings of {repository.path}", attempt)


def _settings_key(repository: Repository) -> Item:
    return key(repository_pk(repository), _SETTINGS)


def _settings(item: Item) -> GatheredSettings:
    return msgspec.json.decode(zlib.decompress(bytes(item[s.BODY]["B"])), type=GatheredSettings)
