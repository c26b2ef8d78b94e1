"""What must not be lost, and what must be heard of: processes that die, and messages that nobody can read."""

from __future__ import annotations

import json
import time

import pytest

from chalicelib.domain.image import ImageRef
from chalicelib.local.demo_registry import EXPAT, ZLIB
from tests.e2e.account import VISIBILITY_SECONDS, eventually
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
    assert raised == ["lazaretto-dev-scans-dead"]
    eventually(run.letters, lambda letters: any("lazaretto-dev-scans-dead" in letter for letter in letters))


def test_poison_is_kept_as_it_came(run: Run) -> None:
    bodies = [message["Body"] for message in run.account.received(run.account.queue_url("scans-dead"))]
    assert sorted(bodies) == sorted([NO_JSON, NO_IMAGE])
