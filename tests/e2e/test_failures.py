"""What must not be lost, and what must be heard of: processes that die, and messages that nobody can read."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import pytest

from chalicelib.domain.images.image import ImageRef
from chalicelib.local.demo.demo_registry import EXPAT, ZLIB
from tests.e2e.account import STACK, VISIBILITY_SECONDS, eventually
from tests.e2e.places import ACCOUNT
from tests.e2e.run import Run

pytestmark = pytest.mark.e2e

NO_JSON = "this is no event"
NO_IMAGE = json.dumps({"source": "aws.ecr", "detail-type": "ECR Image Action", "detail": {"action-type": "PUSH"}})
RECEIVES = 5
GIVEN_UP_SECONDS = 2.0 * RECEIVES * VISIBILITY_SECONDS


@pytest.fixture(scope="module", autouse=True)
def poison(run: Run) -> float:
    """Sent before anything else here: it is given up while the other tests run."""
    for body in (NO_JSON, NO_IMAGE):
        run.account.client("sqs").send_message(QueueUrl=run.account.queue_url("scans"), MessageBody=body)
    return time.monotonic()


def decision_of(run: Run, ref: ImageRef) -> str | None:
    """As the API tells it; None: it does not know the image."""
    answer = run.type("image", f"{ref.repository}@{ref.digest}").answer
    return answer["verdict"]["decision"] if answer else None


def test_messages_in_the_same_queue_as_poison_are_handled(run: Run) -> None:
    ref = run.registry.push("team/neighbour", "1.0.0")
    run.registry.scan(ref, "1.0.0", ZLIB)
    assert eventually(lambda: decision_of(run, ref), lambda decision: decision == "ALLOW")


def test_a_process_that_dies_in_the_middle_of_a_look_loses_no_message(run: Run) -> None:
    ref = run.registry.push("team/crash", "1.0.0")
    with run.holding("on_scans", "inspector2:ListFindings") as held:
        run.registry.scan(ref, "1.0.0", EXPAT)
        assert held.arrived.wait(60)
        assert run.recycle("on_scans") > 0
    assert eventually(lambda: decision_of(run, ref), lambda decision: decision == "WARN")


def test_an_act_whose_worker_dies_is_done_once_all_the_same(run: Run) -> None:
    ref = run.registry.push("team/crash-of-an-act", "1.0.0")
    image = f"{ref.repository}@{ref.digest}"
    eventually(lambda: decision_of(run, ref), bool)
    with run.holding("on_actions", "ecr:DescribeImages") as held:
        assert run.type("quarantine", image, "--reason", "its worker dies").exit_code == 0
        assert held.arrived.wait(60)
        assert run.recycle("on_actions") > 0
    eventually(lambda: run.type("image", image).answer["storage"], lambda storage: storage == "ARCHIVED")
    run.settle(GIVEN_UP_SECONDS)
    records = run.type("audit", image).answer["records"]
    assert [r["kind"] for r in records if r["kind"] == "QUARANTINE"] == ["QUARANTINE"]


def test_poison_ends_in_the_dead_letter_queue_and_its_reason_in_the_log(run: Run, poison: float) -> None:
    patience = max(10.0, GIVEN_UP_SECONDS - (time.monotonic() - poison))
    eventually(lambda: run.account.waiting("scans-dead")["visible"], lambda count: count == 2, patience)
    refused = [json.loads(line) for line in run.account.logs("on_scans") if '"message refused"' in line]
    assert {line["path"] for line in refused} >= {"$"}
    assert all(line["reason"] for line in refused)


def test_a_message_in_a_dead_letter_queue_raises_its_alarm_and_no_other(run: Run) -> None:
    raised = run.account.watch_queues()
    assert raised == [f"{STACK}-scans-dead"]
    eventually(run.letters, lambda letters: any(f"{STACK}-scans-dead" in letter for letter in letters))


def test_poison_is_kept_as_it_came_and_shown_with_the_reason(run: Run) -> None:
    letters = dead(run)
    assert {letter["sha256"] for letter in letters.values()} == {sha256(text) for text in (NO_JSON, NO_IMAGE)}
    assert all(letter["refused"] and letter["redriven"] == 0 for letter in letters.values())
    assert dead(run).keys() == letters.keys()


def test_doctor_counts_what_was_given_up(run: Run) -> None:
    doctor = run.shell.type("lazaretto doctor --quick --json")
    (check,) = [check for check in doctor.answer["checks"] if check["id"] == "dead-letters"]
    assert (doctor.exit_code, check["status"]) == (1, "FAIL")
    assert f"{STACK}-scans-dead" in f"{check['seen']} {check['problems']}"


def test_what_is_sent_again_bears_a_mark_and_poison_comes_back_with_it(run: Run) -> None:
    id_ = next(id_ for id_, letter in dead(run).items() if letter["sha256"] == sha256(NO_JSON))
    run.account.hide_failed_messages(1, "scans")
    sent = run.shell.type(f"lazaretto dlq redrive scans --message {id_} --json")
    assert (sent.exit_code, sent.answer["redriven"]) == (0, 1)
    eventually(lambda: run.account.waiting("scans-dead")["visible"], lambda count: count == 2)
    run.account.hide_failed_messages(VISIBILITY_SECONDS, "scans")
    assert {letter["sha256"]: letter["redriven"] for letter in dead(run).values()} == {
        sha256(NO_JSON): 1,
        sha256(NO_IMAGE): 0,
    }


def test_what_is_dropped_is_gone_and_the_audit_log_says_who_did_it_and_why(run: Run) -> None:
    dropped = run.shell.type("lazaretto dlq drop scans --all --reason 'poison of a test' --yes --json")
    assert (dropped.exit_code, dropped.answer["dropped"]) == (0, 2)
    assert dead(run) == {}
    assert run.account.waiting("scans-dead") == {"visible": 0, "handled": 0}
    records = [r for r in run.type("audit").answer["records"] if r["reason"].startswith("poison of a test: ")]
    assert len(records) == 2
    assert {record["actor"] for record in records} == {f"person:arn:aws:iam::{ACCOUNT}:root"}


def dead(run: Run) -> dict[str, dict[str, Any]]:
    """The dead letters of scans by their ids, as `lazaretto dlq show` has them."""
    shown = run.shell.type("lazaretto dlq show scans --json")
    assert shown.exit_code == 0, shown
    (queue,) = shown.answer["queues"]
    return {letter["message_id"]: letter for letter in queue["messages"]}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
