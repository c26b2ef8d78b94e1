"""Dead-letter queues on moto: looked into, sent from again, deleted from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from chalicelib.adapters.stack import dead_letters
from chalicelib.adapters.stack.dead_letters import DeadQueue
from chalicelib.domain.events.dead_letter import MARK, Origin
from chalicelib.errors import UpstreamError
from chalicelib.parsers.events.messages import read_delivery
from tests.fakes.moto_aws import mock_aws

PUSH = (Path(__file__).parents[3] / "events/ecr-image-action-push.json").read_text()
RUN = {
    "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 3},
    "requestPayload": {},
    "responsePayload": {"errorMessage": "LAZARETTO_TABLE is missing"},
}


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(dead_letters, "WAIT_SECONDS", 0)
    with mock_aws():
        yield boto3.client("sqs", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")


@pytest.fixture
def queue(sqs: Any) -> DeadQueue:
    urls = [sqs.create_queue(QueueName=f"lazaretto-prod-scans{end}")["QueueUrl"] for end in ("-dead", "")]
    return DeadQueue(sqs, urls[0], urls[1])


def put(sqs: Any, body: str, **said: str) -> None:
    attributes = {name: {"DataType": "String", "StringValue": text} for name, text in said.items()}
    url = sqs.get_queue_url(QueueName="lazaretto-prod-scans-dead")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)


def test_an_event_is_told_by_what_it_is_about(sqs: Any, queue: DeadQueue) -> None:
    put(sqs, PUSH)
    (letter,) = queue.take()
    assert (letter.origin, letter.names["kind"], letter.refused, letter.error) == (
        Origin.QUEUE,
        "ImageAction",
        None,
        None,
    )
    assert letter.names["event_id"] == json.loads(PUSH)["id"]
    assert letter.names["image"].endswith(json.loads(PUSH)["detail"]["image-digest"])
    assert abs((datetime.now(UTC) - letter.sent_at).total_seconds()) < 60


def test_what_cannot_be_read_says_why(sqs: Any, queue: DeadQueue) -> None:
    put(sqs, PUSH.replace("sha256:", "sha1:"))
    (letter,) = queue.take()
    assert letter.refused
    assert letter.refused.startswith("$.detail.image-digest: ")


@pytest.mark.parametrize(
    "body",
    [
        '{"type": "https://hooks.slack.com/services/T0/B0/hush"}',
        '{"requestContext": {"condition": "RetriesExhausted"}, "responsePayload": {"errorMessage": "token: hush"}}',
    ],
)
def test_what_is_said_of_a_letter_repeats_no_secret_of_it(sqs: Any, queue: DeadQueue, body: str) -> None:
    put(sqs, body)
    (letter,) = queue.take()
    told = f"{letter.refused} {letter.error} {letter.about}"
    assert "hush" not in told
    assert "…" in told


def test_what_is_nested_too_deep_is_shown_as_refused(sqs: Any, queue: DeadQueue) -> None:
    """One such message must not keep people from seeing all others."""
    put(sqs, '{"detail": ' + "[" * 5_000 + "]" * 5_000 + "}")
    (letter,) = queue.take()
    assert letter.origin is Origin.QUEUE
    assert letter.refused is not None
    assert "no JSON" in letter.refused


def test_what_eventbridge_could_not_deliver_says_why(sqs: Any, queue: DeadQueue) -> None:
    put(sqs, PUSH, ERROR_CODE="NO_PERMISSIONS", ERROR_MESSAGE="not allowed", RULE_ARN="arn:x")
    (letter,) = queue.take()
    assert (letter.origin, letter.error) == (Origin.RULE, "NO_PERMISSIONS: not allowed")
    assert letter.names["kind"] == "ImageAction"


def test_a_run_of_the_clock_that_failed_is_told_by_its_error(sqs: Any, queue: DeadQueue) -> None:
    put(sqs, json.dumps(RUN))
    (letter,) = queue.take()
    assert (letter.origin, letter.error) == (Origin.FUNCTION, "RetriesExhausted: LAZARETTO_TABLE is missing")


def test_what_is_taken_is_hidden_until_it_is_shown_again(sqs: Any, queue: DeadQueue) -> None:
    for n in range(13):
        put(sqs, f"{{{n}")
    first = queue.take()
    second = queue.take()
    assert (len(first), len(second), list(queue.take()), queue.count()) == (10, 3, [], 13)
    queue.show_again(letter.handle for letter in (*first, *second))
    assert len(queue.take()) == 10


def test_what_is_sent_again_carries_the_mark_and_is_received_as_redriven(sqs: Any, queue: DeadQueue) -> None:
    put(sqs, PUSH, ERROR_CODE="NO_PERMISSIONS")
    (letter,) = queue.take()
    queue.send_again(letter, "2026-03-01T12:00:00Z 1")
    queue.delete(letter)
    assert queue.count() == 0
    url = sqs.get_queue_url(QueueName="lazaretto-prod-scans")["QueueUrl"]
    (sent,) = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    assert sent["Body"] == PUSH
    assert {name: a["StringValue"] for name, a in sent["MessageAttributes"].items()} == {MARK: "2026-03-01T12:00:00Z 1"}
    record = {
        "messageId": sent["MessageId"],
        "body": sent["Body"],
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {MARK: {"dataType": "String", "stringValue": "2026-03-01T12:00:00Z 1"}},
    }
    delivery = read_delivery(record)
    assert (delivery.redriven, delivery.fresh, delivery.receives, delivery.attempt) == (True, False, 2, 0)


def test_a_letter_that_died_anew_counts_how_often_it_was_sent(sqs: Any, queue: DeadQueue) -> None:
    put(sqs, PUSH, **{MARK: "2026-03-01T12:00:00Z 4"})
    (letter,) = queue.take()
    assert letter.redriven == 4


def test_a_queue_that_is_gone_is_a_failure_of_aws(sqs: Any, queue: DeadQueue) -> None:
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName="lazaretto-prod-scans-dead")["QueueUrl"])
    with pytest.raises(UpstreamError, match="look into lazaretto-prod-scans-dead"):
        queue.take()
