"""A registry over four days, told by shuffled, repeated and tied events: what is stored is what was generated.

The generator is not ours, so that one misreading of the payloads cannot stand on both sides.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import boto3
import pytest

from bench.aws import by_token
from bench.world import CREDENTIALS, TABLE, Place
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.stores.policy_file import read_policy
from chalicelib.domain.images.finding import Finding, FindingStatus, Severity
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.policy.decision import decide
from tests.fakes.moto_aws import mock_aws

GENERATOR = Path(__file__).parent.parent.parent / "shared/bench/generate.py"
ACCOUNT, REGION = "123456789012", "us-east-1"
DAYS = 4
DAY = 86_400
FIRST_DAY = 1_767_225_600  # 2026-01-01T00:00:00Z
SIZE = ["--images", "12", "--findings", "60", "--repos", "5", "--page-size", "25"]
CHURN = ["--churn", "0.8", "0.2", "--jitter", "0.2"]
TELLING = ["--shuffle", "--duplicate", "0.2", "--variety", "--ties", "0.5", "--event-dates", "mixed"]
STATUS = {"ACTIVE": "OPEN", "SUPPRESSED": "SUPPRESSED", "CLOSED": "RESOLVED"}
POLICY = """
version: 1
mode: observe
rules:
  - {id: critical-fixed, match: {severity: {gte: CRITICAL}, fix_available: true}, count: {gte: 3}, decision: block}
  - {id: many-high, match: {severity: HIGH}, count: {gte: 12}, decision: warn}
  - {id: likely, match: {epss: {gte: 0.98}}, decision: block}
notify: []
"""


class Day:
    """What the generator wrote for one day; what the APIs answer on it (`bench.aws.Shown`)."""

    def __init__(self, folder: Path) -> None:
        self.events = _lines(folder / "events.jsonl")
        self.scans = _lines(folder / "scan_events.jsonl")
        self.expected = {_ref(row): row for row in _lines(folder / "expected.jsonl")}
        self._details = {d["imageDigest"]: d for page in _lines(folder / "images.jsonl") for d in page["imageDetails"]}
        pages = [json.loads(line) for line in (folder / "pages.jsonl").read_text().splitlines()]
        of_image = groupby(pages, key=lambda page: page["findings"][0]["resources"][0]["id"])
        listings = {arn: list(listing) for arn, listing in of_image}
        self._pages = {arn: by_token(listing) for arn, listing in listings.items()}
        self.listed = {arn: [f for page in listing for f in page["findings"]] for arn, listing in listings.items()}

    def finding_pages(self, arn: str) -> Mapping[str, bytes]:
        return self._pages[arn]

    def coverage(self, arn: str) -> dict[str, Any]:
        digest = arn.rpartition("/")[2]
        return {
            "accountId": ACCOUNT,
            "resourceId": arn,
            "resourceType": "AWS_ECR_CONTAINER_IMAGE",
            "scanType": "PACKAGE",
            "scanStatus": {"statusCode": "ACTIVE", "reason": "SUCCESSFUL"},
            "lastScannedAt": self._details[digest]["imageScanFindingsSummary"]["imageScanCompletedAt"],
        }

    def scan_findings(self, digest: str) -> dict[str, Any]:
        raise AssertionError(f"ECR's own scanner was asked about {digest}")

    def image_page(self, digest: str) -> dict[str, Any]:
        return {"imageDetails": [self._details[digest]]}


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Day]:
    if not GENERATOR.exists():
        pytest.skip("bench tools absent: ../shared/bench")
    folder = tmp_path_factory.mktemp("days")
    for day in range(DAYS):
        arguments = [str(folder / str(day)), "--day", str(day), *SIZE, *CHURN, *TELLING]
        subprocess.run([sys.executable, "-B", str(GENERATOR), *arguments], check=True, capture_output=True, timeout=60)
    return [Day(folder / str(day)) for day in range(DAYS)]


@pytest.fixture
def place(days: list[Day], monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name, value in {**CREDENTIALS, "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        create_table(boto3.client("dynamodb"), TABLE)
        yield Place(days[0], FIRST_DAY, POLICY, REGION)


def turn_to(place: Place, number: int, day: Day) -> None:
    """After the day's last scan, which ends some seconds after midnight."""
    place.aws.shown = day
    place.clock.forward(FIRST_DAY + (number + 1) * DAY + 600 - place.clock.now().timestamp())


