"""Repositories in the table: each an item with the facts known of it, listed in the index. Part of FindingsTable.

What a fact is, and which of two stands, is told by `repository_facts`; the digests it denies are kept by `guards`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import PK, REPOSITORIES, STATE_PK, STATE_SK, Item, repository_key
from chalicelib.adapters.table.repository_facts import fact_attributes, news, update_of
from chalicelib.domain.images.image import Repository


class Repositories:
    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo
        self._introduced: set[Repository] = set()
        self._shown: set[tuple[Repository, str]] = set()

    def keep(self, repository: Repository, facts: Mapping[str, object]) -> None:
        """Nothing is written when all of it is known."""

        def attempt() -> None:
            stored = self._dynamo.get(repository_key(repository))
            new = news(stored, facts)
            if stored is None or new:
                self._put(repository, stored, new)

        self._dynamo.insist(repository.path, attempt)

    def show(self, repository: Repository, sights: Iterable[str]) -> None:
        """Facts that are there or not, and never change: what this process has kept is not asked about again."""
        new = [name for name in sights if (repository, name) not in self._shown]
        if new:
            self.keep(repository, dict.fromkeys(new, True))
            self._shown.update((repository, name) for name in new)

    def introduce(self, repository: Repository) -> None:
        """Events of CreateRepository need a trail and come once: whoever has an image is known by it."""
        if repository not in self._introduced:
            self.keep(repository, {})
            self._introduced.add(repository)

    def _put(self, repository: Repository, stored: Item | None, new: Mapping[str, object]) -> None:
        if stored is not None:
            self._dynamo.update(repository_key(repository), **update_of(new))
            return
        listed = {STATE_PK: {"S": REPOSITORIES}, STATE_SK: {"S": repository.path}}
        item = repository_key(repository) | listed | fact_attributes(new)
        self._dynamo.put(item, f"attribute_not_exists({PK})")
