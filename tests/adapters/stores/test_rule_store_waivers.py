"""Waivers and their changes: put as one, never lost, never half. The same tests run over DynamoDB and over the fake."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import msgspec
import pytest

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import BODY, WAIVER, create_table, key
from chalicelib.adapters.stores.policy_file import default_policy, read_policy
from chalicelib.adapters.stores.rule_store import PolicyStore, WaiverStore
from chalicelib.domain.policy.waiver import VexJustification, VexStatus, Waiver
from chalicelib.domain.waivers.alert import Notice, NoticeStage
from chalicelib.domain.waivers.change import Carried, WaiverChange
from chalicelib.errors import ConflictError, TransientError
from tests.fakes.atomic import AtomicClient
from tests.fakes.images import ACCOUNT
from tests.fakes.moto_aws import mock_aws
from tests.fakes.waivers import FakeWaivers

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NAME = "lazaretto-test"
ONE = Waiver(
    id="w-0000000001",
    repository="team/*",
    reason="not reachable",
    approved_by="platform security",
    expires_at=NOW + timedelta(days=30),
    created_at=NOW,
    vulnerability_id="CVE-2026-0001",
    status=VexStatus.NOT_AFFECTED,
    justification=VexJustification.COMPONENT_NOT_PRESENT,
)
TWO = msgspec.structs.replace(ONE, id="w-0000000002", vulnerability_id=None, rule="r", status=None, justification=None)


def given(waiver: Waiver, former: Waiver | None = None) -> WaiverChange:
    return WaiverChange(former=former, waiver=waiver, by="person:oncall", at=NOW, policy_version=3)


def ended(former: Waiver) -> WaiverChange:
    return WaiverChange(former=former, waiver=None, by="person:oncall", at=NOW, why="fixed")


def dynamo() -> Any:
    client = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    create_table(client, NAME)
    return client


@pytest.fixture(params=["DynamoDB", "fake"])
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "fake":
        yield FakeWaivers()
        return
    with mock_aws():
        yield WaiverStore(Dynamo(dynamo(), NAME, lambda _: None))


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        yield dynamo()


def rules(client: Any) -> PolicyStore:
    return PolicyStore(Dynamo(client, NAME, lambda _: None), default_policy(), lambda: NOW, read_policy, ACCOUNT)


def test_a_waiver_comes_back_whole_and_its_change_waits(store: Any) -> None:
    first, second = store.put(given(ONE)), store.put(given(TWO))
    assert (first.version, second.version) == (1, 2)
    assert store.read() == (ONE, TWO)
    assert (store.get(ONE.id), store.get("w-absent")) == (ONE, None)
    assert store.changes() == (first, second)


def test_a_waiver_is_changed_and_ended_only_as_it_stands(store: Any) -> None:
    later = msgspec.structs.replace(ONE, reason="still not reachable")
    store.put(given(ONE))
    for stale in (given(ONE), given(later, former=later), ended(later)):
        with pytest.raises(ConflictError):
            store.put(stale)
    assert (store.read(), len(store.changes())) == ((ONE,), 1)
    store.put(given(later, former=ONE))
    assert store.put(ended(later)).version == 3
    assert store.read() == ()
    with pytest.raises(ConflictError):
        store.put(ended(later))


def test_a_change_stays_until_it_is_ended_and_does_not_come_back(store: Any) -> None:
    put = store.put(given(ONE))
    worked_on = msgspec.structs.replace(put, seen_at=NOW, carried=Carried({}, {}))
    store.store_change(worked_on)
    assert store.changes() == (worked_on,)
    store.end_change(put.version)
    store.store_change(worked_on)
    store.end_change(put.version)
    assert store.changes() == ()


def test_what_was_told_is_beside_the_waiver(store: Any) -> None:
    store.put(given(ONE))
    notice = Notice(ONE.expires_at, NoticeStage.WEEK, NOW)
    store.store_notice(ONE.id, Notice(ONE.expires_at))
    store.store_notice(ONE.id, notice)
    assert store.notices() == {ONE.id: notice}
    store.drop_notice(ONE.id)
    store.drop_notice(ONE.id)
    assert store.notices() == {}
    assert store.put(given(TWO)).version == 2


def test_a_waiver_is_dropped_only_as_it_stands_and_without_a_version(store: Any) -> None:
    renewed = msgspec.structs.replace(ONE, expires_at=ONE.expires_at + timedelta(days=1))
    store.put(given(ONE))
    store.put(given(renewed, former=ONE))
    store.drop(ONE)
    assert store.read() == (renewed,)
    store.drop(renewed)
    store.drop(renewed)
    assert store.read() == ()
    assert store.put(given(TWO)).version == 3


def test_the_rule_book_has_them_under_their_version(client: Any) -> None:
    store = WaiverStore(Dynamo(client, NAME))
    store.put(given(ONE))
    known = rules(client).fresh()
    assert (known.waivers, known.waivers_version) == ((ONE,), 1)
    store.store_notice(ONE.id, Notice(ONE.expires_at, NoticeStage.DAY))
    store.put(ended(ONE))
    assert (rules(client).fresh().waivers, rules(client).fresh().waivers_version) == ((), 2)


def test_what_an_older_version_stored_can_be_changed(client: Any) -> None:
    store = WaiverStore(Dynamo(client, NAME))
    older = msgspec.json.encode({"reason": ONE.reason, **msgspec.to_builtins(ONE), "former_field": 1})
    client.put_item(TableName=NAME, Item=key(WAIVER, ONE.id) | {BODY: {"B": older}})
    assert store.get(ONE.id) == ONE
    store.put(ended(ONE))
    assert store.read() == ()


@pytest.mark.parametrize("dies_at", [0, 1, 2])
def test_waiver_version_and_change_are_put_together_or_not_at_all(client: Any, dies_at: int) -> None:
    """A condition of any one of the three fails."""
    store = WaiverStore(Dynamo(client, NAME, lambda seconds: None))
    store.put(given(TWO))
    steps: list[Any] = []

    def spoil(params: dict[str, Any], **_: Any) -> None:
        steps.append(params["TransactItems"])
        for operation in params["TransactItems"][dies_at].values():
            operation["ConditionExpression"] = "attribute_exists(nothing)"

    client.meta.events.register("provide-client-params.dynamodb.TransactWriteItems", spoil)
    with pytest.raises(TransientError, match="too many writers"):
        store.put(given(ONE))
    assert len(steps[0]) == 3
    assert (store.read(), len(store.changes()), rules(client).fresh().waivers_version) == ((TWO,), 1, 1)


def test_many_writers_at_once_lose_no_version(client: Any) -> None:
    store = WaiverStore(Dynamo(AtomicClient(client), NAME))

    def insist(waiver: Waiver) -> int:
        while True:
            try:
                return store.put(given(waiver)).version
            except TransientError:
                continue

    waivers = [msgspec.structs.replace(ONE, id=f"w-{n:010d}") for n in range(9)]
    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(insist, waivers)) == list(range(1, 10))
    assert (len(store.read()), len(store.changes())) == (9, 9)


def test_who_loses_the_version_to_another_waiver_pauses_and_tries_again(client: Any) -> None:
    pauses: list[float] = []
    store, another = WaiverStore(Dynamo(client, NAME, pauses.append)), WaiverStore(Dynamo(client, NAME))
    once = [given(TWO)]

    def overtake(params: dict[str, Any], **_: Any) -> None:
        if once:
            another.put(once.pop())

    client.meta.events.register("provide-client-params.dynamodb.TransactWriteItems", overtake)
    assert store.put(given(ONE)).version == 2
    assert (len(pauses), len(store.read())) == (1, 2)


def test_who_finds_another_waiver_stored_is_told_at_once(client: Any) -> None:
    pauses: list[float] = []
    store = WaiverStore(Dynamo(client, NAME, pauses.append))
    store.put(given(ONE))
    with pytest.raises(ConflictError, match="changed in between"):
        store.put(given(msgspec.structs.replace(ONE, reason="another")))
    assert pauses == []
