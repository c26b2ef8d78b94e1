"""What people are shown: worst first over all shards, pages that neither lose nor repeat, never a Scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table, shard_of
from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.adapters.table.findings_table import FindingsTable
from chalicelib.adapters.table.headers import row_of
from chalicelib.domain.assessment.conclusion import count_open
from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.audit.chain import START, next_link
from chalicelib.domain.headers.header import Header, sketch_of
from chalicelib.domain.images.finding import Finding, FindingsDocument, Severity
from chalicelib.domain.images.image import ImageRef, Kind
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import ParameterError
from chalicelib.services.ports.table import Page
from tests.fakes.images import digest, finding, home, image, ref
from tests.fakes.moto_aws import mock_aws

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NAME = "lazaretto-test"


class FakeContext:
    def __init__(self, client: Any) -> None:
        self.calls: list[str] = []
        client.meta.events.register("before-call.dynamodb", lambda model, **_: self.calls.append(model.name))
        self.client = client
        self.table = FindingsTable(Dynamo(client, NAME, lambda _: None), lambda: NOW)
        self.queries = FindingsQueries(Dynamo(client, NAME, lambda _: None))

    def add(self, header: Header, findings: tuple[Finding, ...] = ()) -> Header:
        document = self.table.put_document(FindingsDocument(header.ref, 0, findings), FindingsDocument(header.ref))
        changes = {"version": 0, "revision": document.revision}
        if findings:
            changes |= {"counts": count_open(findings), "sketch": sketch_of(findings)}
        return self.table.put_header(msgspec.structs.replace(header, **changes))


@pytest.fixture
def context() -> Iterator[FakeContext]:
    with mock_aws():
        client = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        create_table(client, NAME)
        yield FakeContext(client)


def spread(number: int) -> ImageRef:
    """Images over all shards: the first byte of a digest chooses."""
    return ref(number, repository="team/api").home.image(f"sha256:{number % 256:02x}{number:062x}")


def pages(ask: Callable[[str | None], Page[Any]]) -> Iterator[Page[Any]]:
    after = None
    for _ in range(500):
        page = ask(after)
        yield page
        after = page.after
        if after is None:
            return
    raise AssertionError("the pages do not end")


def test_images_come_worst_first_over_all_shards_without_loss_or_repeat(context: FakeContext) -> None:
    decisions = list(Decision)
    for n in range(40):
        counts = tuple(1 if n % 7 == d else 0 for d in range(6))
        pushed = NOW - timedelta(minutes=n % 3)
        context.add(image(n, decisions[n % 5], where=spread(n), counts=counts, pushed_at=pushed))
    assert len({shard_of(spread(n)) for n in range(40)}) == 8
    rows = [row for page in pages(lambda after: context.queries.images(after=after, limit=7)) for row in page.items]
    assert len(rows) == 40 == len({row.ref for row in rows})
    order = [(-r.decision.rank, r.worst.digit if r.worst else 6, -r.pushed_at.timestamp()) for r in rows if r.pushed_at]
    assert order == sorted(order)
    assert {r.ref for r in context.queries.all_rows()} == {r.ref for r in rows}
    assert "Scan" not in context.calls


def test_images_with_one_place_in_the_order_are_all_shown_once(context: FakeContext) -> None:
    for n in range(20):
        context.add(image(n, where=spread(n * 8), pushed_at=NOW))
    rows = [row for page in pages(lambda after: context.queries.images(after=after, limit=3)) for row in page.items]
    assert len(rows) == 20 == len({row.ref for row in rows})


@given(st.lists(st.tuples(st.sampled_from(Decision), st.integers(0, 2)), max_size=12), st.integers(1, 5))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_of_any_size_show_the_same(kinds: list[tuple[Decision, int]], limit: int) -> None:
    with mock_aws():
        client = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        create_table(client, NAME)
        context = FakeContext(client)
        for n, (decision, minutes) in enumerate(kinds):
            context.add(image(n, decision, where=spread(n), pushed_at=NOW + timedelta(minutes=minutes)))
        whole = context.queries.images(limit=100)
        walked = [
            r for page in pages(lambda after: context.queries.images(after=after, limit=limit)) for r in page.items
        ]
        assert tuple(walked) == whole.items
        assert whole.after is None


def test_images_are_filtered_by_registry_region_and_repository(context: FakeContext) -> None:
    context.add(image(1, where=ref(1)))
    context.add(image(2, where=ref(2, region="us-east-1")))
    context.add(image(3, where=ref(3, registry="999900001111")))
    context.add(image(4, where=ref(4, repository="team/web")))
    context.add(image(5, where=ref(5), exists=False))
    context.add(image(6, where=ref(6), kind=Kind.ARTIFACT))

    def shown(**filters: Any) -> set[str]:
        return {row.ref.digest for row in context.queries.images(limit=10, **filters).items}

    assert shown() == {digest(n) for n in (1, 2, 3, 4)}
    assert shown(registry="999900001111") == {digest(3)}
    assert shown(region="us-east-1") == {digest(2)}
    assert shown(repository="team/web") == {digest(4)}
    assert shown(registry="111122223333", region="eu-west-1", repository="team/api") == {digest(1)}


def test_one_repository_is_paged_by_digest(context: FakeContext) -> None:
    for n in range(9):
        context.add(image(n, exists=n != 4))
    one = {"registry": home().registry, "region": home().region, "repository": home().name}
    found = list(pages(lambda after: context.queries.images(after=after, limit=3, **one)))
    assert [[r.ref for r in page.items] for page in found] == [
        [ref(0), ref(1), ref(2)], [ref(3), ref(5), ref(6)], [ref(7), ref(8)],
    ]  # fmt: skip
    assert found[0].items[0] == row_of(msgspec.structs.replace(image(0), version=1))


def test_a_filtered_walk_ends_early_with_a_position_to_go_on_from(context: FakeContext) -> None:
    for n in range(12):
        context.add(image(n, where=spread(n)))
    context.add(image(99, Decision.ALLOW, where=ref(99, repository="team/web")))
    short = FindingsQueries(Dynamo(context.client, NAME, lambda _: None), walked_rows=5)
    found = list(pages(lambda after: short.images(repository="team/web", after=after, limit=10)))
    assert [len(page.items) for page in found] == [0, 0, 1]


@pytest.mark.parametrize("after", ["!", "AAAA", "kaF4", "\u00e9", "x" * 5000, ""])
def test_a_position_nobody_gave_out_is_refused(context: FakeContext, after: str) -> None:
    with pytest.raises(ParameterError, match="cursor"):
        context.queries.images(after=after, limit=5)
    with pytest.raises(ParameterError, match="cursor"):
        context.queries.tags(home(), after=f"{after}!!", limit=5)


def test_who_has_a_vulnerability_is_found_by_sketch_and_confirmed_in_the_document(context: FakeContext) -> None:
    related = finding(3, related_ids=("GHSA-9f46-5r25-5wfm",))
    context.add(image(1), (finding(1), finding(2)))
    context.add(image(2), (finding(2), related))
    context.add(image(3), (finding(4),))
    assert {r.ref for r in context.queries.affected("CVE-2026-0002", limit=10).items} == {ref(1), ref(2)}
    assert [r.ref for r in context.queries.affected("GHSA-9f46-5r25-5wfm", limit=10).items] == [ref(2)]
    (found,) = context.queries.confirm(ref(2), "GHSA-9f46-5r25-5wfm")
    assert found.vulnerability_id == "CVE-2026-0003"
    assert context.queries.confirm(ref(3), "GHSA-9f46-5r25-5wfm") == ()
    assert "Scan" not in context.calls


TOLD = finding(
    1,
    title="CVE-2026-0001 - openssl",
    description="A flaw.",
    url="https://nvd.nist.gov/vuln/detail/CVE-2026-0001",
    references=("https://example.org/a",),
    cvss_vector="CVSS:3.1/AV:N",
    vulnerability_source="NVD",
    related_ids=("GHSA-9f46-5r25-5wfm",),
    epss=0.12,
)


def test_findings_are_shown_with_the_texts_of_the_catalogue(context: FakeContext) -> None:
    context.add(image(1), (TOLD, finding(2)))
    context.table.store_vulnerabilities([TOLD])
    shown = {f.vulnerability_id: f for f in context.queries.findings(ref(1))}
    assert shown["CVE-2026-0001"] == TOLD
    assert shown["CVE-2026-0002"].description is None
    assert context.queries.findings(ref(9)) == ()


def test_a_vulnerability_is_told_by_each_database_with_its_epss_and_kev(context: FakeContext) -> None:
    later = NOW + timedelta(hours=1)
    context.table.store_vulnerabilities(
        [TOLD, msgspec.structs.replace(TOLD, vulnerability_source="DEBIAN_CVE", epss=None)]
    )
    nvd, debian = sorted(context.queries.vulnerability("CVE-2026-0001"), key=lambda f: f.source != "NVD")
    assert (nvd.source, nvd.description, nvd.epss, nvd.epss_at) == ("NVD", "A flaw.", 0.12, TOLD.updated_at)
    assert (nvd.kev, nvd.kev_at) == (None, None)
    assert (debian.source, debian.epss) == ("DEBIAN_CVE", None)
    context.table.store_kev({"CVE-2026-0001": True}, later)
    assert {(f.kev, f.kev_at) for f in context.queries.vulnerability("CVE-2026-0001")} == {(True, later)}
    assert context.queries.vulnerability("CVE-2026-9999") == ()


def test_headers_are_read_one_or_many(context: FakeContext) -> None:
    put = context.add(image(1))
    assert context.queries.header(ref(1)) == put
    assert context.queries.header(ref(2)) is None
    assert context.queries.headers([ref(1), ref(2)]) == {ref(1): put}
    assert context.queries.document(ref(2)).revision == 0


def test_tags_are_listed_by_name_with_their_moves(context: FakeContext) -> None:
    for n, tag in enumerate(("latest", "v1", "v2")):
        context.table.move_tag(home(), tag, digest(n), NOW)
    context.table.move_tag(home(), "latest", digest(7), NOW + timedelta(seconds=5))
    context.table.move_tag(home(), "v2", None, NOW + timedelta(seconds=5))
    context.add(image(1))
    found = list(pages(lambda after: context.queries.tags(home(), after=after, limit=2)))
    assert [[row.tag for row in page.items] for page in found] == [["latest", "v1"], ["v2"]]
    latest, gone = found[0].items[0], found[1].items[0]
    assert [(m.at, m.digest) for m in latest.moves] == [(NOW, digest(0)), (NOW + timedelta(seconds=5), digest(7))]
    assert (gone.digest, gone.moved_at) == (None, NOW + timedelta(seconds=5))
    assert context.queries.tag(home(), "latest") == digest(7)
    assert context.queries.tag(home(), "v2") is None


def test_repositories_are_listed_with_their_facts(context: FakeContext) -> None:
    homes = sorted([home("team/api"), home("team/web"), home("team/api", registry="public/alias", region="us-east-1")])
    for place in homes:
        context.table.store_repository(place, {"created_at": NOW, "scan_on_push": True})
    found = list(pages(lambda after: context.queries.repositories(after=after, limit=2)))
    assert [row.repository for page in found for row in page.items] == homes
    assert found[0].items[0].facts == {"created_at": NOW, "scan_on_push": True}
    row = context.queries.repository(homes[0])
    assert row is not None
    assert row.facts["scan_on_push"] is True
    assert context.queries.repository(home("none")) is None
    assert "Scan" not in context.calls


def test_actions_come_in_the_order_of_their_chain_and_the_chain_can_be_checked(context: FakeContext) -> None:
    for n in (3, 1, 2):
        record = ActionRecord(ref(1), f"ALERT#{n}", NOW - timedelta(minutes=n), "ALERT", "lazaretto", "worse", NOW)
        context.table.record_action(record)
    rows = context.queries.actions(ref(1))
    assert [(row.number, row.record.effect) for row in rows] == [(1, "ALERT#3"), (2, "ALERT#1"), (3, "ALERT#2")]
    link = START
    for row in rows:
        link = next_link(link, row.body)
        assert row.link == link


def test_the_newest_summary_is_read_and_the_first_of_a_day_stays(context: FakeContext) -> None:
    assert context.queries.read_snapshot() is None
    tomorrow = NOW + timedelta(days=1)
    for at, content in ((NOW, b"one"), (NOW + timedelta(hours=1), b"two"), (NOW, b"late"), (tomorrow, b"three")):
        context.table.put_snapshot(content, at)
    newest, first = context.queries.read_snapshot(), context.queries.read_snapshot(NOW)
    assert newest is not None
    assert (newest.at, newest.content) == (tomorrow, b"three")
    assert first is not None
    assert (first.at, first.content) == (NOW, b"one")


def test_severity_unknown_is_the_worst_only_where_nothing_else_is_open(context: FakeContext) -> None:
    context.add(image(1, counts=(0, 0, 0, 0, 1, 5)))
    context.add(image(2, counts=(0, 0, 0, 0, 0, 5)))
    context.add(image(3, counts=(0, 0, 0, 0, 0, 0)))
    worst = {row.ref: row.worst for row in context.queries.images(limit=5).items}
    assert worst == {ref(1): Severity.INFORMATIONAL, ref(2): Severity.UNKNOWN, ref(3): None}