@pytest.mark.parametrize("batch", [1_000, 50])
def test_after_each_day_the_stored_state_is_the_generated_one(
    place: Place, days: list[Day], batch: int, record_property: Callable[[str, object], None]
) -> None:
    """In batches as large as a queue's; in small ones, with time and the looks that come due in between."""
    compared = Counter[str]()
    for number, day in enumerate(days):
        turn_to(place, number, day)
        place.deliver("scans", day.scans[::2])
        for start in range(0, len(day.events), batch):
            place.deliver("findings", day.events[start : start + batch], batch=batch)
            place.clock.forward(5)
            while place.deliver_due():
                pass
        place.deliver("scans", day.scans[1::2])
        place.settle()
        for ref, wanted in day.expected.items():
            compare(place, day, ref, wanted, compared)
    told = ", ".join(f"{n} {word}" for word, n in sorted(compared.items()) if word != "findings")
    record_property("counted", f"days: {compared['findings']} findings of {DAYS} days compared: {told}")
    assert all(compared[word] for word in ("RESOLVED", "BLOCK", "WARN", "ALLOW"))


def test_a_day_that_is_told_once_more_changes_nothing(place: Place, days: list[Day]) -> None:
    turn_to(place, 0, days[0])
    place.deliver("findings", days[0].events)
    place.settle()
    before = {ref: place.context.table.read_headers([ref])[ref] for ref in days[0].expected}
    place.deliver("findings", reversed(days[0].events))
    place.deliver("scans", days[0].scans)
    place.settle()
    assert {ref: place.context.table.read_headers([ref])[ref] for ref in days[0].expected} == before


def compare(place: Place, day: Day, ref: ImageRef, wanted: dict[str, Any], compared: Counter[str]) -> None:
    stored = place.context.table.read_headers([ref])[ref]
    header, document = stored.header, place.context.table.read_document(ref)
    assert stored.agrees
    truth = {f["findingArn"]: _said(f) for f in day.listed[ref.arn]}
    assert {f.source_finding_id: _kept(f) for f in document.findings} == truth
    found = [f for f in document.findings if f.status is FindingStatus.OPEN]
    by_severity = Counter(f.severity for f in found)
    assert len(document.findings) == wanted["findings"]
    assert len(found) == wanted["open"]
    assert len(document.findings) - len(found) == wanted["closed"]
    assert by_severity == {Severity.of(word): n for word, n in wanted["open_by_severity"].items()}
    assert header.counts == tuple(by_severity[severity] for severity in Severity)
    outcome = decide(header.state(), document.findings, read_policy(POLICY), (), place.clock.now())
    assert header.verdict is not None
    assert outcome.verdict.kept().same_as(header.verdict)
    compared.update(["findings"] * len(truth), **Counter(row["status"] for row in truth.values()))
    compared[str(header.decision)] += 1


def _said(finding: dict[str, Any]) -> dict[str, Any]:
    """One finding of a page, as the generator wrote it, in our words. What is resolved is kept as it was then."""
    details, epss = finding["packageVulnerabilityDetails"], finding.get("epss")
    severity = finding["severity"]
    if finding["status"] == "CLOSED":
        return {"vulnerability_id": details["vulnerabilityId"], "status": "RESOLVED"}
    return {
        "vulnerability_id": details["vulnerabilityId"],
        "severity": "UNKNOWN" if severity == "UNTRIAGED" else severity,
        "status": STATUS[finding["status"]],
        "score": finding.get("inspectorScore"),
        "epss": None if epss is None else round(epss["score"], 2),
        "fix_available": finding.get("fixAvailable"),
        "exploit_available": {"YES": True, "NO": False}.get(finding.get("exploitAvailable", "")),
        "packages": sorted(p["name"] for p in details["vulnerablePackages"]),
        "updated_at": int(finding["updatedAt"]),
        "first_seen": int(finding["firstObservedAt"]),
    }


def _kept(finding: Finding) -> dict[str, Any]:
    if finding.status is FindingStatus.RESOLVED:
        return {"vulnerability_id": finding.vulnerability_id, "status": "RESOLVED"}
    told = ("vulnerability_id", "severity", "status", "score", "epss", "fix_available", "exploit_available")
    times = {name: int(getattr(finding, name).timestamp()) for name in ("updated_at", "first_seen")}
    packages = sorted(package.name for package in finding.packages)
    return {**{name: getattr(finding, name) for name in told}, "packages": packages, **times}


def _ref(row: dict[str, Any]) -> ImageRef:
    return ImageRef(ACCOUNT, REGION, row["repository"], row["digest"])


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
