"""API responses into the local AWS: what the adapters then find there, and which events AWS would have sent."""

from __future__ import annotations

import json

import pytest

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.images.image import ScanState, Source
from chalicelib.local.aws.seed import Regions, Seed, covered, refs_of
from chalicelib.local.demo import demo_registry
from chalicelib.local.demo.demo_registry import Flaw
from chalicelib.local.ecr.scans import enhanced_row
from chalicelib.parsers.events.events import parse_event
from chalicelib.parsers.events.payload import read_response
from tests.local import samples
from tests.local.running import local_aws, registry, scanner

IMAGE = samples.ref(region="us-east-1")


@pytest.fixture
def aws():
    with local_aws() as running:
        yield running


def seeded(*payloads):
    """The events told of the payloads, and the seed."""
    regions = Regions(samples.REGION)
    read = [(read_response(json.dumps(p)), p) for p in payloads]
    for response, _ in read:
        for ref in refs_of(response):
            regions.learn(ref)
    seed = Seed(regions)
    for response, raw in read:
        seed.take(response, raw)
    return [parse_event(event) for event in (*seed.scans(), *seed.pushes())], seed


def look(ref=IMAGE, source=None):
    return scanner(Sessions(samples.REGION)).look(ref, source)


def findings_page(*rows):
    return {"findings": list(rows)}


def scan_page(scan, **more):
    named = {"registryId": IMAGE.registry, "repositoryName": IMAGE.repository, "imageId": {"imageDigest": IMAGE.digest}}
    return {**named, **scan, **more}


def described(**more):
    row = {"registryId": IMAGE.registry, "repositoryName": IMAGE.repository, "imageDigest": IMAGE.digest}
    return {"imageDetails": [row | {"imageTags": ["1.0.0"], "imagePushedAt": samples.PUSHED.timestamp()} | more]}


def test_an_image_with_listed_findings_is_scanned_by_inspector(aws):
    events, _ = seeded(
        findings_page(*(samples.row(IMAGE, n) for n in range(30))), findings_page(samples.row(IMAGE, 99))
    )
    listing = look()
    assert (listing.source, listing.complete, len(listing.findings)) == (Source.ENHANCED, True, 31)
    assert [(type(e).__name__, e.ref, e.total) for e in events] == [("ScanFinished", IMAGE, 31)]


def test_a_basic_scan_is_held_where_another_payload_places_its_repository(aws):
    scan = demo_registry.basic_scan((Flaw("CVE-2026-1", "HIGH", "p", "1"),), samples.SCANNED)
    home = {"registryId": IMAGE.registry, "repositoryName": IMAGE.repository, "repositoryArn": IMAGE.home.arn}
    events, seed = seeded(scan_page(scan), {"repositories": [home]})
    assert list(seed.images) == [IMAGE]
    assert (look().source, look().complete) == (Source.BASIC, True)
    assert [(e.ref, e.source, e.time) for e in events] == [(IMAGE, Source.BASIC, samples.SCANNED)]


def test_what_names_no_region_and_is_placed_by_nobody_is_where_the_stack_is(aws):
    _, seed = seeded(scan_page(demo_registry.basic_scan((), samples.SCANNED)))
    assert [ref.region for ref in seed.images] == [samples.REGION]


def test_pages_of_one_basic_scan_are_one_scan_and_a_later_scan_replaces_it(aws):
    def scan(number, at=samples.SCANNED):
        return scan_page(demo_registry.basic_scan((Flaw(f"CVE-2026-{number}", "HIGH", f"p{number}", "1"),), at))

    page = findings_page(samples.row(samples.ref("other", region="us-east-1")))
    seeded(scan(1), scan(2), page)
    assert {f.vulnerability_id for f in look().findings} == {"CVE-2026-1", "CVE-2026-2"}
    seeded(scan(1), scan(2), scan(3, samples.PUSHED), page)
    assert {f.vulnerability_id for f in look().findings} == {"CVE-2026-1", "CVE-2026-2"}


