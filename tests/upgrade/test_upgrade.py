"""Tables of released versions under the code of today: read, decided anew, scanned anew, and nothing of them lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import boto3
import msgspec
import pytest

from chalicelib import __version__
from chalicelib.adapters.dynamodb.schema import FINDINGS, HEADER_REST, PK, SK, Item, document_key, header_key
from chalicelib.adapters.table import headers
from chalicelib.domain.events.message import Refresh
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import FindingStatus
from chalicelib.domain.images.image import ImageRef, Kind
from chalicelib.domain.images.verdict import Decision
from chalicelib.local.aws.seed import covered
from chalicelib.local.aws.stack import REGION, LocalStack
from chalicelib.local.demo import demo_registry
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.local.inspector import inspector_of
from chalicelib.local.story.world import StoryWorld
from chalicelib.services.policy.apply_policy import apply_policy
from tests.upgrade import make_sample, whole
from tests.upgrade.sample import SAMPLES, Sample, ask, images_of, read_sample, read_stored, stack_with, versions

MOST_BYTES = 200_000
KINDS = {
    "header": r"REPO#.* IMAGE#.*",
    "document": r"IMAGE#.* FINDINGS",
    "part of a document": r"IMAGE#.* FINDINGS#\d+#\S+#\d+",
    "tag": r"REPO#.* TAG#.*",
    "repository": r"REPO#.* REPOSITORY",
    "action": r"IMAGE#\S+ ACTION#.*",
    "action of no image": r"SUBJECT#\S+ ACTION#.*",
    "head of a chain": r"IMAGE#\S+ AUDIT_HEAD",
    "vulnerability": r"VULN#.+ (?!#KEV).+",
    "whether it is known to be exploited": r"VULN#\S+ #KEV",
    "waiver": r"WAIVER .*",
    "change of the waivers": r"WAIVER_CHANGE .*",
    "policy": r"POLICY \d+",
    "way of a policy": r"POLICY FAN_OUT",
    "fuse": r"FUSE NOW",
    "newest summary": r"SUMMARY NOW",
    "summary of a day": r"SUMMARY DAY#.*",
    "versions": r"VERSIONS NOW",
    "what-if": r"WHATIF#\S+ JOB",
    "part of a what-if": r"WHATIF#\S+ PART#.*",
    "chain of no image": r"SUBJECT#\S+ AUDIT_HEAD",
    "heads of chains": r"SUMMARY HEADS#.*",
    "end of a waiver": r"WAIVER_NOTICE .*",
    "replica": r"REPO#\S+ REPLICA#.*",
    "replication of a repository": r"REPO#\S+ REPLICATION",
    "settings of a repository": r"REPO#\S+ SETTINGS",
    "scan that was asked for": r"IMAGE#\S+ SCAN_ASKED",
    "scans of a day": r"SCANS \S+",
}
"""By what it is, the keys of an item."""
TEXTS = {f"$.findings.{text}" for text in ("title", "description", "url", "references", "cvss_vector")}
NOT_STORED = {"$.newer", *TEXTS}
"""What only a later version says; and texts, which the catalogue has."""
DROPPED = {"heard", "artifact"}
"""The channels that had heard of a change of waivers: since ADR 27 the records of its alert say that. And what an index
said of its images: now their own manifests do."""
ONE_PENDING = re.compile(r"\.(pending|queued)\[\d+\]$")
KEPT = {"ALERT": {"number", "wanted_at", "decision", "former", "ended"}}
KEPT["REPORT"] = {*KEPT["ALERT"] - {"ended"}, "said", "event"}
OF_AN_ACT = {"kind", "number", "wanted_at", "method", "held", "by", "why", "before", "quiet"}
"""Once every pending alert, report and act had all fields of the three."""
UNHEARD_OF = "CVE-2031-77777"
POLICY = """
version: 1
mode: observe
rules:
  - {id: anything-open, match: {severity: {gte: INFORMATIONAL}}, decision: block}
"""


class Upgraded(StoryWorld):
    """The code of today over the table of a sample."""

    def __init__(self, stack: LocalStack, sample: Sample) -> None:
        super().__init__(stack, lambda words: pytest.fail(f"nobody types {words}"))
        self.sample = sample
        self.table = stack.template.table
        self.client = boto3.client("dynamodb", region_name=REGION)

    def headers(self) -> dict[ImageRef, Header]:
        found = self.stack.headers(images_of(self.sample.items))
        return {ref: stored.header for ref, stored in found.items()}

    def has_open_beside(self, ref: ImageRef, vulnerability_id: str) -> bool:
        found = self.stack.context.table.read_document(ref).findings
        return any(f.status is FindingStatus.OPEN and f.vulnerability_id != vulnerability_id for f in found)

    def item(self, key: Item) -> Item:
        found: Item = self.client.get_item(TableName=self.table, Key=key)["Item"]
        return found

    def put(self, item: Item) -> None:
        self.client.put_item(TableName=self.table, Item=item)


@pytest.fixture(scope="module", params=versions())
def sample(request: pytest.FixtureRequest) -> Sample:
    return read_sample(request.param)


@pytest.fixture
def world(sample: Sample) -> Iterator[Upgraded]:
    with stack_with(sample.items, sample.at) as stack:
        yield Upgraded(stack, sample)


def lost(before: Any, now: Any, at: str = "$") -> Iterator[str]:
    """Where `now` does not say what was said before. It may say more: a new field adds (docs/versioning.md)."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key, value in before.items():
            if key in DROPPED or (ONE_PENDING.search(at) and key not in KEPT.get(before["kind"], OF_AN_ACT)):
                continue
            yield from lost(value, now[key], f"{at}.{key}") if key in now else (f"{at}.{key} is gone",)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for n, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from lost(one, other, f"{at}[{n}]")
    elif before != now:
        yield f"{at}: {before!r} is {now!r}"


