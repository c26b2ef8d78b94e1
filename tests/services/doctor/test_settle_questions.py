"""What this account shows of what AWS's documentation leaves open."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.domain.doctor.health import KINDS, Check, CheckArea, CheckStatus
from chalicelib.domain.doctor.installed import Fired, Installed, UseCount
from chalicelib.domain.doctor.sight import Question, Sight
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Enforcement, Stage
from chalicelib.domain.images.image import ImageRef, Repository, Scan, ScanState, Source
from chalicelib.errors import DeniedError
from chalicelib.services.doctor.settle_questions import settle_questions

NOW = datetime(2026, 11, 1, tzinfo=UTC)
REF = Repository("1" * 12, "eu-west-1", "team/web").image(f"sha256:{1:064x}")
THERE = Installed("prod", "eu-west-1", "1" * 12, "UPDATE_COMPLETE", {"CoverageRule": "c"}, {"CoverageRule": "r"})


def header(state: ScanState, **more: Any) -> Header:
    scan = Scan(state, None, Source.BASIC, NOW)
    return Header(ref=REF, exists=True, scan=scan, counts=(0, 1, 0, 0, 0, 0), **more)


class World:
    """One stored image, and what AWS says of it."""

    def __init__(self, stored: Header | None = None, keys: tuple[str, ...] = (), counted: bool = False) -> None:
        self.stored, self.keys, self.counted = stored, keys, counted
        self.rates: tuple[str, ...] = ()
        self.fires: dict[str, Fired] = {}
        self.refused = False
        self.sights: list[Sight] = []
        self.uses: tuple[UseCount, ...] = ()

    def images(self, *, limit: int = 50) -> Any:
        return SimpleNamespace(items=[] if self.stored is None else [self.stored])

    def headers(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Header]:
        return {ref: self.stored for ref in refs if self.stored is not None}

    def attribute_keys(self, ref: ImageRef) -> tuple[str, ...]:
        if self.refused:
            raise DeniedError("access denied")
        return self.keys

    def has_counts(self, ref: ImageRef) -> bool:
        return self.counted

    def fired(self, rules: Collection[str], since: datetime, now: datetime) -> dict[str, Fired]:
        return self.fires

    def known(self) -> dict[Repository, dict[str, object]]:
        return {REF.home: {"reconcile_at": NOW, **{sight.fact: True for sight in self.sights}}}

    def sample(self) -> tuple[UseCount, ...]:
        return self.uses

    def call_rates(self) -> tuple[str, ...]:
        return self.rates


def settled(world: Any) -> dict[str, Check]:
    checks = settle_questions(THERE, NOW, world, world.known, world, world, world, world)
    return {check.kind.id: check for check in checks}


def test_where_nothing_is_to_be_seen_every_question_says_so() -> None:
    found = settled(World())
    assert set(found) == {kind.id for kind in KINDS if kind.area is CheckArea.AWS}
    assert {check.found.status for check in found.values()} == {CheckStatus.UNKNOWN}
    assert all(check.found.seen.startswith("not seen yet") for check in found.values())
    assert not any(check.denies for check in found.values())


def test_attributes_beyond_the_documented_ones_are_named() -> None:
    found = settled(World(header(ScanState.COMPLETE), ("CVSS3_SCORE", "package_name")))["basic-attributes"]
    assert found.found.status is CheckStatus.OK
    assert found.found.seen == "CVSS3_SCORE, package_name (1 beyond what is documented)"


@pytest.mark.parametrize(("counted", "words"), [(True, "counts for 1 of 1"), (False, "counts for 0 of 1")])
def test_a_failed_scan_tells_whether_it_has_counts(counted: bool, words: str) -> None:
    found = settled(World(header(ScanState.FAILED), counted=counted))["failed-scan-event"].found
    assert words in found.seen
    assert found.status is CheckStatus.UNKNOWN, "of the event nothing is known"


@pytest.mark.parametrize(("hours", "status"), [(-1, CheckStatus.OK), (1, CheckStatus.UNKNOWN)])
def test_a_scan_after_a_deny_shows_that_it_does_not_stop_the_scanner(hours: int, status: CheckStatus) -> None:
    done = Enforcement(ActionType.BLOCK, 1, Stage.DONE, NOW + timedelta(hours=hours))
    denied = header(ScanState.COMPLETE, denied=True, enforcement=done)
    assert settled(World(denied))["scan-under-deny"].found.status is status


def test_an_event_that_was_heard_is_told_with_how_often() -> None:
    world = World()
    world.fires = {"c": Fired(4, NOW)}
    found = settled(world)["coverage-event"].found
    assert (found.status, "4 in 14 days" in found.seen) == (CheckStatus.OK, True)


def test_rates_of_reading_calls_are_named_where_there_are_any() -> None:
    world = World()
    world.rates = ("Rate of DescribeImages requests", "Rate of PutImage requests")
    assert "2 rates: Rate of DescribeImages requests" in settled(world)["call-rates"].found.seen


def test_a_question_that_must_not_be_asked_stops_no_other() -> None:
    world = World(header(ScanState.COMPLETE))
    world.refused = True
    found = settled(world)
    assert "access denied" in found["basic-attributes"].found.seen
    assert len(found) == len([kind for kind in KINDS if kind.area is CheckArea.AWS])


@pytest.mark.parametrize(
    ("kind", "question", "answer", "words"),
    [
        ("failed-scan-event", Question.FAILED_SCAN, "without_counts", "without counts (1 repository)"),
        ("image-action-results", Question.IMAGE_RESULT, "FAILURE", "beside SUCCESS: FAILURE (1 repository)"),
        ("scan-resource-actions", Question.SCAN_CHANGE, "IMAGE_CREATED", "IMAGE_CREATED (1 repository)"),
        ("coverage-event", Question.COVERAGE, "scanStatus", "with scanStatus"),
        ("suppression-event", Question.SUPPRESSED, "finding_event", "by findings (1 repository)"),
        ("event-size", Question.EVENT_SIZE, "FindingChanged_64", "FindingChanged 64 to 128 KiB"),
    ],
)
def test_what_an_event_has_shown_settles_its_question(kind: str, question: Question, answer: str, words: str) -> None:
    world = World()
    world.sights = [Sight(question, answer)]
    found = settled(world)
    assert (found[kind].found.status, words in found[kind].found.seen) == (CheckStatus.OK, True), found[kind].found
    others = [check.found.status for check in found.values() if check.kind.id != kind]
    assert set(others) == {CheckStatus.UNKNOWN}


def test_of_the_sizes_of_a_kind_the_largest_is_told_and_the_largest_kind_first() -> None:
    world = World()
    sizes = ("FindingChanged_32", "FindingChanged_64", "ApiCall_128", "odd")
    world.sights = [Sight(Question.EVENT_SIZE, size) for size in sizes]
    assert settled(world)["event-size"].found.seen == "ApiCall 128 to 256 KiB, FindingChanged 64 to 128 KiB"


def inspected(state: ScanState, reason: str | None, size_bytes: int | None) -> Header:
    return Header(ref=REF, exists=True, scan=Scan(state, reason, Source.ENHANCED, NOW), size_bytes=size_bytes)


@pytest.mark.parametrize(
    ("stored", "status", "words"),
    [
        (inspected(ScanState.UNSUPPORTED, "IMAGE_SIZE_EXCEEDED", 9 * 10**9), CheckStatus.OK, "has 9.00 GB"),
        (inspected(ScanState.UNSUPPORTED, "IMAGE_SIZE_EXCEEDED", None), CheckStatus.UNKNOWN, "to scan no image"),
        (
            inspected(ScanState.FAILED, "INTERNAL_ERROR", 3),
            CheckStatus.UNKNOWN,
            "none of 1 image was refused for its size",
        ),
        (
            inspected(ScanState.COMPLETE, None, 3 * 10**9),
            CheckStatus.UNKNOWN,
            "the largest that was scanned has 3.00 GB",
        ),
        (header(ScanState.COMPLETE, size_bytes=3), CheckStatus.UNKNOWN, "to scan no image"),
    ],
)
def test_an_image_that_was_refused_for_its_size_tells_the_limit(
    stored: Header, status: CheckStatus, words: str
) -> None:
    found = settled(World(stored))["image-size"].found
    assert (found.status, words in found.seen) == (status, True), found


@pytest.mark.parametrize(
    ("uses", "status", "words"),
    [
        ([UseCount(2, 2, 9)], CheckStatus.OK, "clusters, by 1 image"),
        ([UseCount(9, 2, 9), UseCount(3, 3, 3)], CheckStatus.OK, "tasks and pods, by 1 image"),
        ([UseCount(2, 2, 9), UseCount(9, 2, 9)], CheckStatus.OK, "now clusters"),
        ([UseCount(3, 3, 3)], CheckStatus.UNKNOWN, "of 1 images in use none"),
        ([UseCount(5, 2, 9)], CheckStatus.UNKNOWN, "none tells"),
        ([], CheckStatus.UNKNOWN, "of 0 images"),
    ],
)
def test_what_inspector_counts_is_told_by_images_where_it_makes_a_difference(
    uses: list[UseCount], status: CheckStatus, words: str
) -> None:
    world = World()
    world.uses = tuple(uses)
    found = settled(world)["use-count-scope"].found
    assert (found.status, words in found.seen) == (status, True), found
