"""Tags in the table: each an item that holds where it points and its last moves. Part of FindingsTable.

Which move wins, and how moves are packed, is told by `tag_moves`.
"""

from __future__ import annotations

from datetime import datetime

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import DIGEST, MOVES, PK, Item, tag_key
from chalicelib.adapters.table.tag_moves import moves_item, points_at, read_moves, tag_move, with_move
from chalicelib.domain.images.image import Repository
from chalicelib.services.ports.ports import TagMove


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
