"""Policies and waivers: versions rise with every change, nothing is put half, and a minute's memory is not a lie."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import msgspec
import pytest
from moto import mock_aws

from chalicelib.adapters.findings_table import FindingsTable
from chalicelib.adapters.policy_file import default_policy, read_policy
from chalicelib.adapters.policy_store import PolicyStore
from chalicelib.adapters.table_schema import create_table
from chalicelib.domain.waiver import VexJustification, VexStatus, Waiver
from chalicelib.errors import NotFoundError, PolicyError
from tests.fakes.atomic import AtomicClient

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
        return PolicyStore(self.client, NAME, default_policy(), lambda: self.now, read_policy, sleep=lambda _: None)


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


def test_a_waiver_comes_back_whole_and_raises_the_version(world: World) -> None:
    store = world.store()
    other = msgspec.structs.replace(WAIVER, id="w2", vulnerability_id=None, rule="no-criticals", status=None)
    assert store.put_waiver(WAIVER) == 1
    assert store.put_waiver(other) == 2
    rules = world.store().fresh()
    assert (rules.waivers, rules.waivers_version) == ((WAIVER, other), 2)
    assert store.remove_waiver("w1") == 3
    assert world.store().fresh().waivers == (other,)
    with pytest.raises(NotFoundError):
        store.remove_waiver("w1")
    assert FindingsTable(world.client, NAME, lambda: NOW).read_versions() == (0, 3)


def test_rules_are_remembered_for_a_minute_and_fresh_ones_are_not(world: World) -> None:
    reader, writer = world.store(), world.store()
    assert reader.current().waivers == ()
    writer.put_waiver(WAIVER)
    world.now += timedelta(seconds=59)
    assert reader.current().waivers == ()
    assert reader.fresh().waivers == (WAIVER,)
    writer.remove_waiver("w1")
    world.now += timedelta(seconds=61)
    assert reader.current().waivers == ()


def test_when_nothing_changed_fresh_rules_cost_one_read(world: World) -> None:
    store = world.store()
    store.put_policy(TEXT, "an owner")
    store.put_waiver(WAIVER)
    first = store.fresh()
    world.calls.clear()
    assert store.fresh().policy is first.policy
    assert world.calls == ["GetItem"]
    store.current()
    assert world.calls == ["GetItem"]


def test_many_writers_at_once_lose_no_version(world: World) -> None:
    world.client = AtomicClient(world.client)
    store = world.store()
    waivers = [msgspec.structs.replace(WAIVER, id=f"w{n}") for n in range(9)]
    with ThreadPoolExecutor(3) as pool:
        versions = sorted(pool.map(store.put_waiver, waivers))
    assert versions == list(range(1, 10))
    assert len(store.waivers()) == 9
