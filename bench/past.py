"""A made-up registry with a past, and the house a what-if is asked in: the deployed services over nothing but memory.

Images are made when they are read, so that what memory holds is what the what-if holds, not the registry. Their
documents are those of a few images that were scanned now and then, merged and packed as the services and the table do;
tags, use, scan, and waivers by repository make them differ further. None was decided yet.
"""

from __future__ import annotations

import gc
import json
import sys
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec

from bench import payloads
from bench.generate import DAY, FIRST_DAY, Plan, image
from bench.journal import SilentJournal
from bench.vulnerabilities import base
from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.adapters.packing.packing import pack_document, unpack_document
from chalicelib.adapters.stores.policy_file import read_policy
from chalicelib.adapters.table.headers import row_of
from chalicelib.domain.assessment.conclusion import count_open
from chalicelib.domain.assessment.merge import merge_listing
from chalicelib.domain.events.message import Delivery, Message
from chalicelib.domain.headers.header import Header, Rules, sketch_of
from chalicelib.domain.images.finding import Finding, FindingsDocument, Listing
from chalicelib.domain.images.image import ImageRef, InUse, InUseState, Scan, ScanState, Source
from chalicelib.domain.policy.waiver import Waiver, waiver_id
from chalicelib.domain.whatif.report import Job, ShardPart, WhatIfReport
from chalicelib.domain.whatif.what_if import Film, Ruling, Weighed, weigh
from chalicelib.parsers.findings.rows import parse_list_findings
from chalicelib.services.handlers.receive_sweeps import receive_sweeps
from chalicelib.services.policy import evaluate_shard
from chalicelib.services.policy.start_what_if import read_what_if, start_what_if
from chalicelib.services.ports.table import ImageRow, Stored

SCANNED_ON = (0, 3, 7, 12, 18, 25, 30)
NOW = datetime.fromtimestamp(FIRST_DAY + (SCANNED_ON[-1] + 1) * DAY, UTC)
SETTLE = timedelta(seconds=60)
TODAY = """
version: 1
rules:
  - {id: critical, match: {severity: CRITICAL, fix_available: true}, decision: block}
"""
CANDIDATE = """
version: 1
sla_days: {CRITICAL: 7, HIGH: 14}
stale: {decision: warn, after_days: 20}
rules:
  - {id: overdue, match: {severity: CRITICAL, overdue: true, fix_available: true}, decision: quarantine}
  - {id: likely, match: {severity: {gte: HIGH}, epss: {gte: 0.5}}, decision: block}
  - {id: running, match: {in_use: true, tag: "1.*", severity: HIGH}, count: {gte: 3}, decision: block}
  - {id: unfinished, match: {tag: "*-rc*", severity: HIGH}, count: {gte: 3}, decision: block}
  - {id: many, match: {severity: {gte: MEDIUM}}, count: {gte: 6}, decision: warn}
"""
TAGS = (("1.0.0",), ("1.4.2", "latest"), ("2.0.0-rc.1",), ())
USES = (InUse(InUseState.YES), *[InUse(InUseState.NO)] * 5, *[InUse()] * 2)
SCANS = (
    Scan(ScanState.EXPIRED, "SCAN_ELIGIBILITY_EXPIRED", Source.ENHANCED, NOW - timedelta(days=3)),
    Scan(ScanState.COMPLETE, None, Source.ENHANCED, NOW - timedelta(days=25)),
    *[Scan(ScanState.COMPLETE, None, Source.ENHANCED, NOW)] * 14,
)


class Shape(NamedTuple):
    """A packed document, and what a header says of it."""

    packed: bytes
    counts: tuple[int, ...]
    sketch: bytes
    pushed_at: datetime


