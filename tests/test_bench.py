"""The bench's own tools: capacity arithmetic against numbers computed by hand and against a second implementation."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import msgspec
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import announcements, payloads
from bench.applied import Applied
from bench.aws import Generated, PlayedAws
from bench.count import Count
from bench.generate import Plan, events, expected, images
from bench.inspector_shape import whole_page
from bench.past import CANDIDATE, Registry
from bench.units import Layout, attribute_bytes, item_bytes, query_units, read_units, write_units
from chalicelib.adapters.dynamodb.schema import table_definition
from chalicelib.parsers.events.events import parse_event
from chalicelib.parsers.findings.basic_scan import parse_image_scan_findings
from chalicelib.parsers.findings.rows import parse_list_findings
from chalicelib.services.assessment.re_decide import SHARDS
from chalicelib.services.policy import evaluate_shard
from tests.fakes.moto_aws import mock_aws

OTHER_TOOLS = Path(__file__).parent.parent.parent / "shared/bench/capacity.py"
DEFINITION = table_definition("t")
LAYOUT = Layout.of(DEFINITION)
REGION = payloads.REGION


def item(pk: str, sk: str = "s", **more: dict[str, Any]) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}, **more}


def state(sort: str) -> dict[str, Any]:
    return {"gsi_pk": {"S": "STATE#0"}, "gsi_sk": {"S": sort}}


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": ""}, 0),
        ({"S": "äö"}, 4),
        ({"N": "0"}, 1),
        ({"N": "7"}, 2),
        ({"N": "-12.5"}, 4),
        ({"N": "1700000000"}, 2),
        ({"N": "1.234567E+5"}, 5),
        ({"B": "AAEC"}, 3),
        ({"B": b"\x00\x01\x02\x03"}, 4),
        ({"BOOL": True}, 1),
        ({"NULL": True}, 1),
        ({"SS": ["ab", "c"]}, 3),
        ({"L": []}, 3),
        ({"L": [{"S": "ab"}, {"BOOL": False}]}, 8),
        ({"M": {"k": {"S": "ab"}}}, 7),
    ],
)
def test_an_attribute_is_as_large_as_computed_by_hand(value: dict[str, Any], size: int) -> None:
    assert attribute_bytes(value) == size


def test_an_item_is_the_sum_of_names_and_values() -> None:
    assert item_bytes({"pk": {"S": "abc"}, "n": {"N": "12"}}) == 2 + 3 + 1 + 2
    assert item_bytes(None) == 0


@pytest.mark.parametrize(("size", "units"), [(0, 1), (1, 1), (1_024, 1), (1_025, 2), (409_600, 400)])
def test_each_started_kilobyte_is_a_write_unit(size: int, units: int) -> None:
    assert write_units(size) == units


@pytest.mark.parametrize(
    ("size", "consistent", "units"),
    [(0, True, 1), (0, False, 0.5), (4_096, True, 1), (4_097, True, 2), (4_097, False, 1)],
)
def test_each_started_four_kilobytes_are_a_read_unit(size: int, consistent: bool, units: float) -> None:
    assert read_units(size, consistent) == units


def test_a_query_rounds_once() -> None:
    assert query_units([item("a", x={"S": "x" * 2_000})] * 4, consistent=True) == 2


def test_a_write_costs_the_larger_of_before_and_after() -> None:
    small, large = item("a"), item("a", b={"S": "x" * 3_000})
    assert LAYOUT.write(large, small) == LAYOUT.write(small, large) == {"": 3}


def test_an_index_costs_only_what_changes_in_it() -> None:
    first = item("a", **state("1"), c={"S": "x"}, b={"S": "unprojected"})
    assert LAYOUT.write(None, first) == {"": 1, "by_state": 1}
    assert LAYOUT.write(first, first | {"b": {"S": "changed"}}) == {"": 1}
    assert LAYOUT.write(first, first | {"c": {"S": "changed"}}) == {"": 1, "by_state": 1}
    assert LAYOUT.write(first, first | state("2")) == {"": 1, "by_state": 2}
    assert LAYOUT.write(first, item("a")) == {"": 1, "by_state": 1}


def test_the_order_of_a_set_is_no_change() -> None:
    one, other = ({**item("a"), **state("1"), "c": {"SS": elements}} for elements in (["a", "b"], ["b", "a"]))
    assert LAYOUT.write(one, other) == {"": 1}


VALUES = st.recursive(
    st.one_of(
        st.builds(lambda s: {"S": s}, st.text(max_size=40)),
        st.builds(
            lambda n: {"N": str(n)},
            st.integers(-(10**12), 10**12) | st.decimals(allow_nan=False, places=3, min_value=-9999, max_value=9999),
        ),
        st.builds(lambda n: {"B": "AAAA" * n}, st.integers(0, 800)),
        st.builds(lambda b: {"BOOL": b}, st.booleans()),
        st.builds(lambda s: {"SS": sorted(s)}, st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=4)),
    ),
    lambda inner: (
        st.builds(lambda v: {"L": v}, st.lists(inner, max_size=3))
        | st.builds(lambda v: {"M": v}, st.dictionaries(st.text(max_size=3), inner, max_size=3))
    ),
    max_leaves=6,
)
ITEMS = st.none() | st.builds(
    lambda attributes, keys: item("p", **attributes, **{k: {"S": v} for k, v in keys.items()}),
    st.dictionaries(st.sampled_from(["c", "s", "e", "t", "b", "v"]), VALUES, max_size=4),
    st.dictionaries(st.sampled_from(["gsi_pk", "gsi_sk", "due_pk", "due_sk"]), st.sampled_from(["1", "2"])),
)


@pytest.fixture(scope="module")
def other() -> ModuleType:
    if not OTHER_TOOLS.exists():
        pytest.skip("second implementation absent: ../shared/bench/capacity.py")
    spec = importlib.util.spec_from_file_location("capacity", OTHER_TOOLS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.modules["capacity"] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module


@settings(max_examples=300, deadline=None)
@given(before=ITEMS, after=ITEMS)
def test_two_implementations_charge_the_same(other: ModuleType, before: Any, after: Any) -> None:
    if before is None and after is None:
        return
    on_table, on_index = other.Table.of(DEFINITION).write(before, after)
    assert LAYOUT.write(before, after) == {"": on_table, **on_index}
    assert item_bytes(after) == other.item_size(after)
    assert read_units(item_bytes(after), False) == other.read_units(other.item_size(after), False)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Count]]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws(), Count(REGION) as count:
        client = boto3.client("dynamodb", region_name=REGION)
        client.create_table(**DEFINITION)
        count.reset()
        yield client, count


def test_a_put_is_counted_with_its_index_entries(counted: tuple[Any, Count]) -> None:
    client, count = counted
    client.put_item(TableName="t", Item=item("REPO#a", "IMAGE#1", **state("1"), b={"B": b"x" * 3_000}))
    assert count.wru_by_place == {"": 3, "by_state": 1}
    assert count.wru_by_kind == {"REPO/IMAGE": 4}
    assert count.calls == {("dynamodb", "PutItem"): 1}


def test_a_failed_condition_costs_the_item_that_is_there(counted: tuple[Any, Count]) -> None:
    client, count = counted
    client.put_item(TableName="t", Item=item("a", b={"B": b"x" * 3_000}))
    count.reset()
    with pytest.raises(ClientError):
        client.put_item(TableName="t", Item=item("a"), ConditionExpression="attribute_not_exists(pk)")
    assert (count.wru, count.refused) == (3, 1)


def test_a_transaction_costs_twice_and_on_an_index_once(counted: tuple[Any, Count]) -> None:
    client, count = counted
    update = {"UpdateExpression": "SET c = :c", "ExpressionAttributeValues": {":c": {"S": "x"}}}
    client.transact_write_items(
        TransactItems=[
            {"Put": {"TableName": "t", "Item": item("a", **state("1"))}},
            {"Update": {"TableName": "t", "Key": item("b"), **update}},
        ]
    )
    assert count.wru_by_place == {"": 4, "by_state": 1}


def test_a_transaction_that_is_refused_costs_what_it_looked_at_twice(counted: tuple[Any, Count]) -> None:
    client, count = counted
    put = {"TableName": "t", "Item": item("a"), "ConditionExpression": "attribute_exists(pk)"}
    with pytest.raises(ClientError):
        client.transact_write_items(TransactItems=[{"Put": put}, {"Delete": {"TableName": "t", "Key": item("b")}}])
    assert (count.wru, count.refused) == (4, 1)


def test_each_write_of_a_batch_is_counted(counted: tuple[Any, Count]) -> None:
    client, count = counted
    requests = [{"PutRequest": {"Item": item("a")}}, {"PutRequest": {"Item": item("b", b={"B": b"x" * 2_000})}}]
    client.batch_write_item(RequestItems={"t": requests})
    client.batch_write_item(RequestItems={"t": [{"DeleteRequest": {"Key": item("b")}}]})
    assert count.wru == 1 + 2 + 2


def test_reads_are_counted_by_what_is_stored(counted: tuple[Any, Count]) -> None:
    client, count = counted
    client.put_item(TableName="t", Item=item("a", **state("1"), b={"B": b"x" * 5_000}))
    client.get_item(TableName="t", Key=item("a"), ConsistentRead=True, ProjectionExpression="pk")
    assert count.rru == 2
    asked = {"KeyConditionExpression": "gsi_pk = :p", "ExpressionAttributeValues": {":p": {"S": "STATE#0"}}}
    client.query(TableName="t", IndexName="by_state", **asked)
    assert count.rru == 2.5
    client.batch_get_item(RequestItems={"t": {"Keys": [item("a"), item("absent")]}})
    assert count.rru == 2.5 + 1 + 0.5


def test_nothing_is_counted_outside_the_block(counted: tuple[Any, Count]) -> None:
    client, count = counted
    count.__exit__()
    client.put_item(TableName="t", Item=item("a"))
    count.__enter__()
    assert count.calls == {}


PLAN = Plan(images=3, findings=12, variety=True)
NEXT = replace(PLAN, day=2, churn=(1.0, 0.3))


def test_equal_plans_generate_equal_payloads() -> None:
    one, other = (json.dumps([list(events(NEXT)), [expected(s) for s in images(NEXT)]]) for _ in range(2))
    assert one == other
    assert json.dumps(list(events(replace(NEXT, seed=2)))) != json.dumps(list(events(NEXT)))


def test_the_generated_listing_is_what_is_expected() -> None:
    for generated in images(NEXT):
        wanted = expected(generated)["findings"]
        pages = [parse_list_findings(page) for page in payloads.finding_pages(NEXT, generated, 5)]
        rows = [row for page in pages for row in page.rows]
        assert {r.finding.source_finding_id: r.finding.status for r in rows} == {
            a: w["status"] for a, w in wanted.items()
        }
        assert {r.finding.source_finding_id: r.finding.severity for r in rows} == {
            a: w["severity"] for a, w in wanted.items()
        }
        assert {row.image.ref.digest for row in rows} == {generated.digest}


def test_a_day_tells_what_changed_on_it_and_nothing_else() -> None:
    told = {event["detail"]["findingArn"] for event in events(NEXT)}
    changed = {f.arn for s in images(NEXT) for f in s.changed}
    assert told == changed
    assert 0 < len(changed) < sum(len(s.findings) for s in images(NEXT))


def test_the_whole_shape_of_a_finding_leaves_nothing_of_a_generated_page_out() -> None:
    decoder = whole_page()
    for generated in images(NEXT):
        for page in payloads.finding_pages(NEXT, generated, 5):
            decoded = msgspec.to_builtins(decoder.decode(msgspec.json.encode(page)))
            assert _without_nulls(decoded) == _without_nulls(page)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def test_pages_are_asked_for_by_the_token_of_the_page_before() -> None:
    shown = Generated(PLAN, list(images(PLAN)))
    arn = next(images(PLAN)).arn
    pages, token = shown.finding_pages(arn), ""
    read = list[str]()
    while token is not None:
        page = parse_list_findings(pages[token])
        read += [row.finding.source_finding_id for row in page.rows]
        token = page.next_token
    assert read == [f.arn for f in next(images(PLAN)).findings]


def test_a_call_that_nobody_plays_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    session = boto3.Session(region_name=REGION)
    PlayedAws(Generated(PLAN, ()), lambda: datetime(2026, 1, 1, tzinfo=UTC)).answer_for(session)
    with pytest.raises(AssertionError, match="no answer is played"):
        session.client("ecr").list_images(repositoryName="team")


@pytest.mark.parametrize("dates", ["iso", "long", "short", "mixed"])
def test_every_event_can_be_read_whatever_its_dates(dates: str) -> None:
    plan = replace(PLAN, dates=dates)
    for event in events(plan):
        parsed = parse_event(event)
        assert parsed.time == parsed.row.finding.updated_at


def test_shuffled_events_are_the_same_and_some_come_twice() -> None:
    plain = [event["id"] for event in events(PLAN)]
    mixed = [event["id"] for event in events(replace(PLAN, shuffle=True, duplicate=0.5))]
    assert set(mixed) == set(plain)
    assert len(mixed) > len(plain)
    assert mixed[: len(plain)] != plain


def test_ties_tell_two_contents_at_one_time_and_the_listing_holds_the_right_one() -> None:
    told: dict[str, set[tuple[str, str]]] = {}
    for event in events(replace(PLAN, ties=1.0)):
        detail = event["detail"]
        told.setdefault(detail["findingArn"], set()).add((detail["updatedAt"], detail["severity"]))
    assert all(len({at for at, _ in contents}) == 1 for contents in told.values())
    assert any(len(contents) == 2 for contents in told.values())


def test_a_basic_scan_lists_what_is_open() -> None:
    for generated in images(NEXT):
        report = parse_image_scan_findings(payloads.basic_page(generated), REGION)
        assert report.findings is not None
        assert {f.vulnerability_id for f in report.findings} == {
            f.vulnerability.id for f in generated.findings if f.status != "CLOSED"
        }
        assert not report.mismatches


def test_scan_push_and_coverage_events_can_be_read() -> None:
    for generated in images(PLAN):
        for make in (
            announcements.scan_event,
            announcements.basic_scan_event,
            announcements.push_event,
            announcements.rescan_event,
        ):
            parsed = parse_event(make(generated))
            ref = parsed.coverage.ref if hasattr(parsed, "coverage") else parsed.ref
            assert ref.digest == generated.digest


def test_a_what_if_in_the_bench_reads_each_image_once_and_holds_none_of_them() -> None:
    places = [Registry(images, findings=5) for images in (20 * SHARDS, 60 * SHARDS)]
    with pytest.MonkeyPatch.context() as patch:
        for name, most in (("PAGE_IMAGES", 10), ("HEADERS_AT_ONCE", 5), ("ROWS_OF_PART", 4)):
            patch.setattr(evaluate_shard, name, most)
        reports = [place.what_if(since_days=5) for place in places]
    for place, report in zip(places, reports, strict=True):
        assert (report.done, report.tally.images, report.tally.unreadable) == (True, place.images, 0)
        assert place.documents == place.images
        assert report.tally.closes > place.images / 4
    few, many = places
    # A header is four objects and more, its findings not counted. Others of this process come and go meanwhile.
    assert many.held - few.held < 3 * (many.images - few.images), "so many more are held that they may be the images"


def test_an_image_that_applying_decides_otherwise_than_the_what_if_said_is_found() -> None:
    place = Registry(25 * SHARDS, findings=10)
    report = place.what_if(since_days=0)
    assert Applied(place, CANDIDATE).otherwise(report) == []
    another = CANDIDATE.replace("count: {gte: 6}", "count: {gte: 8}")
    found = Applied(place, another).otherwise(report)
    said = dict(place.said())
    assert 0 < len(found) < place.images
    assert {said[ref].rule for ref in found} == {"many"}
    assert len(found) < sum(ruling.rule == "many" for ruling in said.values())
