"""Repositories and tags as items of the table. Part of FindingsTable.

A repository's item holds its facts and lists it in the index. A fact whose name ends in `_at` is a time and only moves
later, so that events in any order agree; of other facts, kept as JSON, the last write stands. None removes a fact.

A tag's item holds where the tag points and its newest 20 moves with their times, so that a late event takes its place
in the past. The newest move says where the tag points.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from datetime import datetime

import msgspec

from chalicelib.adapters.dynamodb import schema as s
from chalicelib.adapters.dynamodb.dynamo import Dynamo, still
from chalicelib.adapters.dynamodb.schema import (
    Item,
    at_micros,
    micros_of,
    number_of,
    read_number,
    repository_key,
    tag_key,
)
from chalicelib.domain.images.image import Repository
from chalicelib.services.ports.table import Move, TagMove

KEPT = 20
_PREFIX = "sha256:"


def read_moves(item: Item | None) -> tuple[Move, ...]:
    """Oldest first; events that say the same as the one before are among them."""
    if item is None:
        return ()
    rows = msgspec.msgpack.decode(item[s.MOVES]["B"], type=list[tuple[int, bytes | None]])
    return tuple(Move(at_micros(at), None if raw is None else f"{_PREFIX}{raw.hex()}") for at, raw in rows)


def moves_item(moves: tuple[Move, ...]) -> Item:
    raw = [None if m.digest is None else bytes.fromhex(m.digest.removeprefix(_PREFIX)) for m in moves]
    rows = [(micros_of(m.at), digest) for m, digest in zip(moves, raw, strict=True)]
    item: Item = {s.MOVES: {"B": msgspec.msgpack.encode(rows)}, s.MOVED_AT: {"N": number_of(moves[-1].at)}}
    return item if moves[-1].digest is None else item | {s.DIGEST: {"S": moves[-1].digest}}


def with_move(moves: tuple[Move, ...], digest: str | None, at: datetime, *, settles_tie: bool) -> tuple[Move, ...]:
    """At equal times the one that is stored stays, unless the caller has asked the registry."""
    same_time = [m for m in moves if m.at == at]
    if same_time and (not settles_tie or same_time[0].digest == digest):
        return moves
    kept = [m for m in moves if m.at != at]
    insort(kept, Move(at, digest), key=lambda m: m.at)
    return tuple(kept[-KEPT:])


def points_at(moves: tuple[Move, ...]) -> str | None:
    return moves[-1].digest if moves else None


def tag_move(tag: str, moves: tuple[Move, ...], *, moved: bool) -> TagMove:
    """Where the tag points now, when it was last heard of, and where it pointed before it came there."""
    real = real_moves(moves)
    former = real[-2] if len(real) > 1 else None
    before = (former.digest, former.at) if former else (None, None)
    others = {move.digest for move in real if move.digest is not None} - {real[-1].digest}
    return TagMove(tag, real[-1].digest, moves[-1].at, before[0], moved, before[1], tuple(sorted(others)))


def real_moves(moves: tuple[Move, ...]) -> tuple[Move, ...]:
    """Only those after which the tag pointed elsewhere."""
    out: list[Move] = []
    for move in moves:
        if not out or out[-1].digest != move.digest:
            out.append(move)
    return tuple(out)


class Tags:
    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def move(
        self, repository: Repository, tag: str, digest: str | None, at: datetime, *, settles_tie: bool = False
    ) -> TagMove:
        def attempt() -> TagMove:
            stored = self._dynamo.get(tag_key(repository, tag))
            before = read_moves(stored)
            after = with_move(before, digest, at, settles_tie=settles_tie)
            if after == before:
                return tag_move(tag, before, moved=False)
            self._dynamo.put(tag_key(repository, tag) | moves_item(after), **still(s.MOVES, stored and stored[s.MOVES]))
            return tag_move(tag, after, moved=points_at(after) != points_at(before))

        return self._dynamo.insist(f"{repository.path}:{tag}", attempt)

    def read(self, repository: Repository, tag: str) -> str | None:
        item = self._dynamo.get(tag_key(repository, tag))
        return item[s.DIGEST]["S"] if item and s.DIGEST in item else None

    def last_move(self, repository: Repository, tag: str) -> TagMove | None:
        moves = read_moves(self._dynamo.get(tag_key(repository, tag)))
        return tag_move(tag, moves, moved=False) if moves else None


_KEYS = frozenset({s.PK, s.SK, s.STATE_PK, s.STATE_SK, s.DUE_PK, s.DUE_SK, s.DENIED})
"""What is no fact: keys, and the denied digests that the same item holds."""


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
        def attempt() -> None:
            stored = self._dynamo.get(repository_key(repository))
            new = news(stored, facts)
            if stored is None or new:
                self._put(repository, stored, new)

        self._dynamo.insist(repository.path, attempt)

    def introduce(self, repository: Repository) -> None:
        """Events of CreateRepository need a trail and come once: an image makes its repository known."""
        if repository not in self._introduced:
            self.keep(repository, {})
            self._introduced.add(repository)

    def forget(self, repository: Repository) -> None:
        self._dynamo.delete_many([repository_key(repository)])
        self._introduced.discard(repository)

    def _put(self, repository: Repository, stored: Item | None, new: Mapping[str, object]) -> None:
        if stored is not None:
            self._dynamo.update(repository_key(repository), **update_of(new))
            return
        listed = {s.STATE_PK: {"S": s.REPOSITORIES}, s.STATE_SK: {"S": repository.path}}
        facts = {name: _packed(value) for name, value in new.items() if value is not None}
        self._dynamo.put(repository_key(repository) | listed | facts, f"attribute_not_exists({s.PK})")
