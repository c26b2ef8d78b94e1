"""Of two workers one asks, and no grant of the budget is lost, whoever takes at once. Fake and DynamoDB alike."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.stores.sweep_items import ScanAskItems
from chalicelib.domain.images.image import Repository
from chalicelib.domain.reconcile.scan_budget import Asked, ScanBudget, ScanRefusal
from chalicelib.services.ports import registry
from tests.fakes.atomic import AtomicClient
from tests.fakes.images import home, ref
from tests.fakes.moto_aws import mock_aws
from tests.fakes.scan_asks import FakeScanAsks

NOW = datetime(2026, 3, 10, 12, 0, 0, 123456, UTC)
NAME = "lazaretto-test"
HOME, DAY = home(), timedelta(days=1)


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        made = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        create_table(made, NAME)
        yield made


@pytest.fixture(params=["fake", "dynamodb"])
def asks(request: pytest.FixtureRequest) -> registry.ScanAsks:
    if request.param == "fake":
        return FakeScanAsks()
    return ScanAskItems(Dynamo(request.getfixturevalue("client"), NAME, lambda _: None))


def test_an_image_nobody_asked_for_is_absent(asks: registry.ScanAsks) -> None:
    assert asks.asked([ref(1), ref(2)]) == {}
    assert asks.asked([]) == {}


def test_of_two_claims_after_the_same_ask_one_is_given(asks: registry.ScanAsks) -> None:
    assert [asks.claim(ref(1), NOW, None), asks.claim(ref(1), NOW, None)] == [True, False]
    former = asks.asked([ref(1)])[ref(1)]
    assert former == Asked(NOW)
    assert [asks.claim(ref(1), NOW + DAY, former), asks.claim(ref(1), NOW + DAY, former)] == [True, False]
    assert asks.claim(ref(2), NOW, None)


def test_what_ecr_refused_is_kept_with_its_reason(asks: registry.ScanAsks) -> None:
    asks.claim(ref(1), NOW, None)
    asks.end_claim(ref(1), NOW, Asked(NOW, ScanRefusal.UNSUPPORTED))
    assert asks.asked([ref(1), ref(2)]) == {ref(1): Asked(NOW, ScanRefusal.UNSUPPORTED)}


def test_what_was_not_asked_after_all_may_be_asked_at_once(asks: registry.ScanAsks) -> None:
    asks.claim(ref(1), NOW, None)
    asks.end_claim(ref(1), NOW, None)
    (known,) = asks.asked([ref(1)]).values()
    assert not known.bars(NOW)
    assert asks.claim(ref(1), NOW, known)


def test_the_end_of_a_former_claim_takes_nothing_from_a_newer_one(asks: registry.ScanAsks) -> None:
    asks.claim(ref(1), NOW, None)
    asks.claim(ref(1), NOW + DAY, Asked(NOW))
    asks.end_claim(ref(1), NOW, None)
    assert asks.asked([ref(1)]) == {ref(1): Asked(NOW + DAY)}


def test_each_registry_and_region_has_a_budget_of_its_own(asks: registry.ScanAsks) -> None:
    asks.change_budget(HOME, lambda budget: budget.take(7, 10, NOW)[0])
    other = Repository(HOME.registry, "us-east-1", HOME.name)
    assert asks.change_budget(HOME, lambda budget: budget).spent(NOW) == 7
    assert asks.change_budget(other, lambda budget: budget) == ScanBudget()


def test_workers_that_take_at_the_same_time_share_one_budget(client: Any) -> None:
    granted: list[int] = []
    atomic = AtomicClient(client)

    def take(_: int) -> None:
        got = 0

        def change(budget: ScanBudget) -> ScanBudget:
            nonlocal got
            after, got = budget.take(3, 10, NOW)
            return after

        ScanAskItems(Dynamo(atomic, NAME, lambda _: None)).change_budget(HOME, change)  # type: ignore[arg-type]
        granted.append(got)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take, range(8)))
    assert sum(granted) == 10


def test_of_many_workers_one_claims(client: Any) -> None:
    atomic = AtomicClient(client)
    with ThreadPoolExecutor(4) as pool:
        asks = [ScanAskItems(Dynamo(atomic, NAME, lambda _: None)) for _ in range(8)]  # type: ignore[arg-type]
        assert sum(pool.map(lambda one: one.claim(ref(1), NOW, None), asks)) == 1
