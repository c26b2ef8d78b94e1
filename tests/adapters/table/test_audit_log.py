"""The audit log in memory and on DynamoDB alike: chains, days, ids, copied heads; and what somebody did to an item."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import boto3
import msgspec
import pytest

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import PK, SK, create_table
from chalicelib.adapters.table.audit_log import AuditCheckpoints, read_action, read_stored
from chalicelib.adapters.table.audit_queries import BROKEN, AuditEntry, AuditQueries
from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.adapters.table.findings_table import FindingsTable
from chalicelib.domain.alerts.hourly_limit import AnnouncedAlert
from chalicelib.domain.audit.action import ActionRecord, action_id
from chalicelib.domain.audit.chain import (
    SHARDS,
    START,
    Chain,
    Copy,
    Head,
    chain_name,
    check_chain,
    next_link,
    shard_of_chain,
)
from chalicelib.domain.audit.root import DayRoot, copied_order
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.errors import ConflictError, ParameterError, UpstreamError
from chalicelib.services.ports.table import ActionRow, Page
from tests.fakes.atomic import AtomicClient
from tests.fakes.audit import FakeAudit
from tests.fakes.images import digest, ref
from tests.fakes.moto_aws import mock_aws
from tests.fakes.table import FakeTable
from tests.services.lockstep import Worker, turn

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TODAY, YESTERDAY = NOW.date(), NOW.date() - timedelta(days=1)
NAME = "lazaretto-audit"


class Place(msgspec.Struct):
    """A table that is written and the reads over it."""

    table: Any
    audit: Any


def no_sleep(_: float) -> None:
    """Nobody waits in a test."""


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        made = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        create_table(made, NAME)
        yield made


@pytest.fixture
def real(client: Any) -> Place:
    return Place(
        FindingsTable(Dynamo(client, NAME, no_sleep), lambda: NOW),
        FindingsQueries(Dynamo(client, NAME, no_sleep)).audit,
    )


@pytest.fixture(params=["fake", "dynamodb"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "dynamodb":
        made: Place = request.getfixturevalue("real")
        return made
    table = FakeTable(lambda: NOW)
    return Place(table, FakeAudit(table.actions, table.heads, table.roots))


def record(number: int, at: datetime = NOW, **changes: Any) -> ActionRecord:
    fields: dict[str, Any] = {
        "ref": ref(1),
        "effect": f"ALERT#{number}",
        "wanted_at": at - timedelta(seconds=5),
        "kind": "ALERT",
        "actor": "system",
        "reason": "it got worse",
        "at": at,
    }
    return ActionRecord(**{**fields, **changes})


def about(subject: str, number: int = 1, **changes: Any) -> ActionRecord:
    return record(number, ref=None, subject=subject, **changes)


def everything(_: AuditEntry) -> bool:
    return True


def walked(page: Any) -> list[ActionRow]:
    """All rows of all pages: `page` is asked with the position of each."""
    rows: list[ActionRow] = []
    after = None
    for _ in range(100):
        got: Page[ActionRow] = page(after)
        rows += got.items
        after = got.after
        if after is None:
            return rows
    raise AssertionError("the list never ends")


def effects(rows: Any) -> list[str]:
    return [row.record.effect for row in rows]


class TestChains:
    def test_images_and_subjects_have_chains_of_their_own(self, place: Place) -> None:
        for each in (record(1), about("policy"), record(2), about("fuse"), about("policy", 2), record(1, ref=ref(2))):
            assert place.table.record_action(each)
        assert [r.number for r in place.audit.of_chain(ref(1))] == [1, 2]
        assert effects(place.audit.of_chain("policy")) == ["ALERT#1", "ALERT#2"]
        assert [r.number for r in place.audit.of_chain("fuse")] == [1]
        assert place.audit.of_chain("none") == ()
        assert place.table.action_at("policy", "ALERT#2", NOW - timedelta(seconds=5)) == NOW
        assert place.table.action_at("fuse", "ALERT#2", NOW - timedelta(seconds=5)) is None

    def test_the_same_effect_on_a_subject_is_recorded_once(self, place: Place) -> None:
        assert place.table.record_action(about("policy"))
        assert not place.table.record_action(about("policy"))

    def test_a_record_about_nothing_is_refused(self, place: Place) -> None:
        with pytest.raises(ValueError, match="an image or a subject"):
            place.table.record_action(about(""))

    def test_a_chain_that_was_written_by_nobody_else_is_whole(self, place: Place) -> None:
        for n in range(5):
            place.table.record_action(record(n, NOW - timedelta(minutes=n % 3)))
        heads = place.audit.heads([ref(1), ref(2)])
        assert list(heads) == [ref(1)]
        assert heads[ref(1)].count == 5
        assert check_chain(ref(1), place.audit.stored(ref(1)), heads[ref(1)]) == ()

    def test_a_chain_is_paged_the_one_wanted_last_first(self, place: Place) -> None:
        for n in (3, 1, 2, 5, 4):
            place.table.record_action(record(n, NOW + timedelta(minutes=n), kind="BLOCK" if n % 2 else "ALERT"))
        found = walked(lambda after: place.audit.page_of_chain(ref(1), everything, after, 2))
        assert effects(found) == [f"ALERT#{n}" for n in (5, 4, 3, 2, 1)]
        blocks = walked(lambda after: place.audit.page_of_chain(ref(1), lambda e: e.kind == "BLOCK", after, 1))
        assert effects(blocks) == ["ALERT#5", "ALERT#3", "ALERT#1"]
        assert place.audit.page_of_chain("none", everything, None, 2) == Page(())


class TestDays:
    def fill(self, place: Place) -> None:
        """Three chains, two days, several records of one microsecond and one effect."""
        actors = ("system", "rule:critical", "person:oncall")
        for n in range(12):
            at = NOW - timedelta(hours=n // 3 * 5)
            place.table.record_action(record(n // 3, at, ref=ref(n % 3), actor=actors[n % 3]))
        place.table.record_action(about("policy", 9, at=NOW, actor="person:oncall"))

    def all_of(self, place: Place, limit: int, since: datetime, until: datetime, wanted: Any = everything) -> Any:
        return walked(lambda after: place.audit.page_of_days(since, until, wanted, after, limit))

    @pytest.mark.parametrize("limit", [1, 2, 5, 100])
    def test_days_are_read_the_last_record_first_and_none_twice(self, place: Place, limit: int) -> None:
        self.fill(place)
        found = self.all_of(place, limit, NOW - timedelta(days=2), NOW + timedelta(seconds=1))
        assert len(found) == 13
        assert len({action_id(r.record) for r in found}) == 13
        times = [r.record.at for r in found]
        assert times == sorted(times, reverse=True)

    def test_the_range_holds_its_beginning_and_not_its_end(self, place: Place) -> None:
        self.fill(place)
        assert {r.record.at for r in self.all_of(place, 5, NOW - timedelta(hours=10), NOW)} == {
            NOW - timedelta(hours=10),
            NOW - timedelta(hours=5),
        }
        assert self.all_of(place, 5, NOW + timedelta(seconds=1), NOW + timedelta(days=3)) == []
        assert len(self.all_of(place, 5, NOW, NOW + timedelta(microseconds=1))) == 4

    def test_one_day_is_a_range(self, place: Place) -> None:
        self.fill(place)
        midnight = datetime(NOW.year, NOW.month, NOW.day, tzinfo=UTC)
        today = self.all_of(place, 3, midnight, midnight + timedelta(days=1))
        former = self.all_of(place, 3, midnight - timedelta(days=1), midnight)
        assert (len(today), len(former)) == (10, 3)

    def test_an_actor_is_found_over_days(self, place: Place) -> None:
        self.fill(place)
        found = self.all_of(
            place, 2, NOW - timedelta(days=2), NOW + timedelta(hours=1), lambda e: e.actor == "person:oncall"
        )
        assert [r.record.actor for r in found] == ["person:oncall"] * 5

    def test_the_chains_of_a_day_come_once_each(self, place: Place) -> None:
        self.fill(place)
        found = list(place.audit.chains_of_day(TODAY))
        assert sorted(map(chain_name, found)) == sorted(map(chain_name, [ref(0), ref(1), ref(2), "policy"]))
        assert len(list(place.audit.chains_of_day(YESTERDAY))) == 3
        assert list(place.audit.chains_of_day(TODAY + timedelta(days=1))) == []


class TestIds:
    def test_a_record_is_found_by_its_id(self, place: Place) -> None:
        records = [record(1), record(1, ref=ref(2)), about("policy"), record(2), record(1, NOW - timedelta(days=40))]
        for each in records:
            place.table.record_action(each)
        for each in records:
            row = place.audit.find(action_id(each))
            assert row is not None
            assert row.record == each
        assert place.audit.find(action_id(record(1, ref=ref(3)))) is None

    def test_what_is_no_id_is_refused(self, place: Place) -> None:
        with pytest.raises(ParameterError, match="action_id"):
            place.audit.find("ALERT-1")


class TestCopies:
    def test_a_copy_is_raised_and_never_lowered(self, place: Place) -> None:
        for count in (3, 5, 4):
            place.table.put_checkpoints(TODAY, {ref(1): Head(count, b"%d" % count), "policy": Head(1, b"p")})
        place.table.put_checkpoints(TODAY, {ref(1): Head(5, b"another")})
        place.table.put_checkpoints(TODAY, {})
        assert dict(place.audit.copies_of_day(TODAY)) == {ref(1): Head(5, b"5"), "policy": Head(1, b"p")}
        assert list(place.audit.copies_of_day(YESTERDAY)) == []

    def test_the_copies_of_one_chain_come_oldest_first(self, place: Place) -> None:
        days = [TODAY - timedelta(days=n) for n in range(150)]
        for day in (days[0], days[140], days[20]):
            place.table.put_checkpoints(day, {ref(1): Head(day.day, b"x"), ref(2): Head(1, b"y")})
        assert [c.day for c in place.audit.copies(ref(1), days)] == [days[140], days[20], days[0]]
        assert place.audit.copies(ref(1), days[1:20]) in ([], ())
        assert place.audit.copies(ref(3), days) in ([], ())

    @pytest.mark.parametrize("hour", [12, 23])
    def test_the_alerts_of_an_hour_are_those_for_a_channel_in_their_order(self, place: Place, hour: int) -> None:
        start = NOW.replace(hour=hour)
        for n, minutes in enumerate((-1, 0, 30, 59, 60)):
            at = start + timedelta(minutes=minutes)
            place.table.record_action(record(n, at, effect=f"ALERT#{n}#slack", reason=f"no. {n}"))
        place.table.record_action(record(5, start, effect="ALERT#5"))
        place.table.record_action(record(6, start, effect="REPORT#6#slack", kind="REPORT"))
        found = list(place.audit.alerts(start, start + timedelta(hours=1)))
        assert found == [AnnouncedAlert("slack", f"no. {n}") for n in (1, 2, 3)]

    def test_the_copies_of_some_days_come_in_the_order_of_which_roots_are_made(self, place: Place) -> None:
        for day in (TODAY, YESTERDAY):
            place.table.put_checkpoints(day, {ref(n): Head(n, b"x") for n in range(1, 6)} | {"policy": Head(1, b"p")})
        found = list(place.audit.copies_between(None, TODAY))
        assert found == sorted(found, key=copied_order)
        assert len(found) == 12
        assert list(place.audit.copies_between(TODAY, TODAY)) == found[6:]
        assert list(place.audit.copies_between(None, YESTERDAY - timedelta(days=1))) == []

    def test_a_root_is_put_once_for_a_day_and_the_last_comes_first(self, place: Place) -> None:
        roots = [DayRoot(bytes([n]) * 32, YESTERDAY + timedelta(days=n)) for n in range(3)]
        for root in (*roots, roots[0]):
            place.table.put_root(root)
        assert list(place.audit.roots(TODAY)) == [roots[1], roots[0]]
        with pytest.raises(ConflictError):
            place.table.put_root(DayRoot(b"another" * 5, TODAY))

    def test_the_shards_hold_all_copies(self, place: Place) -> None:
        heads: dict[Chain, Head] = {ref(n): Head(n, bytes(32)) for n in range(1, 50)}
        place.table.put_checkpoints(TODAY, heads)
        found: dict[Chain, Any] = {}
        for shard in range(SHARDS):
            some = place.audit.copies_of_shard(shard, [TODAY, YESTERDAY])
            assert all(shard_of_chain(chain) == shard for chain in some)
            found |= some
        assert found == {chain: [Copy(TODAY, head)] for chain, head in heads.items()}


# --- DynamoDB alone


def items(client: Any, prefix: str = "ACTION#") -> list[dict[str, Any]]:
    found = client.scan(TableName=NAME)["Items"]
    return sorted((i for i in found if i[SK]["S"].startswith(prefix)), key=lambda i: int(i["n"]["N"]))


def put(client: Any, item: dict[str, Any]) -> None:
    client.put_item(TableName=NAME, Item=item)


def test_the_keys_of_what_is_recorded_already_stay_as_they_are(client: Any, real: Place) -> None:
    real.table.record_action(record(1))
    real.table.record_action(about("waiver/7"))
    image, subject = sorted(items(client), key=lambda i: str(i[PK]["S"]))
    assert image[PK]["S"] == f"IMAGE#111122223333/eu-west-1/team/api@{ref(1).digest}"
    assert image[SK]["S"] == "ACTION#2026-03-10T11:59:55.000000+00:00#ALERT#1"
    assert (image["gsi_pk"]["S"], image["gsi_sk"]["S"]) == (
        "AUDIT#2026-03-10",
        "2026-03-10T12:00:00.000000+00:00#ALERT#1",
    )
    assert subject[PK]["S"] == "SUBJECT#waiver/7"


BODY = (
    b'{"ref":null,"effect":"UNWAIVE#7","wanted_at":"2026-03-10T12:00:00.500000Z","kind":"UNWAIVE",'
    b'"actor":"person:oncall","reason":"fixed","at":"2026-03-10T12:00:01.000002Z","before":"CVE-2026-0001 in team/*",'
    b'"after":"ended","policy_version":3,"vulnerability_ids":["CVE-2026-0001"],"undo":"lazaretto waive",'
    b'"subject":"waiver/w-1","waivers":[{"id":"w-1","repository":"team/*","reason":"not reachable",'
    b'"approved_by":"security","expires_at":"2026-04-01T00:00:00Z","created_at":"2026-03-01T00:00:00Z",'
    b'"vulnerability_id":"CVE-2026-0001","package":null,"rule":null,"status":null,"justification":null,'
    b'"even_if_exploited":false,"exploited":[]},null],"orders":null}'
)
IMAGE_BODY = (
    b'{"ref":{"registry":"111122223333","region":"eu-west-1","repository":"team/api","digest":"'
    + digest(1).encode()
    + b'"},"effect":"QUARANTINE#2","wanted_at":"2026-03-10T11:59:00Z","kind":"QUARANTINE","actor":"rule:critical",'
    b'"reason":"a critical one","at":"2026-03-10T12:00:00Z","before":"ACTIVE","after":"ARCHIVED","policy_version":0,'
    b'"vulnerability_ids":[],"undo":null,"subject":"","waivers":null,"orders":null}'
)


def test_a_record_is_stored_in_these_bytes_and_no_others(client: Any, real: Place) -> None:
    """What is stored for years is proved by its bytes: whoever changes the form of new records should know it."""
    stood = Waiver(
        id="w-1",
        repository="team/*",
        reason="not reachable",
        approved_by="security",
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
        expires_at=datetime(2026, 4, 1, tzinfo=UTC),
        vulnerability_id="CVE-2026-0001",
    )
    about_a_waiver = ActionRecord(
        ref=None,
        subject="waiver/w-1",
        effect="UNWAIVE#7",
        wanted_at=NOW + timedelta(milliseconds=500),
        kind="UNWAIVE",
        actor="person:oncall",
        reason="fixed",
        at=NOW + timedelta(seconds=1, microseconds=2),
        before="CVE-2026-0001 in team/*",
        after="ended",
        policy_version=3,
        vulnerability_ids=("CVE-2026-0001",),
        undo="lazaretto waive",
        waivers=(stood, None),
    )
    real.table.record_action(about_a_waiver)
    (item,) = items(client)
    assert item == {
        "pk": {"S": "SUBJECT#waiver/w-1"},
        "sk": {"S": "ACTION#2026-03-10T12:00:00.500000+00:00#UNWAIVE#7"},
        "gsi_pk": {"S": "AUDIT#2026-03-10"},
        "gsi_sk": {"S": "2026-03-10T12:00:01.000002+00:00#UNWAIVE#7"},
        "ki": {"S": "UNWAIVE"},
        "ac": {"S": "person:oncall"},
        "re": {"S": "fixed"},
        "n": {"N": "1"},
        "ch": {"B": bytes.fromhex("e8b6ef3333783ac11460747c05111a43975fa36dee130236c71cc50d07eee57c")},
        "rc": {"B": BODY},
    }
    assert read_action(item).record == about_a_waiver
    assert action_id(about_a_waiver) == "20260310T120001.000002Z-UNWAIVE-7-a4f9e67f"


def test_the_links_of_a_known_chain_are_these(client: Any, real: Place) -> None:
    """SHA-256 of the former link (32 zero bytes at first) and of the record's bytes, as anybody can compute it."""
    first = record(
        2,
        effect="QUARANTINE#2",
        kind="QUARANTINE",
        actor="rule:critical",
        reason="a critical one",
        wanted_at=NOW - timedelta(minutes=1),
        before="ACTIVE",
        after="ARCHIVED",
    )
    for each in (first, record(3), record(4, NOW + timedelta(seconds=1))):
        real.table.record_action(each)
    rows = real.audit.of_chain(ref(1))
    assert rows[0].body == IMAGE_BODY
    assert rows[0].link == hashlib.sha256(bytes(32) + IMAGE_BODY).digest()
    assert [row.link.hex() for row in rows] == [
        "b8f438a8fcd2acca4ebe4d450fcafc21bd090572b8840d2317e5fed46562b5b4",
        "a3d158b2669cd8b5137e0e6a0972506ecf1fdff895de2a3583a80ed7e49ef17e",
        "180271437d22f3604efd35c65a2e200b52d83a0d692569e5454bd1c1d66c85d9",
    ]
    (head,) = items(client, "AUDIT_HEAD")
    assert head == {
        "pk": {"S": chain_name(ref(1))},
        "sk": {"S": "AUDIT_HEAD"},
        "n": {"N": "3"},
        "ch": {"B": rows[-1].link},
    }


