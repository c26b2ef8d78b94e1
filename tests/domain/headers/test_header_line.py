"""The image line: which images belong together, and which are the neighbours in it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.headers.header import line_name, neighbours
from chalicelib.domain.images.image import Kind
from tests.fakes.images import image
from tests.fakes.queries import NOW


def pushed(number, days, *tags, **changes):
    return image(number, tags=tags, pushed_at=NOW - timedelta(days=days), **changes)


@pytest.mark.parametrize(
    ("tags", "line"),
    [
        (["v1.2.3"], "v1"),
        (["1.2"], "v1"),
        (["2.0.0-rc.1+build"], "v2"),
        (["latest"], "*"),
        ([], "*"),
        (["main", "v3.1.0"], "v3"),
        (["v1.0", "v2.0"], "v2"),
        (["1"], "*"),
        (["1.2.3.4"], "v1"),
        (["20260301.1"], "v20260301"),
    ],
)
def test_semantic_versions_of_one_major_are_a_line_and_everything_else_is_one(tags, line):
    assert line_name(tags) == line


def test_the_neighbours_are_the_next_pushes_of_the_same_line_before_and_after():
    old, older, new = pushed(1, 3, "v1.1.0"), pushed(2, 5, "v1.0.0"), pushed(3, 1, "v1.3.0")
    mine, other_line = pushed(4, 2, "v1.2.0"), pushed(5, 2.5, "v2.0.0")
    assert neighbours(mine, [older, old, new, mine, other_line]) == (old, new)


def test_what_is_no_image_or_gone_or_for_another_platform_is_no_neighbour():
    mine = pushed(1, 2, "v1.2.0")
    others = [
        pushed(2, 3, "v1.1.0", exists=False),
        pushed(3, 3, "v1.1.0", kind=Kind.INDEX),
        pushed(4, 3, "v1.1.0", platform="ALPINE_LINUX_3_19"),
        image(5, tags=("v1.1.0",), pushed_at=None),
    ]
    assert neighbours(mine, others) == (None, None)


def test_an_image_whose_push_is_unknown_has_no_place_in_the_line():
    assert neighbours(image(1, pushed_at=None), [pushed(2, 1, "v1")]) == (None, None)


def test_of_images_pushed_in_one_second_the_digest_decides_so_that_all_agree():
    first, second = pushed(1, 2, "v1.0.0"), pushed(2, 2, "v1.0.1")
    assert neighbours(first, [first, second]) == (None, second)
    assert neighbours(second, [first, second]) == (first, None)
