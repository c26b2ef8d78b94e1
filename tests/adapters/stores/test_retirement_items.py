"""Retired registries in the table, and their fake."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import msgspec
import pytest

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.stores.retirement_items import REMEMBERED, RetirementItems
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.reconcile.retirement import RetiredCounts, Retirement
from chalicelib.errors import ConflictError, TransientError
from tests.fakes.moto_aws import mock_aws
from tests.fakes.retirements import FakeRetirements

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NAME = "lazaretto-test"
THEIRS = Retirement(RegistryPlace("eu-west-1", "444455556666"), "444455556666", "ann", "closed", NOW)
OURS = Retirement(RegistryPlace("eu-north-1"), "111122223333", "ann", "closed", NOW, counts=RetiredCounts(images=3))


@pytest.fixture(params=["fake", "dynamodb"])
def items(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "fake":
        yield FakeRetirements()
        return
    with mock_aws():
        yield RetirementItems(Dynamo(table(), NAME), lambda: NOW)


def table() -> Any:
    client: Any = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    create_table(client, NAME)
    return client


def test_they_are_read_as_they_were_put(items: Any) -> None:
    assert items.all() == items.recent() == ()
    put = [items.put(one) for one in (OURS, THEIRS)]
    assert list(items.all()) == list(items.recent()) == put
    assert items.get("111122223333", "eu-north-1") == put[0]
    assert items.get("111122223333", "eu-west-1") is None


def test_a_put_needs_the_last_one(items: Any) -> None:
    put = items.put(THEIRS)
    with pytest.raises(ConflictError):
        items.put(msgspec.structs.replace(THEIRS, reason="another's"))
    assert items.put(msgspec.structs.replace(put, done_at=NOW)).revision == 2


def test_one_that_is_dropped_is_watched_and_may_be_retired_again(items: Any) -> None:
    put = items.put(THEIRS)
    items.drop(put)
    items.drop(put)
    assert items.all() == ()
    assert items.put(THEIRS).revision == 1


def test_what_another_process_has_put_is_known_after_a_minute() -> None:
    now = NOW
    with mock_aws():
        client = table()
        one, other = (RetirementItems(Dynamo(client, NAME), lambda: now) for _ in range(2))
        assert one.recent() == ()
        other.put(THEIRS)
        assert one.recent() == ()
        now += REMEMBERED + timedelta(seconds=1)
        assert [found.name for found in one.recent()] == [THEIRS.name]


def test_a_table_that_does_not_answer_costs_no_message_a_receive_once_it_has_answered() -> None:
    class Throttled(Dynamo):
        def query(self, *_: Any, **__: Any) -> Any:
            raise TransientError("throttled")

    now = NOW
    with mock_aws():
        client = table()
        cold = RetirementItems(Throttled(client, NAME), lambda: now)
        with pytest.raises(TransientError):
            cold.recent()
        warm = RetirementItems(Dynamo(client, NAME), lambda: now)
        put = warm.put(THEIRS)
        assert warm.recent() == (put,)
        warm._dynamo = Throttled(client, NAME)
        now += 2 * REMEMBERED
        assert warm.recent() == (put,)
        with pytest.raises(TransientError):
            warm.all()
