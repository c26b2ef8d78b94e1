"""`lazaretto replay`: events in the given order to a running local stack."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from chalicelib.cli import app
from chalicelib.local import events as aws_events
from tests.local import samples
from tests.local.running import local_aws

SCANS = "lazaretto-dev-scans"
EVENTS = [
    aws_events.basic_scan_finished(samples.ref(digit=d), [], "COMPLETE", {}, samples.SCANNED) for d in "0123456789"
]


@pytest.fixture
def aws():
    with local_aws() as running:
        yield running


def replay(aws, *args, code=0, **more):
    result = CliRunner().invoke(app, ["replay", *args, "--url", f"{aws.url}/local/events", "--json"], **more)
    assert result.exit_code == code, result.output
    return result


def test_events_are_delivered_in_the_order_given(aws, tmp_path):
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps(e) for e in EVENTS[5:]))
    (tmp_path / "a.json").write_text(json.dumps(EVENTS[:5]))
    result = replay(aws, str(tmp_path / "b.jsonl"), str(tmp_path / "a.json"))
    assert json.loads(result.stdout) == {"events": 10, "delivered": 10, "unmatched": 0}
    assert [json.loads(body) for body in aws.queues.bodies(SCANS)] == EVENTS[5:] + EVENTS[:5]


def test_standard_input_and_many_events_are_taken(aws):
    text = "\n".join(json.dumps(e) for e in EVENTS * 120)
    assert json.loads(replay(aws, "-", input=text).stdout)["delivered"] == 1200
    assert [json.loads(body) for body in aws.queues.bodies(SCANS)] == EVENTS * 120


def test_an_event_no_rule_wants_is_said(aws, tmp_path):
    (tmp_path / "e.json").write_text(json.dumps({"source": "aws.s3", "detail-type": "Object Created", "detail": {}}))
    assert json.loads(replay(aws, str(tmp_path / "e.json")).stdout)["unmatched"] == 1


@pytest.mark.parametrize(
    "text", ["{", '{"findings": []}', "[1]", '{"detail-type": "x", "source": "y", "detail": 1}', ""]
)
def test_nothing_is_delivered_when_something_is_no_event(aws, tmp_path, text):
    (tmp_path / "good.json").write_text(json.dumps(EVENTS[0]))
    (tmp_path / "bad.json").write_text(text)
    result = replay(aws, str(tmp_path / "good.json"), str(tmp_path / "bad.json"), code=2)
    assert "nothing was delivered" in result.stderr
    assert aws.queues.bodies(SCANS) == []


def test_a_file_that_is_not_there_is_bad_input(aws, tmp_path):
    replay(aws, str(tmp_path / "none.json"), code=2)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/local/events", "file:///etc/passwd"])
def test_a_stack_that_cannot_be_reached_is_a_failure_of_the_network(tmp_path, url):
    (tmp_path / "e.json").write_text(json.dumps(EVENTS[0]))
    result = CliRunner().invoke(app, ["replay", str(tmp_path / "e.json"), "--url", url])
    assert result.exit_code == 3