def test_a_version_leaves_a_sample_of_its_table_with_every_kind_of_item(sample: Sample) -> None:
    keys = [f"{item[PK]['S']} {item[SK]['S']}" for item in sample.items]
    assert {kind for kind, form in KINDS.items() if not any(re.fullmatch(form, key) for key in keys)} == set()
    assert [key for key in keys if not any(re.fullmatch(form, key) for form in KINDS.values())] == []


def test_a_sample_has_a_header_and_a_document_of_which_no_field_is_empty(sample: Sample) -> None:
    told = {name: sample.stored[name] for name in (f"header {whole.HEADER.path}", f"document {whole.DOCUMENT.path}")}
    empty = {re.sub(r"\[\d+\]", "", place) for place in whole.unset(list(told.values()))}
    assert empty <= NOT_STORED
    rows = sample.stored[f"document {whole.LARGE.path}"]["findings"]
    assert len(rows) == whole.FINDINGS
    for name in ("severity", "status", "source", "fix_available", "ecosystem"):
        assert len({row[name] for row in rows}) > 1, name


def test_a_sample_is_small_and_never_made_again(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [path.stat().st_size for path in SAMPLES.glob(f"{sample.version}.*")]
    assert sum(sizes) < MOST_BYTES
    if sample.version == __version__:
        assert make_sample.main() == 1
        assert "the past is not made again" in capsys.readouterr().err


BY_ORDER = ("decision", "reasons")
"""Once `/v1/verdict` did not go by a quarantine that was ordered."""


def is_ordered(body: Any) -> bool:
    return isinstance(body, dict) and any(reason["rule"] == "order" for reason in body.get("reasons", ())[:1])


def test_what_was_answered_is_answered_still(world: Upgraded) -> None:
    wrong = {}
    for url, answer in world.sample.answers.items():
        now = ask(world.stack, url)
        before = answer.body if not is_ordered(now.body) else {**answer.body, **{n: now.body[n] for n in BY_ORDER}}
        if found := [*lost(before, now.body)] + ([f"status {now.status}"] if now.status != answer.status else []):
            wrong[url] = found[:3]
    assert wrong == {}
    statuses = [answer.status for answer in world.sample.answers.values()]
    assert set(statuses) <= {200, 404}, "an image that was deleted has no verdict"
    assert statuses.count(200) > 0.9 * len(statuses)


def test_every_field_of_what_was_stored_reads_as_it_did(world: Upgraded) -> None:
    now = read_stored(world.stack, world.sample.items)
    assert len(now) > 50
    assert list(lost(world.sample.stored, now)) == []


def test_a_change_of_waivers_that_was_on_its_way_is_carried_on(world: Upgraded) -> None:
    (change,) = world.stack.context.waivers.changes()
    for _ in range(3):
        world.wait(timedelta(minutes=5))
    assert world.stack.context.waivers.changes() == ()
    assert change.subject in world.stack.context.waivers.read()
    assert world.stack.dead_letters() == []


def test_a_header_that_is_put_again_reads_as_it_did(world: Upgraded) -> None:
    before = world.headers()
    assert len(before) == len(images_of(world.sample.items)) > 20
    put = {ref: world.stack.context.table.put_header(header) for ref, header in before.items()}
    assert world.headers() == put
    assert {ref: msgspec.structs.replace(header, version=0) for ref, header in put.items()} == {
        ref: msgspec.structs.replace(header, version=0) for ref, header in before.items()
    }


def test_a_new_policy_decides_every_image_anew_and_fields_of_a_newer_version_outlive_it(world: Upgraded) -> None:
    """During a deployment both versions are at work: docs/versioning.md."""
    newer = next(r for r, h in world.headers().items() if h.present and h.kind is Kind.IMAGE)
    item = world.item(header_key(newer))
    header = headers.read_header_item(item)
    later = msgspec.structs.replace(header, newer=("of a later version", 7))
    world.put({**item, HEADER_REST: headers.header_item(later)[HEADER_REST]})
    applied = apply_policy(POLICY, "oncall", world.stack.context)
    for _ in range(3):
        world.wait(timedelta(minutes=5))
    kept = world.headers()[newer]
    assert kept.version > header.version
    assert kept.newer == ("of a later version", 7)
    decided = {ref: h for ref, h in world.headers().items() if h.present and h.kind is Kind.IMAGE}
    assert len(decided) > 10
    assert {header.policy_version for header in decided.values()} == {applied.version}
    refreshed_at = {ref: header for ref, header in decided.items() if header.refreshed_at}
    matched = {
        ref: header for ref, header in refreshed_at.items() if world.has_open_beside(ref, demo_registry.OPENSSL.id)
    }
    assert len(matched) > 2
    assert {header.decision for header in matched.values()} == {Decision.BLOCK}
    waived = [
        h for ref, h in refreshed_at.items() if any(h.counts) and ref not in matched and ref.repository[:5] == "team/"
    ]
    assert Decision.BLOCK not in {header.decision for header in waived}, "the waiver still excuses"
    assert world.stack.dead_letters() == []
    for url in (url for url in world.sample.answers if "/v1/audit/verify" in url):
        assert list(lost({"whole": True, "problems": []}, ask(world.stack, url).body)) == [], url


def test_a_new_scan_writes_every_document_anew_and_keeps_what_was_known(world: Upgraded) -> None:
    """Inspector lists what it did and one finding more; the documents are those of today's format then."""
    table, now = world.stack.context.table, world.now
    held = [item for item in world.sample.items if item[SK]["S"] == "FINDINGS"]
    refs = [ImageRef.from_path(item[PK]["S"].removeprefix("IMAGE#")) for item in held]
    refs = [ref for ref in refs if ref.region == REGION and not ref.registry.startswith("public/")]
    before = {ref: table.read_document(ref) for ref in refs}
    headers = world.headers()
    looked = [ref for ref in refs if ref in headers and headers[ref].present]
    assert len(looked) > 5
    for ref in looked:
        with world.stack.aws.lock:
            ecr_of(ref.home).hold_image(ref.repository, ref.digest, pushed_at=now - timedelta(days=1))
            inspector_of(ref.region).coverage[ref.arn] = covered(ref, "ACTIVE", "SUCCESSFUL", now)
            inspector_of(ref.region).hold(ref.arn, unheard_of(ref, now))
        world.stack.context.outbox.send("scans", Refresh(ref, now))
    world.stack.clock.move(timedelta(minutes=5))
    assert world.settle()
    after = world.headers()
    for ref in looked:
        document = table.read_document(ref)
        assert document.revision > before[ref].revision, ref
        assert {f.source_finding_id for f in before[ref].findings} <= {f.source_finding_id for f in document.findings}
        fresh = [f for f in document.findings if f.vulnerability_id == UNHEARD_OF]
        assert any(f.status is FindingStatus.OPEN for f in fresh), ref
        assert after[ref].revision == document.revision
        assert any(after[ref].counts)
    assert world.stack.dead_letters() == []


def unheard_of(ref: ImageRef, now: datetime) -> dict[str, Any]:
    """A finding that no version has listed yet."""
    row = demo_registry.enhanced_finding(ref, demo_registry.OPENSSL, (), now, now)
    details = {**row["packageVulnerabilityDetails"], "vulnerabilityId": UNHEARD_OF}
    arn = f"{row['findingArn'].rpartition('/')[0]}/{'f' * 32}"
    return {**row, "findingArn": arn, "packageVulnerabilityDetails": details}


def newer_document(world: Upgraded, ref: ImageRef) -> Item:
    item = world.item(document_key(ref))
    return {**item, FINDINGS: {"B": b"\xc8" + bytes(item[FINDINGS]["B"])[1:]}}


def newer_header(world: Upgraded, ref: ImageRef) -> Item:
    item = world.item(header_key(ref))
    return {**item, HEADER_REST: {"B": b"\xc8" + bytes(item[HEADER_REST]["B"])[1:]}}


@pytest.mark.parametrize("newer", [newer_document, newer_header])
def test_what_a_newer_version_has_written_is_refused_and_left_as_it_is(world: Upgraded, newer: Any) -> None:
    """In a form that this code does not know. The message fails, the API says that it cannot answer."""
    ref = next(r for r, h in world.headers().items() if h.present and h.revision and r.region == REGION)
    item = newer(world, ref)
    world.put(item)
    world.stack.context.outbox.send("scans", Refresh(ref, world.now))
    world.stack.clock.move(timedelta(minutes=5))
    world.settle()
    assert any(ref.digest in letter for letter in world.stack.dead_letters())
    assert world.item({PK: item[PK], SK: item[SK]}) == item
    named = f"registry={ref.registry}&region={ref.region}&repository={ref.repository}&digest={ref.digest}"
    assert ask(world.stack, f"/v1/findings?{named}").status == 500


def test_a_difference_would_be_seen() -> None:
    assert list(lost({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2, "c": 3}], "d": 4})) == []
    assert list(lost({"a": 1}, {})) == ["$.a is gone"]
    assert list(lost({"a": [1]}, {"a": [1, 2]})) == ["$.a: [1] is [1, 2]"]
    assert list(lost([{"a": None}], [{"a": 0}])) == ["$[0].a: None is 0"]
