"""What clusters have admitted, in the table: one put a day for each cluster and digest."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import EXPIRES, admission_key, create_table
from chalicelib.adapters.stores.admission_items import AdmissionItems
from chalicelib.domain.admission.judgement import ADMITTED_FOR
from tests.fakes.images import digest
from tests.fakes.moto_aws import mock_aws
from tests.fakes.queries import FakeAdmissions

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TODAY, HOUR, DAY = NOW.replace(hour=0), timedelta(hours=1), timedelta(days=1)
NAME = "lazaretto-test"


@pytest.fixture
def dynamo() -> Iterator[Dynamo]:
    with mock_aws():
        client: Any = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        create_table(client, NAME)
        yield Dynamo(client, NAME)


@pytest.fixture(params=["fake", "dynamodb"])
def items(request: pytest.FixtureRequest, dynamo: Dynamo) -> Any:
    return FakeAdmissions() if request.param == "fake" else AdmissionItems(dynamo)


def test_a_cluster_remembers_its_own_digests_by_the_day(items: Any) -> None:
    items.remember("blue", [digest(1), digest(2)], NOW)
    items.remember("blue", [digest(2)], NOW + DAY)
    asked = [digest(number) for number in (1, 2, 3)]
    assert items.last("blue", asked) == {digest(1): TODAY, digest(2): TODAY + DAY}
    assert items.last("green", asked) == {}
    assert items.last("blue", []) == {}


def test_it_is_put_once_a_day_and_a_late_writer_takes_nothing_back(
    dynamo: Dynamo, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, puts = AdmissionItems(dynamo), list[bool]()
    real = dynamo.put_if
    monkeypatch.setattr(dynamo, "put_if", lambda *given, **more: puts.append(real(*given, **more)))
    for at in (NOW, NOW + HOUR, NOW + DAY, NOW + DAY + HOUR):
        items.remember("blue", [digest(1)], at)
    assert len(puts) == 2
    monkeypatch.setattr(items, "last", lambda cluster, digests: {})
    items.remember("blue", [digest(1)], NOW)
    monkeypatch.undo()
    assert items.last("blue", [digest(1)]) == {digest(1): TODAY + DAY}


def test_dynamodb_removes_it_once_it_proves_nothing_any_more(dynamo: Dynamo) -> None:
    AdmissionItems(dynamo).remember("blue", [digest(1)], NOW)
    (item,) = dynamo.get_many([admission_key("blue", digest(1))])
    assert float(item[EXPIRES]["N"]) > (NOW + ADMITTED_FOR).timestamp()
