"""Clients are made once and give up early where a caller waits; sweeps are held back; other accounts are called by a
role; a refused call is counted and named.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.adapters.aws.sessions import (
    QUICK_ATTEMPTS,
    QUICK_READ_SECONDS,
    REFUSED,
    AssumedRoles,
    Quotas,
    Rate,
    Sessions,
    TokenBucket,
    count_refused_calls,
)
from chalicelib.domain.events.message import Metric
from chalicelib.errors import DeniedError
from chalicelib.observability import logger
from tests.fakes.moto_aws import mock_aws


def test_a_client_is_made_once_for_each_service_region_and_kind():
    sessions = Sessions("eu-west-1")
    one = sessions.client("ecs")
    assert sessions.client("ecs", "eu-west-1") is one
    others = {id(sessions.client("ecs", "us-east-1")), id(sessions.client("ecs", quick=True)), id(one)}
    assert len(others) == 3
    assert sessions.client("ecs", quick=True) is sessions.client("ecs", quick=True)


def test_clients_of_sweeps_are_held_back_and_leave_the_waiting_to_their_bucket():
    held = []
    quotas = SimpleNamespace(hold_back=held.append)
    sessions = Sessions("eu-west-1", quotas=quotas)
    swept = sessions.client("ecr", swept=True)
    assert sessions.client("ecr", swept=True) is swept
    assert sessions.client("ecr") is not swept
    assert held == [swept]
    assert swept.meta.config.retries["mode"] == "standard"


def test_a_quick_client_does_not_wait_for_a_service_that_hangs_or_throttles():
    config = Sessions("eu-west-1").client("ecs", quick=True).meta.config
    assert (config.read_timeout, config.retries["mode"]) == (QUICK_READ_SECONDS, "standard")
    assert config.retries["total_max_attempts"] == QUICK_ATTEMPTS
    assert (config.read_timeout + config.connect_timeout) * QUICK_ATTEMPTS <= 12


class Time:
    """Sleeping takes exactly as long as it says."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, list[float]()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_burst_passes_at_once_and_the_next_call_waits() -> None:
    time = Time()
    bucket = TokenBucket(Rate(2, 3), time.clock, time.sleep)
    assert [bucket.take() for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    assert time.slept == [0.5, 0.5]


def test_tokens_come_back_but_never_more_than_a_burst() -> None:
    time = Time()
    bucket = TokenBucket(Rate(2, 3), time.clock, time.sleep)
    for _ in range(3):
        bucket.take()
    time.now += 3_600
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_clock_that_goes_back_gives_no_tokens() -> None:
    time = Time()
    bucket = TokenBucket(Rate(1, 1), time.clock, time.sleep)
    bucket.take()
    time.now -= 100
    assert bucket.take() == 1


@given(st.integers(1, 50), st.integers(1, 20), st.lists(st.floats(0, 5), max_size=60))
def test_no_stretch_of_time_sees_more_calls_than_its_rate_allows(rate: int, burst: int, pauses: list[float]) -> None:
    time = Time()
    bucket, passed = TokenBucket(Rate(rate, burst), time.clock, time.sleep), []
    for pause in pauses:
        time.now += pause
        bucket.take()
        passed.append(time.now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + rate * (passed[last] - passed[first]) + 1e-6


def test_threads_share_a_bucket() -> None:
    time, waits = Time(), list[float]()
    bucket = TokenBucket(Rate(1, 10), time.clock, lambda _: None)
    threads = [Thread(target=lambda: waits.append(bucket.take())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == [0] * 10 + [float(n) for n in range(1, 11)]


def test_each_operation_and_region_has_a_bucket_of_its_own() -> None:
    time = Time()
    quotas = Quotas({"ecr": Rate(1, 1), "ecr.PutImage": Rate(0.5, 1)}, time.clock, time.sleep)
    assert quotas.take("ecr", "DescribeImages", "eu-west-1") == 0
    assert quotas.take("ecr", "DescribeImages", "us-east-1") == 0
    assert quotas.take("ecr", "DescribeRepositories", "eu-west-1") == 0
    assert quotas.take("ecr", "DescribeImages", "eu-west-1") == 1
    assert (quotas.take("ecr", "PutImage", "eu-west-1"), quotas.take("ecr", "PutImage", "eu-west-1")) == (0, 2)
    assert quotas.take("dynamodb", "GetItem", "eu-west-1") == 0, "nobody holds the table back"


@mock_aws()
def test_all_clients_of_a_process_are_held_back_together() -> None:
    time = Time()
    quotas = Quotas({"ecr": Rate(1, 1)}, time.clock, time.sleep)
    for _ in range(2):
        client = boto3.client("ecr", region_name="eu-west-1")
        quotas.hold_back(client)
        quotas.hold_back(client)
        client.describe_repositories()
    assert time.slept == [1]


OWN, OTHER = "123456789012", "210987654321"
ROLE = f"arn:aws:iam::{OTHER}:role/lazaretto-spoke"


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with mock_aws():
        yield Sessions("eu-west-1")


class Clock:
    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def now(self) -> datetime:
        return self.at


def who(client: Any) -> str:
    return str(client.get_caller_identity()["Account"])


def test_our_own_account_is_asked_as_ourselves_in_every_region(sessions: Sessions) -> None:
    roles = AssumedRoles(sessions, {}, Clock().now)
    assert who(roles.client(OWN, "sts", "eu-west-1")) == OWN
    assert roles.client(OWN, "ecr", "us-east-1").meta.region_name == "us-east-1"


def test_another_account_is_asked_by_its_role(sessions: Sessions) -> None:
    roles = AssumedRoles(sessions, {OTHER: ROLE}, Clock().now)
    client = roles.client(OTHER, "sts", "us-east-1")
    assert who(client) == OTHER
    assert client.meta.region_name == "us-east-1"


def test_an_account_without_a_role_is_not_asked(sessions: Sessions) -> None:
    with pytest.raises(DeniedError, match=f"{OTHER}.*LAZARETTO_ACCOUNT_ROLES"):
        AssumedRoles(sessions, {}, Clock().now).client(OTHER, "ecr", "us-east-1")


def test_what_sweeps_ask_is_held_back_in_every_account(sessions: Sessions) -> None:
    roles = AssumedRoles(sessions, {OTHER: ROLE}, Clock().now)
    assert roles.client(OWN, "ecr", "us-east-1", swept=True) is sessions.client("ecr", "us-east-1", swept=True)
    swept = roles.client(OTHER, "ecr", "us-east-1", swept=True)
    assert swept is not roles.client(OTHER, "ecr", "us-east-1")
    assert swept.meta.config.retries["mode"] == "standard"


def test_a_role_is_assumed_again_before_its_credentials_end(sessions: Sessions) -> None:
    clock = Clock()
    roles = AssumedRoles(sessions, {OTHER: ROLE}, clock.now)
    first = roles.client(OTHER, "ecr", "us-east-1")
    assert roles.client(OTHER, "ecr", "us-east-1") is first
    clock.at += timedelta(minutes=11)
    assert roles.client(OTHER, "ecr", "us-east-1") is not first


def test_a_session_has_the_name_of_the_function(sessions: Sessions) -> None:
    """By it the spoke tells who may act from who may look, and its CloudTrail who did what."""
    roles = AssumedRoles(sessions, {OTHER: ROLE}, Clock().now, "lazaretto-prod-OnActions-1A2B")
    arn = roles.client(OTHER, "sts", "us-east-1").get_caller_identity()["Arn"]
    assert arn == f"arn:aws:sts::{OTHER}:assumed-role/lazaretto-spoke/lazaretto-prod-OnActions-1A2B"


def test_an_account_that_sts_keeps_waiting_holds_up_no_other_that_is_known(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = "999900001111"
    roles = AssumedRoles(sessions, {OTHER: ROLE, third: ROLE.replace(OTHER, third)}, Clock().now)
    known = [roles.client(account, "ecr", "us-east-1") for account in (OWN, OTHER)]
    asked, answered = Event(), Event()

    def slow(_: AssumedRoles, role: str) -> Any:
        asked.set()
        answered.wait(20)
        raise DeniedError(role)

    monkeypatch.setattr(AssumedRoles, "_assume", slow)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(roles.client, third, "ecr", "us-east-1")
        assert asked.wait(20)
        others = pool.submit(lambda: [roles.client(account, "ecr", "us-east-1") for account in (OWN, OTHER)])
        try:
            assert others.result(timeout=10) == known
        finally:
            answered.set()
        with pytest.raises(DeniedError):
            waiting.result(timeout=20)


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
