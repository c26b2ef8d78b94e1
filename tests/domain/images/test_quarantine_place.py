"""Where a moved image lies, and the tags it has there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.quarantine_place import bare_mark, given_tags, is_place, kept_tag, place_of

DIGEST, OTHER = f"sha256:{'0123456789ab' + 'c' * 52}", f"sha256:{'f' * 64}"
TAGS = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
HOME = Repository("111122223333", "eu-west-1", "team/api")


def test_each_repository_has_a_place_of_its_own_in_its_registry_and_region():
    assert place_of(HOME) == Repository("111122223333", "eu-west-1", "lazaretto-quarantine/team/api")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lazaretto-quarantine/team/api", True),
        ("team/api", False),
        ("team/lazaretto-quarantine/api", False),
        ("lazaretto-quarantine", False),
        ("lazaretto-quarantine-of-old/api", False),
    ],
)
def test_a_place_is_told_by_its_prefix(name, expected):
    assert is_place(name) is expected


@given(st.sets(TAGS, max_size=5))
def test_tags_are_kept_and_given_back(tags):
    kept = tuple(kept_tag(DIGEST, tag) for tag in tags)
    assert given_tags(DIGEST, kept) == tuple(sorted(tags))
    assert all(len(tag) <= 300 for tag in kept)


@given(TAGS, TAGS)
def test_two_images_never_meet_in_one_tag(one, another):
    assert kept_tag(DIGEST, one) != kept_tag(OTHER, another)
    assert bare_mark(DIGEST) != kept_tag(OTHER, another)


def test_the_mark_of_an_image_without_a_tag_is_none_it_had():
    assert given_tags(DIGEST, (bare_mark(DIGEST), "put-there-by-hand", kept_tag(OTHER, "1.0"))) == ()