def test_a_record_written_before_a_field_was_added_is_proved_by_its_stored_bytes(client: Any, real: Place) -> None:
    """As the first version put it: no `subject`."""
    real.table.record_action(record(1))
    (item,) = items(client)
    body = msgspec.json.decode(item["rc"]["B"])
    del body["subject"]
    stored = msgspec.json.encode(body, order="deterministic")
    (head,) = items(client, "AUDIT_HEAD")
    link = {"ch": {"B": next_link(START, stored)}}
    put(client, item | {"rc": {"B": stored}} | link)
    put(client, head | link)
    real.table.record_action(record(2))
    heads = real.audit.heads([ref(1)])
    assert check_chain(ref(1), real.audit.stored(ref(1)), heads[ref(1)]) == ()
    assert real.audit.of_chain(ref(1))[0].record == record(1)


def test_workers_that_append_at_once_never_fork_a_chain(client: Any) -> None:
    """Each call of each worker is a turn; who is next is chance."""
    table = FindingsTable(Dynamo(AtomicClient(client), NAME, no_sleep), lambda: NOW)  # type: ignore[arg-type]
    records = [record(n, ref=ref(n % 2)) for n in range(24)] + [about("fuse", n) for n in range(8)]
    random.Random(7).shuffle(records)
    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(table.record_action, records))
    audit = AuditQueries(Dynamo(client, NAME, no_sleep))
    chains: list[Chain] = [ref(0), ref(1), "fuse"]
    heads = audit.heads(chains)
    assert [heads[c].count for c in chains] == [12, 12, 8]
    for chain in chains:
        assert check_chain(chain, audit.stored(chain), heads[chain]) == ()


