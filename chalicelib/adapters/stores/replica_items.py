"""Copies of images in the table: one item for each image and destination, one for the repository beside them.

| item | pk | sk | attributes | a write costs |
|---|---|---|---|---|
| copy | `REPO#<registry>/<region>/<repository>` | `REPLICA#<digest>#<registry>/<region>` | `bd` B JSON; `at` N | 1 |
| repository | same | `REPLICATION` | `bd` B JSON | 1 |

`at` is the time of the listing by which a copy was found so. They are the source's, and outside the indexes. A copy is
put when it is first found and when it is found otherwise: a look that finds nothing new writes none. All copies of a
repository are one Query, of some 300 bytes each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import msgspec

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import BODY, PK, PUT_AT, SK, Item, key, number_of, repository_pk
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.replication.replica import Replica, ReplicationState, is_missing
from chalicelib.domain.replication.rules import Destination
from chalicelib.errors import ConflictError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

LOOKED_THROUGH = 5_000
_REPLICA, _STATE = "REPLICA#", "REPLICATION"


class ReplicaPage(msgspec.Struct, frozen=True):
    """`after` goes on where it ends; None: it was the last. It may hold fewer than asked, even none."""

    items: tuple[Replica, ...]
    after: str | None


class ReplicaItems:
    """services.ports.replication.Replicas on DynamoDB. All reads are consistent."""

    def __init__(self, client: DynamoDBClient, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._dynamo = Dynamo(client, table_name, sleep)

    def state(self, home: Repository) -> ReplicationState | None:
        item = self._dynamo.get(_state_key(home))
        return None if item is None else msgspec.json.decode(item[BODY]["B"], type=ReplicationState)

    def store_state(self, home: Repository, state: ReplicationState) -> None:
        """The last word stands: whoever writes it has just asked both registries."""
        self._dynamo.put(_state_key(home) | {BODY: {"B": msgspec.json.encode(state)}})

    def of(self, home: Repository) -> dict[tuple[str, Destination], Replica]:
        return {(r.ref.digest, r.destination): r for r in self._query(home, _REPLICA)}

    def of_image(self, ref: ImageRef) -> tuple[Replica, ...]:
        return self._query(ref.home, f"{_REPLICA}{ref.digest}#")

    def page(self, home: Repository, wanted: Callable[[Replica], bool], after: str | None, limit: int) -> ReplicaPage:
        """Those that are wanted, by digest and destination. A page ends early after some thousand were looked
        through."""
        values: Item = {
            ":pk": {"S": repository_pk(home)},
            ":from": {"S": after or _REPLICA},
            ":to": {"S": f"{_REPLICA}~"},
        }
        found: list[Replica] = []
        condition = f"{PK} = :pk AND {SK} BETWEEN :from AND :to"
        for seen, item in enumerate(self._dynamo.query(condition, values, ConsistentRead=True)):
            if (at := item[SK]["S"]) == after:
                continue
            replica = msgspec.json.decode(item[BODY]["B"], type=Replica)
            if wanted(replica):
                found.append(replica)
            if len(found) == limit or seen >= LOOKED_THROUGH:
                return ReplicaPage(tuple(found), at)
        return ReplicaPage(tuple(found), None)

    def keep(self, replica: Replica) -> bool:
        at = number_of(replica.at)
        condition = f"attribute_not_exists({PK}) OR #at <= :at"
        try:
            self._dynamo.put(_item(replica), condition, {":at": {"N": at}}, ExpressionAttributeNames={"#at": PUT_AT})
        except ConflictError:
            return False
        return True

    def store_delivered(self, replica: Replica) -> None:
        values: Item = {":at": {"N": number_of(replica.at)}}
        try:
            self._dynamo.put(_item(replica), "#at = :at", values, ExpressionAttributeNames={"#at": PUT_AT})
        except ConflictError:
            return

    def drop(self, replica: Replica) -> None:
        self._dynamo.delete_many([_replica_key(replica)])

    def missing(self, home: Repository, digests: Collection[str]) -> dict[str, bool | None]:
        """One read for each hundred copies that are owed."""
        state = self.state(home)
        places = [sight.destination for sight in state.sights if sight.gone_at is None] if state else []
        keys = [_copy_key(home.image(digest), place) for digest in digests for place in places]
        found: dict[str, list[Replica]] = {}
        for item in self._dynamo.get_many(keys):
            replica = msgspec.json.decode(item[BODY]["B"], type=Replica)
            found.setdefault(replica.ref.digest, []).append(replica)
        return {digest: is_missing(state, found.get(digest, ()), digest) for digest in digests}

    def _query(self, home: Repository, begins: str) -> tuple[Replica, ...]:
        values: Item = {":pk": {"S": repository_pk(home)}, ":begins": {"S": begins}}
        found = self._dynamo.query(f"{PK} = :pk AND begins_with({SK}, :begins)", values, ConsistentRead=True)
        return tuple(msgspec.json.decode(item[BODY]["B"], type=Replica) for item in found)


def _state_key(home: Repository) -> Item:
    return key(repository_pk(home), _STATE)


def _replica_key(replica: Replica) -> Item:
    return _copy_key(replica.ref, replica.destination)


def _copy_key(ref: ImageRef, destination: Destination) -> Item:
    return key(repository_pk(ref.home), f"{_REPLICA}{ref.digest}#{destination.path}")


def _item(replica: Replica) -> Item:
    body = {BODY: {"B": msgspec.json.encode(replica)}, PUT_AT: {"N": number_of(replica.at)}}
    return _replica_key(replica) | body
