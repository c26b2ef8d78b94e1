"""What keeps acts within bounds, as the table has it: the fuse, and the digests a repository's policy denies pulls for.

Each is one value in one attribute, changed on condition that it is as it was read; whoever loses reads again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.plain import expand, squeeze
from chalicelib.adapters.dynamodb.schema import (
    BODY,
    DENIED,
    PK,
    REPOSITORIES,
    STATE_PK,
    STATE_SK,
    Item,
    fuse_key,
    repository_key,
)
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.images.image import Repository
from chalicelib.services.ports.ports import Denied

T = TypeVar("T")


class Guards:
    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def read_fuse(self) -> Fuse:
        return self._read(fuse_key(), BODY, Fuse)[0]

    def change_fuse(self, change: Callable[[Fuse], Fuse]) -> Fuse:
        return self._change(fuse_key(), BODY, Fuse, change)

    def read_denied(self, repository: Repository) -> Denied:
        return self._read(repository_key(repository), DENIED, Denied)[0]

    def change_denied(self, repository: Repository, change: Callable[[Denied], Denied]) -> Denied:
        """A repository that was not known is listed from now on."""
        listed = {STATE_PK: {"S": REPOSITORIES}, STATE_SK: {"S": repository.path}}
        return self._change(repository_key(repository), DENIED, Denied, change, listed)

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
                self._put(key, name, stored, {name: {"B": squeeze(value)}} | (more or {}))
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
