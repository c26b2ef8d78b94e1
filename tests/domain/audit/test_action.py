""""""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.audit.action import ACTION_ID, ActionRecord, action_id, recorded_at
from chalicelib.errors import ParameterError
from tests.fakes.images import ref

AT = datetime(2026, 11, 25, 9, 30, 12, 123456, UTC)
RECORD = ActionRecord(ref(1), "QUARANTINE#3", AT - timedelta(seconds=4), "QUARANTINE", "rule:a", "because", AT)


def test_it_says_when_and_what() -> None:
    assert action_id(RECORD).startswith("20261125T093012.123456Z-QUARANTINE-3-")
    assert recorded_at(action_id(RECORD)) == AT


def test_it_stays_the_same_whatever_else_the_record_says_and_wherever_the_clock_stands() -> None:
    same = msgspec.structs.replace(RECORD, reason="another", undo="lazaretto undo x", before="ACTIVE")
    assert action_id(same) == action_id(RECORD)
    elsewhere = timezone(timedelta(hours=5))
    moved = msgspec.structs.replace(
        RECORD, at=AT.astimezone(elsewhere), wanted_at=RECORD.wanted_at.astimezone(elsewhere)
    )
    assert action_id(moved) == action_id(RECORD)


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": ref(2)},
        {"ref": None, "subject": "policy"},
        {"effect": "QUARANTINE#4"},
        {"effect": "QUARANTINE/3"},
        {"wanted_at": AT},
        {"at": AT + timedelta(microseconds=1)},
    ],
)
def test_another_record_has_another_one(changes: dict[str, object]) -> None:
    assert action_id(msgspec.structs.replace(RECORD, **changes)) != action_id(RECORD)


@given(st.text(max_size=80), st.datetimes(datetime(1970, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)))
def test_it_can_be_typed_whatever_the_effect_is_called(effect: str, at: datetime) -> None:
    made = action_id(msgspec.structs.replace(RECORD, effect=effect, at=at))
    assert ACTION_ID.fullmatch(made)
    assert len(made) <= 80
    assert recorded_at(made) == at


@pytest.mark.parametrize(
    "text", ["", "QUARANTINE-3", "20261125T093012.123456Z", "20261325T093012.123456Z-A-1f0c2ab9", "2026-1f0c2ab9\n"]
)
def test_what_is_no_id_is_refused_with_one_that_is(text: str) -> None:
    with pytest.raises(ParameterError, match="action_id"):
        recorded_at(text)
