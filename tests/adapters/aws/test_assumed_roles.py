"""Other accounts are looked at by the role they let us assume, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest

from chalicelib.adapters.aws.assumed_roles import AssumedRoles
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.errors import DeniedError
from tests.fakes.moto_aws import mock_aws

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
    assert roles.client(OWN, "ecr", "us-east-1", swept=True) is sessions.swept_client("ecr", "us-east-1")
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
