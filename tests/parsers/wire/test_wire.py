"""Values to and from JSON, times in each of AWS's forms, and answers that several threads read at once."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire.wire import Upper, instant, instant_of_ms, json_bytes, read, required_instant

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


NOON = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        1772366405,
        1772366405.0,
        "2026-03-01T12:00:05Z",
        "2026-03-01T12:00:05",
        "2026-03-01 12:00:05",
        "2026-03-01T12:00:05.000000+00:00",
        "2026-03-01T12:00:05-00:00",
        "2026-03-01T07:00:05-05:00",
        "2026-03-01T14:00:05+0200",
        "Sun Mar 01 12:00:05.000 UTC 2026",
        "Sun Mar 1 12:00:05 UTC 2026",
        "Mar 1, 2026, 12:00:05 PM",
        "Mar 1, 2026, 12:00:05\u202fPM",
        "Mar 1, 2026, 12:00:05\u00a0PM",
        NOON,
        NOON.replace(tzinfo=None),
        NOON.astimezone(timezone(timedelta(hours=9))),
    ],
)
def test_every_form_is_the_same_moment_in_utc(value: object) -> None:
    moment = instant(value, "$.time")
    assert moment == NOON
    assert moment is not None
    assert moment.utcoffset() == timedelta(0)


def test_midnight_is_twelve_in_the_morning() -> None:
    assert instant("Oct 16, 2019, 12:00:00 AM", "$") == datetime(2019, 10, 16, tzinfo=UTC)


def test_milliseconds_are_kept() -> None:
    moment = instant("Wed Sep 04 16:55:38.411 UTC 2024", "$")
    assert moment is not None
    assert moment.microsecond == 411_000
    assert instant("2024-09-04T16:55:38.411999999Z", "$") == moment.replace(microsecond=411_999)


def test_absent_stays_absent_unless_it_is_required() -> None:
    assert instant(None, "$.time") is None
    with pytest.raises(RefusedPayloadError, match=r"\$\.time: missing"):
        required_instant(None, "$.time")


@pytest.mark.parametrize(
    "value",
    [
        "2026-02-30T10:00:00Z",
        "2026-03-01T25:00:00Z",
        "2026-03-01T23:59:60Z",
        "0001-01-01T00:00:00+14:00",
        "Sun Feb 30 10:00:00.000 UTC 2026",
        "Sun Feb 03 10:00:00.000 PST 2026",
        "Foo 3, 2021, 6:02:30 PM",
        "Dec 3, 2021, 16:02:30 PM",
        "Dec 3, 2021, 0:02:30 AM",
        "2026-W10-1",
        "١٢٣٤-01-01",
        "yesterday",
        "",
        1772366405000,
        1e300,
        float("nan"),
        float("inf"),
        10**400,
        True,
        [],
        {},
    ],
)
def test_a_time_that_does_not_exist_is_refused_with_its_path(value: object) -> None:
    with pytest.raises(RefusedPayloadError) as refusal:
        instant(value, "$.detail.updatedAt")
    assert refusal.value.path == "$.detail.updatedAt"


def test_milliseconds_since_the_epoch_only_where_the_field_says_so() -> None:
    assert instant_of_ms(1772366405000, "$") == NOON
    assert instant_of_ms("2026-03-01T12:00:05Z", "$") == NOON
    assert instant_of_ms(None, "$") is None
    with pytest.raises(RefusedPayloadError):
        instant_of_ms(10**400, "$")


AT_ONCE = """
import sys, threading, types, msgspec
from chalicelib.parsers.wire.wire import read

CODE = '''
from __future__ import annotations
import msgspec
class Inner(msgspec.Struct, frozen=True):
    {inner}
class Outer(msgspec.Struct, frozen=True):
    {outer}
'''.format(
    inner="; ".join(f"a{n}: int | None = None" for n in range(12)),
    outer="; ".join(f"b{n}: tuple[Inner, ...] = ()" for n in range(12)),
)

def begin(kind, started):
    started.wait()
    assert read(kind, {"b11": [{"a11": 2}]}).b11[0].a11 == 2

def several(number):
    module = sys.modules[f"made{number}"] = types.ModuleType(f"made{number}")
    exec(CODE, vars(module))
    started = threading.Barrier(4)
    threads = [threading.Thread(target=begin, args=(module.Outer, started)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

sys.setswitchinterval(1e-6)
for number in range(60):
    several(number)
"""
ROOT = Path(__file__).parents[3]


class Said(Upper):
    number: int


def test_several_threads_may_be_the_first_to_read_one_type() -> None:
    """In another process: by `msgspec.convert` alone it crashes within some of these rounds."""
    done = subprocess.run([sys.executable, "-c", AT_ONCE], cwd=ROOT, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_understood_is_refused() -> None:
    assert read(Said, {"Number": 1}) == Said(1)
    with pytest.raises(RefusedPayloadError):
        read(Said, {"Number": "one"})
