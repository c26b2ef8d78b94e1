"""A quarantine that is over: which one stood when a pull failed, by the audit log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.domain.audit.action import ActionRecord, action_id
from chalicelib.domain.enforcement.past_quarantine import (
    LATELY,
    PastQuarantine,
    ended_words,
    past_quarantine,
    stood_words,
)
from chalicelib.domain.images.image import Repository

REF = Repository("111122223333", "eu-west-1", "team/api").image(f"sha256:{'a' * 64}")
DAY = datetime(2026, 3, 2, tzinfo=UTC)
THERE, GONE = "ACTIVE; tags v1", "ARCHIVED; tags v1"


def at(hour: float) -> datetime:
    return DAY + timedelta(hours=hour)


def taken(hour: float, number: int = 1, before: str = THERE, after: str = GONE) -> ActionRecord:
    key = f"QUARANTINE#{number}"
    return ActionRecord(REF, key, at(hour), "QUARANTINE", "rule:critical", "1 finding matched", at(hour), before, after)


def released(hour: float, number: int = 2, before: str = GONE, after: str = THERE) -> ActionRecord:
    key = f"RELEASE#{number}"
    return ActionRecord(REF, key, at(hour), "RELEASE", "person:oncall", "outage 4711", at(hour), before, after)


def past(*acts: ActionRecord, failed: float, activated: float | None = None) -> PastQuarantine | None:
    restored = None if activated is None else at(activated)
    return past_quarantine(REF, acts, at(failed), restored)


def test_the_act_that_stood_is_named_with_who_ended_it_and_when() -> None:
    act = taken(7)
    found = past(act, released(9), failed=8)
    assert found is not None
    assert (found.key, found.id, found.at, found.by) == ("QUARANTINE#1", action_id(act), at(7), "rule:critical")
    assert (found.released_at, found.released_by, found.until) == (at(9), "person:oncall", at(9))


def test_a_pull_that_failed_as_it_was_taken_failed_by_it() -> None:
    assert past(taken(8), released(9), failed=8) is not None


def test_until_a_restore_is_over_the_quarantine_is_what_keeps_it_from_being_pulled() -> None:
    found = past(taken(7), released(9), failed=8, activated=9.25)
    assert found is not None
    assert (found.released_at, found.until) == (at(9), at(9.25))


def test_a_restore_before_the_release_is_of_another_time() -> None:
    found = past(taken(7), released(9), failed=8, activated=5)
    assert found is not None
    assert found.until == at(9)


def test_of_several_the_last_before_the_failure_is_meant_with_its_own_release() -> None:
    log = (taken(1, 1), released(2, 2), taken(5, 3), released(6, 4), taken(8, 5), released(9, 6))
    found = [past(*log, failed=hour, activated=9.25) for hour in (1.5, 5.5, 8.5)]
    assert [(p.key, p.until) for p in found if p] == [
        ("QUARANTINE#1", at(2)),
        ("QUARANTINE#3", at(6)),
        ("QUARANTINE#5", at(9.25)),
    ]


@pytest.mark.parametrize("failed", [6.9, 9 + 24 + 0.1])
def test_what_failed_before_it_or_long_after_it_has_nothing_to_do_with_it(failed: float) -> None:
    assert timedelta(hours=24) == LATELY
    assert past(taken(7), released(9), failed=failed) is None


def test_one_that_ended_lately_is_told_though_the_pull_is_said_to_have_failed_later() -> None:
    found = past(taken(7), released(9), failed=10)
    assert found is not None
    assert found.until == at(9)


def test_one_that_nobody_ended_is_not_over() -> None:
    assert past(taken(7), failed=8) is None
    assert past(released(6), taken(7), failed=8) is None


@pytest.mark.parametrize("quarantine", [taken(7, before=GONE), taken(7, before=THERE, after=THERE)])
def test_an_act_that_changed_nothing_kept_nobody_from_pulling(quarantine: ActionRecord) -> None:
    assert past(quarantine, released(9), failed=8) is None


def test_an_act_that_was_given_up_kept_nobody_from_pulling_though_a_tag_changed_meanwhile() -> None:
    assert past(taken(7, after="ACTIVE; tags v1, v2"), released(9), failed=8) is None


def test_other_records_are_passed_over() -> None:
    order = ActionRecord(REF, "ORDER_RELEASE", at(8.9), "ORDER_RELEASE", "person:oncall", "x", at(8.9), "a", "b")
    would = ActionRecord(REF, "WOULD#QUARANTINE#1", at(8), "WOULD_QUARANTINE", "rule:x", "x", at(8), THERE, THERE)
    found = past(taken(7), would, order, released(9), failed=8.5)
    assert found is not None
    assert (found.key, found.released_at) == ("QUARANTINE#1", at(9))


def test_it_is_told_in_two_sentences() -> None:
    act = taken(7)
    found = past(act, released(9), failed=8, activated=9.25)
    assert found is not None
    assert stood_words(found, "it") == (
        f"Lazaretto kept it from being pulled then: QUARANTINE#1 (action {action_id(act)}) took it away at "
        "2026-03-02 07:00:00 UTC, by the rule critical: 1 finding matched. It was released by oncall at "
        "2026-03-02 09:00:00 UTC and restored at 2026-03-02 09:15:00 UTC."
    )
    assert ended_words(found, "it").startswith("Until 2026-03-02 09:15:00 UTC Lazaretto kept it from being pulled: ")
    assert ended_words(found, "it").endswith("If the pull failed before that, this is why.")


def test_what_people_wrote_is_told_inert() -> None:
    act = ActionRecord(
        REF, "QUARANTINE#1", at(7), "QUARANTINE", "person:on\ncall", "a\x1b[31m leak", at(7), THERE, GONE
    )
    found = past(act, released(9), failed=8)
    assert found is not None
    said = stood_words(found, "it")
    assert ("\n" in said, "\x1b" in said, "ordered by on call: " in said) == (False, False, True)
