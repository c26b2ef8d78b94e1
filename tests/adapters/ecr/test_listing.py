"""Listings of ECR and Inspector: all pages, AWS's own time, nothing made of what is not said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config

from bench import payloads
from bench.generate import FIRST_DAY, Plan
from bench.swept import Listed, ListingAws, Refusal, shared
from bench.world import CREDENTIALS
from chalicelib.adapters.ecr.listing import EcrListing
from chalicelib.adapters.inspector.listing import InspectorListing
from chalicelib.domain.images.image import Repository, ScanState, Source, StorageStatus
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import AbsentError, DeniedError, RefusedPayloadError, TransientError, UpstreamError
from chalicelib.parsers.findings.counts import parse_finding_changes, parse_image_counts, parse_repository_counts

NOW = datetime.fromtimestamp(FIRST_DAY + 7_200, UTC)
ALL = Repository(payloads.ACCOUNT, payloads.REGION, "")
ONE = Repository(payloads.ACCOUNT, payloads.REGION, "team/service-0")
PLAN = Plan(images=12, findings=6)


class Aws:
    """The registry of `PLAN` in three repositories, and both adapters before it."""

    def __init__(self, shown: Listed) -> None:
        session = boto3.Session(region_name=payloads.REGION)
        self.played = ListingAws(shown, lambda: NOW)
        self.played.answer_for(session, blank=True)
        self.ecr = EcrListing(lambda _, region: session.client("ecr", region))
        self.inspector = InspectorListing(lambda _, region: session.client("inspector2", region))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return Aws(Listed(PLAN, shared(PLAN, 3)))


def states(aws: Aws, home: Repository) -> list[Any]:
    return aws.played.registry.of(home.name or None)


def test_all_repositories_are_listed_with_their_region(aws: Aws) -> None:
    page = aws.ecr.repositories(RegistryPlace(payloads.REGION))
    assert [d.repository for d in page.repositories] == [
        Repository(payloads.ACCOUNT, payloads.REGION, f"team/service-{n}") for n in range(3)
    ]
    assert page.after is None


def test_images_are_listed_page_by_page_archived_ones_too(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.adapters.ecr.listing.ROWS_ASKED", 3)
    archived = states(aws, ONE)[0].digest
    aws.played.archived.add(archived)
    listed = aws.ecr.images(ONE)
    assert {*listed.images} == {s.digest for s in states(aws, ONE)}
    assert listed.images[archived].storage is StorageStatus.ARCHIVED
    assert (listed.listed_at, listed.absent) == (NOW, False)
    assert aws.played.listings["ecr.DescribeImages"] == 2


def test_a_repository_that_is_not_there_has_no_images(aws: Aws) -> None:
    listed = aws.ecr.images(Repository(payloads.ACCOUNT, payloads.REGION, "team/none"))
    assert (listed.absent, listed.images, listed.listed_at) == (True, {}, NOW)


def test_a_listing_that_fails_half_way_says_nothing(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.adapters.ecr.listing.ROWS_ASKED", 3)
    pages = aws.played._images

    def fails(asked: dict[str, Any]) -> Any:
        if "nextToken" in asked:
            aws.played.shown = Listed(PLAN, [])
        return pages(asked)

    monkeypatch.setattr(aws.played, "_images", fails)
    aws.played.answer_for(session := boto3.Session(region_name=payloads.REGION), blank=True)
    with pytest.raises(AbsentError):
        EcrListing(lambda _, region: session.client("ecr", region)).images(ONE)


def test_one_scan_is_peeked_at_by_one_call(aws: Aws) -> None:
    aws.played.shown = Listed(PLAN, shared(PLAN, 3), basic=True)
    state = states(aws, ONE)[0]
    scan = aws.ecr.peek(ONE.image(state.digest))
    assert (scan.state, scan.source) == (ScanState.COMPLETE, Source.BASIC)
    assert scan.scanned_at == datetime.fromtimestamp(state.scanned_at, UTC)
    with pytest.raises(AbsentError):
        aws.ecr.peek(ONE.image("sha256:" + "0" * 64))


def test_coverage_of_a_registry_is_told_by_repository(aws: Aws) -> None:
    listed = aws.inspector.coverage(ALL, 10)
    assert {home: {*scans} for home, scans in listed.scans.items()} == {
        Repository(payloads.ACCOUNT, payloads.REGION, f"team/service-{n}"): {
            s.digest for s in aws.played.registry.of(f"team/service-{n}")
        }
        for n in range(3)
    }
    assert (listed.covered_at, listed.whole) == (NOW, True)
    assert {scan.state for scan in listed.scans[ONE].values()} == {ScanState.COMPLETE}


def test_coverage_of_one_repository_is_its_own(aws: Aws) -> None:
    assert {*aws.inspector.coverage(ONE, 10).scans} == {ONE}


def test_a_listing_that_is_too_long_says_so(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.swept.COVERED_PER_PAGE", 5)
    assert not aws.inspector.coverage(ALL, 2).whole
    assert aws.inspector.coverage(ALL, 3).whole
    assert not aws.inspector.changes(ALL, NOW - timedelta(days=9), 2).whole
    monkeypatch.setattr("bench.swept.COUNTED_PER_PAGE", 1)
    assert aws.inspector.repository_counts(ALL, 2) is None


def test_changes_are_the_last_update_of_each_image_since_a_time(aws: Aws) -> None:
    state = states(aws, ONE)[0]
    at = FIRST_DAY + 7_000
    news = replace(state, findings=tuple(replace(f, updated_at=at - n) for n, f in enumerate(state.findings)))
    aws.played.shown = aws.played.registry.changed(news)
    listed = aws.inspector.changes(ALL, datetime.fromtimestamp(at - 3, UTC), 10)
    assert listed.updated == {ONE: {state.digest: datetime.fromtimestamp(at, UTC)}}
    assert aws.inspector.changes(ONE, NOW, 10).updated == {}
    everything = aws.inspector.changes(ALL, NOW - timedelta(days=9), 10)
    assert sum(map(len, everything.updated.values())) == PLAN.images
    assert aws.played.listings["inspector2.ListFindings"] == 1 + 1 + 3, "25 findings a page"


def test_counts_are_of_repositories_and_of_the_images_of_one(aws: Aws) -> None:
    of_registry = aws.inspector.repository_counts(ALL, 10)
    of_images = aws.inspector.image_counts(ONE, 10)
    assert of_registry is not None
    assert of_images is not None
    assert of_registry[ONE].total == sum(c.total or 0 for c in of_images.values())
    assert {*of_images} == {ONE.image(s.digest) for s in states(aws, ONE)}
    assert of_registry[ONE].by_severity[4] is None, "what is not said is not zero"


@pytest.mark.parametrize(
    ("code", "error"),
    [("AccessDeniedException", DeniedError), ("ThrottlingException", TransientError), ("Odd", UpstreamError)],
)
def test_what_aws_refuses_is_told_as_such(aws: Aws, code: str, error: type[Exception]) -> None:
    def refuse(_: dict[str, Any]) -> Any:
        raise Refusal(code)

    aws.played._coverage = refuse  # type: ignore[method-assign]
    session = boto3.Session(region_name=payloads.REGION)
    aws.played.answer_for(session, blank=True)
    once = Config(retries={"total_max_attempts": 1})
    listing = InspectorListing(lambda _, region: session.client("inspector2", region, config=once))
    with pytest.raises(error):
        listing.coverage(ALL, 1)


# ---- answers that are not as expected


def test_changes_of_what_is_no_image_are_left_out() -> None:
    arn = f"{payloads.repository_arn('a')}/sha256:{'1' * 64}"
    body = {
        "findings": [
            {"resources": [{"type": "AWS_EC2_INSTANCE", "id": "i-1"}], "updatedAt": 1},
            {"resources": [{"type": "AWS_ECR_CONTAINER_IMAGE", "id": arn}]},
        ]
    }
    assert parse_finding_changes(body).updated == {}


@pytest.mark.parametrize("row", [{"updatedAt": 1}, {"resources": [], "updatedAt": 1}, {"resources": 3}])
def test_changes_that_name_nothing_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(RefusedPayloadError, match=r"findings\[0\]"):
        parse_finding_changes({"findings": [row]})


def test_counts_of_other_clouds_are_left_out_and_absent_ones_are_unknown() -> None:
    rows = [
        {"repositoryAggregation": {"repository": "a", "accountId": "1" * 12, "cloudProvider": "AZURE"}},
        {"repositoryAggregation": {"repository": "b", "accountId": "1" * 12, "cloudProvider": "AWS"}},
        {"accountAggregation": {"accountId": "1" * 12}},
    ]
    (counts,) = parse_repository_counts({"responses": rows}, "eu-west-1").counts.values()
    assert (counts.total, *counts.by_severity) == (None,) * 7
    assert counts.agree_with((1, 2, 3, 4, 5, 6), 7), "who says nothing contradicts nothing"


def test_counts_of_what_is_no_image_are_refused() -> None:
    with pytest.raises(RefusedPayloadError, match=r"responses\[0\]"):
        parse_image_counts({"responses": [{"awsEcrContainerAggregation": {"resourceId": "i-1"}}]})
