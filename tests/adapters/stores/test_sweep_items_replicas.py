"""Copies in the table: the later look stands, what was told is kept with it, pages go on. The fake and DynamoDB."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import msgspec
import pytest

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.stores.sweep_items import ReplicaItems
from chalicelib.adapters.table.findings_table import FindingsTable
from chalicelib.domain.images.image import Repository
from chalicelib.domain.replication.replica import Note, Replica, ReplicaStatus, ReplicationState
from chalicelib.domain.replication.rules import Destination, DestinationAccess
from tests.fakes.moto_aws import mock_aws
from tests.fakes.replicas import FakeReplicas

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NAME = "lazaretto-test"
HOME = Repository("111122223333", "eu-west-1", "team/api")
NEAR, FAR = Destination("111122223333", "eu-central-1"), Destination("444455556666", "us-east-1")


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        made = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        create_table(made, NAME)
        yield made


@pytest.fixture(params=["fake", "dynamodb"])
def items(request: pytest.FixtureRequest) -> Any:
    if request.param == "fake":
        return FakeReplicas()
    return ReplicaItems(Dynamo(request.getfixturevalue("client"), NAME, lambda _: None), lambda: NOW)


@pytest.fixture
def real(client: Any) -> ReplicaItems:
    return ReplicaItems(Dynamo(client, NAME, lambda _: None), lambda: NOW)


def replica(number: int = 1, place: Destination = NEAR, **facts: Any) -> Replica:
    given: dict[str, Any] = {"status": ReplicaStatus.COMPLETE, "since": NOW, "at": NOW, **facts}
    return Replica(ref=HOME.image(f"sha256:{number:064x}"), destination=place, **given)


def test_what_is_kept_comes_back(items: ReplicaItems) -> None:
    found = replica(
        status=ReplicaStatus.TAGS_DIFFER, notes=(Note.ARCHIVED, Note.IMMUTABLE_TAG), tags=("v1",), holder="x"
    )
    assert items.keep(found)
    assert items.keep(replica(2, FAR))
    assert items.of(HOME) == {(r.ref.digest, r.destination): r for r in (found, replica(2, FAR))}
    assert items.of_image(found.ref) == (found,)
    assert items.of(Repository(HOME.registry, HOME.region, "team/api2")) == {}


def test_the_later_look_stands(items: ReplicaItems) -> None:
    late = replica(at=NOW + timedelta(minutes=1))
    assert items.keep(late)
    assert not items.keep(replica(status=ReplicaStatus.MISSING))
    assert items.of_image(late.ref) == (late,)
    assert items.keep(replica(status=ReplicaStatus.MISSING, at=NOW + timedelta(minutes=2)))


def test_what_was_told_of_another_finding_is_not_kept(items: ReplicaItems) -> None:
    missing = replica(status=ReplicaStatus.MISSING)
    items.keep(missing)
    told = msgspec.structs.replace(missing, announced=missing.alarm)
    items.store_delivered(told)
    assert items.of_image(missing.ref)[0].announced == "MISSING"
    items.keep(replica(at=NOW + timedelta(minutes=1)))
    items.store_delivered(told)
    assert items.of_image(missing.ref)[0].announced == ""


def test_what_is_dropped_is_gone(items: ReplicaItems) -> None:
    items.keep(replica())
    items.drop(replica())
    items.drop(replica())
    assert items.of(HOME) == {}


def test_the_state_of_a_repository_comes_back(items: ReplicaItems) -> None:
    assert items.state(HOME) is None
    state = ReplicationState((DestinationAccess(NEAR, NOW, None, "no", ("a", "b"), NOW),), NOW, ("x#slack",))
    items.store_state(HOME, state)
    assert items.state(HOME) == state


def test_copies_are_outside_the_indexes_and_no_images(real: ReplicaItems, client: Any) -> None:
    real.keep(replica())
    real.store_state(HOME, ReplicationState())
    assert list(FindingsTable(Dynamo(client, NAME), lambda: NOW).headers_of(HOME)) == []
    for index in ("by_state", "by_due"):
        assert client.scan(TableName=NAME, IndexName=index)["Count"] == 0


def test_retention_is_told_whether_a_copy_is_missing(items: ReplicaItems) -> None:
    one, other = replica().ref.digest, replica(2).ref.digest
    assert items.missing(HOME, [one]) == {one: None}
    items.store_state(HOME, ReplicationState((DestinationAccess(NEAR, NOW),), NOW))
    assert items.missing(HOME, [one, other]) == {one: True, other: True}
    items.keep(replica())
    assert items.missing(HOME, [one, other]) == {one: False, other: True}
    items.store_state(HOME, ReplicationState((DestinationAccess(NEAR, NOW), DestinationAccess(FAR, NOW)), NOW))
    assert items.missing(HOME, [one]) == {one: True}, "each place that a rule names"
    items.store_state(
        HOME, ReplicationState((DestinationAccess(NEAR, NOW), DestinationAccess(FAR, NOW, gone_at=NOW)), NOW)
    )
    assert items.missing(HOME, [one, other]) == {one: False, other: True}
    items.store_state(HOME, ReplicationState((), NOW))
    assert items.missing(HOME, [other]) == {other: False}


def test_pages_go_on_where_they_end(items: ReplicaItems) -> None:
    kept = [
        replica(n, place, status=ReplicaStatus.MISSING if n % 2 else ReplicaStatus.COMPLETE)
        for n in range(9)
        for place in (NEAR, FAR)
    ]
    for one in kept:
        items.keep(one)
    found, after, pages = list[Replica](), None, 0
    while pages == 0 or after is not None:
        page = items.page(HOME, lambda r: r.status is ReplicaStatus.MISSING, after, 3)
        found, after, pages = [*found, *page.items], page.after, pages + 1
        assert len(page.items) <= 3
    assert found == [r for r in kept if r.status is ReplicaStatus.MISSING]
