from __future__ import annotations

import msgspec
import pytest

from chalicelib.domain.retention.plan import RetentionProgress, RetentionResult


@pytest.mark.parametrize(
    ("after", "start", "taken"),
    [
        (None, "", 0),
        ("sha256:aa#17", "sha256:aa", 17),
        ("#3", "", 3),
        ("sha256:aa", "sha256:aa", 0),
    ],
)
def test_a_message_in_flight_is_read(after: str | None, start: str, taken: int) -> None:
    assert RetentionProgress.read(after) == RetentionProgress(start, taken)


def test_what_is_sent_is_what_was_sent_before() -> None:
    assert str(RetentionProgress("sha256:aa", 17)) == "sha256:aa#17"


def test_the_fact_of_a_repository_keeps_its_names_and_their_order() -> None:
    kept = msgspec.to_builtins(RetentionResult("p1", 9, 3, 2, False, None, {"sha256:aa": "denied"}, {}))
    assert msgspec.json.encode(kept) == (
        b'{"plan":"p1","images":9,"wanted":3,"taken":2,"observed":false,"stopped":null,'
        b'"failed":{"sha256:aa":"denied"},"kept":{}}'
    )
