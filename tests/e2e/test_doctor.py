"""`lazaretto doctor` on the deployed stack: every check with the answer it must give here.

What ministack cannot answer is UNKNOWN or a warning with what was seen, never OK: `UNANSWERED`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.cli.doctor.check_work import EVERY
from chalicelib.cli.doctor.checks import KINDS
from tests.e2e.run import SCHEDULED, Run
from tests.e2e.shell import Said

pytestmark = pytest.mark.e2e

UNANSWERED = {
    "scan-engine": ("UNKNOWN", "not known there"),
    "events": ("WARN", "none in 14 days"),
    "alarms": ("WARN", "none of"),
}
"""With words of what is seen: moto knows no GetAccountSetting, ministack neither metrics of rules nor
what alarms look at."""
HERE = {
    "scanning": "WARN",  # basic scanning, without a rule
    "inspector": "SKIPPED",  # asked under enhanced scanning
    "cloudtrail": "WARN",  # there is no trail
    "stack": "WARN",  # not protected against deletion
    "key": "SKIPPED",  # AWS's own
    "webhook": "SKIPPED",  # no secret is given for it
    "test-alert": "SKIPPED",  # not asked for
    "spokes": "SKIPPED",  # no other registry is watched
    "replication": "SKIPPED",  # no rule copies a repository
    "pull-times": "WARN",  # the stack registers our roles, and ministack does not
}
"""What is so in this account. What is named in neither table must be OK."""


@pytest.fixture(scope="module")
def doctor(run: Run) -> Said:
    """After the hour has struck for each sweep: which of them a single hour begins depends on the time of day."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [now - timedelta(hours=ago) for ago in range(24)]
    begun = [next(at for at in hours if sweep.is_run_at(at.hour)) for sweep in EVERY]
    for hour in sorted({now, *begun}):
        run.account.invoke("clock", {**SCHEDULED, "time": f"{hour:%Y-%m-%dT%H:%M:%SZ}"})
    run.settle()
    return run.shell.type("lazaretto doctor --json")


def checks(doctor: Said) -> dict[str, dict[str, Any]]:
    return {check["id"]: check for check in doctor.answer["checks"]}


def test_before_there_is_a_stack_the_account_alone_is_looked_at(run: Run) -> None:
    before = next(said for line, said in run.guide.said if line.startswith("lazaretto doctor --stage"))
    assert before.exit_code == 0
    assert "there is no stack" in before.out


def test_a_test_alert_arrives_in_each_channel(run: Run) -> None:
    assert any(text.startswith("Test: alerts of") for text in run.slack())
    assert any("Test: alerts of" in letter for letter in run.letters())


def test_the_installation_is_sound(doctor: Said) -> None:
    assert (doctor.exit_code, doctor.answer["sound"], doctor.answer["installed"]) == (0, True, True)


def test_every_check_is_made(doctor: Said) -> None:
    assert list(checks(doctor)) == [kind.id for kind in KINDS if kind.after]


def test_what_cannot_be_answered_here_is_told_with_what_was_seen(doctor: Said) -> None:
    found = checks(doctor)
    wrong = {
        id_: found[id_]
        for id_, (status, words) in UNANSWERED.items()
        if found[id_]["status"] != status or words not in found[id_]["seen"]
    }
    assert wrong == {}


def test_every_other_check_has_the_answer_it_must_have(doctor: Said) -> None:
    wrong = {
        id_: check
        for id_, check in checks(doctor).items()
        if id_ not in UNANSWERED and check["status"] != HERE.get(id_, "OK")
    }
    assert wrong == {}


def test_the_rights_of_all_functions_were_simulated(run: Run, doctor: Said) -> None:
    assert f"of {len(run.account.functions())} roles simulated, as meant" in checks(doctor)["roles"]["seen"]
