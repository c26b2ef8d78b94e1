"""A call that AWS refuses is counted and named, whoever does without its answer; another account's no is its own."""

from __future__ import annotations

import io
import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.aws.sessions import REFUSED, Sessions, count_refused_calls
from chalicelib.domain.events.message import Metric
from chalicelib.observability import logger

WHO = (
    "User: arn:aws:sts::111122223333:assumed-role/lazaretto-dev-on_scans/x is not authorized to perform: ecs:ListTasks"
)


class Meter:
    def __init__(self) -> None:
        self.counted: list[Metric] = []

    def count(self, metric: Metric, number: float = 1, by: str | None = None) -> None:
        self.counted.append(metric)


class Forbidden:
    status_code = 403


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    handler: Any = logger.registered_handler
    monkeypatch.setattr(handler, "stream", written)
    return written


def asked(meter: Meter, code: str, message: str) -> None:
    """One call that is answered by this error."""
    session = boto3.Session("local", "local", region_name="eu-west-1")
    sessions = Sessions(session=session, watch=lambda made: count_refused_calls(made, meter))
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    session.events.register("before-call", lambda **_: (Forbidden(), answer))
    with pytest.raises(ClientError):
        sessions.client("ecs").list_tasks()


@pytest.mark.parametrize("code", sorted(REFUSED))
def test_a_refusal_is_counted_and_named_without_what_it_says(log: io.StringIO, code: str) -> None:
    meter = Meter()
    asked(meter, code, f"{WHO} because no identity-based policy allows it")
    assert meter.counted == [Metric.CALLS_REFUSED]
    (line,) = map(json.loads, log.getvalue().splitlines())
    assert (line["level"], line["message"], line["call"]) == ("ERROR", "call refused", "ecs:ListTasks")
    assert line["aws_region"] == "eu-west-1"
    assert "111122223333" not in log.getvalue()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ThrottlingException", "Rate exceeded"),
        ("ExpiredTokenException", "The security token included in the request is expired"),
        ("AccessDeniedException", f"{WHO} on resource: arn:aws:ecr:eu-west-1:444455556666:repository/team/api"),
    ],
)
def test_what_is_no_refusal_of_ours_is_not_counted(log: io.StringIO, code: str, message: str) -> None:
    meter = Meter()
    asked(meter, code, message)
    assert meter.counted == []
    assert log.getvalue() == ""


def test_our_own_accounts_no_is_counted(log: io.StringIO) -> None:
    meter = Meter()
    asked(meter, "AccessDeniedException", f"{WHO} on resource: arn:aws:ecr:eu-west-1:111122223333:repository/team/api")
    assert meter.counted == [Metric.CALLS_REFUSED]
