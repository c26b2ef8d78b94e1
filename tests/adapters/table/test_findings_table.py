"""The table keeps its promises: conditions, order-proof tags, one chain of actions. The fake and DynamoDB alike."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import SK, create_table, document_key, shard_of
from chalicelib.adapters.table.catalogue import ITEM_BYTES
from chalicelib.adapters.table.findings_table import FindingsTable
from chalicelib.adapters.table.headers import read_rest
from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.headers.header import Door, Header
from chalicelib.domain.headers.pending_action import (
    ActionType,
    Deferred,
    EndedWaivers,
    Enforcement,
    Hold,
    Holding,
    Order,
    PendingAct,
    PendingAlert,
    PendingReport,
    Stage,
)
from chalicelib.domain.headers.twin import Twin
from chalicelib.domain.images.finding import Finding, FindingChange, FindingsDocument, Package
from chalicelib.domain.images.image import Child, InUse, InUseState, Kind, Scan, ScanState, Source, StorageStatus
from chalicelib.domain.images.verdict import Decision, Reason, Verdict, VerdictSummary
from chalicelib.errors import ConflictError, TransientError, UpstreamError
from chalicelib.services.ports.table import RolloutProgress, Table
from tests.fakes.atomic import AtomicClient
from tests.fakes.images import digest, finding, home, image, ref
from tests.fakes.moto_aws import mock_aws
from tests.fakes.table import FakeTable

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NAME = "lazaretto-test"


def client_of_moto() -> Any:
    return boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        made = client_of_moto()
        create_table(made, NAME)
        yield made


def no_sleep(_: float) -> None:
    """Nobody waits in a test."""


@pytest.fixture
def real(client: Any) -> FindingsTable:
    return FindingsTable(Dynamo(client, NAME, no_sleep), lambda: NOW)


@pytest.fixture(params=["fake", "dynamodb"])
def table(request: pytest.FixtureRequest) -> Table:
    if request.param == "fake":
        return FakeTable(lambda: NOW)
    made: FindingsTable = request.getfixturevalue("real")
    return made


def put(table: Table, header: Header) -> Header:
    return table.put_header(msgspec.structs.replace(header, version=0))


def full_header() -> Header:
    """Every field set, none to its default."""
    at = iter(NOW + timedelta(hours=n, microseconds=n) for n in range(100))
    verdict = Verdict(
        Decision.QUARANTINE,
        (Reason("exploited", Decision.QUARANTINE, "why", 3, 2, 1, ("CVE-2026-0001", "GHSA-x"), ("w1",), "by-policy"),),
        4, next(at), 7, 2,
    )  # fmt: skip
    return Header(
        ref=ref(255),
        kind=Kind.INDEX,
        exists=True,
        existence_at=next(at),
        known_at=next(at),
        tags=("latest", "v1", "v1.2", "v1.2.3"),
        pushed_at=next(at),
        size_bytes=12345,
        media_type="application/vnd.oci.image.index.v1+json",
        artifact_media_type="application/vnd.oci.image.config.v1+json",
        subject=digest(8),
        architecture="arm64",
        platform="DEBIAN_12",
        children=(Child(digest(1), "linux/amd64"), Child(digest(2))),
        parents=(digest(3),),
        storage=StorageStatus.ACTIVATING,
        activated_at=next(at),
        revived_at=next(at),
        scan=Scan(ScanState.EXPIRED, "SCAN_ELIGIBILITY_EXPIRED", Source.ENHANCED, next(at)),
        scan_seen_at=next(at),
        refreshed_at=next(at),
        refresh_due_at=next(at),
        revision=9,
        counts=(1, 0, 300, 0, 5, 70000),
        suppressed=3,
        sketch=b"\x00\x01\xff\xfe",
        in_use=InUse(InUseState.YES, 2, next(at), next(at)),
        signed=False,
        verdict=verdict,
        announced=Decision.WARN,
        decide_at=next(at),
        due_at=next(at),
        pending=(PendingAlert(7, next(at), Decision.QUARANTINE, Decision.WARN),),
        enforcement=Enforcement(ActionType.QUARANTINE, 2, Stage.BEGUN, next(at), "archive"),
        enforcement_number=2,
        policy_version=4,
        waivers_version=5,
        hold=Hold("move", 2, next(at), ("v1", "v1.2"), "lazaretto-quarantine/team/api"),
        denied=True,
        order=Order(ActionType.RELEASE, "person:ada", "why", next(at), VerdictSummary(Decision.QUARANTINE, 2, 1), "a1"),
        pulled_at=next(at),
        queued=(PendingAct(ActionType.BLOCK, 2, NOW),),
        twins=(f"public/team/us-east-1/api@{digest(9)}",),
        kind_read=True,
        unreadable="application/vnd.oci.image.layer.v1.tar+encrypted",
        closing_at=NOW,
        door=Door(NOW, True, True, next(at), next(at), next(at), next(at), True),
        held_until=NOW,
        heard=(
            Twin(
                path=f"111122223333/eu-west-1/team/api@{digest(9)}",
                decision=Decision.ALLOW,
                critical=1,
                kev=2,
                present=True,
                judged_at=NOW,
                excused=(Reason("no", Decision.ALLOW, waived=("w-1",)),),
                released_until=NOW,
                lends=True,
                scan=Scan(ScanState.COMPLETE, None, Source.ENHANCED, NOW),
                revision=3,
                ended=EndedWaivers(("w-1",), VerdictSummary(Decision.ALLOW)),
            ),
        ),
        retired_at=NOW,
        newer=("of a later version", 7),
    )


def acting_header() -> Header:
    """With an act that waits, its report, and our own look-up of what runs the image: every field of theirs is set."""
    act = PendingAct(ActionType.QUARANTINE, 3, NOW, reported=("sns",), method="untag",
        held=Deferred(Holding.RUNNING, "a task runs it", NOW, NOW + timedelta(minutes=15)),
        by="rule:exploited", why="QUARANTINE by exploited", before="active, tags v1", quiet=True,
    )  # fmt: skip
    report = PendingReport(3, NOW, said="It was archived.", event="verdict")
    found = InUse(InUseState.UNKNOWN, None, None, NOW, ("service web",), ("ECS in eu-west-1: denied",), looked=True)
    return msgspec.structs.replace(full_header(), pending=(act, report), in_use=found)


# As a header was packed once: what is stored must stay readable, so fields of what it holds are only ever appended.
PACKED_HEADER = (
    "AbvDILsUnC8On3a8lcNawsDAAmJw/GBg4AAxeGoYGHg5Wacsh3puB658sgKWfkG6xDkYGCRBDKkeBgbZaasQHpk4c2VqRUFOfiYw"
    "HJCEF5dnVDIzMU5aC3eYgYGB4TKwDysmLio3XJkEy80s5zI3sB9gZ1oCCgeQHToKDAxGZw0sb6oTmSBvahCbJJeCy52V8PJoymJg"
    "xmQCWaoqwcCgBWJozGFg0GNehShWQIICDAwMgoduuhdDikMDyoDFpEnUMspwNVJ5PJlaphodODyRWmYZT5y6FFzGs4MC0liDgcEa"
    "KZ2AI51p4rIyQz0jPWOQCuEWBgZRAA=="
)


def test_a_header_packed_by_an_older_version_stays_readable() -> None:
    fields, _ = read_rest(base64.b64decode(PACKED_HEADER))
    assert len(fields) == 29
    header = full_header()
    assert {name: value for name, value in fields.items() if name != "tags"} == {
        name: getattr(header, name) for name in fields if name != "tags"
    }
    assert fields["tags"] == ("v1.2.3",)


PACKED_ACTING_HEADER = (
    "Aa1Vz0sbQRR+uzEYqQWlFFEoDPRgD0ncjRcb8CAqIoIHi3/AJBnapWtMdydZFY8ePbibGPHUJSbZJqL1UKiXwtI9Fr2n+If02Jkx"
    "m+RSEJqBHR7z4+17b77vew/wuiF4Efxa+q1HKcAIN2J/AGLcGD8EeD4WrXjd5G7/xZMvIX75rakYwDQ3Zo4BXlXb/UTs8xbZK+i7"
    "GqvDwPKF9WE/IkvOVS8wRVHUpshwz65ZaisTsnnkXrsZ9UflOq8D/0ccAaTulLed2ScCsvPmqZBsCN1p9fTozOuy0vdFFPalSYyS"
    "liXIIhn7dnX5HXtrRIoJi6E1oaZRjuQ1kgsi7b7s8JAnAGDyZ2fNfJRL5f/GguMMy5V6OaDX5WF5TfmBPSxf884DTAwgJyIewvft"
    "CzNvCltMDdEKKt7W9uYmK/o1RhSbH5HBaIc0Gp57tuJeG0WdpHuY/N73jDL7qLf+FWcpazBx5ua9iUqqG3xubq1ySQ8DOGGff7NO"
    "kYWZsjz2o1zSdV2P65KWpXKlqTP6m7RWUuslNZlq8ik5zwHx4gjgZVWCOykO0XuQJgun9R0maDLfTCsAy05464eOD7BBKN1NfCpi"
    "A+cpawNzlOCdOVzQgqrX7Y3tAjEYhNNMUTi7uKPFbwBr5YHiyVINq3xnaQFgwy43hM7IIqO/"
)


def test_a_header_with_an_act_packed_by_an_older_version_stays_readable() -> None:
    fields, _ = read_rest(base64.b64decode(PACKED_ACTING_HEADER))
    assert len(fields) == 35
    header = acting_header()
    assert fields == {name: getattr(header, name) for name in fields}


class TestHeaders:
    def test_every_field_of_a_header_comes_back(self, table: Table) -> None:
        header = full_header()
        left = [
            f.name
            for f in msgspec.structs.fields(Header)
            if f.name not in ("ref", "version") and getattr(header, f.name) == f.default
        ]
        assert left == [], "the test must set every field"
        stored = put(table, header)
        assert stored.version == 1
        assert table.read_headers([header.ref])[header.ref].header == stored

    def test_every_field_of_an_open_act_and_of_what_was_looked_up_comes_back(self, table: Table) -> None:
        header = acting_header()
        stored = put(table, header)
        assert table.read_headers([header.ref])[header.ref].header == stored
        assert (stored.pending, stored.in_use) == (header.pending, header.in_use)

    def test_a_header_with_nothing_known_comes_back(self, table: Table) -> None:
        stored = put(table, Header(ref=ref(1)))
        assert table.read_headers([ref(1)])[ref(1)].header == stored

    def test_unknown_images_are_absent(self, table: Table) -> None:
        put(table, image(1))
        assert set(table.read_headers([ref(1), ref(2), ref(1)])) == {ref(1)}
        assert table.read_headers([]) == {}

    def test_of_two_writers_one_gets_a_conflict(self, table: Table) -> None:
        first = put(table, image(1))
        won = table.put_header(msgspec.structs.replace(first, size_bytes=1))
        with pytest.raises(ConflictError):
            table.put_header(msgspec.structs.replace(first, size_bytes=2))
        assert table.read_headers([ref(1)])[ref(1)].header == won

    def test_an_image_that_is_known_cannot_be_put_as_new(self, table: Table) -> None:
        put(table, image(1))
        with pytest.raises(ConflictError):
            put(table, image(1))

    def test_a_version_of_an_image_that_is_not_stored_is_a_conflict(self, table: Table) -> None:
        with pytest.raises(ConflictError):
            table.put_header(image(1))

    def test_hundreds_of_headers_are_read_at_once(self, table: Table) -> None:
        for n in range(120):
            put(table, image(n))
        assert len(table.read_headers(ref(n) for n in range(130))) == 120

    def test_a_private_and_a_public_repository_of_one_name_do_not_meet(self, table: Table) -> None:
        private, public = ref(1), ref(1, registry="public/alias", region="us-east-1")
        put(table, image(1, where=private, tags=("private",)))
        put(table, image(1, where=public, tags=("public",)))
        found = table.read_headers([private, public])
        assert found[private].header.tags == ("private",)
        assert found[public].header.tags == ("public",)
        assert [h.ref for h in table.headers_of(public.home)] == [public]

    def test_headers_of_a_repository_are_all_and_only_its_own(self, table: Table) -> None:
        for n in range(3):
            put(table, image(n))
        put(table, image(9, where=ref(9, repository="team/api-2")))
        table.move_tag(home(), "latest", digest(1), NOW)
        assert [h.ref for h in table.headers_of(home())] == [ref(0), ref(1), ref(2)]
        assert [h.ref for h in table.headers_of(home(), (ref(1).digest, ref(2).digest))] == [ref(1), ref(2)]

    def test_a_mark_on_an_unknown_image_makes_a_header_that_does_not_exist(self, table: Table) -> None:
        table.mark_refresh(ref(1), 0, NOW + timedelta(minutes=1))
        header = table.read_headers([ref(1)])[ref(1)].header
        assert (header.version, header.exists, header.refresh_due_at) == (1, False, NOW + timedelta(minutes=1))
        assert header.known_at == NOW

    def test_a_mark_changes_nothing_else_and_makes_others_read_again(self, table: Table) -> None:
        before = put(table, full_header())
        table.mark_refresh(before.ref, before.version, NOW)
        after = table.read_headers([before.ref])[before.ref].header
        assert after == msgspec.structs.replace(before, version=before.version + 1, refresh_due_at=NOW)
        with pytest.raises(ConflictError):
            table.put_header(before)

    def test_a_mark_on_another_version_is_a_conflict(self, table: Table) -> None:
        with pytest.raises(ConflictError):
            table.mark_refresh(ref(1), 3, NOW)
        table.mark_refresh(ref(1), 0, NOW)
        with pytest.raises(ConflictError):
            table.mark_refresh(ref(1), 0, NOW)
        table.mark_refresh(ref(1), 1, NOW)
        with pytest.raises(ConflictError):
            table.mark_refresh(ref(1), 1, NOW)

    def test_two_writers_of_the_same_are_still_two(self, table: Table) -> None:
        """Who begins an effect puts what its rival puts too; only one may go on."""
        empty = table.read_document(ref(1))
        table.put_document(FindingsDocument(ref(1), 0, (finding(1),)), empty)
        with pytest.raises(ConflictError):
            table.put_document(FindingsDocument(ref(1), 0, (finding(1),)), empty)
        put(table, image(1))
        with pytest.raises(ConflictError):
            put(table, image(1))

    def test_what_is_due_is_found_by_shard_oldest_first(self, table: Table) -> None:
        shard = shard_of(ref(1))
        for n, minutes in ((1, 3), (2, 1), (3, 2), (4, 9)):
            put(table, image(n, due_at=NOW + timedelta(minutes=minutes, microseconds=n)))
        put(table, image(5, due_at=None))
        assert {shard_of(ref(n)) for n in range(1, 6)} == {shard}
        assert table.due(shard, NOW + timedelta(minutes=5)) == [ref(2), ref(3), ref(1)]
        assert table.due(shard, NOW + timedelta(minutes=1, microseconds=2)) == [ref(2)]
        assert table.due(shard + 1, NOW + timedelta(days=1)) == []


class TestDocuments:
    def test_no_document_is_revision_0(self, table: Table) -> None:
        assert table.read_document(ref(1)) == FindingsDocument(ref(1))

    def test_a_document_comes_back_with_its_revision_beside_the_header(self, table: Table) -> None:
        empty = table.read_document(ref(1))
        changes = (FindingChange(NOW, finding(1).source_finding_id, "status", "OPEN"),)
        document = FindingsDocument(ref(1), 0, (finding(1), finding(2)), Source.ENHANCED, NOW, None, changes)
        put_one = table.put_document(document, empty)
        assert put_one.revision == 1
        assert table.read_document(ref(1)) == put_one
        put(table, image(1, revision=1))
        stored = table.read_headers([ref(1)])[ref(1)]
        assert stored.document_revision == stored.header.revision == 1

    def test_of_two_writers_of_a_document_one_gets_a_conflict(self, table: Table) -> None:
        empty = table.read_document(ref(1))
        first = table.put_document(FindingsDocument(ref(1), 0, (finding(1),)), empty)
        with pytest.raises(ConflictError):
            table.put_document(FindingsDocument(ref(1), 0, (finding(2),)), empty)
        assert table.read_document(ref(1)) == first
        second = table.put_document(FindingsDocument(ref(1), 1, ()), first)
        assert second.revision == 2
        with pytest.raises(ConflictError):
            table.put_document(first, first)

    def test_kev_facts_come_back_with_their_time_and_no_answer_is_not_no(self, table: Table) -> None:
        table.store_kev({"CVE-2026-0001": True, "CVE-2026-0002": False, "CVE-2026-0003": None}, NOW)
        assert table.read_kev(["CVE-2026-0001", "CVE-2026-0002", "CVE-2026-0003", "CVE-2026-0004"]) == {
            "CVE-2026-0001": (True, NOW),
            "CVE-2026-0002": (False, NOW),
            "CVE-2026-0003": (None, NOW),
        }
        table.store_kev({}, NOW)


class TestTags:
    def test_a_tag_that_moves_says_where_it_was(self, table: Table) -> None:
        first = table.move_tag(home(), "latest", digest(1), NOW)
        assert (first.digest, first.at, first.former, first.moved) == (digest(1), NOW, None, True)
        second = table.move_tag(home(), "latest", digest(2), NOW + timedelta(seconds=1))
        assert (second.digest, second.former, second.moved) == (digest(2), digest(1), True)
        assert table.read_tag(home(), "latest") == digest(2)

    def test_an_older_event_does_not_move_a_tag(self, table: Table) -> None:
        table.move_tag(home(), "v1", digest(2), NOW)
        late = table.move_tag(home(), "v1", digest(1), NOW - timedelta(seconds=5))
        assert (late.digest, late.former, late.at, late.moved) == (digest(2), digest(1), NOW, False)
        assert table.read_tag(home(), "v1") == digest(2)

    def test_a_deleted_tag_points_nowhere_and_a_late_push_does_not_bring_it_back(self, table: Table) -> None:
        table.move_tag(home(), "v1", digest(1), NOW)
        gone = table.move_tag(home(), "v1", None, NOW + timedelta(seconds=9))
        assert (gone.digest, gone.former, gone.moved) == (None, digest(1), True)
        table.move_tag(home(), "v1", digest(1), NOW + timedelta(seconds=3))
        assert table.read_tag(home(), "v1") is None

    def test_a_repeated_push_of_the_same_digest_protects_it_from_a_late_deletion(self, table: Table) -> None:
        table.move_tag(home(), "v1", digest(1), NOW)
        again = table.move_tag(home(), "v1", digest(1), NOW + timedelta(seconds=9))
        assert not again.moved
        table.move_tag(home(), "v1", None, NOW + timedelta(seconds=3))
        assert table.read_tag(home(), "v1") == digest(1)

    def test_at_equal_times_the_stored_digest_stays_until_somebody_has_asked_the_registry(self, table: Table) -> None:
        table.move_tag(home(), "v1", digest(1), NOW)
        tie = table.move_tag(home(), "v1", digest(2), NOW)
        assert (tie.digest, tie.moved) == (digest(1), False)
        settled = table.move_tag(home(), "v1", digest(2), NOW, settles_tie=True)
        assert (settled.digest, settled.moved) == (digest(2), True)
        assert not table.move_tag(home(), "v1", digest(2), NOW, settles_tie=True).moved

    def test_an_unknown_tag_points_nowhere(self, table: Table) -> None:
        assert table.read_tag(home(), "never") is None


MOVES = st.lists(
    st.tuples(st.integers(0, 30), st.none() | st.integers(1, 3)), min_size=1, max_size=8, unique_by=lambda m: m[0]
)


@given(MOVES, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_tag_events_in_any_order_with_repeats_end_the_same(moves: list[Any], random: Any) -> None:
    one, other = FakeTable(lambda: NOW), FakeTable(lambda: NOW)
    shuffled = [*moves, *random.sample(moves, len(moves) // 2)]
    random.shuffle(shuffled)
    for fake, order in ((one, sorted(moves)), (other, shuffled)):
        for second, number in order:
            fake.move_tag(home(), "v1", None if number is None else digest(number), NOW + timedelta(seconds=second))
    assert one.moves == other.moves


class TestActions:
    RECORD = ActionRecord(
        ref(1), "ALERT#3", NOW, "ALERT", "lazaretto", "it got worse", NOW + timedelta(seconds=5), "WARN", "BLOCK", 2,
        ("CVE-2026-0001",), "undo",
    )  # fmt: skip

    def test_an_effect_is_recorded_once(self, table: Table) -> None:
        assert table.record_action(self.RECORD)
        assert not table.record_action(self.RECORD)
        assert table.action_at(ref(1), "ALERT#3", NOW) == NOW + timedelta(seconds=5)
        assert table.action_at(ref(1), "ALERT#4", NOW) is None
        assert table.action_at(ref(1), "ALERT#3", NOW + timedelta(microseconds=1)) is None

    def test_the_same_effect_wanted_anew_is_another_record(self, table: Table) -> None:
        assert table.record_action(self.RECORD)
        assert table.record_action(msgspec.structs.replace(self.RECORD, wanted_at=NOW + timedelta(hours=1)))
        assert table.record_action(msgspec.structs.replace(self.RECORD, ref=ref(2)))


class TestRepositories:
    def test_facts_can_be_kept_again_and_again(self, table: Table) -> None:
        table.store_repository(home(), {"created_at": NOW, "scan_frequency": "CONTINUOUS_SCAN"})
        table.store_repository(home(), {"created_at": NOW, "scan_frequency": "CONTINUOUS_SCAN"})
        table.store_repository(home(), {})

    def test_one_that_is_forgotten_denies_no_pulls_and_is_known_anew_by_the_next_fact(self, table: Table) -> None:
        table.change_denied(home(), lambda denied: denied.with_digest(ref(1).digest))
        table.forget_repository(home())
        assert list(table.denying()) == []
        assert table.read_denied(home()).digests == ()
        table.forget_repository(home())
        table.store_repository(home(), {"created_at": NOW})
        assert table.read_denied(home()).digests == ()

    def test_versions_are_0_until_something_is_stored(self, table: Table) -> None:
        assert table.read_versions() == (0, 0)


# --- DynamoDB alone


def all_items(client: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.scan(TableName=NAME)["Items"]
    return items


def headers(client: Any) -> list[dict[str, Any]]:
    return [item for item in all_items(client) if item[SK]["S"].startswith("IMAGE#")]


def test_the_first_image_makes_its_repository_known_and_the_next_ones_cost_nothing(
    client: Any, real: FindingsTable
) -> None:
    put(real, image(1))
    (repository,) = (item for item in all_items(client) if item[SK]["S"] == "REPOSITORY")
    assert repository["gsi_pk"]["S"] == "REPOSITORIES"
    asked: list[str] = []
    client.meta.events.register("provide-client-params.dynamodb", lambda model, **_: asked.append(model.name))
    put(real, image(2))
    assert asked == ["PutItem"]


def test_a_mark_on_an_unknown_image_stays_out_of_both_indexes(client: Any, real: FindingsTable) -> None:
    real.mark_refresh(ref(1), 0, NOW)
    (item,) = headers(client)
    assert not [name for name in item if name.startswith(("gsi_", "due_"))]


@pytest.mark.parametrize(("exists", "kind"), [(False, Kind.IMAGE), (True, Kind.ARTIFACT)])
def test_deleted_images_and_artifacts_are_not_listed(
    client: Any, real: FindingsTable, exists: bool, kind: Kind
) -> None:
    put(real, image(1, exists=exists, kind=kind))
    (item,) = headers(client)
    assert not [name for name in item if name.startswith("gsi_")]


def test_names_of_the_index_cannot_be_used_up_by_a_reader_of_headers(client: Any, real: FindingsTable) -> None:
    real.put_document(FindingsDocument(ref(1), 0, (finding(1),)), FindingsDocument(ref(1)))
    header = put(real, image(1))
    asked: list[dict[str, Any]] = []
    client.meta.events.register("provide-client-params.dynamodb.BatchGetItem", lambda params, **_: asked.append(params))
    assert real.read_headers([ref(1)])[ref(1)].header == header
    (request,) = asked[0]["RequestItems"].values()
    assert request["ConsistentRead"]
    assert "f" not in request["ExpressionAttributeNames"].values(), "findings stay behind"


def test_ten_workers_append_to_one_chain_without_a_gap(client: Any) -> None:
    real = FindingsTable(Dynamo(AtomicClient(client), NAME, no_sleep), lambda: NOW)  # type: ignore[arg-type]
    records = [msgspec.structs.replace(TestActions.RECORD, effect=f"ALERT#{n % 8}") for n in range(10)]
    with ThreadPoolExecutor(3) as pool:
        recorded = list(pool.map(real.record_action, records))
    assert sum(recorded) == 8
    actions = [i for i in all_items(client) if i[SK]["S"].startswith("ACTION#")]
    assert sorted(int(i["n"]["N"]) for i in actions) == list(range(1, 9))
    (head,) = (i for i in all_items(client) if i[SK]["S"] == "AUDIT_HEAD")
    assert head["n"]["N"] == "8"


def test_a_transaction_that_fails_leaves_no_trace(client: Any, real: FindingsTable) -> None:
    real.record_action(TestActions.RECORD)
    before = sorted(all_items(client), key=str)
    assert not real.record_action(msgspec.structs.replace(TestActions.RECORD, reason="another reason"))
    assert sorted(all_items(client), key=str) == before


def test_repository_facts_of_time_only_move_later(client: Any, real: FindingsTable) -> None:
    real.store_repository(home(), {"created_at": NOW, "scan_frequency": "MANUAL"})
    real.store_repository(home(), {"created_at": NOW - timedelta(days=1), "scan_frequency": "CONTINUOUS_SCAN"})
    real.store_repository(home(), {"deleted_at": NOW + timedelta(seconds=1), "scan_frequency": None})
    (item,) = all_items(client)
    assert item["created_at"]["N"] == str(int(NOW.timestamp()))
    assert item["deleted_at"]["N"] == str(int(NOW.timestamp()) + 1)
    assert "scan_frequency" not in item


def test_a_fact_cannot_overwrite_a_key(real: FindingsTable) -> None:
    with pytest.raises(ValueError, match="pk"):
        real.store_repository(home(), {"pk": "REPO#other"})
    with pytest.raises(ValueError, match="_at"):
        real.store_repository(home(), {"created_at": "yesterday"})


# --- the catalogue


def writes_of(client: Any, work: Callable[[], None]) -> list[dict[str, Any]]:
    """The items that were put in batches meanwhile."""
    items: list[dict[str, Any]] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        for requests in params["RequestItems"].values():
            items.extend(r["PutRequest"]["Item"] for r in requests)

    client.meta.events.register("provide-client-params.dynamodb.BatchWriteItem", note)
    try:
        work()
    finally:
        client.meta.events.unregister("provide-client-params.dynamodb.BatchWriteItem", note)
    return items


def told(number: int, **changes: Any) -> Finding:
    texts: dict[str, Any] = {
        "title": f"CVE-2026-{number:04d} - openssl",
        "description": "A flaw. " * 20,
        "url": f"https://nvd.nist.gov/vuln/detail/CVE-2026-{number:04d}",
        "references": ("https://example.org/a", "https://example.org/b"),
        "cvss_vector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "vulnerability_source": "NVD",
    }
    return finding(number, **(texts | changes))


def test_a_known_vulnerability_costs_neither_read_nor_write(client: Any, real: FindingsTable) -> None:
    findings = [told(n) for n in range(60)]
    assert len(writes_of(client, lambda: real.store_vulnerabilities(findings))) == 60
    calls: list[str] = []
    client.meta.events.register("before-call.dynamodb", lambda model, **_: calls.append(model.name))
    real.store_vulnerabilities(reversed(findings))
    assert calls == []


def test_another_process_reads_and_writes_nothing(client: Any, real: FindingsTable) -> None:
    findings = [told(n) for n in range(30)]
    real.store_vulnerabilities(findings)
    other = FindingsTable(Dynamo(client, NAME, no_sleep), lambda: NOW)
    assert writes_of(client, lambda: other.store_vulnerabilities(findings)) == []


def test_epss_is_written_again_only_when_it_moved_by_a_hundredth_and_not_back(client: Any, real: FindingsTable) -> None:
    real.store_vulnerabilities([told(1, epss=0.5)])
    later = NOW + timedelta(days=1)
    assert writes_of(client, lambda: real.store_vulnerabilities([told(1, epss=0.5099, updated_at=later)])) == []
    (item,) = writes_of(client, lambda: real.store_vulnerabilities([told(1, epss=0.51, updated_at=later)]))
    assert item["ep"]["N"] == "0.51"
    assert writes_of(client, lambda: real.store_vulnerabilities([told(1, epss=0.2, updated_at=NOW)])) == [], "older"


def test_a_changed_text_is_written_and_a_missing_one_is_not_lost(client: Any, real: FindingsTable) -> None:
    real.store_vulnerabilities([told(1)])
    bare = told(1, description=None, cvss_vector=None, references=())
    assert writes_of(client, lambda: real.store_vulnerabilities([bare])) == []
    assert len(writes_of(client, lambda: real.store_vulnerabilities([told(1, description="Rewritten.")]))) == 1


def test_titles_that_only_name_the_packages_are_one_text(client: Any, real: FindingsTable) -> None:
    real.store_vulnerabilities([told(1)])
    other = told(1, title="CVE-2026-0001 - openssl, openssl-dev")
    assert writes_of(client, lambda: real.store_vulnerabilities([other])) == []


def test_hostile_texts_are_cut_and_long_ids_still_find_their_place(client: Any, real: FindingsTable) -> None:
    hostile = told(
        1, description="\u2603x" * 100_000, references=tuple(f"https://example.org/{n}" for n in range(500)),
        title="t" * 100_000, url="u" * 100_000, vulnerability_id="C" * 10_000,
    )  # fmt: skip
    real.store_vulnerabilities([hostile])
    real.store_kev({"C" * 10_000: True}, NOW)
    assert real.read_kev(["C" * 10_000]) == {"C" * 10_000: (True, NOW)}


def test_ordinary_vulnerabilities_fit_one_unit_even_with_many_references(client: Any, real: FindingsTable) -> None:
    many = told(1, references=tuple(f"https://example.org/{n:x}/{n * 7919:x}" for n in range(10**6, 10**6 + 20)))
    (item,) = writes_of(client, lambda: real.store_vulnerabilities([many]))
    assert size_of(item) <= ITEM_BYTES
    other = FindingsTable(Dynamo(client, NAME, no_sleep), lambda: NOW)
    assert writes_of(client, lambda: other.store_vulnerabilities([many])) == [], "cut references are no change"


# --- large documents


def many_findings(count: int) -> tuple[Finding, ...]:
    return tuple(
        finding(n, packages=(Package(f"p{n % 997}", f"{n % 31}.{n}", "OS", fixed_version=f"{n}.1"),))
        for n in range(count)
    )


def parts_of(client: Any) -> list[str]:
    return sorted(i[SK]["S"] for i in all_items(client) if i[SK]["S"].startswith("FINDINGS#"))


def test_a_document_of_more_than_seven_thousand_findings_is_kept_in_parts(client: Any) -> None:
    table = FindingsTable(Dynamo(client, NAME, no_sleep), lambda: NOW, part_bytes=100_000)
    document = table.put_document(FindingsDocument(ref(1), 0, many_findings(7_500)), FindingsDocument(ref(1)))
    assert len(parts_of(client)) >= 2
    back = table.read_document(ref(1))
    assert (back.revision, len(back.findings)) == (1, 7_500)
    assert {f.source_finding_id: f for f in back.findings} == {f.source_finding_id: f for f in document.findings}


def test_superseded_parts_are_removed_by_the_next_writer_after_an_hour(client: Any) -> None:
    clock = [NOW]
    table = FindingsTable(Dynamo(client, NAME, no_sleep), lambda: clock[0], part_bytes=2_000)
    first = table.put_document(FindingsDocument(ref(1), 0, many_findings(200)), FindingsDocument(ref(1)))
    old = parts_of(client)
    second = table.put_document(msgspec.structs.replace(first, findings=many_findings(210)), first)
    assert set(old) < set(parts_of(client)), "a reader may still be at them"
    clock[0] += timedelta(hours=1, seconds=1)
    third = table.put_document(msgspec.structs.replace(second, findings=many_findings(220)), second)
    assert {sk.split("#")[1] for sk in parts_of(client)} == {"3"}
    table.put_document(msgspec.structs.replace(third, findings=many_findings(3)), third)
    assert parts_of(client) == []
    assert len(table.read_document(ref(1)).findings) == 3


def test_a_writer_that_loses_leaves_no_parts_behind(client: Any) -> None:
    table = FindingsTable(Dynamo(client, NAME, no_sleep), lambda: NOW, part_bytes=2_000)
    empty = FindingsDocument(ref(1))
    table.put_document(FindingsDocument(ref(1), 0, many_findings(200)), empty)
    before = parts_of(client)
    with pytest.raises(ConflictError):
        table.put_document(FindingsDocument(ref(1), 0, many_findings(201)), empty)
    assert parts_of(client) == before
    assert len(table.read_document(ref(1)).findings) == 200


def test_a_reader_that_misses_a_part_starts_again(client: Any) -> None:
    table = FindingsTable(Dynamo(client, NAME, no_sleep), lambda: NOW, part_bytes=2_000)
    first = table.put_document(FindingsDocument(ref(1), 0, many_findings(200)), FindingsDocument(ref(1)))
    reads = itertools.count()

    def overtake(**_: Any) -> None:
        """Between the first item and its parts, a writer replaces both."""
        if next(reads) == 0:
            for sk in parts_of(client):
                client.delete_item(TableName=NAME, Key=document_key(ref(1)) | {SK: {"S": sk}})
            writer = FindingsTable(Dynamo(client_of_moto(), NAME, no_sleep), lambda: NOW)
            writer.put_document(msgspec.structs.replace(first, findings=many_findings(5)), first)

    client.meta.events.register("provide-client-params.dynamodb.BatchGetItem", overtake)
    back = table.read_document(ref(1))
    assert (back.revision, len(back.findings)) == (2, 5)


def test_parts_that_stay_away_are_a_transient_failure_not_an_empty_document(client: Any) -> None:
    table = FindingsTable(Dynamo(client, NAME, no_sleep), lambda: NOW, part_bytes=2_000)
    table.put_document(FindingsDocument(ref(1), 0, many_findings(200)), FindingsDocument(ref(1)))
    client.delete_item(TableName=NAME, Key=document_key(ref(1)) | {SK: {"S": parts_of(client)[0]}})
    with pytest.raises(TransientError):
        table.read_document(ref(1))


# --- failures of AWS


class Unready:
    """A client whose batches are left undone a given number of times."""

    def __init__(self, client: Any, times: int) -> None:
        self._client, self.times = client, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def batch_get_item(self, **arguments: Any) -> Any:
        if self.times:
            self.times -= 1
            ((name, request),) = arguments["RequestItems"].items()
            first, rest = request["Keys"][:1], request["Keys"][1:]
            answer = self._client.batch_get_item(RequestItems={name: request | {"Keys": first}})
            return answer | {"UnprocessedKeys": {name: request | {"Keys": rest}} if rest else {}}
        return self._client.batch_get_item(**arguments)

    def batch_write_item(self, **arguments: Any) -> Any:
        if self.times:
            self.times -= 1
            return {"UnprocessedItems": arguments["RequestItems"]}
        return self._client.batch_write_item(**arguments)


def test_what_a_batch_leaves_undone_is_asked_for_again(client: Any) -> None:
    pauses: list[float] = []
    table = FindingsTable(Dynamo(Unready(client, 3), NAME, pauses.append), lambda: NOW)  # type: ignore[arg-type]
    for n in range(5):
        put(table, image(n))
    assert len(table.read_headers(ref(n) for n in range(5))) == 5
    assert len(pauses) == 3
    unready = Unready(client, 2)
    FindingsTable(Dynamo(unready, NAME, no_sleep), lambda: NOW).store_kev({"CVE-1": True}, NOW)  # type: ignore[arg-type]
    assert table.read_kev(["CVE-1"]) == {"CVE-1": (True, NOW)}


def test_a_batch_that_is_never_done_is_transient(client: Any) -> None:
    table = FindingsTable(Dynamo(Unready(client, 10**6), NAME, no_sleep), lambda: NOW)  # type: ignore[arg-type]
    with pytest.raises(TransientError):
        table.store_kev({"CVE-1": True}, NOW)


class Forgetful:
    """A client that loses the answer of every write and sends it again, as botocore does after a broken connection."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name not in ("put_item", "update_item"):
            return call

        def twice(**arguments: Any) -> Any:
            call(**arguments)
            return call(**arguments)

        return twice


