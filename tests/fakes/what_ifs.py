"""What-if jobs in memory: keeps the contract of `services.ports.WhatIfs`. All goes through JSON, as in the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from chalicelib.adapters.stores.what_if_items import KEPT_FOR
from chalicelib.domain.whatif.report import Job, ShardPart
from chalicelib.errors import ConflictError


class FakeWhatIfs:
    """`puts` counts the parts that were put."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._jobs: dict[str, bytes] = {}
        self._parts: dict[tuple[str, int], bytes] = {}
        self.puts = 0

    def put_job(self, job: Job) -> None:
        if job.id in self._jobs:
            raise ConflictError(job.id)
        self._jobs[job.id] = msgspec.json.encode(job)

    def read_job(self, job_id: str) -> Job | None:
        if job_id not in self._jobs:
            return None
        job = msgspec.json.decode(self._jobs[job_id], type=Job)
        return job if self._now() < job.at + KEPT_FOR else None

    def put_part(self, job: Job, part: ShardPart) -> ShardPart:
        if part.revision != self.read_part(job, part.shard).revision:
            raise ConflictError(f"{job.id}: revision {part.revision} is not what is stored")
        put = msgspec.structs.replace(part, revision=part.revision + 1)
        self._parts[job.id, part.shard] = msgspec.json.encode(put)
        self.puts += 1
        return put

    def read_part(self, job: Job, shard: int) -> ShardPart:
        stored = self._parts.get((job.id, shard))
        return ShardPart(shard) if stored is None else msgspec.json.decode(stored, type=ShardPart)

    def read_parts(self, job: Job) -> Sequence[ShardPart]:
        return [self.read_part(job, shard) for j, shard in sorted(self._parts) if j == job.id]
