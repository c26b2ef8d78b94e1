"""Policies and the rule book: versions rise with every change, nothing is half put, a minute's memory is not a lie."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import msgspec
import pytest

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.stores.policy_file import default_policy, read_policy
from chalicelib.adapters.stores.rule_store import PolicyStore, WaiverStore
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.waiver import VexJustification, VexStatus, Waiver
from chalicelib.domain.waivers.change import WaiverChange
from chalicelib.errors import NotFoundError, PolicyError, StoredPolicyError
from tests.fakes.atomic import AtomicClient
from tests.fakes.images import ACCOUNT
from tests.fakes.moto_aws import mock_aws

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NAME = "lazaretto-test"
TEXT = "version: 1\nmode: enforce\nrules:\n  - id: no-criticals\n    match: {severity: CRITICAL}\n    decision: block\n"
WAIVER = Waiver(
    id="w1",
    repository="team/*",
    reason="not reachable",
    approved_by="an owner",
    expires_at=NOW + timedelta(days=30),
    created_at=NOW,
    vulnerability_id="CVE-2026-0001",
    status=VexStatus.NOT_AFFECTED,
    justification=VexJustification.COMPONENT_NOT_PRESENT,
)


class World:
    def __init__(self, client: Any) -> None:
        self.client, self.now = client, NOW
        self.calls: list[str] = []
        client.meta.events.register("before-call.dynamodb", lambda model, **_: self.calls.append(model.name))

    def store(self) -> PolicyStore:
        return PolicyStore(
            Dynamo(self.client, NAME, lambda _: None), default_policy(), lambda: self.now, read_policy, ACCOUNT
        )


@pytest.fixture
def world() -> Iterator[World]:
    with mock_aws():
        client = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        create_table(client, NAME)
        yield World(client)


def test_until_one_is_stored_the_default_policy_is_in_force(world: World) -> None:
    rules = world.store().fresh()
    assert (rules.policy, rules.waivers, rules.policy_version, rules.waivers_version) == (default_policy(), (), 0, 0)


def test_a_stored_policy_is_read_with_its_number(world: World) -> None:
    store = world.store()
    assert store.put_policy(TEXT, "an owner") == 1
    assert store.put_policy(TEXT.replace("block", "warn"), "another owner") == 2
    rules = world.store().fresh()
    assert (rules.policy_version, rules.policy.number, rules.policy.rules[0].decision) == (2, 2, "WARN")
    former = store.read_policy(1)
    assert (former.text, former.put_by, former.put_at) == (TEXT, "an owner", NOW)
    with pytest.raises(NotFoundError):
        store.read_policy(3)


def test_a_policy_that_does_not_load_is_not_put(world: World) -> None:
    store = world.store()
    with pytest.raises(PolicyError):
        store.put_policy("version: 1\nmood: bad\n", "an owner")
    assert store.fresh().policy_version == 0


def test_a_stored_policy_that_does_not_load_any_more_is_our_fault_and_is_replaced(world: World) -> None:
    world.store().put_policy(TEXT, "an owner")

    def read_less(text: str, *, number: int = 0) -> Policy:
        if text == TEXT:
            raise PolicyError("rules[0].match", "unknown key `severity`", 4)
        return read_policy(text, number=number)

    store = PolicyStore(
        Dynamo(world.client, NAME, lambda _: None), default_policy(), lambda: world.now, read_less, ACCOUNT
    )
    for ask in (store.fresh, store.current, store.policy_in_force):
        named = r"policy 1, .*4: rules\[0\]\.match.*lazaretto policy apply FILE"
        with pytest.raises(StoredPolicyError, match=named) as raised:
            ask()
        assert (raised.value.status, raised.value.version) == (500, 1)
    with pytest.raises(PolicyError):
        store.put_policy(TEXT, "an owner")
    assert store.put_policy("version: 1\n", "an owner") == 2
    assert store.fresh().policy_version == 2


def test_rules_are_remembered_for_a_minute_and_fresh_ones_are_not(world: World) -> None:
    reader, writer = world.store(), WaiverStore(Dynamo(world.client, NAME))
    assert reader.current().waivers == ()
    put = writer.put(WaiverChange(former=None, waiver=WAIVER, by="person:oncall", at=NOW))
    world.now += timedelta(seconds=59)
    assert reader.current().waivers == ()
    assert reader.fresh().waivers == (WAIVER,)
    writer.put(msgspec.structs.replace(put, former=WAIVER, waiver=None))
    world.now += timedelta(seconds=61)
    assert reader.current().waivers == ()


def test_when_nothing_changed_fresh_rules_cost_one_read(world: World) -> None:
    store = world.store()
    store.put_policy(TEXT, "an owner")
    WaiverStore(Dynamo(world.client, NAME)).put(WaiverChange(former=None, waiver=WAIVER, by="person:oncall", at=NOW))
    first = store.fresh()
    world.calls.clear()
    assert store.fresh().policy is first.policy
    assert world.calls == ["GetItem"]
    store.current()
    assert world.calls == ["GetItem"]


def test_the_policy_in_force_is_had_without_the_waivers(world: World) -> None:
    store = world.store()
    store.put_policy(TEXT, "an owner")
    first, version = store.policy_in_force()
    assert (version, first.rules[0].id) == (1, "no-criticals")
    WaiverStore(Dynamo(world.client, NAME)).put(WaiverChange(former=None, waiver=WAIVER, by="person:oncall", at=NOW))
    world.calls.clear()
    assert store.policy_in_force()[0] is first
    assert world.calls == ["GetItem"]
    world.store().put_policy(TEXT.replace("block", "warn"), "an owner")
    assert (store.policy_in_force()[1], store.policy_in_force()[0].rules[0].decision) == (2, "WARN")


def test_many_writers_at_once_lose_no_version(world: World) -> None:
    world.client = AtomicClient(world.client)
    store = world.store()
    with ThreadPoolExecutor(3) as pool:
        versions = sorted(pool.map(lambda n: store.put_policy(TEXT, f"owner {n}"), range(9)))
    assert versions == list(range(1, 10))
