"""Copies in the table: the later look stands, what was told is kept with it, pages go on. The fake and DynamoDB."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import boto3
import msgspec
import pytest

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.stores.sweep_items import LISTING_KEPT_FOR, ReplicaItems
from chalicelib.adapters.table.findings_table import FindingsTable
from chalicelib.domain.images.image import ImageDetail, Repository, StorageStatus
from chalicelib.domain.replication.check_progress import Unfinished
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


def test_those_between_two_digests_are_read_alone(items: ReplicaItems) -> None:
    for n in range(5):
        items.keep(replica(n))
        items.keep(replica(n, FAR))
    first, last = replica(1).ref.digest, replica(3).ref.digest
    assert {digest for digest, _ in items.of(HOME, (first, last))} == {replica(n).ref.digest for n in (1, 2, 3)}
    assert {digest for digest, _ in items.of(HOME, (last, "~"))} == {replica(n).ref.digest for n in (3, 4)}
    assert items.of(HOME, ("", "~")) == items.of(HOME)


def image(number: int, **facts: Any) -> ImageDetail:
    return ImageDetail(HOME.image(f"sha256:{number:064x}"), **facts)


def test_a_listing_that_was_put_aside_comes_back_without_sizes_and_scans(items: ReplicaItems) -> None:
    known = image(
        1,
        tags=("v1", "latest"),
        pushed_at=NOW,
        media_type="application/vnd.oci.image.manifest.v1+json",
        artifact_media_type="application/spdx+json",
        subject_digest="sha256:of",
        storage=StorageStatus.ARCHIVED,
        last_pulled_at=NOW + timedelta(microseconds=1),
        archived_at=NOW,
        activated_at=NOW,
    )
    name = items.store_listing(HOME, [known, image(2)])
    assert items.stored_listing(HOME, name) == {one.ref.digest: one for one in (known, image(2))}
    other = items.store_listing(HOME, [image(3)])
    assert other != name, "of two workers none writes over what the other one has"
    assert list(items.stored_listing(HOME, name) or ()) == [known.ref.digest, image(2).ref.digest]
    assert items.stored_listing(HOME, items.store_listing(HOME, [])) == {}
    assert items.stored_listing(HOME, "no-such:1") is None
    assert items.of(HOME) == {}


def test_a_listing_of_many_tags_is_put_in_many_items_and_counts_only_whole(real: ReplicaItems, client: Any) -> None:
    """Images of which each has hundreds of tags that no compression makes small."""
    random = Random(7)
    tags = [tuple(f"{random.getrandbits(400):x}" for _ in range(90)) for _ in range(200)]
    images = {(one := image(n, tags=tags[n % 200], pushed_at=NOW)).ref.digest: one for n in range(200)}
    name = real.store_listing(HOME, images.values())
    assert real.stored_listing(HOME, name) == images
    items = [item for item in client.scan(TableName=NAME)["Items"] if item["sk"]["S"].startswith("LISTED#")]
    assert len(items) > 1
    assert all(len(item["bd"]["B"]) < 400_000 for item in items)
    client.delete_item(TableName=NAME, Key={name: items[-1][name] for name in ("pk", "sk")})
    assert real.stored_listing(HOME, name) is None


def test_a_listing_ends_by_itself(client: Any) -> None:
    now = NOW
    items = ReplicaItems(Dynamo(client, NAME, lambda _: None), lambda: now)
    name = items.store_listing(HOME, [image(1)])
    now = NOW + LISTING_KEPT_FOR - timedelta(seconds=1)
    assert items.stored_listing(HOME, name) is not None
    now = NOW + LISTING_KEPT_FOR
    assert items.stored_listing(HOME, name) is None, "DynamoDB removes it some time later"


def test_100_000_images_take_some_megabytes(real: ReplicaItems, client: Any) -> None:
    random = Random(7)
    images = [
        ImageDetail(HOME.image(f"sha256:{random.getrandbits(256):064x}"), (f"build-{n}",), NOW + timedelta(minutes=n))
        for n in range(2_000)
    ]
    real.store_listing(HOME, images)
    (item,) = client.scan(TableName=NAME)["Items"]
    assert len(item["bd"]["B"]) < 70 * len(images), "write units: a KB each"


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
    left = msgspec.structs.replace(state, unfinished=Unfinished(NOW, "sha256:1", 4, 9))
    items.store_state(HOME, left)
    assert items.state(HOME) == left


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
    items.store_state(HOME, ReplicationState(unfinished=Unfinished(NOW)))
    assert items.missing(HOME, [other]) == {other: None}, "no destination was found, because the listing did not end"


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
