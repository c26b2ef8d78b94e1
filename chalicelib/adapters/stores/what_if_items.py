"""What-if jobs in the table: one item for the question, one for each shard's findings. They end by themselves.

| item | pk | sk | attributes | a write costs |
|---|---|---|---|---|
| question | `WHATIF#<id>` | `JOB` | `bd` B job as JSON, deflated; `ttl` N | 1 for each started KB |
| part | same | `PART#<shard>` | `bd` B part as JSON, deflated; `r` N revision; `x` B nonce; `ttl` N | the same |

DynamoDB removes what is past its `ttl` some time later; until then it is read as absent. Both are outside the indexes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from chalicelib.adapters.dynamodb import schema as s
from chalicelib.adapters.dynamodb.dynamo import ABSENT, Dynamo, still
from chalicelib.adapters.dynamodb.schema import Item, key, nonce, what_if_pk
from chalicelib.domain.whatif.report import Job, ShardPart
from chalicelib.errors import ParameterError

T = TypeVar("T")
KEPT_FOR = timedelta(days=7)
MOST_BYTES = 380_000
_JOB, _PART = "JOB", "PART#"


class WhatIfItems:
    """services.ports.context.WhatIfs on DynamoDB."""

    def __init__(self, dynamo: Dynamo, now: Callable[[], datetime]) -> None:
        self._dynamo, self._now = dynamo, now

    def put_job(self, job: Job) -> None:
        body = _packed(job)
        if len(body["B"]) > MOST_BYTES:
            raise ParameterError("policy", f"is too large for a what-if: over {MOST_BYTES:,} bytes when deflated")
        self._dynamo.put(key(what_if_pk(job.id), _JOB) | {s.BODY: body, s.EXPIRES: _end(job)}, **ABSENT)

    def read_job(self, job_id: str) -> Job | None:
        return self._unpacked(self._dynamo.get(key(what_if_pk(job_id), _JOB)), Job)

    def put_part(self, job: Job, part: ShardPart) -> ShardPart:
        put, body = _fitted(msgspec.structs.replace(part, revision=part.revision + 1))
        item = key(what_if_pk(job.id), f"{_PART}{part.shard}") | nonce()
        item |= {s.BODY: body, s.REVISION: {"N": str(put.revision)}, s.EXPIRES: _end(job)}
        former = {"N": str(part.revision)} if part.revision else None
        self._dynamo.put(item, **still(s.REVISION, former))
        return put

    def read_part(self, job: Job, shard: int) -> ShardPart:
        item = self._dynamo.get(key(what_if_pk(job.id), f"{_PART}{shard}"))
        return self._unpacked(item, ShardPart) or ShardPart(shard)

    def read_parts(self, job: Job) -> Sequence[ShardPart]:
        values = {":pk": {"S": what_if_pk(job.id)}, ":parts": {"S": _PART}}
        found = self._dynamo.query(f"{s.PK} = :pk AND begins_with({s.SK}, :parts)", values, ConsistentRead=True)
        return [part for item in found if (part := self._unpacked(item, ShardPart)) is not None]

    def _unpacked(self, item: Item | None, kind: type[T]) -> T | None:
        if item is None or int(item[s.EXPIRES]["N"]) <= self._now().timestamp():
            return None
        return msgspec.json.decode(zlib.decompress(item[s.BODY]["B"]), type=kind)


def _fitted(part: ShardPart) -> tuple[ShardPart, Item]:
    """With as many of its rows, the worst, as an item holds; those left out are counted."""
    body = _packed(part)
    while len(body["B"]) > MOST_BYTES and part.rows:
        kept = part.rows[: len(part.rows) // 2]
        left_out = part.rows_left_out + len(part.rows) - len(kept)
        part = msgspec.structs.replace(part, rows=kept, rows_left_out=left_out)
        body = _packed(part)
    return part, body


def _packed(value: Job | ShardPart) -> Item:
    return {"B": zlib.compress(msgspec.json.encode(value))}


def _end(job: Job) -> Item:
    return {"N": str(int((job.at + KEPT_FOR).timestamp()))}
