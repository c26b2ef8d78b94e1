"""A cursor works for its own question, for a day, as it was given; and in no other way."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.api.framework.call import read_cursor, write_cursor
from chalicelib.errors import ParameterError
from tests.fakes.queries import NOW

OLD, NEW = "retired-soon", "current"


def test_a_cursor_comes_back_as_its_position() -> None:
    assert read_cursor(write_cursor("here é", "q", [NEW], NOW), "q", [NEW], NOW) == "here é"


def test_the_first_secret_signs_and_all_are_accepted_so_that_rotation_breaks_no_list() -> None:
    before = write_cursor("here", "q", [OLD], NOW)
    assert read_cursor(before, "q", [NEW, OLD], NOW) == "here"
    after = write_cursor("here", "q", [NEW, OLD], NOW)
    with pytest.raises(ParameterError, match="altered"):
        read_cursor(after, "q", [OLD], NOW)


def test_a_cursor_of_a_retired_secret_is_refused() -> None:
    with pytest.raises(ParameterError, match="cursor"):
        read_cursor(write_cursor("here", "q", [OLD], NOW), "q", [NEW], NOW)


def test_a_cursor_of_another_question_is_refused() -> None:
    with pytest.raises(ParameterError, match="other filters"):
        read_cursor(write_cursor("here", "/v1/images severity=HIGH", [NEW], NOW), "/v1/images", [NEW], NOW)


def test_a_cursor_lives_for_a_day() -> None:
    cursor = write_cursor("here", "q", [NEW], NOW)
    assert read_cursor(cursor, "q", [NEW], NOW + timedelta(hours=24, seconds=-1)) == "here"
    with pytest.raises(ParameterError, match="expired"):
        read_cursor(cursor, "q", [NEW], NOW + timedelta(hours=24))


def test_a_cursor_of_the_future_is_refused() -> None:
    with pytest.raises(ParameterError, match="expired"):
        read_cursor(write_cursor("here", "q", [NEW], NOW + timedelta(hours=1)), "q", [NEW], NOW)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_cursor_altered_anywhere_is_refused(data: st.DataObject) -> None:
    cursor = write_cursor("position", "q", [NEW], NOW)
    at = data.draw(st.integers(0, len(cursor) - 1))
    letter = data.draw(st.sampled_from(sorted(set(base64.urlsafe_b64encode(bytes(range(256))).decode()) - {"="})))
    altered = cursor[:at] + letter + cursor[at + 1 :]
    if altered == cursor:
        return
    with pytest.raises(ParameterError) as caught:
        read_cursor(altered, "q", [NEW], NOW)
    assert caught.value.parameter == "cursor"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ABCabc012_-é=", max_size=90))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ParameterError):
        read_cursor(text, "q", [NEW], NOW)
