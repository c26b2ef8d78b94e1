"""What hangs on an image is looked up part by part, and each part may fail alone."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Child, ImageDetail, InUseState, Kind
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.usage.blast_radius import NONE_NEWER, IndexTags, NewerTag
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.usage import find_blast_radius as module
from chalicelib.services.usage.find_blast_radius import find_blast_radius
from tests.fakes.images import digest, image, ref
from tests.fakes.queries import NOW
from tests.fakes.registry import FakeRegistry
from tests.fakes.runtime import FakeRuntime
from tests.fakes.table import FakeTable

PULLED = NOW - timedelta(hours=3)


@pytest.fixture
def context() -> Any:
    clock = SimpleNamespace(now=lambda: NOW)
    made = SimpleNamespace(table=FakeTable(clock.now), runtime=FakeRuntime(), registry=FakeRegistry(), clock=clock)
    made.registry.hold(ImageDetail(ref(1), last_pulled_at=PULLED))
    return made


def held(context: Any, number: int, *tags: str, decision: Decision = Decision.BLOCK, **changes: Any) -> Header:
    return context.table.put_header(image(number, decision, **{"version": 0, "tags": tags, **changes}))


def failing(error: Exception) -> Any:
    def raising(*_: object) -> object:
        raise error

    return raising


def test_everything_that_hangs_on_an_image_is_found(context: Any):
    child = held(context, 1, "v1.0.0-amd64", parents=(digest(9),))
    held(context, 9, "v1.0.0", kind=Kind.INDEX, children=(Child(digest(1), "linux/amd64"),))
    held(context, 10, "v1.0.1", kind=Kind.INDEX, decision=Decision.ALLOW, pushed_at=NOW)
    context.runtime.run(child.ref)
    radius = find_blast_radius(child, context)
    assert (radius.in_use.state, radius.last_pulled_at) == (InUseState.YES, PULLED)
    assert (radius.tags, radius.indexes) == (("v1.0.0-amd64",), (IndexTags(digest(9), ("v1.0.0",)),))
    assert (radius.newer, radius.unknown) == (NewerTag("v1.0.1", digest(10), Decision.ALLOW), ())


def test_an_image_alone_has_a_short_radius(context: Any):
    radius = find_blast_radius(held(context, 1, "v1.0.0"), context)
    assert (radius.in_use.state, radius.indexes, radius.why_none) == (InUseState.NO, (), NONE_NEWER)
    assert radius.unknown == ()


def test_an_index_that_was_deleted_is_not_told(context: Any):
    child = held(context, 1, parents=(digest(9),))
    held(context, 9, "v1", kind=Kind.INDEX, exists=False)
    assert find_blast_radius(child, context).indexes == ()


def test_the_newest_pull_that_is_known_is_told(context: Any):
    later = PULLED + timedelta(hours=1)
    assert find_blast_radius(held(context, 1, pulled_at=later), context).last_pulled_at == later
    assert find_blast_radius(held(context, 2, pulled_at=PULLED), context).last_pulled_at == PULLED
    assert find_blast_radius(held(context, 3), context).last_pulled_at is None


def test_an_image_that_the_registry_no_longer_has_was_pulled_when_we_last_knew(context: Any):
    context.registry.failure = AbsentError("image", "gone")
    radius = find_blast_radius(held(context, 1, pulled_at=PULLED), context)
    assert (radius.last_pulled_at, radius.unknown) == (PULLED, ())


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (DeniedError("User: arn:aws:iam::1:role/secret is not …"), "access denied"),
        (TransientError("throttled"), "no answer in time"),
        (UpstreamError("odd"), "AWS did not answer as needed"),
    ],
)
def test_a_part_that_fails_is_named_with_the_kind_of_failure_alone(context: Any, error: Exception, why: str):
    context.registry.failure = error
    radius = find_blast_radius(held(context, 1, "v1"), context)
    assert (radius.last_pulled_at, radius.unknown) == (None, (f"the last pull: {why}",))
    assert "Last pulled: cannot be told" in radius.lines
    assert radius.in_use.state is InUseState.NO


def test_without_its_indexes_nobody_says_that_nothing_runs_it(context: Any, monkeypatch: pytest.MonkeyPatch):
    child = held(context, 1, parents=(digest(9),))
    monkeypatch.setattr(context.table, "read_headers", failing(TransientError("throttled")))
    radius = find_blast_radius(child, context)
    assert (radius.in_use.state, context.runtime.asked) == (InUseState.UNKNOWN, [])
    assert radius.unknown == ("its indexes and images: no answer in time",)


def test_a_repository_that_cannot_be_read_has_no_newer_tag_and_no_reason(context: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(context.table, "headers_of", failing(TransientError("throttled")))
    radius = find_blast_radius(held(context, 1, "v1"), context)
    assert (radius.newer, radius.why_none) == (None, "")
    assert radius.unknown == ("newer tags of its line: no answer in time",)


def test_of_a_repository_too_large_to_read_the_newest_that_was_read_is_told_and_that_there_are_more(
    context: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "HEADERS_READ", 3)
    one = held(context, 1, "v1", pushed_at=NOW)
    for number in range(2, 6):
        held(context, number, f"v{number}", decision=Decision.ALLOW, pushed_at=NOW + timedelta(minutes=number))
    radius = find_blast_radius(one, context)
    assert (radius.newer, radius.why_none) == (NewerTag("v3", digest(3), Decision.ALLOW), "")
    assert radius.unknown == ("newer tags of its line: the repository holds more images than the 3 looked at",)


def test_that_none_was_found_in_time_does_not_mean_that_there_is_none(context: Any):
    one = held(context, 5, "v5")
    for number in range(1, 4):
        held(context, number, f"v{number}")
    seconds = iter(range(0, 1000, 3))
    context.clock = SimpleNamespace(now=lambda: NOW + timedelta(seconds=next(seconds)))
    radius = find_blast_radius(one, context)
    assert (radius.newer, radius.why_none) == (None, "")
    assert radius.unknown == ("newer tags of its line: the repository holds more images than the 1 looked at",)


def test_every_part_may_fail_at_once_and_nothing_is_raised(context: Any, monkeypatch: pytest.MonkeyPatch):
    one = held(context, 1, parents=(digest(9),))
    context.registry.failure = DeniedError("no")
    for method in ("read_headers", "headers_of"):
        monkeypatch.setattr(context.table, method, failing(TransientError("throttled")))
    assert len(find_blast_radius(one, context).unknown) == 3
