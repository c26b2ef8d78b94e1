"""Between queue and function: what succeeds is deleted, what fails comes back, what fails five times is dead."""

from __future__ import annotations

import json

import boto3
import pytest
from chalice.app import Chalice

from chalicelib.local.aws import messages
from chalicelib.local.aws.deployment import STAGE, Template
from chalicelib.local.aws.messages import QueuePump
from tests.local.running import local_aws

SCANS, DEAD = f"lazaretto-{STAGE}-scans", f"lazaretto-{STAGE}-scans-dead"


@pytest.fixture
def world(monkeypatch):
    """An app with one handler, which fails what says `poison`, and the queue it is fed from."""
    monkeypatch.setattr(messages, "RETRY_SECONDS", -1)
    app, calls = Chalice("test"), []

    @app.on_sqs_message(queue=SCANS, batch_size=3)
    def on_scans(event):
        records = event.to_dict()["Records"]
        calls.append(records)
        if any(r["body"] == "crash" for r in records):
            raise RuntimeError("crashed")
        return {"batchItemFailures": [{"itemIdentifier": r["messageId"]} for r in records if r["body"] == "poison"]}

    with local_aws() as aws:
        arn = aws.queues.arn(DEAD)
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 5})
        boto3.client("sqs").set_queue_attributes(
            QueueUrl=f"{aws.url}/123456789012/{SCANS}", Attributes={"RedrivePolicy": redrive}
        )
        yield aws, QueuePump(app, aws.queues), calls


def test_messages_are_handed_over_in_batches_and_deleted(world):
    aws, pump, calls = world
    for n in range(7):
        aws.queues.put(SCANS, str(n))
    assert pump.drain(5)
    assert [[r["body"] for r in batch] for batch in calls] == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    record = calls[0][0]
    assert record["eventSourceARN"].endswith(SCANS)
    assert record["attributes"]["ApproximateReceiveCount"] == "1"


@pytest.mark.parametrize("body", ["poison", "crash"])
def test_a_message_that_keeps_failing_is_dead_after_five_receives(world, body):
    aws, pump, calls = world
    aws.queues.put(SCANS, body)
    assert pump.drain(5)
    assert [batch[0]["attributes"]["ApproximateReceiveCount"] for batch in calls] == ["1", "2", "3", "4", "5"]
    assert aws.queues.bodies(DEAD) == [body]


def test_a_poison_message_fails_alone(world):
    aws, pump, calls = world
    for body in ("a", "poison", "b"):
        aws.queues.put(SCANS, body)
    assert pump.drain(5)
    assert sum(r["body"] in "ab" for batch in calls for r in batch) == 2
    assert aws.queues.bodies(DEAD) == ["poison"]


def test_a_delayed_message_is_not_seen_before_its_time(world):
    aws, pump, calls = world
    boto3.client("sqs").send_message(QueueUrl=f"{aws.url}/123456789012/{SCANS}", MessageBody="x", DelaySeconds=900)
    assert not pump.turn()
    assert (pump.waiting(), calls) == (1, [])
    assert not pump.drain(0.1)
    aws._hurry = 0.0
    hurried = QueuePump(Chalice("none"), aws.queues)
    assert aws.queues.take(SCANS, 1)[0].body == "x"
    assert hurried.drain(1)


def test_the_template_names_four_queues_and_their_dead_ends():
    plans = {plan.name: (plan.dead, plan.receives) for plan in Template(STAGE).queues()}
    assert plans == {
        f"lazaretto-dev-{n}": (f"lazaretto-dev-{n}-dead", 5)
        for n in ("scans", "findings", "actions", "alerts", "sweeps")
    }


def test_a_mark_is_handed_over_as_lambda_does(world):
    aws, pump, calls = world
    mark = {"lazaretto-redriven": {"DataType": "String", "StringValue": "2026-03-01T12:00:00Z 1"}}
    boto3.client("sqs").send_message(
        QueueUrl=f"{aws.url}/123456789012/{SCANS}", MessageBody="x", MessageAttributes=mark
    )
    assert pump.drain(5)
    said = {"dataType": "String", "stringValue": "2026-03-01T12:00:00Z 1"}
    assert calls[0][0]["messageAttributes"] == {"lazaretto-redriven": said}
