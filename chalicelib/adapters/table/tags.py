"""Tags in the table: each an item that holds where it points and its last moves. Part of FindingsTable.

Which move wins, and how moves are packed, is told by `tag_moves`.

The moves of one tag, whatever order they were heard in. No AWS call; stored in the tag's item by FindingsTable.

Every push or deletion heard is kept with its time (the newest 20), so that a late event takes its place in the past
instead of being lost or winning. Where a tag points is what the newest says.
"""

from __future__ import annotations

from bisect import insort
from datetime import datetime

import msgspec

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import (
    DIGEST,
    MOVED_AT,
    MOVES,
    PK,
    Item,
    at_micros,
    micros_of,
    number_of,
    tag_key,
)
from chalicelib.domain.images.image import Repository
from chalicelib.services.ports.table import TagMove

KEPT = 20
_PREFIX = "sha256:"


class Move(msgspec.Struct, frozen=True):
    """`digest` None: the tag was deleted."""

    at: datetime
    digest: str | None


def read_moves(item: Item | None) -> tuple[Move, ...]:
    """Oldest first; events that say the same as the one before are among them."""
    if item is None:
        return ()
    rows = msgspec.msgpack.decode(item[MOVES]["B"], type=list[tuple[int, bytes | None]])
    return tuple(Move(at_micros(at), None if raw is None else f"{_PREFIX}{raw.hex()}") for at, raw in rows)


def moves_item(moves: tuple[Move, ...]) -> Item:
    raw = [None if m.digest is None else bytes.fromhex(m.digest.removeprefix(_PREFIX)) for m in moves]
    rows = [(micros_of(m.at), digest) for m, digest in zip(moves, raw, strict=True)]
    item: Item = {MOVES: {"B": msgspec.msgpack.encode(rows)}, MOVED_AT: {"N": number_of(moves[-1].at)}}
    return item if moves[-1].digest is None else item | {DIGEST: {"S": moves[-1].digest}}


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
        """On condition that nobody else moved it; a late event takes its place in the history."""

        def attempt() -> TagMove:
            stored = self._dynamo.get(tag_key(repository, tag))
            before = read_moves(stored)
            after = with_move(before, digest, at, settles_tie=settles_tie)
            if after == before:
                return tag_move(tag, before, moved=False)
            self._dynamo.put(tag_key(repository, tag) | moves_item(after), *_moves_are(stored))
            return tag_move(tag, after, moved=points_at(after) != points_at(before))

        return self._dynamo.insist(f"{repository.path}:{tag}", attempt)

    def read(self, repository: Repository, tag: str) -> str | None:
        item = self._dynamo.get(tag_key(repository, tag))
        return item[DIGEST]["S"] if item and DIGEST in item else None

    def last_move(self, repository: Repository, tag: str) -> TagMove | None:
        moves = read_moves(self._dynamo.get(tag_key(repository, tag)))
        return tag_move(tag, moves, moved=False) if moves else None


def _moves_are(stored: Item | None) -> tuple[str, Item | None]:
    if stored is None:
        return f"attribute_not_exists({PK})", None
    return f"{MOVES} = :moves", {":moves": stored[MOVES]}
