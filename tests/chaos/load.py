"""What an event costs while the table grows: the same images, in repositories of one size, among 1,000 and 20,000.

Units are counted and must not grow at all. Time is processor time of one worker with all of AWS played in its process,
so a rate is a lower bound; its growth is a ratio within one run, and includes what the played table itself slows down.
"""

from __future__ import annotations

import gc
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import boto3
from moto.dynamodb.models import dynamodb_backends

from bench import announcements, payloads
from bench.aws import Generated
from bench.count import Count
from bench.generate import ImageState, Plan
from bench.world import ALLOW_ALL, CREDENTIALS, TABLE, World
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.domain.images.image import ImageRef
from chalicelib.observability import logger
from tests.fakes.moto_aws import mock_aws

SIZES = (1_000, 20_000)
IMAGES, FINDINGS, ROUNDS, PER_REPOSITORY = 10, 50, 4, 20
MOST_GROWTH = 1.3
"""Of the time of one event, from the small table to the large one: what is printed, and fails nothing."""


@dataclass(frozen=True)
class Load:
    """At so many `images` in the table: write units of the table and its indexes, the catalogue apart, read units,
    calls and events of one round, and the seconds of processor time of the quickest one."""

    images: int
    write_units: int
    read_units: float
    calls: int
    events: int
    findings: int
    seconds: float

    @property
    def events_per_second(self) -> float:
        return self.events / self.seconds


def measure_load(sizes: Sequence[int] = SIZES) -> list[Load]:
    plan = Plan(images=IMAGES, findings=FINDINGS)
    level = logger.level
    with patch.dict(os.environ, CREDENTIALS), mock_aws():
        logger.setLevel("CRITICAL")
        try:
            create_table(boto3.client("dynamodb", payloads.REGION), TABLE)
            place = World(plan, ALLOW_ALL, Count(payloads.REGION, payloads.ACCOUNT), blank=False)
            return list(_measured(place, sizes))
        finally:
            logger.setLevel(level)


def _measured(place: World, sizes: Sequence[int]) -> Iterator[Load]:
    template = list(place.states)
    _deliver(place, template)
    items = [item for state in template for item in _items(state)]
    there = 0
    for size in sizes:
        first = there // PER_REPOSITORY
        there = _grow(items, there, size)
        gc.collect()
        gc.freeze()
        with place.count:
            place.count.reset()
            _deliver(place, _like(template, first, 0))
            spent = sum(n for kind, n in place.count.wru_by_kind.items() if not kind.startswith("VULN"))
            read, calls = place.count.rru, place.count.calls_of()
        seconds = [_timed(place, _like(template, first, n)) for n in range(1, ROUNDS)]
        gc.unfreeze()
        yield Load(size, spent, read, calls, IMAGES * (FINDINGS + 1), IMAGES * FINDINGS, min(seconds))


def _timed(place: World, states: Sequence[ImageState]) -> float:
    began = time.process_time()
    _deliver(place, states)
    return time.process_time() - began


def _deliver(place: World, states: Sequence[ImageState]) -> None:
    """Findings and scans as they are announced, and all looks that follow."""
    place.aws.shown = Generated(place.plan, states)
    rows = (announcements.finding_event(place.plan, s, row, row.arn[-32:]) for s in states for row in s.findings)
    place.deliver("findings", rows)
    place.deliver("scans", map(announcements.scan_event, states))
    place.settle()


def _like(template: Sequence[ImageState], first: int, round_: int) -> list[ImageState]:
    """The same images once more, each in a repository as large as all others: the `first` and those after it."""
    numbers = range(first + round_ * IMAGES, first + (round_ + 1) * IMAGES)
    return [
        replace(state, digest=_made_up("load", number), repository=_repository(number))
        for state, number in zip(template, numbers, strict=True)
    ]


def _repository(number: int) -> str:
    return f"load/service-{number}"


def _items(state: ImageState) -> Iterator[dict[str, Any]]:
    """Header and document as they are stored."""
    ref = ImageRef(payloads.ACCOUNT, payloads.REGION, state.repository, state.digest)
    for pk, sk in ((f"REPO#{ref.home.path}", f"IMAGE#{ref.digest}"), (f"IMAGE#{ref.path}", "FINDINGS")):
        found = _backend().get_item(TABLE, {"pk": {"S": pk}, "sk": {"S": sk}})
        yield found.to_json()["Attributes"]


def _grow(items: Sequence[dict[str, Any]], former: int, size: int) -> int:
    """Copies of stored images under digests of their own."""
    table = _backend().get_table(TABLE)
    for number in range(former, size):
        home = f"{payloads.ACCOUNT}/{payloads.REGION}/{_repository(number // PER_REPOSITORY)}"
        digest = _made_up("among", number)
        header, document = items[number * 2 % len(items)], items[(number * 2 + 1) % len(items)]
        table.put_item({**header, "pk": {"S": f"REPO#{home}"}, "sk": {"S": f"IMAGE#{digest}"}})
        table.put_item({**document, "pk": {"S": f"IMAGE#{home}@{digest}"}})
    return size


def _made_up(what: str, number: int) -> str:
    return "sha256:" + hashlib.sha256(f"{what}/{number}".encode()).hexdigest()


def _backend() -> Any:
    return dynamodb_backends[payloads.ACCOUNT][payloads.REGION]
