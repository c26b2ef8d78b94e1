"""What a function logs, seen on the local stack: JSON lines with all that a message is told by, and nothing of what it
says. Ordinary events, poison, and an outage of Slack."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from aws_lambda_powertools.metrics.provider.cloudwatch_emf import cloudwatch

from chalicelib.local.aws.deployment import STAGE, secret_name
from chalicelib.local.aws.stack import LocalStack
from chalicelib.local.demo.demo import Demo
from chalicelib.local.demo.demo_registry import CURL, EXPAT
from chalicelib.observability import SERVICE, logger
from tests.local.running import local_stack

ALWAYS = {"level", "message", "timestamp", "service", "message_id", "outcome", "function_name", "function_request_id"}
SECRET = "T0SECRETT0KEN1234567890abcdefghijklmnop"
TEXTS = ("CVE-", "Composed for the demo", SECRET, "xoxb-", "AKIA")
POISON = "poison " + SECRET
BAD_EVENT = {"id": "11111111-2222-3333-4444-555555555555", "detail-type": "ECR Image Scan", "source": "aws.ecr"}


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[list[dict[str, Any]], str, list[dict[str, Any]]]]:
    """The lines of the log, as they are and as text; and the metrics."""
    handler: Any = logger.registered_handler
    written, printed, level = io.StringIO(), io.StringIO(), logger.log_level
    patch = pytest.MonkeyPatch()
    with local_stack(hurry=0.05) as stack:
        patch.setattr(handler, "stream", written)
        patch.setenv("POWERTOOLS_METRICS_DISABLED", "false")
        patch.setattr(cloudwatch, "print", lambda line: printed.write(f"{line}\n"), raising=False)
        logger.setLevel("INFO")
        try:
            play(stack)
        finally:
            logger.setLevel(level)
            patch.undo()
        text = written.getvalue()
        yield read(text), text, read(printed.getvalue())


def read(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def play(stack: LocalStack) -> None:
    outage = f"http://127.0.0.1:9/services/{SECRET}"
    boto3.client("secretsmanager").put_secret_value(SecretId=secret_name("slack"), SecretString=outage)
    scans = f"lazaretto-{STAGE}-scans"
    Demo(stack).open()
    stack.aws.queues.put(scans, POISON)
    stack.aws.queues.put(scans, json.dumps(BAD_EVENT))
    end = time.monotonic() + 20
    while stack.pump.waiting() and time.monotonic() < end:
        stack.pump.turn()
        if all(stack.aws.queues.waiting(f"lazaretto-{STAGE}-{name}") == 0 for name in ("scans", "findings")):
            break
        time.sleep(0.02)
    stack.pump.turn()
    stack.run_clock()


def test_every_line_is_json_and_told_by_its_message(told: Any) -> None:
    lines, _, _ = told
    of_messages = [line for line in lines if "message_id" in line]
    assert len(of_messages) > 50
    assert [line for line in lines if line not in of_messages] == []
    assert [line for line in of_messages if not line.keys() >= ALWAYS - {"function_name", "function_request_id"}] == []
    assert {line["service"] for line in lines} == {SERVICE}


def test_what_is_about_an_image_names_it_and_an_event_its_id(told: Any) -> None:
    lines, _, _ = told
    for line in lines:
        if line.get("kind") in ("ScanFinished", "ImageAction", "FindingChanged", "Refresh", "Act"):
            assert line["image"].split("@")[1].startswith("sha256:")
        if line.get("kind") in ("ScanFinished", "ImageAction", "FindingChanged"):
            assert line["event_id"]
    assert any(line.get("verdict") == 1 for line in lines if line.get("kind") == "ScanFinished")


def test_poison_is_told_by_its_ids_and_the_place_that_is_wrong(told: Any) -> None:
    lines, _, _ = told
    refused = [line for line in lines if line["outcome"] == "refused"]
    assert {line["level"] for line in refused} == {"ERROR"}
    assert {line["path"] for line in refused} == {"$", "$.detail"}
    assert {line.get("event_id") for line in refused} == {None, BAD_EVENT["id"]}


def test_an_outage_of_slack_is_told_with_its_reason_and_counted(told: Any) -> None:
    lines, _, metrics = told
    outage = [line for line in lines if line.get("kind") == "SendAlert" and line["outcome"] in ("put back", "failed")]
    assert outage
    assert all(line["reason"] for line in outage)
    assert sum(sum(m["ChannelFailures"]) for m in metrics if m.get("channel") == "slack") >= len(outage)


def test_neither_a_finding_nor_a_secret_is_in_any_line(told: Any) -> None:
    _, text, metrics = told
    said = text + json.dumps(metrics)
    assert [word for word in (*TEXTS, CURL.id, EXPAT.id, CURL.package) if word in said] == []


def test_a_handled_message_is_one_line_of_info_and_short(told: Any) -> None:
    lines, text, _ = told
    infos = [line for line in lines if line["level"] == "INFO"]
    assert len({(line["message_id"], line["function_request_id"], line.get("receives")) for line in infos}) == len(
        infos
    )
    sizes = [len(line) for line in text.splitlines() if '"level":"INFO"' in line]
    assert sum(sizes) / len(sizes) < 800


def test_an_invocation_prints_few_metrics(told: Any) -> None:
    lines, _, metrics = told
    invocations = len({line["function_request_id"] for line in lines})
    assert sum("MessagesReceived" in m for m in metrics) == invocations
    assert len(metrics) <= 8 * invocations
    counted = {one["Name"] for m in metrics for each in m["_aws"]["CloudWatchMetrics"] for one in each["Metrics"]}
    assert {"Looks", "DocumentsWritten", "FindingsWritten", "WriteUnits", "Verdicts", "OldestMessageSeconds"} <= counted
