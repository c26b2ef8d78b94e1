"""One declaration of a parameter reads it, checks it and describes it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.query import read_query
from chalicelib.domain.images.finding import Severity
from chalicelib.errors import ParameterError

ALL = (*p.IMAGE, *p.FINDING, p.SORT, *p.PAGE)


def refused(**given: str) -> ParameterError:
    with pytest.raises(ParameterError) as caught:
        read_query(ALL, {name: [value] for name, value in given.items()})
    return caught.value


def test_an_unknown_parameter_is_refused_with_the_nearest_right_name() -> None:
    error = refused(severty="HIGH")
    assert error.parameter == "severty"
    assert "did you mean `severity`?" in error.reason


def test_a_parameter_far_from_all_names_is_refused_with_all_of_them() -> None:
    assert "there are cursor, digest, ecosystem" in refused(zzzzzzzzzz="1").reason


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("severity", "SEVERE", "must be one of CRITICAL"),
        ("severity", "critcal", "did you mean CRITICAL?"),
        ("severity", "HIGH,", "must be one of"),
        ("min_severity", "UNKNOWN", "must be one of CRITICAL, HIGH, MEDIUM, LOW, INFORMATIONAL"),
        ("limit", "0", "whole number from 1 to 1000"),
        ("limit", "1001", "whole number from 1 to 1000"),
        ("limit", "１０", "whole number from 1 to 1000"),
        ("limit", "1e2", "whole number from 1 to 1000"),
        ("min_epss", "nan", "number from 0 to 1"),
        ("min_epss", "1.01", "number from 0 to 1"),
        ("kev", "yes", "must be true or false"),
        ("first_seen_after", "2026-03-01", "must be a time such as"),
        ("first_seen_after", "2026-03-01T00:00:00", "with its offset"),
        ("first_seen_after", "2026-02-30T00:00:00Z", "no time that exists"),
        ("first_seen_after", "0001-01-01T00:00:00+23:59", "no time that exists"),
        ("digest", "sha256:ABC", "must be sha256:"),
        ("repository", "Team/API", "must be a repository name"),
        ("registry", "public", "must be a 12-digit account id"),
        ("region", "Frankfurt", "must be a Region"),
        ("tag", "-v1", "must be a tag"),
        ("package", "", "is empty"),
        ("package", "a\x00b", "control characters"),
        ("package", "x" * 257, "longer than 256"),
        ("cursor", "a b", "must be a cursor"),
        ("sort", "severity,score", "must be one of"),
        ("vulnerability_id", "CVE 2026", "must be a vulnerability id"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_parameter(name: str, value: str, reason: str) -> None:
    error = refused(**{name: value})
    assert error.parameter == name
    assert reason in error.reason


def test_a_single_value_given_twice_is_refused() -> None:
    with pytest.raises(ParameterError, match="more than once"):
        read_query(ALL, {"limit": ["1", "2"]})


def test_a_list_may_be_written_with_commas_or_repeated() -> None:
    query = read_query(ALL, {"severity": ["CRITICAL,HIGH", "LOW"]})
    assert query.get(p.SEVERITY) == (Severity.CRITICAL, Severity.HIGH, Severity.LOW)


def test_a_list_has_an_end() -> None:
    with pytest.raises(ParameterError, match="more than 20"):
        read_query(ALL, {"severity": [",".join(["HIGH"] * 21)]})


@pytest.mark.parametrize(
    "text", ["2026-03-01T10:00:00Z", "2026-03-01T11:00:00+01:00", "2026-03-01T11:00:00 01:00", "2026-03-01t10:00:00.0z"]
)
def test_a_time_is_read_with_its_offset_even_when_the_plus_was_not_encoded(text: str) -> None:
    assert read_query(ALL, {"first_seen_after": [text]}).get(p.FIRST_SEEN_AFTER) == datetime(2026, 3, 1, 10, tzinfo=UTC)


def test_a_needed_parameter_that_is_absent_is_named() -> None:
    with pytest.raises(ParameterError, match="repository: must be given"):
        read_query(p.IMAGE_NEEDED, {})


def test_two_orders_of_the_same_filters_are_one_question() -> None:
    one = read_query(ALL, {"severity": ["LOW"], "kev": ["true"], "limit": ["5"]})
    other = read_query(ALL, {"kev": ["true"], "limit": ["9"], "severity": ["LOW"]})
    assert one.without("limit") == other.without("limit")


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([x.name for x in ALL]), st.text(max_size=60))
def test_whatever_is_sent_is_read_or_refused(name: str, value: str) -> None:
    with suppress(ParameterError):
        read_query(ALL, {name: [value]})