class Registry:
    """So many `images` of about so many `findings`. Table, index, rules and jobs of a Context in one.

    `documents` and `entries` count what was read of each; `held`: the most objects there were at the end of a page,
    beside those of before. `shapes`: how many documents there are that differ.
    """

    def __init__(self, images: int, findings: int, shapes: int = 20) -> None:
        self.images, self.documents, self.entries = images, 0, 0
        self.shapes = _shapes(findings, shapes)
        rules = Rules(read_policy(TODAY), _waivers(), waivers_version=1)
        self.rules = SimpleNamespace(fresh=lambda: rules)
        self.clock = SimpleNamespace(now=lambda: NOW)
        self.journal = SilentJournal()
        self.sent = deque[Message]()
        self.outbox = SimpleNamespace(send=lambda queue, message, delay_seconds=0: self.sent.append(message))
        self.table = self.queries = self.what_ifs = self
        self.held = self._before = 0
        self._said = bytearray()
        self._jobs: dict[str, Job] = {}
        self._parts: dict[tuple[str, int], bytes] = {}

    def what_if(self, since_days: int = 30) -> WhatIfReport:
        """Asked, and worked out message by message as the queue would bring them."""
        context: Any = self
        # What was there before need not be looked through again at the end of every page.
        gc.collect()
        gc.freeze()
        self._said.clear()
        self._before = sys.getallocatedblocks()
        job = start_what_if(read_policy(CANDIDATE), since_days, "bench", context)
        with patch.object(evaluate_shard, "weigh", self._weigh):
            while self.sent:
                failures = receive_sweeps([Delivery("1", self.sent.popleft())], context)
                for error in failures.values():
                    raise error
        gc.unfreeze()
        return read_what_if(job.id, context)

    def said(self) -> list[tuple[ImageRef, Ruling]]:
        """What the what-if said of the images as of now, by the candidate: of all of them, not of the worst alone."""
        return msgspec.json.Decoder(tuple[ImageRef, Ruling]).decode_lines(self._said)

    def _weigh(self, film: Film) -> Weighed:
        weighed = weigh(film)
        self._said += msgspec.json.encode((film.case.header.ref, weighed.candidate)) + b"\n"  # one object, however long
        return weighed

    def refs(self) -> Iterator[ImageRef]:
        return map(_ref, range(self.images))

    def rows_of(self, shard: int) -> Iterator[ImageRow]:
        for ref in self.refs():
            if shard_of(ref) == shard:
                self.entries += 1
                yield row_of(self.header(ref))

    def read_headers(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Stored]:
        return {ref: Stored(self.header(ref), 1) for ref in refs}

    def read_document(self, ref: ImageRef) -> FindingsDocument:
        self.documents += 1
        return self.document(ref)

    def put_job(self, job: Job) -> None:
        self._jobs[job.id] = job

    def read_job(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def put_part(self, job: Job, part: ShardPart) -> ShardPart:
        gc.collect()
        self.held = max(self.held, sys.getallocatedblocks() - self._before)
        self._parts[job.id, part.shard] = zlib.compress(msgspec.json.encode(part))
        return part

    def read_part(self, job: Job, shard: int) -> ShardPart:
        body = self._parts.get((job.id, shard))
        return ShardPart(shard) if body is None else msgspec.json.decode(zlib.decompress(body), type=ShardPart)

    def read_parts(self, job: Job) -> Sequence[ShardPart]:
        return [self.read_part(job, shard) for of_job, shard in sorted(self._parts) if of_job == job.id]

    def header(self, ref: ImageRef) -> Header:
        shape, spread = self._shape(ref), zlib.crc32(ref.digest.encode())
        return Header(
            ref=ref,
            version=1,
            exists=True,
            known_at=shape.pushed_at,
            pushed_at=shape.pushed_at,
            tags=TAGS[spread % 4],
            scan=SCANS[spread // 32 % 16],
            refreshed_at=NOW,
            revision=1,
            counts=shape.counts,
            sketch=shape.sketch,
            in_use=USES[spread // 4 % 8],
        )

    def document(self, ref: ImageRef) -> FindingsDocument:
        return unpack_document(ref, 1, self._shape(ref).packed)

    def _shape(self, ref: ImageRef) -> Shape:
        return self.shapes[int(ref.digest[-8:], 16) % len(self.shapes)]


def _ref(number: int) -> ImageRef:
    digest = f"sha256:{number * 0x9E3779B97F4A7C15 % 2**64:016x}{'0' * 40}{number:08x}"
    return ImageRef(payloads.ACCOUNT, payloads.REGION, f"team-{number % 50}/service-{number % 500}", digest)


@lru_cache
def _shapes(findings: int, shapes: int) -> tuple[Shape, ...]:
    return tuple(_shape(Plan(images=shapes, findings=findings), number) for number in range(shapes))


def _shape(plan: Plan, number: int) -> Shape:
    """The image as it was listed on several days, a share of its findings changed on each."""
    document: FindingsDocument | None = None
    pushed_at = NOW
    for day in SCANNED_ON:
        state = image(replace(plan, day=day), number)
        ref = ImageRef(payloads.ACCOUNT, payloads.REGION, state.repository, state.digest)
        pushed_at = datetime.fromtimestamp(state.pushed_at, UTC)
        at = datetime.fromtimestamp(FIRST_DAY + day * DAY + 7_200, UTC)
        scan = Scan(ScanState.COMPLETE, None, Source.ENHANCED, at)
        pages = payloads.finding_pages(plan, state, 100)
        listing = Listing(Source.ENHANCED, tuple(_findings(pages)), at, scan, complete=True)
        document = merge_listing(
            document or FindingsDocument(ref), listing, consistency_delay=SETTLE, archive=False
        ).document
    assert document is not None
    return Shape(pack_document(document), count_open(document.findings), sketch_of(document.findings), pushed_at)


def _findings(pages: Iterable[dict[str, Any]]) -> Iterator[Finding]:
    for page in pages:
        yield from (row.finding for row in parse_list_findings(json.dumps(page).encode()).rows)


def _waivers() -> tuple[Waiver, ...]:
    """For a rule and for flaws, in some repositories and in all; the last is over."""
    first, second = (base(Plan.seed, number)[0].id for number in range(2))
    return (
        _waiver("team-1*", None, "overdue"),
        _waiver("*", first, None),
        _waiver("team-2*", second, "many"),
        _waiver("*", None, "likely", days_left=-1),
    )


def _waiver(repository: str, vulnerability_id: str | None, rule: str | None, days_left: int = 20) -> Waiver:
    return Waiver(
        id=waiver_id(repository, vulnerability_id, None, rule),
        repository=repository,
        vulnerability_id=vulnerability_id,
        rule=rule,
        reason="as agreed",
        approved_by="oncall",
        created_at=NOW - timedelta(days=10),
        expires_at=NOW + timedelta(days=days_left),
        even_if_exploited=True,  # else applying asks what is exploited, and may decide otherwise
    )
