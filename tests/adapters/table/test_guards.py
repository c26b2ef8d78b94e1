"""The fuse and the denied digests: no change is lost, whoever writes at the same time. Fake and DynamoDB alike."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import DENIED, create_table, repository_key
from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.adapters.table.findings_table import FindingsTable
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.errors import ConflictError, TransientError
from chalicelib.services.ports.table import DeniedDigests, Table
from tests.fakes.atomic import AtomicClient
from tests.fakes.images import digest, home
from tests.fakes.moto_aws import mock_aws
from tests.fakes.table import FakeTable

NOW = datetime(2026, 3, 10, 12, 0, 0, 123456, UTC)
NAME = "lazaretto-test"
HOME = home()
POLICY = '{"Version": "2012-10-17",\n "Statement": {"Sid": "é", "Effect": "Allow"}}'


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        made = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        create_table(made, NAME)
        yield made


def table_of(client: Any) -> FindingsTable:
    return FindingsTable(Dynamo(client, NAME, lambda _: None), lambda: NOW)


@pytest.fixture
def real(client: Any) -> FindingsTable:
    return table_of(client)


@pytest.fixture(params=["fake", "dynamodb"])
def table(request: pytest.FixtureRequest) -> Table:
    if request.param == "fake":
        return FakeTable(lambda: NOW)
    made: FindingsTable = request.getfixturevalue("real")
    return made


def take(key: str, limit: int = 20, at: datetime = NOW) -> Any:
    return lambda fuse: fuse.take(key, limit, at)[0]


def test_a_fuse_that_was_never_asked_is_whole(table: Table) -> None:
    assert table.read_fuse() == Fuse()


def test_every_field_of_the_fuse_comes_back(table: Table) -> None:
    table.change_fuse(lambda fuse: fuse.reset("oncall", NOW))
    changed = [table.change_fuse(take(key, 1, NOW + timedelta(seconds=n))) for n, key in enumerate("abc")]
    assert table.read_fuse() == changed[-1]
    assert (changed[-1].waiting, changed[-1].blown_at) == (("b", "c"), NOW + timedelta(seconds=1))
    assert changed[-1].taken[0].at == NOW


def test_a_repository_nobody_denied_anything_has_nothing_denied(table: Table) -> None:
    assert table.read_denied(HOME) == DeniedDigests()
    table.store_repository(HOME, {"changed_by": "ci"})
    assert table.read_denied(HOME) == DeniedDigests()


def test_digests_and_the_former_policy_come_back_just_as_they_were(table: Table) -> None:
    denied = DeniedDigests((digest(1), digest(2)), POLICY)
    assert table.change_denied(HOME, lambda _: denied) == denied
    assert table.read_denied(HOME) == denied
    assert table.change_denied(HOME, lambda d: d.without_digest(digest(1))).digests == (digest(2),)
    assert table.read_denied(HOME) == DeniedDigests((digest(2),), POLICY)
    assert table.read_denied(home("team/other")) == DeniedDigests()


def test_the_image_that_was_quarantined_last_with_some_layers_is_found_by_their_mark(table: Table) -> None:
    assert table.read_layers(HOME, "mark") is None
    for number in (1, 2):
        table.keep_layers(HOME, "mark", digest(number))
    assert table.read_layers(HOME, "mark") == digest(2)
    assert (table.read_layers(HOME, "other"), table.read_layers(home("team/other"), "mark")) == (None, None)


def test_a_change_that_changes_nothing_writes_nothing() -> None:
    table = FakeTable(lambda: NOW)
    for _ in range(2):
        table.change_fuse(take("a"))
        table.change_denied(HOME, lambda d: d.with_digest(digest(1)))
    assert table.writes == {"change_fuse": 1, "change_denied": 1}


def test_a_change_that_changes_nothing_writes_nothing_to_dynamodb(client: Any) -> None:
    calls = Calls(client)
    table = table_of(calls)
    for _ in range(2):
        table.change_fuse(take("a"))
        table.change_denied(HOME, lambda d: d.with_digest(digest(1)))
    assert calls.made == [*["get_item", "update_item"] * 2, "get_item", "get_item"]


def test_the_repositories_with_denied_digests_are_found_by_the_clock(table: Table) -> None:
    other = home("team/other")
    for repository in (HOME, other):
        table.change_denied(repository, lambda d: d.with_digest(digest(1)))
    assert sorted(table.denying()) == sorted([HOME, other])
    table.change_denied(other, lambda d: d.without_digest(digest(1)))
    assert list(table.denying()) == [HOME]
    table.change_denied(HOME, lambda _: DeniedDigests())
    assert list(table.denying()) == []


def test_the_facts_of_a_repository_and_its_denied_digests_leave_each_other_alone(real: FindingsTable) -> None:
    real.store_repository(HOME, {"changed_by": "ci", "created_at": NOW})
    real.change_denied(HOME, lambda d: d.with_digest(digest(1)))
    real.store_repository(HOME, {"changed_by": "release"})
    real.store_repository(HOME, {"changed_by": None})
    assert real.read_denied(HOME).digests == (digest(1),)


def test_a_repository_that_was_first_denied_is_listed_with_its_facts(client: Any, real: FindingsTable) -> None:
    queries = FindingsQueries(Dynamo(client, NAME))
    real.change_denied(HOME, lambda d: d.with_digest(digest(1)))
    assert [r.repository for r in queries.repositories().items] == [HOME]
    real.store_repository(HOME, {"changed_by": "ci"})
    (row,) = queries.repositories().items
    assert (row, row.facts) == (queries.repository(HOME), {"changed_by": "ci"})


@pytest.mark.parametrize("name", [DENIED])
def test_no_fact_may_take_the_place_of_the_denied_digests(real: FindingsTable, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        real.store_repository(HOME, {name: "x"})


def test_of_many_workers_at_once_nobodys_change_is_lost(client: Any) -> None:
    shared, workers, each = AtomicClient(client), 4, 5
    tables = [table_of(shared) for _ in range(workers)]

    def work(n: int) -> None:
        for m in range(each):
            insist(lambda m=m: tables[n].change_fuse(take(f"{n}/{m}")))
            insist(lambda m=m: tables[n].change_denied(HOME, lambda d: d.with_digest(digest(n * each + m))))

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    fuse, denied = tables[0].read_fuse(), tables[0].read_denied(HOME)
    assert {t.key for t in fuse.taken} == {f"{n}/{m}" for n in range(workers) for m in range(each)}
    assert denied.digests == tuple(sorted(digest(n) for n in range(workers * each)))


def test_no_two_workers_get_the_last_act_the_fuse_allows(client: Any) -> None:
    shared, limit = AtomicClient(client), 3

    def work(n: int) -> bool:
        passed = False

        def change(fuse: Fuse) -> Fuse:
            nonlocal passed
            after, passed = fuse.take(str(n), limit, NOW)
            return after

        insist(lambda: table_of(shared).change_fuse(change))
        return passed

    with ThreadPoolExecutor(4) as pool:
        passed = list(pool.map(work, range(12)))
    assert sum(passed) == limit
    assert len(table_of(shared).read_fuse().waiting) == 12 - limit


def insist(change: Any) -> None:
    """As a worker does whose message comes back: nobody waits between tries here, so they may run out."""
    while True:
        try:
            change()
        except ConflictError:
            continue
        return


def test_a_write_whose_answer_was_lost_is_not_made_twice(client: Any) -> None:
    """botocore sends it again; it then fails on its own success."""
    calls = Calls(client, twice=True)
    assert [t.key for t in table_of(calls).change_fuse(take("a")).taken] == ["a"]
    assert table_of(calls).change_denied(HOME, lambda d: d.with_digest(digest(1))).digests == (digest(1),)
    stored = client.get_item(TableName=NAME, Key=repository_key(HOME))["Item"]
    assert DENIED in stored


def test_a_table_that_does_not_answer_is_asked_again_later(client: Any) -> None:
    calls = Calls(client, error=ReadTimeoutError(endpoint_url="x"))
    for change in (lambda: table_of(calls).change_fuse(take("a")), lambda: table_of(calls).read_denied(HOME)):
        with pytest.raises(TransientError):
            change()


class Calls:
    """A client that remembers what it was asked; that sends every update `twice`; that answers with an error."""

    def __init__(self, client: Any, *, twice: bool = False, error: Exception | None = None) -> None:
        self._client, self._twice, self._error = client, twice, error
        self.made: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.made.append(name)
            if self._error is not None:
                raise self._error
            if self._twice and name == "update_item":
                getattr(self._client, name)(**arguments)
            return getattr(self._client, name)(**arguments)

        return call
