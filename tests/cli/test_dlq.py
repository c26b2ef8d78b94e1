"""`lazaretto dlq` on moto: what it shows, sends again and deletes, and what it says of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import Result
from typer.testing import CliRunner

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.stack import dead_letters
from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.cli import app
from chalicelib.domain.events.dead_letter import MARK
from chalicelib.errors import UpstreamError
from chalicelib.parsers.events.events import read_delivery
from tests.fakes.dead_letters import LongQueue
from tests.fakes.moto_aws import mock_aws

PUSH = (Path(__file__).parents[2] / "events/ecr-image-action-push.json").read_text()
POISON = "{ this is nothing"
STAGE = "prod"
Run = Callable[..., Result]


class Place:
    """The queues of a deployment, and its table."""

    def __init__(self) -> None:
        self.sqs = boto3.client("sqs")
        self.urls: dict[str, str] = {}
        for name in ("scans", "findings", "actions", "alerts", "sweeps", "clock"):
            for end in ("-dead",) if name == "clock" else ("", "-dead"):
                made = self.sqs.create_queue(QueueName=f"lazaretto-{STAGE}-{name}{end}")
                self.urls[name + end] = made["QueueUrl"]
        create_table(boto3.client("dynamodb"), f"lazaretto-{STAGE}")

    def put(self, queue: str, body: str, **said: str) -> str:
        attributes: Any = {name: {"DataType": "String", "StringValue": text} for name, text in said.items()}
        url = self.urls[f"{queue}-dead"]
        return self.sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)["MessageId"]

    def waiting(self, queue: str) -> int:
        answer = self.sqs.get_queue_attributes(
            QueueUrl=self.urls[queue], AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def received(self, queue: str) -> list[Any]:
        answer = self.sqs.receive_message(
            QueueUrl=self.urls[queue], MessageAttributeNames=["All"], MaxNumberOfMessages=10
        )
        return list(answer.get("Messages", ()))


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(dead_letters, "WAIT_SECONDS", 0)
    for name, value in (("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_REGION", "eu-west-1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with mock_aws():
        yield Place()


@pytest.fixture
def run(place: Place) -> Run:
    return lambda *options: CliRunner().invoke(app, ["dlq", *options, "--stage", STAGE])


def test_all_queues_are_shown_with_what_lies_there_and_why(place: Place, run: Run) -> None:
    refused = place.put("scans", POISON)
    pushed = place.put("scans", PUSH)
    place.put("findings", PUSH, ERROR_CODE="NO_PERMISSIONS", ERROR_MESSAGE="not allowed", RULE_ARN="arn:x")
    result = run("show")
    assert result.exit_code == 0, result.output
    for said in (refused, pushed, "refused: $: no JSON", "NO_PERMISSIONS: not allowed", "given up by the rule"):
        assert said in result.stdout
    assert "ImageAction 1" in result.stdout
    assert "/aws/lambda/lazaretto-prod-on_scans" in result.stdout
    assert "clock: empty." in result.stdout
    assert (place.waiting("scans-dead"), place.waiting("findings-dead")) == (2, 1), (
        "nothing was taken away or is hidden"
    )


def test_what_is_shown_as_json_has_no_body(place: Place, run: Run) -> None:
    place.put("scans", PUSH)
    (queue,) = json.loads(run("show", "scans", "--json").stdout)["queues"]
    (message,) = queue["messages"]
    assert (queue["queue"], queue["count"], message["kind"]) == ("scans", 1, "ImageAction")
    assert message["event_id"] == json.loads(PUSH)["id"]
    assert (message["redriven"], message["refused"], message["error"]) == (0, None, None)
    assert "body" not in message


def test_no_more_are_shown_than_asked_for(place: Place, run: Run) -> None:
    for _ in range(5):
        place.put("scans", PUSH)
    assert "3 more: --limit shows them." in run("show", "scans", "--limit", "2").stdout
    assert place.waiting("scans-dead") == 5


def test_a_stage_that_is_not_here_and_a_queue_nobody_has(place: Place, run: Run) -> None:
    assert CliRunner().invoke(app, ["dlq", "show", "--stage", "none"]).exit_code == 1
    result = run("show", "letters")
    assert result.exit_code == 2
    assert "scans, findings, actions, alerts, sweeps, clock" in result.stderr


def test_all_is_sent_again_each_with_its_mark(place: Place, run: Run) -> None:
    place.put("scans", PUSH)
    place.put("scans", PUSH, ERROR_CODE="NO_PERMISSIONS", RULE_ARN="arn:x")
    result = run("redrive", "scans", "--all")
    assert (result.exit_code, result.stdout) == (0, "scans: 2 messages redriven.\n")
    assert place.waiting("scans-dead") == 0
    sent = place.received("scans")
    assert [message["MessageAttributes"].keys() for message in sent] == [{MARK}, {MARK}]
    for message in sent:
        said = {n: {"stringValue": a["StringValue"]} for n, a in message["MessageAttributes"].items()}
        record = {"messageId": message["MessageId"], "body": message["Body"], "messageAttributes": said}
        assert not read_delivery(record).fresh


def test_one_is_sent_again_and_the_others_stay(place: Place, run: Run) -> None:
    place.put("scans", POISON)
    pushed = place.put("scans", PUSH)
    said = json.loads(run("redrive", "scans", "--message", pushed, "--json").stdout)
    assert (said["redriven"], said["messages"][0]["message_id"]) == (1, pushed)
    assert (place.waiting("scans-dead"), place.waiting("scans")) == (1, 1)


def test_a_dry_run_sends_nothing(place: Place, run: Run) -> None:
    pushed = place.put("scans", PUSH)
    result = run("redrive", "scans", "--all", "--dry-run")
    assert pushed in result.stdout
    assert "scans: 1 message would be redriven." in result.stdout
    assert (place.waiting("scans-dead"), place.waiting("scans")) == (1, 0)


def test_a_message_that_is_not_there_is_a_negative_answer(place: Place, run: Run) -> None:
    result = run("redrive", "scans", "--message", "none")
    assert result.exit_code == 1
    assert "missing, or being read by another consumer: none" in result.stderr


@pytest.mark.parametrize(
    "options", [("redrive", "scans"), ("redrive", "scans", "--all", "--message", "x"), ("drop", "scans")]
)
def test_which_messages_are_meant_must_be_said(run: Run, options: tuple[str, ...]) -> None:
    result = run(*options)
    assert result.exit_code == 2
    assert "either --message ID or --all" in result.stderr


def test_a_run_of_the_clock_that_failed_is_never_sent_again(place: Place, run: Run) -> None:
    assert run("redrive", "clock", "--all").exit_code == 2


def records(stage: str = STAGE) -> list[Any]:
    queries = FindingsQueries(Dynamo(boto3.client("dynamodb"), f"lazaretto-{stage}"))
    return [row.record for row in queries.actions(f"queue/lazaretto-{stage}-scans-dead")]


def test_what_is_dropped_is_gone_and_recorded(place: Place, run: Run) -> None:
    poison = place.put("scans", POISON)
    place.put("scans", PUSH)
    result = run("drop", "scans", "--message", poison, "--yes", "--reason", "a test of ours")
    assert result.exit_code == 0, result.output
    assert "scans: 1 message dropped." in result.stdout
    assert place.waiting("scans-dead") == 1
    (record,) = records()
    assert record.effect == f"DROP_MESSAGE#{poison}"
    assert record.actor.startswith("person:arn:aws:sts::123456789012:")
    assert record.reason.startswith("a test of ours: { this is nothing; sha256:")


def test_nobody_there_to_be_asked_drops_nothing(place: Place, run: Run) -> None:
    place.put("scans", POISON)
    result = run("drop", "scans", "--all")
    assert result.exit_code == 2
    assert "give --yes" in result.stderr
    assert (place.waiting("scans-dead"), records()) == (1, [])


def test_whoever_declines_drops_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.cli.framework.output.is_interactive", lambda: True)
    place.put("scans", POISON)
    for answer, left in (("n\n", 1), ("y\n", 0)):
        result = CliRunner().invoke(app, ["dlq", "drop", "scans", "--all", "--stage", STAGE], input=answer)
        assert (result.exit_code, place.waiting("scans-dead")) == (left, left)
    assert len(records()) == 1


def test_an_empty_queue_has_nothing_to_drop(run: Run) -> None:
    result = run("drop", "scans", "--all", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"queue": "scans", "dry_run": False, "dropped": 0, "messages": []}


@pytest.mark.parametrize(
    ("options", "sent", "gone"),
    [
        (("show", "scans", "--limit", "1000"), 0, 0),
        (("redrive", "scans", "--all", "--dry-run"), 0, 0),
        (("redrive", "scans", "--all"), 60, 60),
        (("drop", "scans", "--all", "--yes"), 0, 60),
        (("drop", "scans", "--message", "m59", "--yes"), 0, 1),
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_a_queue_larger_than_memory_is_gone_through(
    run: Run, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], sent: int, gone: int, form: tuple[str, ...]
) -> None:
    queue = LongQueue(60)
    monkeypatch.setattr("chalicelib.cli.dlq._open", lambda *_: queue)
    monkeypatch.setattr("chalicelib.cli.framework.output.say_hanging", lambda text: None)
    result = run(*options, *form)
    assert result.exit_code == 0, result.output
    assert (len(queue.sent), len(queue.gone)) == (sent, gone)
    assert queue.most_held <= 20


def test_what_lies_in_a_queue_is_shown_as_it_comes(place: Place, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was shown before AWS fails stays on the screen."""

    class Failing(LongQueue):
        def take(self) -> Any:
            if self.made >= 10:
                raise UpstreamError("AWS is out of order")
            return super().take()

    monkeypatch.setattr("chalicelib.cli.dlq._open", lambda *_: Failing(30))
    result = run("show", "scans")
    assert result.exit_code == 3
    assert "- m9, " in result.stdout
