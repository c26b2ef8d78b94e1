"""Values written as JSON: what comes out says the same, or the value is refused at the place that cannot be written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire.wire import json_bytes

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=5),
    st.binary(max_size=3),
    st.decimals(),
    st.sets(st.integers(), max_size=2),
)
KEYS = st.text(st.characters(), max_size=3) | st.integers() | st.booleans() | st.none()
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_a_value_reads_back_as_it_was_or_is_refused(payload: dict[Any, Any]) -> None:
    try:
        text = json_bytes(payload)
    except RefusedPayloadError:
        return
    assert msgspec.json.decode(text) == payload


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({"a": [{"b": float("nan")}]}, "$.a[0].b"),
        ({"a": {"b": b"bytes"}}, "$.a.b"),
        ({"a": {1: "number as a key"}}, "$.a"),
        ({"a": "lone \ud800"}, "$.a"),
        ({"a": [float("inf")]}, "$.a[0]"),
    ],
)
def test_what_json_cannot_carry_is_refused_where_it_stands(payload: dict[Any, Any], path: str) -> None:
    with pytest.raises(RefusedPayloadError) as refused:
        json_bytes(payload)
    assert refused.value.path == path
