"""A header with 200 findings fits one unit, and what the index shows of it sorts worst first."""

from __future__ import annotations

import base64
import importlib.util
import itertools
import random
import string
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.adapters.dynamodb import schema as table_schema
from chalicelib.adapters.dynamodb.schema import (
    HEADER_REST,
    PROJECTED,
    due_sk,
    number_of,
    read_number,
    read_state_sk,
    state_sk,
    table_definition,
)
from chalicelib.adapters.table import headers
from chalicelib.adapters.table.headers import header_item, read_header_item, read_index_entry, row_of
from chalicelib.domain.headers.header import Header, sketch_hash
from chalicelib.domain.headers.pending_action import (
    ActionType,
    Deferred,
    EndedWaivers,
    Holding,
    PendingAct,
    PendingAlert,
    PendingReport,
)
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import (
    MOST_RELATED,
    Child,
    ImageRef,
    InUse,
    InUseState,
    Kind,
    Scan,
    ScanState,
    Source,
)
from chalicelib.domain.images.verdict import STORED_OF_IMAGE, Decision, ImageState, Reason, Verdict, VerdictSummary
from tests.fakes.images import digest, image, ref

CAPACITY = Path(__file__).parents[3].parent / "shared" / "bench" / "capacity.py"
NOW = datetime(2026, 3, 10, 12, 0, 0, 123456, tzinfo=UTC)
SECOND = NOW.replace(microsecond=0)


