"""Legal holds in the table, and their fake: one on each image and one on the repository."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import msgspec
import pytest

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.stores.legal_hold_items import LegalHoldItems
from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.legal_hold import LegalHold
from tests.fakes.legal_holds import FakeLegalHolds
from tests.fakes.moto_aws import mock_aws

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NAME = "lazaretto-test"
HOME = Repository("111122223333", "eu-west-1", "team/api")
OTHER = Repository("111122223333", "eu-west-1", "team/api2")
WHOLE = LegalHold(HOME, None, "counsel", "the claim of 2026", NOW)
ONE = LegalHold(HOME, "sha256:" + "a" * 64, "counsel", "evidence", NOW)


@pytest.fixture(params=["fake", "dynamodb"])
def items(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "fake":
        yield FakeLegalHolds()
        return
    with mock_aws():
        client: Any = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        create_table(client, NAME)
        yield LegalHoldItems(Dynamo(client, NAME))


def test_holds_are_read_as_they_were_put_by_repository(items: Any) -> None:
    for hold in (WHOLE, ONE, msgspec.structs.replace(ONE, repository=OTHER)):
        items.put(hold)
    assert {hold.digest: hold for hold in items.of(HOME)} == {None: WHOLE, ONE.digest: ONE}
    assert len(items.of(OTHER)) == 1
    assert items.of(Repository("111122223333", "eu-west-1", "team")) == ()


def test_one_that_is_ended_takes_the_place_of_the_one_that_stood(items: Any) -> None:
    ended = msgspec.structs.replace(ONE, ended_at=NOW, ended_by="counsel", ended_because="settled")
    items.put(ONE)
    items.put(ended)
    assert items.of(HOME) == (ended,)