@pytest.mark.parametrize("part_bytes", [350_000, 2_000])
def test_a_write_whose_answer_was_lost_is_no_conflict(client: Any, part_bytes: int) -> None:
    """Else a worker would take its own mark for somebody else's and never send the look it has announced."""
    table = FindingsTable(Dynamo(Forgetful(client), NAME, no_sleep), lambda: NOW, part_bytes=part_bytes)  # type: ignore[arg-type]
    table.mark_refresh(ref(1), 0, NOW)
    table.mark_refresh(ref(1), 1, NOW + timedelta(milliseconds=500))
    header = table.put_header(
        msgspec.structs.replace(image(1), version=2, refreshed_at=NOW + timedelta(milliseconds=250))
    )
    assert table.read_headers([ref(1)])[ref(1)].header == header
    table.put_document(FindingsDocument(ref(1), 0, many_findings(200)), FindingsDocument(ref(1)))
    assert len(table.read_document(ref(1)).findings) == 200
    assert table.move_tag(home(), "v1", digest(1), NOW).moved
    table.store_repository(home(), {"created_at": NOW})
    with pytest.raises(ConflictError):
        table.mark_refresh(ref(1), 1, NOW)


def test_a_missing_table_is_an_upstream_error(client: Any) -> None:
    with pytest.raises(UpstreamError):
        FindingsTable(Dynamo(client, "no-such-table"), lambda: NOW).read_document(ref(1))


def size_of(item: dict[str, Any]) -> int:
    """As DynamoDB counts: names and values. Numbers are overestimated by their digits."""
    return sum(
        len(name) + sum(len(v if isinstance(v, bytes) else str(v)) for v in value.values())
        for name, value in item.items()
    )


def test_of_two_runs_that_carry_a_policy_one_is_told_that_the_other_went_on(table: Table) -> None:
    assert table.read_rollout() is None
    first = table.put_rollout(RolloutProgress(1, None, content="x"))
    assert table.read_rollout() == first
    second = table.put_rollout(
        msgspec.structs.replace(first, before={Decision.ALLOW: 2}, worst=((ref(1), Decision.BLOCK, None),), shard=3)
    )
    with pytest.raises(ConflictError):
        table.put_rollout(first)
    assert table.read_rollout() == second