def ordinary_header(sketch_bytes: int = 400) -> Header:
    """As an image of 200 findings has it: looked at, two rules matched, two tags, an OCI image."""
    ids = tuple(f"CVE-202{n % 7}-{10_000 + n * 7919 % 90_000}" for n in range(6))
    verdict = Verdict(
        Decision.BLOCK,
        (
            Reason("critical-overdue", Decision.BLOCK, "Open longer than the time allowed for it", 4, 4, 1, ids[:3]),
            Reason("too-many-high", Decision.WARN, "More high findings than anybody looks at", 37, 0, 1, ids[3:]),
        ),
        3,
        NOW,
        12,
    )
    hashes = sorted({sketch_hash(f"CVE-2026-{n:04d}") for n in range(sketch_bytes)})[: sketch_bytes // 2]
    whole = digest(0x7F26D579FF5FC748EAB1977DE0A9846E7C65AE94ABB5C1F26B391FE257476EB3)
    return Header(
        ref=ImageRef("123456789012", "eu-central-1", "platform-team/payment-service", whole),
        version=1234,
        exists=True,
        existence_at=SECOND - timedelta(days=9),
        known_at=NOW - timedelta(days=9),
        tags=("v1.24.3", "latest"),
        pushed_at=SECOND - timedelta(days=9),
        size_bytes=20_345_678,
        media_type="application/vnd.oci.image.manifest.v1+json",
        artifact_media_type="application/vnd.oci.image.config.v1+json",
        architecture="amd64",
        platform="DEBIAN_12",
        scan=Scan(ScanState.COMPLETE, "SUCCESSFUL", Source.ENHANCED, NOW - timedelta(hours=3)),
        scan_seen_at=SECOND,
        refreshed_at=SECOND,
        refresh_due_at=NOW + timedelta(seconds=60),
        revision=17,
        counts=(4, 37, 74, 48, 15, 22),
        suppressed=2,
        sketch=b"".join(hashes),
        in_use=InUse(InUseState.YES, 3, NOW - timedelta(hours=1), SECOND),
        verdict=verdict,
        announced=Decision.BLOCK,
        decide_at=NOW + timedelta(days=2),
        due_at=NOW + timedelta(days=2),
        policy_version=12,
        waivers_version=5,
    )


@pytest.fixture(scope="module")
def capacity() -> ModuleType:
    if not CAPACITY.exists():
        pytest.skip("unit counter absent: ../shared/bench/capacity.py")
    spec = importlib.util.spec_from_file_location("capacity", CAPACITY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["capacity"] = module
    spec.loader.exec_module(module)
    return module


def on_the_wire(item: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {kind: base64.b64encode(v).decode() if kind == "B" else v for kind, v in value.items()}
        for name, value in item.items()
    }


def test_a_header_of_two_hundred_findings_fits_one_unit(
    capacity: ModuleType, record_property: Callable[[str, object], None]
) -> None:
    header = ordinary_header()
    assert len(header.sketch) == 400
    size = capacity.item_size(on_the_wire(header_item(header) | table_schema.nonce()))
    index = capacity.Table.of(table_definition("t")).index("by_state")
    entry = capacity.item_size(index.entry(on_the_wire(header_item(header)), ("pk", "sk")))
    record_property("header_bytes", size)
    print(f"\nheader: {size} bytes, its index entry {entry}")
    assert size <= 1024
    assert read_header_item(header_item(header)) == header


def test_the_largest_header_that_a_pusher_can_make_is_far_from_the_limit_of_an_item(capacity: ModuleType) -> None:
    """A thousand tags as long as ECR takes them, and as many indexes and images of it as are followed."""
    chance = random.Random(1)
    letters = string.ascii_letters + string.digits + "._-"
    header = msgspec.structs.replace(
        ordinary_header(),
        tags=tuple("".join(chance.choices(letters, k=300)) for _ in range(1000)),
        parents=tuple(f"sha256:{chance.randbytes(32).hex()}" for _ in range(MOST_RELATED)),
        children=tuple(
            Child(f"sha256:{chance.randbytes(32).hex()}", f"linux/{chance.randbytes(40).hex()}")
            for _ in range(MOST_RELATED)
        ),
    )
    assert capacity.item_size(on_the_wire(header_item(header))) < 320 * 1024


def test_looks_versions_and_verdict_numbers_leave_the_index_alone(capacity: ModuleType) -> None:
    table = capacity.Table.of(table_definition("t"))
    before = ordinary_header()
    assert before.verdict is not None
    after = msgspec.structs.replace(
        before,
        version=before.version + 1,
        refreshed_at=SECOND + timedelta(hours=1),
        refresh_due_at=None,
        revision=99,
        waivers_version=7,
        in_use=InUse(),
        verdict=msgspec.structs.replace(before.verdict, number=13),
        tags=(*before.tags, "third", "fourth"),
    )
    units = table.write(on_the_wire(header_item(before)), on_the_wire(header_item(after)))
    assert units == (1, {"by_state": 1}), "a third tag is shown"
    quiet = msgspec.structs.replace(after, tags=before.tags)
    assert table.write(on_the_wire(header_item(before)), on_the_wire(header_item(quiet))) == (1, {})


def test_every_field_is_kept_somewhere() -> None:
    top = {"ref", "version", "tags", "counts", "policy_version", "sketch", "enforcement"}
    top |= {"refreshed_at", "refresh_due_at", "due_at", "newer"}
    assert top | set(headers._REST) == set(Header.__struct_fields__)


STORED = (
    "AbvDoLzU09fR3fXQgQMHGBgmHICBCQzLIBkDxJ4w5Q6DwCqEc5hPO97KYfzA/mzLgQMTl0GS9IEDy6G5cMryoFA/P6BLN2aWKBQBPWqlUFCUn6Jf"
    "npoE1wdisJYAGQvWFpXmpFrBYnGVoQKMCbV/weGpS8GZnh2ueSk4OJaAAuIOgyBElgNN9gDYKwtA4NCkiYvLdQ0nLgWH2vxlQa6grIjwA5LHILo2"
    "eJYolCcC0wfEPyl6QEOWg1JXZnIJMIimMYDBAWCQTZy8PNQPbB8T3DgA"
)
STORED_BEFORE = (
    "AbvDoLzU09fR3fXQgQMHGBgmHICBCQzLIBkDxJ4wccZScMbjPO14K4fxA/uzLUvBTjowcWlxTmJyNlwYzgAaNY0BDA4AjZ44eXmoH1gHE1wFAA=="
)
"""With an alert of which a channel had been told, as a version before the queue `alerts` left it."""


def test_what_is_pending_is_stored_as_ever() -> None:
    held = Deferred(Holding.RUNNING, "it runs: prod/web", NOW, NOW + timedelta(hours=1))
    act = PendingAct(
        *(ActionType.QUARANTINE, 3, NOW),
        method="archive",
        held=held,
        by="rule:critical",
        why="1 critical",
        before="ACTIVE",
        quiet=True,
        reported=("FAILED",),
    )
    alert = PendingAlert(7, NOW, Decision.BLOCK, Decision.WARN)
    left = PendingAlert(8, NOW, Decision.BLOCK, ended=EndedWaivers(("w-1",), VerdictSummary(Decision.ALLOW)))
    report = PendingReport(3, NOW, Decision.QUARANTINE, said="It was archived.", event="verdict")
    queued = (PendingAct(ActionType.UNBLOCK, 2, NOW),)
    header = Header(ref=ref(1), pending=(act, alert, left, report), queued=queued)
    item = header_item(header)
    assert base64.b64encode(item[HEADER_REST]["B"]).decode() == STORED
    assert read_header_item(item) == header
    before = read_header_item(item | {HEADER_REST: {"B": base64.b64decode(STORED_BEFORE)}})
    assert (before.pending, before.queued) == ((PendingAlert(9, NOW, Decision.BLOCK),), queued)


def test_a_header_gives_back_what_a_condition_may_read_of_an_image() -> None:
    header = msgspec.structs.replace(ordinary_header(), signed=True, kind=Kind.INDEX)
    told, kept = header.state(), read_header_item(header_item(header)).state()
    absent = ImageState(ImageRef("", "", "", ""))
    for name in STORED_OF_IMAGE:
        value = attrgetter(name)
        assert value(kept) == value(told) != value(absent), name


@pytest.mark.parametrize("written", [1, 2, len(headers._REST), len(headers._REST) + 2])
def test_whatever_number_of_fields_a_version_knows_it_loses_none_of_another(
    written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older version has the first names of ours; it reads what we wrote, changes what it knows, and puts it back."""
    full = msgspec.structs.replace(ordinary_header(), twins=("a/b/c@d",), pulled_at=SECOND)
    item = header_item(full)
    with monkeypatch.context() as older:
        older.setattr(headers, "_REST", headers._REST[:written])
        changed = msgspec.structs.replace(read_header_item(item), version=7, tags=("moved",))
        requeue = header_item(changed)
    assert read_header_item(requeue) == msgspec.structs.replace(full, version=7, tags=("moved",))


def test_a_row_of_the_index_shows_what_the_header_says() -> None:
    header = image(1, tags=("a", "b", "c", "d"), counts=(0, 2, 0, 0, 0, 1), sketch=b"ab")
    item = header_item(header)
    keys = {"pk", "sk", "gsi_pk", "gsi_sk"}
    entry = {name: value for name, value in item.items() if name in keys | set(PROJECTED)}
    row = read_index_entry(entry)
    assert row == row_of(header)
    assert (row.tags, row.worst, row.counts) == (("a", "b", "c"), Severity.HIGH, (0, 2, 0, 0, 0, 1))


@pytest.mark.parametrize("unlisted", [{"refreshed_at": None}, {"kind": Kind.INDEX}])
def test_a_row_has_no_counts_where_nothing_was_listed_and_the_header_keeps_what_was_heard(
    unlisted: dict[str, Any],
) -> None:
    header = image(1, counts=(0, 1, 0, 0, 0, 0), **unlisted)
    item = header_item(header)
    assert read_index_entry(item).counts is None
    assert row_of(header) == read_index_entry(item)
    assert read_header_item(item) == header


def test_an_entry_written_with_zeros_before_they_were_told_apart_stays_readable() -> None:
    header = image(1, refreshed_at=None)
    item = header_item(header) | {table_schema.COUNTS: {"B": msgspec.msgpack.encode((0,) * 6)}}
    assert read_index_entry(item).counts == (0,) * 6
    assert read_header_item(item) == header


def test_the_index_sorts_the_worst_first_then_the_newest() -> None:
    pushes = [SECOND, SECOND - timedelta(days=1), None]
    wanted = [
        (decision, severity, pushed)
        for decision in sorted(Decision, key=lambda d: -d.rank)
        for severity in (*Severity, None)
        for pushed in pushes
    ]
    texts = [state_sk(*row) for row in wanted]
    assert texts == sorted(texts)
    assert [read_state_sk(text) for text in texts] == wanted


TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


@given(TIMES, TIMES)
def test_due_times_sort_as_time_does_and_come_back_exactly(a: datetime, b: datetime) -> None:
    assert (due_sk(a) < due_sk(b)) == (a < b)
    assert read_number(due_sk(a)) == a
    assert read_number(number_of(a)) == a


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
MAYBE_TIMES = st.none() | TIMES
REASONS = st.builds(
    Reason,
    rule=WORDS,
    decision=st.sampled_from(Decision),
    detail=WORDS,
    count=st.integers(0, 10**6),
    vulnerability_ids=st.lists(WORDS, max_size=3).map(tuple),
    waived=st.lists(WORDS, max_size=2).map(tuple),
    enforce=st.none() | WORDS,
)
HEADERS = st.builds(
    Header,
    ref=st.sampled_from([ref(1), ref(2, registry="public/alias", region="us-east-1", repository="a/b/c")]),
    version=st.integers(1, 10**9),
    kind=st.sampled_from(Kind),
    exists=st.booleans(),
    existence_at=MAYBE_TIMES,
    tags=st.lists(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True), max_size=6, unique=True).map(
        tuple
    ),
    pushed_at=MAYBE_TIMES,
    size_bytes=st.none() | st.integers(0, 2**40),
    media_type=st.none() | WORDS,
    children=st.lists(st.builds(Child, WORDS, st.none() | WORDS), max_size=3).map(tuple),
    scan=st.builds(
        Scan, st.sampled_from(ScanState), st.none() | WORDS, st.none() | st.sampled_from(Source), MAYBE_TIMES
    ),
    refreshed_at=MAYBE_TIMES,
    refresh_due_at=MAYBE_TIMES,
    counts=st.tuples(*[st.integers(0, 10**5)] * 6),
    sketch=st.binary(max_size=20),
    signed=st.sampled_from([None, True, False]),
    verdict=st.none()
    | st.builds(
        Verdict, st.sampled_from(Decision), st.lists(REASONS, max_size=3).map(tuple), st.integers(0, 99), TIMES
    ),
    due_at=MAYBE_TIMES,
    policy_version=st.integers(0, 1000),
)


@given(HEADERS)
@settings(max_examples=150, deadline=None)
def test_any_header_comes_back_exactly(header: Header) -> None:
    assert read_header_item(header_item(header)) == header


def test_nothing_of_the_index_is_projected_that_moves_with_every_look() -> None:
    assert not {table_schema.LOOKED_AT, table_schema.LOOK_DUE_AT, table_schema.VERSION, table_schema.HEADER_REST} & set(
        PROJECTED
    )


def test_names_of_attributes_are_short_and_unlike() -> None:
    names = [v for k, v in vars(table_schema).items() if k.isupper() and isinstance(v, str) and len(v) <= 2]
    assert len(names) == len(set(names))
    pairs = itertools.combinations(PROJECTED, 2)
    assert all(a != b for a, b in pairs)


def test_artifacts_and_images_that_are_gone_have_no_row() -> None:
    for header in (image(1, exists=False), image(1, kind=Kind.ARTIFACT)):
        assert "gsi_pk" not in header_item(header)
    assert header_item(image(1))["gsi_pk"] == {"S": f"STATE#{table_schema.shard_of(ref(1))}"}