def test_enhanced_findings_of_ecr_are_listed_by_inspector(aws):
    rows = [enhanced_row(samples.row(IMAGE, n)) for n in range(3)]
    scan = {
        "imageScanStatus": {"status": "ACTIVE"},
        "imageScanFindings": {"enhancedFindings": rows, "imageScanCompletedAt": samples.SCANNED.timestamp()},
    }
    seeded(scan_page(scan))
    listing = look()
    assert ([f.score for f in listing.findings], listing.scan.scanned_at) == ([7.5] * 3, samples.SCANNED)


@pytest.mark.parametrize("first", [True, False])
def test_what_coverage_says_outweighs_what_findings_suggest(aws, first):
    page = findings_page(samples.row(IMAGE))
    said = {"coveredResources": [covered(IMAGE, "INACTIVE", "SCAN_ELIGIBILITY_EXPIRED", samples.SCANNED)]}
    events, _ = seeded(*((said, page) if first else (page, said)))
    assert look().scan.state is ScanState.EXPIRED
    assert type(events[0]).__name__ == "CoverageChanged"


@pytest.mark.parametrize(
    ("status", "counts", "state"),
    [
        ("COMPLETE", {}, ScanState.COMPLETE),
        ("COMPLETE", {"HIGH": 2}, ScanState.UNAVAILABLE),
        ("COMPLETE", None, ScanState.UNAVAILABLE),
        ("ACTIVE", {}, ScanState.COMPLETE),
        ("ACTIVE", {"HIGH": 2}, ScanState.UNAVAILABLE),
        ("FAILED", None, ScanState.FAILED),
    ],
)
def test_an_image_only_described_as_scanned_is_clean_only_if_it_says_so(aws, status, counts, state):
    summary = {"imageScanCompletedAt": samples.SCANNED.timestamp()}
    summary |= {} if counts is None else {"findingSeverityCounts": counts}
    page = described(imageScanStatus={"status": status}, imageScanFindingsSummary=summary)
    _, seed = seeded(page)
    (ref,) = seed.images
    assert look(ref).scan.state is state


def test_images_that_are_described_were_pushed_once_their_scans_are_told(aws):
    page = described(imageTags=["1.0.0", "latest"], imageStatus="ARCHIVED")
    events, _ = seeded(findings_page(samples.row(IMAGE)), page)
    assert [type(e).__name__ for e in events] == ["ScanFinished", "ImageAction", "ImageAction"]
    assert {(e.ref, e.tag, e.time) for e in events[1:]} == {(IMAGE, t, samples.PUSHED) for t in ("1.0.0", "latest")}
    assert registry(Sessions(samples.REGION)).describe_image(IMAGE).storage.value == "ARCHIVED"


def test_findings_about_something_else_are_not_held(aws):
    foreign = samples.row(IMAGE) | {"resources": [{"type": "AWS_EC2_INSTANCE", "id": "i-1"}]}
    events, seed = seeded(findings_page(foreign))
    assert (events, seed.images) == ([], {})


def test_a_scan_that_runs_is_not_announced(aws):
    events, _ = seeded(scan_page({"imageScanStatus": {"status": "IN_PROGRESS"}}))
    assert events == []


def test_a_region_of_tomorrow_is_held_too(aws):
    there = samples.ref(region="eu-north-9")
    events, _ = seeded(findings_page(samples.row(there)))
    assert [e.ref for e in events] == [there]
    assert look(there).complete


def test_a_described_artifact_is_no_image(aws):
    page = described(artifactMediaType="application/vnd.dev.cosign.artifact.sig.v1+json")
    _, seed = seeded(page)
    (ref,) = seed.images
    assert registry(Sessions(samples.REGION)).read_manifest(ref).kind.value == "ARTIFACT"


def test_a_repository_may_be_called_whatever_ecr_allows(aws):
    image = samples.ref("a--b__c/d.e", region="us-east-1")
    events, _ = seeded(findings_page(samples.row(image)))
    assert [e.ref for e in events] == [image]
