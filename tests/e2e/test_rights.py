"""One right that one function of the running stack loses: it is heard of everywhere, and nothing is lost.

What each of the others would do is asked of the source tree, by `make denied`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from chalicelib.domain.images.image import ImageRef
from chalicelib.local.demo.demo_registry import EXPAT
from tests.e2e.account import STACK, VISIBILITY_SECONDS, eventually
from tests.e2e.run import Run

pytestmark = pytest.mark.e2e

FUNCTION, TAKEN = "on_scans", "dynamodb:PutItem"
HIDDEN_SECONDS = 3
DEAD, REFUSED = f"{STACK}-scans-dead", f"{STACK}-calls-refused"


class Missed(msgspec.Struct, frozen=True):
    """What was there while the right was not: two pushes, given up. `raised`: alarms; `since_ms`: of the epoch."""

    lost: ImageRef
    scanned: ImageRef
    since_ms: int
    raised: tuple[str, ...]
    doctor: Any
    letters: list[dict[str, Any]]


@pytest.fixture(scope="module")
def missed(run: Run) -> Iterator[Missed]:
    account, since_ms = run.account, int(1e3 * time.time())
    account.hide_failed_messages(HIDDEN_SECONDS, "scans")
    with run.without_right(FUNCTION, TAKEN):
        lost, scanned = (run.registry.push(f"team/{name}", "1.0.0") for name in ("pushed-unheard", "scanned-later"))
        eventually(lambda: account.waiting("scans-dead"), lambda waiting: waiting["visible"] == 2)
        raised = (*account.watch_queues(), *account.watch_logs(FUNCTION, since_ms))
        doctor = run.shell.type("lazaretto doctor --json")
        letters = run.shell.type("lazaretto dlq show scans --json").answer["queues"][0]["messages"]
    yield Missed(lost, scanned, since_ms, raised, doctor, letters)
    account.hide_failed_messages(VISIBILITY_SECONDS, "scans")


def lines(run: Run, missed: Missed, word: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in run.account.logs(FUNCTION, missed.since_ms) if line.startswith('{"level"')]
    return [line for line in found if line["message"] == word]


def test_the_refused_call_is_told_by_name(run: Run, missed: Missed) -> None:
    assert {line["call"] for line in lines(run, missed, "call refused")} == {TAKEN}


def test_what_could_not_be_done_lies_in_the_dead_letter_queue_with_its_image(missed: Missed) -> None:
    assert {letter["image"] for letter in missed.letters} == {str(missed.lost), str(missed.scanned)}
    assert {(letter["refused"], letter["redriven"]) for letter in missed.letters} == {(None, 0)}


def test_the_log_says_of_each_letter_why_it_was_given_up(run: Run, missed: Missed) -> None:
    failed = {line["message_id"]: line["reason"] for line in lines(run, missed, "message failed")}
    assert {letter["message_id"] for letter in missed.letters} <= failed.keys()
    assert all("PutItem" in reason or "AccessDenied" in reason for reason in failed.values())


def test_alarms_of_refused_calls_and_of_dead_letters_go_off_and_people_are_told(run: Run, missed: Missed) -> None:
    assert set(missed.raised) == {DEAD, REFUSED}
    for name in missed.raised:
        eventually(run.letters, lambda letters, name=name: any(name in letter for letter in letters))


def test_doctor_names_the_right_and_the_letters(missed: Missed) -> None:
    assert missed.doctor.exit_code == 1
    checks = {check["id"]: check for check in missed.doctor.answer["checks"]}
    assert {id_ for id_, check in checks.items() if check["status"] == "FAIL"} >= {"roles", "dead-letters"}
    (problem,) = checks["roles"]["problems"]
    assert TAKEN in problem


def test_once_the_right_is_back_redriven_letters_are_handled_and_never_taken_for_covered(
    run: Run, missed: Missed
) -> None:
    run.registry.scan(missed.scanned, "1.0.0", EXPAT)
    run.settle()
    assert decision_of(run, missed.scanned) == "WARN"
    assert decision_of(run, missed.lost) is None
    redriven = run.shell.type("lazaretto dlq redrive scans --all --json")
    assert (redriven.exit_code, redriven.answer["redriven"]) == (0, 2)
    assert eventually(lambda: decision_of(run, missed.lost), bool) == "PENDING"
    run.settle()
    handled = [line for line in lines(run, missed, "message") if line.get("redriven")]
    assert {line["image"]: line["outcome"] for line in handled} == {
        str(missed.lost): "handled",
        str(missed.scanned): "handled",
    }


def test_the_image_that_was_missed_is_judged_like_any_other(run: Run, missed: Missed) -> None:
    run.registry.scan(missed.lost, "1.0.0", EXPAT)
    assert eventually(lambda: decision_of(run, missed.lost), lambda decision: decision == "WARN")
    assert run.shell.type("lazaretto dlq show scans --json").answer["queues"][0]["count"] == 0


def decision_of(run: Run, ref: ImageRef) -> str | None:
    """As the API tells it; None: it does not know the image."""
    answer = run.type("image", f"{ref.repository}@{ref.digest}").answer
    return answer["verdict"]["decision"] if answer else None
