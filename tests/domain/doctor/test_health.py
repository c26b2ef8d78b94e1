"""What a report says of an installation."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.doctor.health import (
    KINDS,
    CheckResult,
    CheckStatus,
    HealthReport,
    ago,
    check_of,
    in_order,
    judged,
)

ESSENTIAL = next(kind.id for kind in KINDS if kind.essential)
OTHER = next(kind.id for kind in KINDS if not kind.essential)


def report(kind: str, status: CheckStatus) -> HealthReport:
    return HealthReport("prod", "eu-west-1", "1", installed=True, checks=(check_of(kind, CheckResult(status, "seen")),))


@pytest.mark.parametrize(
    ("kind", "status", "sound"),
    [
        (ESSENTIAL, CheckStatus.OK, True),
        (ESSENTIAL, CheckStatus.WARN, True),
        (ESSENTIAL, CheckStatus.SKIPPED, True),
        (ESSENTIAL, CheckStatus.UNKNOWN, False),
        (ESSENTIAL, CheckStatus.FAIL, False),
        (OTHER, CheckStatus.UNKNOWN, True),
        (OTHER, CheckStatus.FAIL, False),
    ],
)
def test_what_is_not_known_of_something_essential_is_not_sound(kind: str, status: CheckStatus, sound: bool) -> None:
    assert report(kind, status).sound is sound


def test_each_check_has_a_name_of_its_own_and_areas_are_not_mixed() -> None:
    assert len({kind.id for kind in KINDS}) == len(KINDS)
    areas = [kind.area for kind in KINDS]
    assert sorted(areas, key=areas.index) == areas


def test_checks_are_shown_in_the_order_of_the_list() -> None:
    made = [check_of(kind.id, CheckResult(CheckStatus.OK, "")) for kind in reversed(KINDS)]
    assert [check.kind for check in in_order(made)] == list(KINDS)


def test_one_problem_is_a_failure_with_what_to_do() -> None:
    assert judged([], "fine", "bad", "do") == CheckResult(CheckStatus.OK, "fine")
    assert judged(["a"], "fine", "bad", "do") == CheckResult(CheckStatus.FAIL, "bad", "do", ("a",))


@pytest.mark.parametrize(
    ("minutes", "words"), [(-5, "0 min ago"), (3, "3 min ago"), (150, "2 h ago"), (60 * 72, "3 days ago")]
)
def test_an_age_is_told_in_the_unit_that_fits(minutes: int, words: str) -> None:
    assert ago(timedelta(minutes=minutes)) == words
