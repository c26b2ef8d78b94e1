"""Findings documents in the table: the first item, and the parts of one too large for it. Part of FindingsTable.

A document whose packed findings do not fit one item is cut into parts. They are put first, under a prefix of their
own (`FINDINGS#<revision>#<random>#`); then the first item names each with its SHA-256. So a reader sees either the
old parts or the new ones, and one that misses a part starts again. Parts of superseded revisions are removed by a
later put, an hour after they were written, when no reader can still be at them.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from chalicelib.adapters.dynamodb import schema as s
from chalicelib.adapters.dynamodb.dynamo import TRIES, Dynamo, still
from chalicelib.adapters.dynamodb.schema import Item, document_key, key, nonce, number_of, read_number
from chalicelib.adapters.packing.packing import pack_document, unpack_document
from chalicelib.domain.images.finding import FindingsDocument
from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import ConflictError, TransientError

PART_BYTES = 350 * 1024
SUPERSEDED_FOR = timedelta(hours=1)


class _Part(msgspec.Struct, array_like=True, frozen=True):
    sk: str
    sha256: bytes


def read_document(dynamo: Dynamo, ref: ImageRef) -> FindingsDocument:
    """Consistent; revision 0 where there is none. Raises TransientError when parts are missing again and again."""
    for _ in range(TRIES):
        item = dynamo.get(document_key(ref))
        if item is None:
            return FindingsDocument(ref)
        blob = _blob(dynamo, item)
        if blob is not None:
            return unpack_document(ref, int(item[s.REVISION]["N"]), blob)
    raise TransientError(f"{ref}: parts of its findings are missing")


def _blob(dynamo: Dynamo, item: Item) -> bytes | None:
    """None when a part is missing or another than listed: a newer revision has replaced it."""
    if s.PARTS not in item:
        return bytes(item[s.FINDINGS]["B"])
    listed = msgspec.msgpack.decode(item[s.PARTS]["B"], type=list[_Part])
    found = dynamo.get_many(key(item[s.PK]["S"], part.sk) for part in listed)
    bodies = {f[s.SK]["S"]: bytes(f[s.FINDINGS]["B"]) for f in found}
    chosen = [bodies.get(part.sk, b"") for part in listed]
    right = all(hashlib.sha256(body).digest() == part.sha256 for body, part in zip(chosen, listed, strict=True))
    return b"".join(chosen) if right else None


class Documents:
    """Puts them. `part_bytes` is where a document is cut; DynamoDB ends items at 400 KB."""

    def __init__(self, dynamo: Dynamo, now: Callable[[], datetime], part_bytes: int = PART_BYTES) -> None:
        self._dynamo, self._now, self._part_bytes = dynamo, now, part_bytes

    def put(self, document: FindingsDocument, former: int) -> FindingsDocument:
        """As revision `former + 1` on condition of `former`. Raises ConflictError, and leaves no parts behind then."""
        document = msgspec.structs.replace(document, revision=former + 1)
        blob = pack_document(document)
        item = document_key(document.ref) | nonce() | {s.REVISION: {"N": str(document.revision)}}
        parts = self._parts(item, blob)
        if parts:
            listed = [_Part(p[s.SK]["S"], hashlib.sha256(p[s.FINDINGS]["B"]).digest()) for p in parts]
            item[s.PARTS] = {"B": msgspec.msgpack.encode(listed)}
        else:
            item[s.FINDINGS] = {"B": blob}
        for part in parts:
            self._dynamo.put(part)
        revision = {"N": str(former)} if former else None
        try:
            old = self._dynamo.put(item, **still(s.REVISION, revision), ReturnValues="ALL_OLD")
        except ConflictError:
            self._dynamo.delete_many([key(p[s.PK]["S"], p[s.SK]["S"]) for p in parts])
            raise
        self._remove_superseded(item, old or {})
        return document

    def _parts(self, item: Item, blob: bytes) -> list[Item]:
        if len(blob) <= self._part_bytes:
            return []
        prefix = f"{s.DOCUMENT}#{item[s.REVISION]['N']}#{secrets.token_hex(4)}#"
        at = {"N": number_of(self._now())}
        return [
            key(item[s.PK]["S"], f"{prefix}{n}")
            | {s.FINDINGS: {"B": blob[start : start + self._part_bytes]}, s.PUT_AT: at}
            for n, start in enumerate(range(0, len(blob), self._part_bytes))
        ]

    def _remove_superseded(self, new: Item, old: Item) -> None:
        """A document that has shrunk into one item drops its parts at once: no later put would do it."""
        kept, dropped = _part_keys(new), _part_keys(old)
        if not kept:
            self._dynamo.delete_many([key(new[s.PK]["S"], sk) for sk in dropped])
            return
        before = self._now() - SUPERSEDED_FOR
        stored = self._dynamo.query(
            f"{s.PK} = :pk AND begins_with({s.SK}, :parts)",
            {":pk": new[s.PK], ":parts": {"S": f"{s.DOCUMENT}#"}},
            ProjectionExpression="#pk, #sk, #at",
            ExpressionAttributeNames={"#pk": s.PK, "#sk": s.SK, "#at": s.PUT_AT},
        )
        old_parts = [p for p in stored if p[s.SK]["S"] not in kept and read_number(p[s.PUT_AT]["N"]) < before]
        self._dynamo.delete_many([key(p[s.PK]["S"], p[s.SK]["S"]) for p in old_parts])


def _part_keys(item: Item) -> list[str]:
    return [p.sk for p in msgspec.msgpack.decode(item[s.PARTS]["B"], type=list[_Part])] if s.PARTS in item else []
