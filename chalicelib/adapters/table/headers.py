"""Headers in the table: read together, put on condition of their version, marked, and found when due. Part of
FindingsTable.

How one is packed is told by `header_items`; what is in it, by the domain.

What keeps acts within bounds, as the table has it: the fuse, and the digests a repository's policy denies pulls for.

Each is one value in one attribute, changed on condition that it is as it was read; whoever loses reads again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.plain import encode, expand
from chalicelib.adapters.dynamodb.schema import (
    BODY,
    BY_DUE,
    DENIED,
    DUE_PK,
    DUE_SK,
    HEADER_ATTRIBUTES,
    LOOK_DUE_AT,
    NONCE,
    PK,
    REPOSITORIES,
    REVISION,
    SK,
    STATE_PK,
    STATE_SK,
    VERSION,
    Item,
    document_key,
    due_pk,
    due_sk,
    fuse_key,
    header_key,
    image_of,
    nonce,
    number_of,
    repository_key,
    repository_pk,
)
from chalicelib.adapters.table.header_items import header_item, read_header_item
from chalicelib.adapters.table.repositories import Repositories
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.errors import ConflictError
from chalicelib.services.ports.table import DeniedDigests, Stored

T = TypeVar("T")


class Guards:
    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def read_fuse(self) -> Fuse:
        return self._read(fuse_key(), BODY, Fuse)[0]

    def change_fuse(self, change: Callable[[Fuse], Fuse]) -> Fuse:
        return self._change(fuse_key(), BODY, Fuse, change)

    def read_denied(self, repository: Repository) -> DeniedDigests:
        return self._read(repository_key(repository), DENIED, DeniedDigests)[0]

    def change_denied(self, repository: Repository, change: Callable[[DeniedDigests], DeniedDigests]) -> DeniedDigests:
        """A repository that was not known is listed from now on."""
        listed = {STATE_PK: {"S": REPOSITORIES}, STATE_SK: {"S": repository.path}}
        return self._change(repository_key(repository), DENIED, DeniedDigests, change, listed)

    def _read(self, key: Item, name: str, kind: type[T]) -> tuple[T, Item | None]:
        stored = (self._dynamo.get(key) or {}).get(name)
        return (kind() if stored is None else expand(kind, bytes(stored["B"]))), stored

    def _change(self, key: Item, name: str, kind: type[T], change: Callable[[T], T], more: Item | None = None) -> T:
        """Writes nothing where `change` changes nothing: a write whose answer was lost is seen as done.

        `more`: attributes that are put along.
        """

        def attempt() -> T:
            former, stored = self._read(key, name, kind)
            value = change(former)
            if value != former:
                self._put(key, name, stored, {name: {"B": encode(value)}} | (more or {}))
            return value

        return self._dynamo.insist(f"{key[PK]['S']} {name}", attempt)

    def _put(self, key: Item, name: str, stored: Item | None, attributes: Item) -> None:
        values = {f":{attribute}": value for attribute, value in attributes.items()}
        self._dynamo.update(
            key,
            UpdateExpression=f"SET {', '.join(f'{attribute} = :{attribute}' for attribute in attributes)}",
            ConditionExpression=f"attribute_not_exists({name})" if stored is None else f"{name} = :stored",
            ExpressionAttributeValues=values if stored is None else values | {":stored": stored},
        )


class Headers:
    def __init__(self, dynamo: Dynamo, repositories: Repositories, now: Callable[[], datetime]) -> None:
        self._dynamo, self._repositories, self._now = dynamo, repositories, now

    def read(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Stored]:
        """With the revisions of the documents beside them, in one consistent batch."""
        wanted = list(dict.fromkeys(refs))
        keys = [key for ref in wanted for key in (header_key(ref), document_key(ref))]
        items = {
            (item[PK]["S"], item[SK]["S"]): item for item in self._dynamo.get_many(keys, (*HEADER_ATTRIBUTES, REVISION))
        }
        found = {}
        for ref in wanted:
            header, document = (items.get((k[PK]["S"], k[SK]["S"])) for k in (header_key(ref), document_key(ref)))
            if header is not None:
                revision = int(document[REVISION]["N"]) if document else 0
                found[ref] = Stored(read_header_item(header), revision)
        return found

    def put(self, header: Header) -> Header:
        """As `version + 1` on condition of `version`. The first of an image makes its repository known too."""
        if not header.version:
            self._repositories.introduce(header.ref.home)
        put = msgspec.structs.replace(header, version=header.version + 1)
        self._dynamo.put(header_item(put) | nonce(), *_version_is(header.version))
        return put

    def mark_refresh(self, ref: ImageRef, version: int, due_at: datetime) -> None:
        """Raises `version`, so that whoever read before must read again. An unknown image gets a header outside the
        index `by_state`."""
        if not version:
            self.put(Header(ref=ref, known_at=self._now(), refresh_due_at=due_at))
            return
        mine = nonce()
        values = {
            ":due": {"N": number_of(due_at)},
            ":next": {"N": str(version + 1)},
            ":version": {"N": str(version)},
            ":nonce": mine[NONCE],
        }
        try:
            self._dynamo.update(
                header_key(ref),
                UpdateExpression=f"SET {LOOK_DUE_AT} = :due, {VERSION} = :next, {NONCE} = :nonce",
                ConditionExpression=f"{VERSION} = :version",
                ExpressionAttributeValues=values,
            )
        except ConflictError:
            stored = self._dynamo.get(header_key(ref)) or {}
            if stored.get(NONCE) != mine[NONCE]:  # else its answer was lost and it was sent again
                raise

    def of_repository(self, repository: Repository) -> Iterator[Header]:
        """Page by page; eventually consistent."""
        values = {":pk": {"S": repository_pk(repository)}, ":images": {"S": "IMAGE#"}}
        for item in self._dynamo.query(f"{PK} = :pk AND begins_with({SK}, :images)", values):
            yield read_header_item(item)

    def due(self, shard: int, before: datetime) -> Sequence[ImageRef]:
        """Oldest first; eventually consistent."""
        values = {":pk": {"S": due_pk(shard)}, ":before": {"S": due_sk(before)}}
        found = self._dynamo.query(f"{DUE_PK} = :pk AND {DUE_SK} <= :before", values, IndexName=BY_DUE)
        return [image_of(item) for item in found]


def _version_is(version: int) -> tuple[str, Item | None]:
    if not version:
        return f"attribute_not_exists({PK})", None
    return f"{VERSION} = :version", {":version": {"N": str(version)}}
