"""By which digests and tags it is asked who runs an image."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Child, ImageDetail, InUseState, Kind
from chalicelib.errors import DeniedError, TransientError
from chalicelib.services.usage.find_blast_radius import find_use
from tests.fakes.images import digest, image
from tests.fakes.queries import NOW
from tests.fakes.registry import FakeRegistry
from tests.fakes.runtime import FakeRuntime
from tests.fakes.table import FakeTable


@pytest.fixture
def context() -> Any:
    return SimpleNamespace(table=FakeTable(lambda: NOW), runtime=FakeRuntime(), registry=FakeRegistry())


def held(context: Any, number: int, *tags: str, **changes: Any) -> Header:
    return context.table.put_header(image(number, version=0, tags=tags, **changes))


def index(context: Any, number: int, *children: int, tags: tuple[str, ...] = ()) -> Header:
    rows = tuple(Child(digest(n), "linux/amd64") for n in children)
    return held(context, number, *tags, kind=Kind.INDEX, children=rows)


def test_an_image_is_asked_about_by_its_digest_and_tags(context: Any):
    one = held(context, 1, "v1", "latest")
    assert find_use(one, context).state is InUseState.NO
    (asked,) = context.runtime.asked
    assert (asked.ref, asked.whole) == (one.ref, False)
    assert (asked.digests, asked.tags, asked.indexes) == ({digest(1)}, {"v1", "latest"}, set())


def test_a_platforms_image_runs_where_its_index_does(context: Any):
    child = held(context, 1, parents=(digest(9),))
    parent = index(context, 9, 1, 2, tags=("v1",))
    context.runtime.run(parent.ref)
    assert find_use(child, context).state is InUseState.YES
    (asked,) = context.runtime.asked
    assert (asked.digests, asked.tags, asked.indexes) == ({digest(1), digest(9)}, {"v1"}, {digest(9)})


@pytest.mark.parametrize(("of", "runs"), [(8, 1), (1, 8)])
def test_an_index_of_indexes_runs_where_an_image_of_an_inner_one_does_and_the_image_where_it_does(
    context: Any, of: int, runs: int
):
    """8 holds 9, and 9 holds 1."""
    image, inner = held(context, 1, parents=(digest(9),)), index(context, 9, 1)
    context.table.put_header(msgspec.structs.replace(inner, parents=(digest(8),)))
    headers = {1: image, 8: index(context, 8, 9, tags=("v1",))}
    context.runtime.run(headers[runs].ref)
    assert find_use(headers[of], context).state is InUseState.YES
    assert context.runtime.asked[-1].digests == {digest(1), digest(8), digest(9)}
    assert context.runtime.asked[-1].tags == {"v1"}


def test_a_platforms_image_does_not_run_where_another_platforms_does(context: Any):
    child, other = held(context, 1, parents=(digest(9),)), held(context, 2, parents=(digest(9),))
    index(context, 9, 1, 2, tags=("v1",))
    context.runtime.run(other.ref)
    assert find_use(child, context).state is InUseState.NO


def test_an_index_runs_where_any_of_its_images_does(context: Any):
    child = held(context, 2, "v1-arm64", parents=(digest(9),))
    parent = index(context, 9, 1, 2, tags=("v1",))
    context.runtime.run(child.ref)
    assert find_use(parent, context).state is InUseState.YES
    (asked,) = context.runtime.asked
    assert (asked.digests, asked.tags) == ({digest(1), digest(2), digest(9)}, {"v1", "v1-arm64"})
    assert asked.indexes == {digest(9)}


def test_what_an_index_calls_an_attestation_is_asked_about_too(context: Any):
    rows = (Child(digest(1), "linux/amd64"), Child(digest(3), "unknown/unknown"))
    find_use(held(context, 9, kind=Kind.INDEX, children=rows), context)
    assert context.runtime.asked[0].digests == {digest(1), digest(3), digest(9)}


def test_an_index_that_was_deleted_has_no_tags_and_may_run_by_its_digest(context: Any):
    child = held(context, 1, parents=(digest(9),))
    held(context, 9, "v1", kind=Kind.INDEX, exists=False)
    find_use(child, context)
    (asked,) = context.runtime.asked
    assert (asked.digests, asked.tags) == ({digest(1), digest(9)}, set())


def test_an_index_that_nobody_knows_is_asked_about_by_its_digest(context: Any):
    find_use(held(context, 1, parents=(digest(9),)), context)
    assert context.runtime.asked[0].indexes == {digest(9)}


def test_an_image_that_was_moved_away_keeps_the_tags_it_may_be_pulled_by(context: Any):
    find_use(held(context, 1, "v1", exists=False), context)
    assert context.runtime.asked[0].tags == {"v1"}


def test_a_whole_repository_may_be_asked_about(context: Any):
    context.runtime.run(image(7).ref)
    one = held(context, 1, "v1")
    states = [find_use(one, context, whole=whole).state for whole in (False, True)]
    assert states == [InUseState.NO, InUseState.YES]


def test_a_place_that_cannot_be_looked_at_makes_it_unknown(context: Any):
    context.runtime.blind = ("EKS cannot be looked at",)
    assert find_use(held(context, 1), context).state is InUseState.UNKNOWN


def test_without_the_table_nothing_is_said_of_its_use(context: Any, monkeypatch: pytest.MonkeyPatch):
    one = held(context, 1, parents=(digest(9),))

    def failing(_: object) -> object:
        raise TransientError("throttled")

    monkeypatch.setattr(context.table, "read_headers", failing)
    with pytest.raises(TransientError):
        find_use(one, context)
    assert context.runtime.asked == []


def test_tags_that_no_event_told_of_are_asked_about(context: Any):
    """Of the image as the registry described it, of its index as the registry names it now."""
    child = held(context, 1, "v1", parents=(digest(9),))
    index(context, 9, 1, tags=("all",))
    context.registry.hold(ImageDetail(child.ref.home.image(digest(9)), ("all", "latest"), NOW))
    find_use(child, context, tags=("v1", "stable"))
    (asked,) = context.runtime.asked
    assert asked.tags == {"v1", "stable", "all", "latest"}


def test_an_image_that_goes_with_no_other_costs_no_call(context: Any):
    find_use(held(context, 1, "v1"), context)
    assert context.registry.asked == []


def test_tags_that_cannot_be_asked_for_make_it_unknown(context: Any):
    child = held(context, 1, parents=(digest(9),))
    index(context, 9, 1)
    context.registry.failure = DeniedError("ecr:DescribeImages")
    use = find_use(child, context)
    assert (use.state, use.blind) == (InUseState.UNKNOWN, ("the tags of its indexes and images: access denied",))
    context.runtime.run(child.ref)
    assert find_use(child, context).state is InUseState.YES
