"""The SNS channel: a mail anybody can read, attributes to filter by, SNS's own limits kept whatever the data."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.adapters.channels.sns import SnsTopic, attributes, message, subject
from chalicelib.domain.alerts.alert import Alert, AlertReason
from chalicelib.domain.images.image import ImageRef, InUseState
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import SettingsError, UpstreamError
from tests.fakes.moto_aws import mock_aws

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REF = ImageRef("111122223333", "eu-west-1", "prod/api", "sha256:" + "a" * 64)
TOPIC = "arn:aws:sns:eu-west-1:111122223333:alerts"
HOSTILE = st.text() | st.sampled_from(
    ["\r\nBcc: x@y.z", "é" * 200, "x" * 100_000, "\ud800", "\u202e", "http://evil.example"]
)


def alert(**facts) -> Alert:
    base = {
        "event": "verdict",
        "title": "BLOCK: prod/api:v1 (was WARN)",
        "at": NOW,
        "ref": REF,
        "repository": "prod/api",
    }
    more = {
        "decision": Decision.BLOCK,
        "former": Decision.WARN,
        "counts": (2, 0, 0, 0, 0, 0),
        "running": InUseState.YES,
    }
    return Alert(**(base | more | facts))


def test_the_message_is_readable_mail():
    text = message(
        alert(
            reasons=(AlertReason("r", Decision.BLOCK, "bad", 2, 1),),
            what_to_do=("Upgrade.",),
            console_url="https://c/x",
        )
    )
    assert text == (
        "BLOCK: prod/api:v1 (was WARN)\n\n"
        "Decision:      BLOCK (was WARN, verdict 0)\n"
        f"Image:         {REF}\n"
        "Tags:          none\n"
        "Running:       yes\n"
        "Open findings: 2 CRITICAL\n"
        "At:            2026-03-01 12:00:00 UTC\n\n"
        "Why\n- BLOCK by r: bad (2 matched, 1 known exploited)\n\n"
        "What to do\n- Upgrade.\n\nhttps://c/x\n"
    )


def test_attributes_say_what_filters_ask_and_leave_out_what_is_not_known():
    said = attributes(alert(former=None, reasons=(AlertReason("r", Decision.BLOCK, kev=1),)))
    assert {name: value["StringValue"] for name, value in said.items()} == {
        "event": "verdict",
        "decision": "BLOCK",
        "repository": "prod/api",
        "registry": "111122223333",
        "region": "eu-west-1",
        "severity": "CRITICAL",
        "kev": "true",
        "running": "YES",
    }
    assert "kev" not in attributes(alert(ref=None))


@settings(max_examples=100, deadline=None)
@given(HOSTILE, HOSTILE, st.lists(HOSTILE, max_size=5))
def test_whatever_the_data_sns_would_take_it(title, repository, notes):
    given_alert = alert(title=title, repository=repository, notes=tuple(notes), ref=REF.home.image(title))
    line = subject(given_alert)
    assert re.fullmatch(r"L[ -~]{0,98}", line)
    text = message(given_alert)
    said = attributes(given_alert)
    size = len(text.encode()) + sum(len(n) + 6 + len(v["StringValue"].encode()) for n, v in said.items())
    assert size <= 256 * 1024
    assert "http://evil" not in text
    assert len(said) <= 10
    assert all(v["DataType"] == "String" and v["StringValue"] for v in said.values())
    assert not any(ord(c) < 32 for v in said.values() for c in v["StringValue"])
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_a_message_beyond_the_limit_is_cut():
    text = message(alert(notes=("x" * 1000,) * 400))
    assert len(text.encode()) <= 256 * 1024
    assert text.endswith("…\n")


def test_a_subscription_with_a_filter_gets_the_alert_and_an_unknown_topic_is_an_error():
    with mock_aws():
        session = boto3.Session("testing", "testing", region_name="eu-west-1")
        sns, sqs = session.client("sns"), session.client("sqs")
        topic = sns.create_topic(Name="alerts")["TopicArn"]
        queues = {}
        for decision in ("BLOCK", "WARN"):
            url = sqs.create_queue(QueueName=decision)["QueueUrl"]
            queues[decision] = url
            arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            policy = json.dumps({"decision": [decision], "running": ["YES"]})
            sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"FilterPolicy": policy})
        SnsTopic(topic, sns).send(alert())
        got = {d: sqs.receive_message(QueueUrl=url).get("Messages", []) for d, url in queues.items()}
        assert [len(messages) for messages in got.values()] == [1, 0]
        body = json.loads(got["BLOCK"][0]["Body"])
        assert body["Subject"] == "Lazaretto: BLOCK: prod/api:v1 (was WARN)"
        with pytest.raises(UpstreamError):
            SnsTopic(f"{topic}-gone", sns).send(alert())


@pytest.mark.parametrize("arn", ["alerts", f"{TOPIC}.fifo", "arn:aws:sqs:eu-west-1:111122223333:alerts"])
def test_only_a_standard_topic_is_taken(arn):
    with pytest.raises(SettingsError):
        SnsTopic(arn, None)
