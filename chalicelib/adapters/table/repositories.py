"""Repositories in the table: each an item with the facts known of it, listed in the index. Part of FindingsTable.

What a fact is, and which of two stands, is told by `repository_facts`; the digests it denies are kept by `guards`.

What is known of a repository beside its images, as attributes of its item. No AWS call.

A fact whose name ends in `_at` is a time and only ever moves later, so that events in any order agree; every other
fact is kept as JSON under its own name and the last word stands. None removes a fact.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import (
    DENIED,
    PK,
    REPOSITORIES,
    SK,
    STATE_PK,
    STATE_SK,
    Item,
    number_of,
    read_number,
    repository_key,
)
from chalicelib.domain.images.image import Repository

_KEYS = frozenset({PK, SK, STATE_PK, STATE_SK, DENIED})
"""What is no fact: keys, and what `guards` keeps in the same item."""


def news(item: Item | None, facts: Mapping[str, object]) -> dict[str, object]:
    """The facts that are not stored yet. Raises ValueError for a name that is a key's, or a time that is none."""
    stored = read_facts(item or {})
    new: dict[str, object] = {}
    for name, value in facts.items():
        if name in _KEYS or not name.isidentifier():
            raise ValueError(f"{name!r} cannot be the name of a fact")
        if value is not None and name.endswith("_at") != isinstance(value, datetime):
            raise ValueError(f"{name}: exactly the names that end in _at hold times")
        former = stored.get(name)
        later = not (isinstance(former, datetime) and isinstance(value, datetime)) or value > former
        if value != former and later:
            new[name] = value
    return new


def update_of(facts: Mapping[str, object]) -> Item:
    """Expression, condition, names and values of an UpdateItem; a time is put only over an earlier one."""
    sets, removes, conditions = [], [], []
    names, values = {}, {}
    for n, (name, value) in enumerate(sorted(facts.items())):
        names[f"#{n}"] = name
        if value is None:
            removes.append(f"#{n}")
            continue
        values[f":{n}"] = _packed(value)
        sets.append(f"#{n} = :{n}")
        if isinstance(value, datetime):
            conditions.append(f"(attribute_not_exists(#{n}) OR #{n} < :{n})")
    clauses = [f"{word} {', '.join(parts)}" for word, parts in (("SET", sets), ("REMOVE", removes)) if parts]
    update: Item = {"UpdateExpression": " ".join(clauses), "ExpressionAttributeNames": names}
    if values:
        update["ExpressionAttributeValues"] = values
    return update | ({"ConditionExpression": " AND ".join(conditions)} if conditions else {})


def fact_attributes(facts: Mapping[str, object]) -> Item:
    return {name: _packed(value) for name, value in facts.items() if value is not None}


def read_facts(item: Item) -> dict[str, object]:
    return {
        name: read_number(value["N"]) if "N" in value else msgspec.json.decode(value["S"])
        for name, value in item.items()
        if name not in _KEYS
    }


def _packed(value: object) -> Item:
    return {"N": number_of(value)} if isinstance(value, datetime) else {"S": msgspec.json.encode(value).decode()}


class Repositories:
    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo
        self._introduced: set[Repository] = set()

    def keep(self, repository: Repository, facts: Mapping[str, object]) -> None:
        """Nothing is written when all of it is known."""

        def attempt() -> None:
            stored = self._dynamo.get(repository_key(repository))
            new = news(stored, facts)
            if stored is None or new:
                self._put(repository, stored, new)

        self._dynamo.insist(repository.path, attempt)

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
