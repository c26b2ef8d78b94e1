"""What a report says of an installation."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from chalicelib.domain.doctor.health import (
    Check,
    CheckArea,
    CheckKind,
    CheckResult,
    CheckStatus,
    HealthReport,
    ago,
    judged,
    ok,
)
from chalicelib.errors import DeniedError, TransientError

ESSENTIAL = CheckKind("table", CheckArea.STORAGE, "table", lambda context: ok("seen"))
OTHER = msgspec.structs.replace(ESSENTIAL, essential=False)


def report(kind: CheckKind, status: CheckStatus) -> HealthReport:
    checks = (Check(kind, CheckResult(status, "seen")),)
    return HealthReport("prod", "eu-west-1", "1", installed=True, checks=checks)


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
def test_what_is_not_known_of_something_essential_is_not_sound(
    kind: CheckKind, status: CheckStatus, sound: bool
) -> None:
    assert report(kind, status).sound is sound


def test_a_check_that_may_not_look_is_unknown_with_the_reason_and_what_to_do() -> None:
    def refused(error: Exception) -> CheckResult:
        def make(context: object) -> CheckResult:
            raise error

        return msgspec.structs.replace(ESSENTIAL, make=make).run(None).found

    denied, busy = refused(DeniedError("no")), refused(TransientError("throttled"))
    assert (denied.status, denied.seen) == (CheckStatus.UNKNOWN, "not seen: no")
    assert denied.advice.startswith("run it with credentials")
    assert busy.advice == "run it again"


def test_one_problem_is_a_failure_with_what_to_do() -> None:
    assert judged([], "fine", "do", "bad") == CheckResult(CheckStatus.OK, "fine")
    assert judged(["a"], "fine", "do", "bad") == CheckResult(CheckStatus.FAIL, "bad", "do", ("a",))


@pytest.mark.parametrize(
    ("minutes", "words"), [(-5, "0 min ago"), (3, "3 min ago"), (150, "2 h ago"), (60 * 72, "3 days ago")]
)
def test_an_age_is_told_in_the_unit_that_fits(minutes: int, words: str) -> None:
    assert ago(timedelta(minutes=minutes)) == words
