"""What-if jobs keep their promises: parts on condition, an end, a limit. The fake and DynamoDB alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import boto3
import msgspec
import pytest

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import EXPIRES, create_table
from chalicelib.adapters.stores.what_if_items import KEPT_FOR, WhatIfItems
from chalicelib.domain.images.image import InUse, InUseState, Kind
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.whatif.past import PastNote
from chalicelib.domain.whatif.report import (
    ROWS_OF_PART,
    RUNS_KEPT,
    Impact,
    Job,
    RunningImage,
    ShardPart,
    Tally,
    WhatIfRow,
)
from chalicelib.domain.whatif.what_if import Ruling
from chalicelib.errors import ConflictError, ParameterError
from chalicelib.services.ports.context import WhatIfs
from tests.fakes.images import ref
from tests.fakes.moto_aws import mock_aws
from tests.fakes.what_ifs import FakeWhatIfs

NOW = datetime(2026, 3, 10, 12, 0, 0, 250_000, tzinfo=UTC)
NAME = "lazaretto-test"
JOB = Job("f00d", "arn:aws:sts::111122223333:assumed-role/Ops/oncall", NOW, 30, 4, {"version": 1}, {"version": 1})


class Clock:
    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        made = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        create_table(made, NAME)
        yield made


@pytest.fixture(params=["fake", "dynamodb"])
def store(request: pytest.FixtureRequest, clock: Clock) -> WhatIfs:
    if request.param == "fake":
        return FakeWhatIfs(clock.now)
    return WhatIfItems(Dynamo(request.getfixturevalue("client"), NAME, lambda _: None), clock.now)


def ruling(random: Random) -> Ruling:
    ids = tuple(f"CVE-2026-{random.randrange(99_999):05d}" for _ in range(3))
    text = "".join(random.choice("abcdefghij klmnop") for _ in range(500))
    return Ruling(Decision.BLOCK, f"rule-{random.random()}", text, random.randrange(500), ids)


def row(number: int) -> WhatIfRow:
    """As large as one can be: every run is kept, every text as long as a policy may say it."""
    random = Random(number)
    run = RunningImage(date(2026, 3, 1), date(2026, 3, 2), ruling(random), ruling(random), tuple(PastNote))
    by = tuple(f"service {random.random()} of cluster {random.random()}" for _ in range(10))
    return WhatIfRow(
        ref(random.randrange(2**250), f"team-{number}/a-rather-long-name-of-a-repository"),
        Kind.IMAGE,
        tuple(f"v1.{random.random()}" for _ in range(20)),
        Impact.CLOSES,
        ruling(random),
        ruling(random),
        InUse(InUseState.YES, 3, NOW, NOW, by, by, True),
        9,
        9,
        date(2026, 3, 1),
        date(2026, 3, 1),
        tuple(msgspec.structs.replace(run, today=ruling(random)) for _ in range(RUNS_KEPT)),
    )


def test_a_job_comes_back_as_it_was_put_and_an_unknown_one_is_none(store: WhatIfs) -> None:
    store.put_job(JOB)
    assert store.read_job(JOB.id) == JOB
    assert store.read_job("another") is None


def test_a_part_that_was_never_put_is_empty_and_one_that_was_comes_back(store: WhatIfs) -> None:
    assert store.read_part(JOB, 3) == ShardPart(3)
    put = store.put_part(JOB, ShardPart(3, after="a/path", size=9, tally=Tally(images=4), rows=(row(1),)))
    assert put.revision == 1
    assert store.read_part(JOB, 3) == put
    again = store.put_part(JOB, msgspec.structs.replace(put, done=True))
    assert (again.revision, store.read_part(JOB, 3)) == (2, again)


@pytest.mark.parametrize("revision", [0, 2])
def test_of_two_who_keep_a_part_the_slower_one_is_told(store: WhatIfs, revision: int) -> None:
    store.put_part(JOB, ShardPart(3))
    with pytest.raises(ConflictError):
        store.put_part(JOB, ShardPart(3, revision))
    assert store.read_part(JOB, 3).revision == 1


def test_the_parts_of_a_job_are_those_that_were_begun(store: WhatIfs) -> None:
    for shard in (7, 0, 3):
        store.put_part(JOB, ShardPart(shard))
    store.put_part(msgspec.structs.replace(JOB, id="another"), ShardPart(1))
    assert sorted(part.shard for part in store.read_parts(JOB)) == [0, 3, 7]


def test_a_job_ends_after_a_week_whether_it_is_removed_or_not(store: WhatIfs, clock: Clock) -> None:
    store.put_job(JOB)
    clock.at = NOW + KEPT_FOR - timedelta(seconds=1)
    assert store.read_job(JOB.id) is not None
    clock.at = NOW + KEPT_FOR
    assert store.read_job(JOB.id) is None


def test_every_item_says_when_it_may_be_removed(client: Any, clock: Clock) -> None:
    store = WhatIfItems(Dynamo(client, NAME), clock.now)
    store.put_job(JOB)
    store.put_part(JOB, ShardPart(0))
    ends = {item[EXPIRES]["N"] for item in client.scan(TableName=NAME)["Items"]}
    assert ends == {str(int((NOW + KEPT_FOR).timestamp()))}


def test_the_template_has_what_is_past_its_end_removed() -> None:
    template = json.loads((Path(__file__).parents[3] / ".chalice/resources.json").read_text())
    table = template["Resources"]["Table"]["Properties"]
    assert table["TimeToLiveSpecification"] == {"AttributeName": EXPIRES, "Enabled": True}


def test_rows_that_do_not_fit_an_item_are_counted_and_the_worst_are_kept(client: Any, clock: Clock) -> None:
    store = WhatIfItems(Dynamo(client, NAME), clock.now)
    full = ShardPart(0, rows=tuple(row(n) for n in range(ROWS_OF_PART)), rows_left_out=7)
    put = store.put_part(JOB, full)
    assert store.read_part(JOB, 0) == put
    assert put.rows == full.rows[: len(put.rows)]
    assert 10 < len(put.rows) < ROWS_OF_PART
    assert len(put.rows) + put.rows_left_out == ROWS_OF_PART + 7


def test_a_policy_too_large_to_keep_is_refused_by_name(client: Any, clock: Clock) -> None:
    random = Random(1)
    huge = {"rules": [f"{random.randrange(16**500):0500x}" for _ in range(2_000)]}
    with pytest.raises(ParameterError, match="policy: is too large"):
        WhatIfItems(Dynamo(client, NAME), clock.now).put_job(msgspec.structs.replace(JOB, candidate=huge))
