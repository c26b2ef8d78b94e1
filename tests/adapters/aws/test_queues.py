"""Messages into SQS: readable again, never earlier than asked, never beyond what SQS takes."""

from __future__ import annotations

from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.aws.queues import LONGEST_DELAY_SECONDS, Queues
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.events.message import Act, Due, Refresh, RetriedEvent
from chalicelib.domain.images.image import ImageRef, Source
from chalicelib.errors import DeniedError, TransientError
from chalicelib.parsers.events.events import read_delivery
from tests.fakes.moto_aws import mock_aws

IMAGE = ImageRef("123456789012", "eu-west-1", "team/api", f"sha256:{'a' * 64}")
LOOK = Refresh(IMAGE, datetime(2026, 3, 1, 10, 0, tzinfo=UTC), Source.BASIC, attempt=3)


class Client:
    def __init__(self, error=None):
        self.sent, self.error = [], error

    def send_message(self, **request):
        if self.error:
            raise ClientError({"Error": {"Code": self.error}}, "SendMessage")
        self.sent.append(request)

    def send_message_batch(self, **request):
        if self.error == "InternalError":
            return {"Successful": [], "Failed": [{"Id": "0", "Code": self.error, "SenderFault": False}]}
        self.send_message(**request)
        return {"Successful": []}


@pytest.mark.parametrize("message", [LOOK, Act(IMAGE, "ALERT#7"), Due(3)])
def test_what_is_sent_can_be_read_again(message):
    with mock_aws():
        sqs = boto3.Session("testing", "testing", region_name="eu-west-1").client("sqs")
        url = sqs.create_queue(QueueName="q")["QueueUrl"]
        Queues(sqs, {"scans": url}).send("scans", message)
        (received,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert read_delivery({"messageId": "1", "body": received["Body"]}).body == message


def test_a_batch_is_no_larger_than_sqs_takes():
    client = Client()
    large = RetriedEvent({"detail": "x" * 100_000})
    Queues(client, {"scans": "url"}).send_all("scans", [large, large, large, *[LOOK] * 12])
    assert [len(sent["Entries"]) for sent in client.sent] == [2, 10, 3]


def test_an_event_put_back_keeps_its_form():
    client, event = Client(), {"detail-type": "ECR Image Scan", "detail": {"image-tags": []}}
    Queues(client, {"scans": "url"}).send("scans", RetriedEvent(event, 2), 5)
    assert '"ECR Image Scan"' in client.sent[0]["MessageBody"]


@pytest.mark.parametrize(("asked", "sent"), [(0, 0), (-3, 0), (0.2, 1), (59.5, 60), (5000, LONGEST_DELAY_SECONDS)])
def test_delays_are_whole_seconds_and_cut_where_sqs_ends(asked, sent):
    client = Client()
    Queues(client, {"scans": "url"}).send("scans", LOOK, asked)
    assert client.sent[0]["DelaySeconds"] == sent


@pytest.mark.parametrize(("code", "error"), [("RequestThrottled", TransientError), ("AccessDenied", DeniedError)])
def test_a_queue_that_does_not_take_it_says_why(code, error):
    with pytest.raises(error):
        Queues(Client(code), {"scans": "url"}).send("scans", LOOK)


def test_many_are_sent_ten_in_a_call_and_can_be_read_again():
    messages = [Act(IMAGE, f"ALERT#{n}") for n in range(23)]
    received = []
    with mock_aws():
        sqs = boto3.Session("testing", "testing", region_name="eu-west-1").client("sqs")
        url = sqs.create_queue(QueueName="q")["QueueUrl"]
        Queues(sqs, {"actions": url}).send_all("actions", iter(messages))
        while found := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            received += [read_delivery({"messageId": "1", "body": m["Body"]}).body for m in found]
    assert sorted(received, key=lambda m: int(m.effect[6:])) == messages
    client = Client()
    Queues(client, {"actions": "url"}).send_all("actions", messages)
    assert [len(request["Entries"]) for request in client.sent] == [10, 10, 3]


def test_nothing_is_sent_where_there_is_nothing_to_send():
    client = Client()
    Queues(client, {"scans": "url"}).send_all("scans", [])
    assert client.sent == []


@pytest.mark.parametrize(
    ("code", "error"),
    [("InternalError", TransientError), ("RequestThrottled", TransientError), ("AccessDenied", DeniedError)],
)
def test_a_batch_of_which_sqs_leaves_something_out_is_not_sent(code, error):
    with pytest.raises(error):
        Queues(Client(code), {"scans": "url"}).send_all("scans", [LOOK])


def test_clients_are_made_once_and_honour_the_endpoint_of_the_environment(monkeypatch):
    for name, value in (("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9")
    sessions = Sessions("eu-west-1")
    client = sessions.client("sqs")
    assert client is sessions.client("sqs", "eu-west-1")
    assert client is not sessions.client("sqs", "us-east-1")
    assert client.meta.endpoint_url == "http://127.0.0.1:9"
    assert client.meta.config.retries["mode"] == "adaptive"
    assert client is not sessions.client("sqs", validate=False)