class Turns:
    """A client each of whose calls is a turn of `lockstep`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(**arguments: Any) -> Any:
            turn(name)
            return method(**arguments)

        return call


@pytest.mark.parametrize("kind", ["fake", "dynamodb"])
@pytest.mark.parametrize("same", [False, True])
def test_two_workers_never_fork_a_chain_in_whatever_order_their_calls_come(client: Any, kind: str, same: bool) -> None:
    """Both at the start of a chain, and both at its end; the same effect by both is recorded once."""
    if kind == "fake":
        table: Any = FakeTable(lambda: NOW)
        audit: Any = FakeAudit(table.actions, table.heads)
    else:
        table = FindingsTable(Dynamo(Turns(client), NAME, no_sleep), lambda: NOW)  # type: ignore[arg-type]
        audit = AuditQueries(Dynamo(client, NAME, no_sleep))
    for number, order in enumerate(itertools.product((0, 1), repeat=4)):
        for round_ in (1, 2):
            records = [record(10 * round_ + (0 if same else n), ref=ref(number)) for n in (0, 1)]
            workers = [Worker(partial(table.record_action, each)) for each in records]
            for turn_of in (*order, *(0, 1) * 9):
                if not workers[turn_of].done:
                    workers[turn_of].step()
            assert all(w.done and w.error is None for w in workers)
            head = audit.heads([ref(number)])[ref(number)]
            assert head.count == round_ * (1 if same else 2)
            assert check_chain(ref(number), audit.stored(ref(number)), head) == ()


def test_two_workers_that_copy_heads_at_once_lose_none(client: Any) -> None:
    heads = AuditCheckpoints(Dynamo(AtomicClient(client), NAME, no_sleep))  # type: ignore[arg-type]
    shard = [c for c in (ref(n) for n in range(3000)) if shard_of_chain(c) == 0][:8]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda c: heads.copy(TODAY, {c: Head(1, b"x")}), shard))
    assert dict(heads.of_day(TODAY)) == {chain: Head(1, b"x") for chain in shard}


def test_a_day_of_half_a_million_chains_stays_below_300_kb_an_item(client: Any) -> None:
    """What one of 256 items holds then; links and digests do not compress."""
    chance = random.Random(1)
    where = [f"team-{n}/service-{n % 17}" for n in range(400)]
    heads: dict[Chain, Head] = {
        msgspec.structs.replace(ref(1, chance.choice(where)), digest=f"sha256:{chance.randbytes(32).hex()}"): Head(
            chance.randrange(1, 500), chance.randbytes(32)
        )
        for _ in range(500_000 // 256)
    }
    sized: list[int] = []

    class Watched:
        def put_item(self, **arguments: Any) -> Any:
            sized.append(len(arguments["Item"]["bd"]["B"]))
            return {}

        def get_item(self, **_: Any) -> Any:
            return {}

    watched = AuditCheckpoints(Dynamo(Watched(), NAME, no_sleep))  # type: ignore[arg-type]
    watched._add(TODAY, 0, {chain_name(chain): head for chain, head in heads.items()})
    assert 32 * len(heads) < sized[0] < 300_000, "all of them are in it"


CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("actor", {"ac": {"S": "person:nobody"}}, "actor as listed"),
    ("kind", {"ki": {"S": "RELEASE"}}, "kind as listed"),
    ("reason", {"re": {"S": "nothing"}}, "reason as listed"),
    ("day", {"gsi_pk": {"S": "AUDIT#2020-01-01"}}, "day in the index"),
    ("time", {"gsi_sk": {"S": "2026-03-10T12:00:00.000001+00:00#ALERT#2"}}, "time in the index"),
    ("out of the index", {"gsi_pk": None, "gsi_sk": None}, "day in the index, time in the index"),
    ("body", {"rc": {"B": b"{}"}}, "it cannot be read"),
    ("no body", {"rc": None}, "it cannot be read"),
]


@pytest.mark.parametrize(("change", "said"), [(c, s) for _, c, s in CHANGES], ids=[n for n, _, _ in CHANGES])
def test_whatever_was_changed_beside_a_record_is_seen(
    client: Any, real: Place, change: dict[str, Any], said: str
) -> None:
    for n in (1, 2, 3):
        real.table.record_action(record(n, NOW + timedelta(seconds=n)))
    item = items(client)[1] | change
    put(client, {name: value for name, value in item.items() if value is not None})
    head = real.audit.heads([ref(1)])[ref(1)]
    (problem, *_) = check_chain(ref(1), real.audit.stored(ref(1)), head)
    assert problem.number == 2
    assert said in problem.what


def test_a_record_moved_to_another_key_is_seen(client: Any, real: Place) -> None:
    real.table.record_action(record(1))
    (item,) = items(client)
    moved = item | {SK: {"S": item[SK]["S"].replace("ALERT#1", "ALERT#2")}}
    assert read_stored(item).wrong is None
    assert read_stored(moved).wrong == "it says otherwise than its key"
    assert read_stored({PK: item[PK], SK: item[SK], "n": {"N": "1.5"}}).number == 0


@pytest.mark.parametrize("one", [record(2), about("policy", 2)], ids=["image", "subject"])
@pytest.mark.parametrize("body", [{"rc": {"B": b"gone"}}, {"rc": {"B": b"{}"}}, {"rc": {"S": "text"}}, {}])
def test_a_changed_record_is_shown_as_broken_hides_no_other_and_is_not_undone(
    client: Any, real: Place, one: ActionRecord, body: Any
) -> None:
    for each in (msgspec.structs.replace(one, effect="ALERT#1"), one, msgspec.structs.replace(one, effect="ALERT#3")):
        real.table.record_action(each)
    (item,) = [i for i in items(client) if i["sk"]["S"].endswith("#ALERT#2")]
    put(client, {name: value for name, value in item.items() if name != "rc"} | body)
    known = msgspec.structs.replace(one, reason=BROKEN)
    pages = (
        real.audit.of_chain(one.chain),
        real.audit.page_of_chain(one.chain, everything, None, 10).items[::-1],
        real.audit.page_of_days(NOW - timedelta(days=1), NOW + timedelta(days=1), everything, None, 10).items[::-1],
    )
    for page in pages:
        assert effects(page) == ["ALERT#1", "ALERT#2", "ALERT#3"]
        assert (page[1].record, page[1].number) == (known, 2)
        assert BROKEN not in (page[0].record.reason, page[2].record.reason)
    with pytest.raises(UpstreamError, match="was changed, it cannot be read"):
        real.audit.find(action_id(one))


def test_a_page_ends_when_enough_was_looked_through(client: Any, real: Place) -> None:
    for n in range(7):
        real.table.record_action(record(n, NOW + timedelta(seconds=n)))
    audit = AuditQueries(Dynamo(client, NAME, no_sleep), walked_records=3)

    def wanted(entry: AuditEntry) -> bool:
        return entry.effect == "ALERT#0"

    until = NOW + timedelta(hours=1)
    for ask in (
        lambda after: audit.page_of_days(NOW - timedelta(hours=1), until, wanted, after, 5),
        lambda after: audit.page_of_chain(ref(1), wanted, after, 5),
    ):
        first = ask(None)
        assert first.items == ()
        assert first.after is not None
        assert effects(walked(ask)) == ["ALERT#0"]


def test_a_copy_that_was_put_in_under_no_day_is_an_error_that_names_it(client: Any, real: Place) -> None:
    real.table.put_checkpoints(TODAY, {"policy": Head(1, b"p")})
    (item,) = client.scan(TableName=NAME)["Items"]
    client.put_item(TableName=NAME, Item=item | {SK: {"S": "HEADS#0000-no-day#00"}})
    with pytest.raises(UpstreamError, match="HEADS#0000-no-day#00 were put in"):
        list(real.audit.copies_between(None, TODAY))


def test_nothing_of_it_scans_the_table(client: Any, real: Place) -> None:
    asked: list[str] = []
    real.table.record_action(record(1))
    client.meta.events.register("before-call.dynamodb", lambda model, **_: asked.append(model.name))
    real.audit.find(action_id(record(1)))
    real.audit.page_of_days(NOW - timedelta(days=5), NOW + timedelta(days=1), everything, None, 10)
    real.audit.page_of_chain(ref(1), everything, None, 10)
    list(real.audit.chains_of_day(TODAY))
    assert set(asked) == {"Query", "GetItem", "BatchGetItem"}


def test_the_days_of_a_month_are_a_query_each(client: Any, real: Place) -> None:
    asked: list[str] = []
    client.meta.events.register("before-call.dynamodb", lambda model, **_: asked.append(model.name))
    since = datetime(2026, 2, 1, tzinfo=UTC)
    real.audit.page_of_days(since, since + timedelta(days=28), everything, None, 10)
    assert asked == ["Query"] * 28
