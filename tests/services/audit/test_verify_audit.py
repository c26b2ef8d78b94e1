"""What somebody does to the stored audit log is found and named; over a table on DynamoDB, by its items."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import boto3
import pytest

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import PK, SK, create_table
from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.adapters.table.findings_table import FindingsTable
from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.audit.chain import SHARDS, START, Chain, chain_name, next_link, shard_of_chain
from chalicelib.errors import UpstreamError
from chalicelib.services.audit.verify_audit import Proof, verify_audit
from tests.fakes.audit import FakeAudit
from tests.fakes.images import ref
from tests.fakes.moto_aws import mock_aws
from tests.fakes.table import FakeTable

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TODAY = NOW.date()
DAYS = [TODAY - timedelta(days=n) for n in range(3)]
NAME = "lazaretto-proof"
CHAINS: list[Chain] = [ref(1), ref(2), "policy"]


def no_sleep(_: float) -> None:
    """Nobody waits in a test."""


class ShardsInUse:
    """No copies lie in the shards of other chains: to ask DynamoDB for all 256 is nearly all that a proof takes."""

    def __init__(self, audit: Any, chains: list[Chain]) -> None:
        self._audit, self._shards = audit, {shard_of_chain(chain) for chain in chains}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._audit, name)

    def copies_of_shard(self, shard: int, days: list[date]) -> Any:
        return self._audit.copies_of_shard(shard, days) if shard in self._shards else {}


class Log:
    """Three chains of four records over three days, their heads copied; and the hand of somebody who may write."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.table = FindingsTable(Dynamo(client, NAME, no_sleep), lambda: NOW)
        self.whole_audit = FindingsQueries(Dynamo(client, NAME, no_sleep)).audit
        self.audit: Any = ShardsInUse(self.whole_audit, CHAINS)
        for n in range(4):
            for chain in CHAINS:
                self.record(chain, n)
        self.copy()

    def record(self, chain: Chain, number: int) -> None:
        about: dict[str, Any] = {"ref": None, "subject": chain} if isinstance(chain, str) else {"ref": chain}
        at = NOW - timedelta(days=2 - number // 2, seconds=100 - number)
        self.table.record_action(
            ActionRecord(
                effect=f"ALERT#{number}", wanted_at=at, kind="ALERT", actor="system", reason="x", at=at, **about
            )
        )

    def copy(self) -> None:
        self.table.put_checkpoints(TODAY, self.audit.heads(CHAINS))

    def verify(self) -> Proof:
        return verify_audit(self.audit, DAYS)

    def items(self, chain: Chain) -> list[dict[str, Any]]:
        values = {":pk": {"S": chain_name(chain)}}
        found = self.client.query(
            TableName=NAME, KeyConditionExpression=f"{PK} = :pk", ExpressionAttributeValues=values
        )["Items"]
        return sorted((i for i in found if i[SK]["S"].startswith("ACTION#")), key=lambda i: int(i["n"]["N"]))

    def head(self, chain: Chain) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get_item(
            TableName=NAME, Key={PK: {"S": chain_name(chain)}, SK: {"S": "AUDIT_HEAD"}}
        )["Item"]
        return found

    def put(self, item: dict[str, Any]) -> None:
        self.client.put_item(TableName=NAME, Item=item)

    def delete(self, item: dict[str, Any]) -> None:
        self.client.delete_item(TableName=NAME, Key={PK: item[PK], SK: item[SK]})

    def write_anew(self, items: list[dict[str, Any]], head: dict[str, Any] | None) -> None:
        """All links and the head, as whoever knows how they are made would."""
        link = START
        for number, item in enumerate(items, 1):
            link = next_link(link, item["rc"]["B"])
            self.put(item | {"n": {"N": str(number)}, "ch": {"B": link}})
        if head is not None:
            self.put(head | {"n": {"N": str(len(items))}, "ch": {"B": link}})


@pytest.fixture
def log() -> Iterator[Log]:
    with mock_aws():
        client = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        create_table(client, NAME)
        yield Log(client)


def found(proof: Proof) -> list[tuple[Chain, int]]:
    return [(chain, problem.number) for chain, problem in proof.problems]


def test_a_log_that_nobody_has_been_at_is_whole(log: Log) -> None:
    assert verify_audit(log.whole_audit, DAYS) == log.verify() == Proof(3, 12, 0, ())


def test_a_log_of_nothing_is_whole(log: Log) -> None:
    assert verify_audit(log.audit, [TODAY - timedelta(days=9)]) == Proof(0, 0, 0, ())


def test_chains_whose_heads_were_not_copied_yet_are_proved_too(log: Log) -> None:
    log.table.record_action(
        ActionRecord(ref(7), "ALERT#1", NOW, "ALERT", "system", "x", NOW),
    )
    assert log.verify() == Proof(4, 13, 0, ())


def test_a_changed_record_is_named(log: Log) -> None:
    item = log.items(ref(2))[1]
    log.put(item | {"rc": {"B": item["rc"]["B"].replace(b'"x"', b'"y"')}})
    proof = log.verify()
    assert found(proof) == [(ref(2), 2)]
    assert proof.problems[0][1].what.startswith(f"record 2 of {ref(2)} was changed")
    assert (proof.chains, proof.broken) == (3, 1)


def test_a_record_taken_out_of_the_middle_is_named(log: Log) -> None:
    log.delete(log.items("policy")[1])
    assert [p.what for _, p in log.verify().problems] == ["record 2 of policy is missing"]


def test_a_tail_that_is_missing_is_named(log: Log) -> None:
    log.delete(log.items("policy")[3])
    assert [p.what for _, p in log.verify().problems] == ["record 4 of policy is missing: its head says 4, 3 are there"]


def test_a_tail_cut_off_with_its_head_written_anew_shows_by_the_copy(log: Log) -> None:
    items, head = log.items("policy"), log.head("policy")
    for item in items[2:]:
        log.delete(item)
    log.write_anew(items[:2], head)
    assert [p.what for _, p in log.verify().problems] == [
        f"policy ends with record 2, and had 4 when its head was copied on {TODAY}"
    ]


def test_a_chain_written_anew_from_a_record_on_shows_by_the_copy(log: Log) -> None:
    items, head = log.items(ref(1)), log.head(ref(1))
    items[1]["rc"] = {"B": items[1]["rc"]["B"].replace(b'"reason":"x"', b'"reason":"y"')}
    items[1]["re"] = {"S": "y"}
    log.write_anew(items, head)
    assert found(log.verify()) == [(ref(1), 1)]


def test_a_chain_that_is_gone_with_its_head_shows_by_the_copy(log: Log) -> None:
    for item in (*log.items("policy"), log.head("policy")):
        log.delete(item)
    assert found(log.verify()) == [("policy", 1)]


def test_records_that_changed_places_are_named(log: Log) -> None:
    one, _, other, _ = log.items(ref(1))
    log.put(one | {name: other[name] for name in ("rc", "ch")})
    log.put(other | {name: one[name] for name in ("rc", "ch")})
    assert found(log.verify())[0] == (ref(1), 1)


def test_a_record_put_in_without_the_head_is_named(log: Log) -> None:
    last = log.items("policy")[3]
    body = last["rc"]["B"].replace(b"ALERT#3", b"ALERT#9")
    log.put(
        last
        | {SK: {"S": last[SK]["S"].replace("ALERT#3", "ALERT#9")}, "n": {"N": "5"}, "rc": {"B": body}}
        | {"ch": {"B": next_link(last["ch"]["B"], body)}}
    )
    assert [p.what for _, p in log.verify().problems] == [
        "record 5 of policy is beyond its head, which says 4: it was put in"
    ]


def test_a_record_hidden_from_the_lists_is_named(log: Log) -> None:
    item = log.items(ref(1))[2]
    log.put({name: value for name, value in item.items() if not name.startswith("gsi_")})
    assert found(log.verify()) == [(ref(1), 3)]


def test_a_head_that_was_taken_away_is_named_and_the_log_goes_on_beside_it(log: Log) -> None:
    log.delete(log.head("policy"))
    assert "the head of policy is missing, 4 records are there" in [p.what for _, p in log.verify().problems]
    log.record("policy", 5)
    assert "record 1 of policy is there 2 times: one was put in" in [p.what for _, p in log.verify().problems]


def test_progress_is_told_to_its_end(log: Log) -> None:
    told: list[tuple[int, int]] = []
    verify_audit(log.audit, DAYS, lambda done, total: told.append((done, total)))
    assert told == [(n, SHARDS + 3) for n in range(1, SHARDS + 4)]


def test_only_the_first_hundred_problems_are_named_and_all_broken_chains_counted() -> None:
    table = FakeTable(lambda: NOW)
    for n in range(150):
        table.record_action(ActionRecord(ref(n), "ALERT#1", NOW, "ALERT", "system", "x", NOW))
    audit = FakeAudit(table.actions, table.heads)
    audit.altered_heads = dict.fromkeys(table.actions)
    proof = verify_audit(audit, [TODAY])
    assert (proof.chains, proof.records, proof.broken, len(proof.problems)) == (150, 150, 150, 100)


@pytest.mark.parametrize("changed", [{"n": None}, {"n": {"S": "four"}}, {"ch": None}, {"ch": {"S": "link"}}])
def test_a_head_that_is_none_any_more_is_named_and_stops_nobody(log: Log, changed: dict[str, Any]) -> None:
    left = {name: value for name, value in {**log.head("policy"), **changed}.items() if value is not None}
    log.put(left)
    proof = log.verify()
    assert (proof.chains, proof.broken) == (3, 1)
    assert {chain for chain, _ in proof.problems} == {"policy"}


def test_a_record_moved_out_of_every_chain_is_missing_from_its_own(log: Log) -> None:
    moved = log.items("policy")[1]
    log.delete(moved)
    log.put(moved | {PK: {"S": "ELSEWHERE"}})
    assert [p.what for _, p in log.verify().problems] == ["record 2 of policy is missing"]
    with pytest.raises(UpstreamError, match=r"ELSEWHERE .* was changed"):
        log.audit.page_of_days(NOW - timedelta(days=3), NOW, lambda entry: True, None, 50)


def test_copies_that_somebody_has_been_at_prove_nothing(log: Log) -> None:
    place = {PK: {"S": "SUMMARY"}, SK: {"S": f"HEADS#{TODAY}#{shard_of_chain('policy'):02x}"}}
    log.put(log.client.get_item(TableName=NAME, Key=place)["Item"] | {"bd": {"B": b"nothing"}})
    with pytest.raises(UpstreamError, match=f"the copied heads HEADS#{TODAY}"):
        log.verify()
