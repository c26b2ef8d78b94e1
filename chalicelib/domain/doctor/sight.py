"""What an event shows of what AWS's documentation leaves open. Kept as facts of its repository, for `lazaretto doctor`.
Pure.

Each sight is a fact of its own that is there or not: in whatever order events come, and however often, the same facts
stand in the end, and nothing is written twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum

import msgspec

from chalicelib.domain.events.event import (
    ApiCall,
    CoverageChanged,
    FindingChanged,
    ImageAction,
    LifecycleRan,
    PulledThrough,
    ReferrerAction,
    Replicated,
    ScanFinished,
    ScanResourceChanged,
)
from chalicelib.domain.events.message import Delivery
from chalicelib.domain.images.finding import FindingStatus
from chalicelib.domain.images.image import Repository, ScanState, Source

LARGE_KIB = 32
"""Smaller events tell nothing of how large they may get: no fact is kept of them."""
LONGEST = 40
_FACT = re.compile(r"seen_(?P<question>[a-z_]+?)__(?P<answer>\w*)_", re.ASCII)
_OTHER = re.compile(r"\W", re.ASCII)


class Question(StrEnum):
    """FAILED_SCAN: whether the event of a basic scan that failed has counts. IMAGE_RESULT: `result` of an image action
    that did not succeed. SCAN_CHANGE: `action-type` of a scan resource change. COVERAGE: fields of a coverage event.
    SUPPRESSED: the kind of event that told a suppression. EVENT_SIZE: kind and KiB, a power of two it has reached."""

    FAILED_SCAN = "failed_scan"
    IMAGE_RESULT = "image_result"
    SCAN_CHANGE = "scan_change"
    COVERAGE = "coverage"
    SUPPRESSED = "suppressed"
    EVENT_SIZE = "event_size"


class Sight(msgspec.Struct, frozen=True, order=True):
    question: Question
    answer: str

    @property
    def fact(self) -> str:
        """Its name. What AWS wrote may be anything: it becomes letters, digits and _, and not too many. The last _
        keeps it from ending as the names of times do."""
        return f"seen_{self.question}__{_OTHER.sub('_', self.answer)[:LONGEST]}_"

    @classmethod
    def read(cls, fact: str) -> Sight | None:
        """None: it is no sight, or one of another version."""
        match = _FACT.fullmatch(fact)
        if match is None or match["question"] not in list(Question):
            return None
        return cls(Question(match["question"]), match["answer"])


def sights_of(delivery: Delivery) -> Iterator[tuple[Repository, Sight]]:
    """Most events show nothing."""
    event = delivery.body
    home = _home_of(event)
    if home is None:
        return
    match event:
        case ScanFinished(source=Source.BASIC) if event.scan.state is ScanState.FAILED:
            yield home, Sight(Question.FAILED_SCAN, "without_counts" if event.counts is None else "with_counts")
        case ImageAction() if not event.succeeded:
            yield home, Sight(Question.IMAGE_RESULT, event.result)
        case CoverageChanged():
            for field in sorted(_detail(delivery)):
                yield home, Sight(Question.COVERAGE, field)
        case FindingChanged() if event.row.finding.status is FindingStatus.SUPPRESSED:
            yield home, Sight(Question.SUPPRESSED, "finding_event")
    if (size_kib := _power_of_two(delivery.size_bytes // 1024)) >= LARGE_KIB:
        yield home, Sight(Question.EVENT_SIZE, f"{type(event).__name__}_{size_kib}")


def _home_of(event: object) -> Repository | None:
    """The repository an event of AWS is about; None: of no single one, or a message of ours."""
    match event:
        case FindingChanged():
            return event.row.image.ref.home
        case CoverageChanged():
            return event.coverage.ref.home
        case ImageAction() | ReferrerAction() | ScanFinished() | Replicated():
            return event.ref.home
        case PulledThrough() | LifecycleRan() | ApiCall():
            return event.repository
        case ScanResourceChanged() if event.rules:
            return event.rules[0].repository
    return None


def _detail(delivery: Delivery) -> frozenset[str]:
    detail = (delivery.raw or {}).get("detail")
    return frozenset(detail) if isinstance(detail, dict) else frozenset()


def _power_of_two(number: int) -> int:
    """The greatest that is not above it; 0 of 0."""
    return 1 << (number.bit_length() - 1) if number > 0 else 0
