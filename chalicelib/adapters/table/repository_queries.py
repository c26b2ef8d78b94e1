"""Lists by name: the repositories, and of one repository its tags and its images. Nothing is written here.

Each list is a Query of one partition by sort key. The repositories come through the index and may be a moment behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

import msgspec

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import (
    BY_STATE,
    DIGEST,
    MOVED_AT,
    PK,
    REPOSITORIES,
    SK,
    STATE_PK,
    STATE_SK,
    Item,
    read_number,
    repository_key,
    repository_of,
    repository_pk,
    tag_key,
)
from chalicelib.adapters.table.header_items import ImageRow, read_header_item, row_of
from chalicelib.adapters.table.index_walk import Page, page_of, position_of
from chalicelib.adapters.table.repositories import read_facts
from chalicelib.adapters.table.tags import Move, read_moves, real_moves
from chalicelib.domain.images.image import Repository


class TagRow(msgspec.Struct, frozen=True):
    """`digest` None: the tag is deleted. `moves` oldest first, the last 20 at most."""

    repository: Repository
    tag: str
    digest: str | None
    moved_at: datetime
    moves: tuple[Move, ...]


class RepositoryRow(msgspec.Struct, frozen=True):
    repository: Repository
    facts: dict[str, object]


class RepositoryQueries:
    """Every method may raise TransientError and DeniedError; one that takes `after`, ParameterError."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def all(self, after: str | None = None, limit: int = 50) -> Page[RepositoryRow]:
        """By registry, Region and name."""
        found = self._named(REPOSITORIES, "", position_of(after, 1), limit, index=True)
        listed = [repository_of(entry) for entry in islice(found, limit + 1)]
        items = self._dynamo.get_many((repository_key(r) for r in listed), consistent=False)
        facts = {repository_of(item): read_facts(item) for item in items}
        rows = [RepositoryRow(r, facts.get(r, {})) for r in listed]
        return page_of(rows, limit, lambda row: row.repository.path)

    def one(self, repository: Repository) -> RepositoryRow | None:
        item = self._dynamo.get(repository_key(repository))
        return None if item is None else RepositoryRow(repository, read_facts(item))

    def images(self, repository: Repository, after: str | None, limit: int) -> Page[ImageRow]:
        """Those that exist, by digest."""
        found = self._named(repository_pk(repository), "IMAGE#", position_of(after, 1), limit)
        shown = (item for item in found if STATE_PK in item)
        rows = [row_of(read_header_item(item)) for item in islice(shown, limit + 1)]
        return page_of(rows, limit, lambda row: row.ref.digest)

    def tags(self, repository: Repository, after: str | None = None, limit: int = 50) -> Page[TagRow]:
        """By name, deleted ones included."""
        found = self._named(repository_pk(repository), "TAG#", position_of(after, 1), limit)
        rows = [_tag_row(repository, item) for item in islice(found, limit + 1)]
        return page_of(rows, limit, lambda row: row.tag)

    def tag(self, repository: Repository, tag: str) -> str | None:
        """The digest it points at; None where it is unknown or deleted. Consistent."""
        item = self._dynamo.get(tag_key(repository, tag))
        return item[DIGEST]["S"] if item and DIGEST in item else None

    def tagged(self, names: Iterable[tuple[Repository, str]]) -> dict[tuple[Repository, str], str]:
        """The digests that tags point at; unknown and deleted ones are absent. Consistent."""
        found = self._dynamo.get_many(tag_key(repository, tag) for repository, tag in names)
        return {
            (repository_of(item), item[SK]["S"].removeprefix("TAG#")): item[DIGEST]["S"]
            for item in found
            if DIGEST in item
        }

    def _named(
        self, pk: str, prefix: str, position: tuple[str, ...] | None, limit: int, *, index: bool = False
    ) -> Iterator[Item]:
        """Items of a partition by sort key, those of a prefix, after a position (what follows the prefix)."""
        names, more = ((STATE_PK, STATE_SK), {"IndexName": BY_STATE}) if index else ((PK, SK), {})
        start = prefix + (position[0] if position else "")
        values = {":pk": {"S": pk}, ":from": {"S": start or " "}, ":to": {"S": f"{prefix}\U0010ffff"}}
        condition = f"{names[0]} = :pk AND {names[1]} BETWEEN :from AND :to"
        for item in self._dynamo.query(condition, values, limit=limit + 2, **more):
            if not position or item[names[1]]["S"] > start:
                yield item


def _tag_row(repository: Repository, item: Item) -> TagRow:
    digest = item[DIGEST]["S"] if DIGEST in item else None
    moves = real_moves(read_moves(item))
    return TagRow(repository, item[SK]["S"].removeprefix("TAG#"), digest, read_number(item[MOVED_AT]["N"]), moves)
