"""The local ECR scans what it is asked to scan: once a day, not what is archived or no image; and an event tells."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.ecr.settings import EcrScanning
from chalicelib.domain.images.image import ScanState
from chalicelib.domain.reconcile.scan_budget import ScanRefusal
from chalicelib.local.demo import demo_registry
from chalicelib.local.demo.demo_registry import Flaw
from chalicelib.local.ecr.ecr import LocalEcr, ecr_of
from tests.local import samples
from tests.local.running import local_aws, registry

IMAGE = samples.ref()
FLAWS = (Flaw("CVE-2026-00001", "HIGH", "p", "1.0"),)


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with local_aws() as aws:
        yield aws


@pytest.fixture
def told(running: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    ecr = ecr_of(IMAGE.home)
    ecr.repositories.clear()
    ecr.registry_scanning_configuration = {"scanType": "BASIC", "rules": []}
    events: list[Any] = []
    monkeypatch.setattr(LocalEcr, "publish", staticmethod(events.append))
    return events


@pytest.fixture
def scanning(running: Any) -> EcrScanning:
    sessions = Sessions(samples.REGION)
    return EcrScanning(lambda _, region: sessions.client("ecr", region))


def test_an_image_that_was_never_scanned_is_scanned_and_an_event_tells(
    scanning: EcrScanning, told: list[dict[str, Any]]
) -> None:
    samples.hold(IMAGE, "1.0")
    assert scanning.start(IMAGE) is None
    listing = registry(Sessions(samples.REGION)).look_basic(IMAGE)
    assert (listing.complete, listing.scan.state, listing.findings) == (True, ScanState.COMPLETE, ())
    (event,) = told
    assert event["detail-type"] == "ECR Image Scan"
    assert event["detail"]["image-digest"] == IMAGE.digest


def test_a_second_scan_finds_what_the_first_one_found(scanning: EcrScanning, told: list[dict[str, Any]]) -> None:
    samples.hold(IMAGE).basic_scan = demo_registry.basic_scan(FLAWS, samples.SCANNED)
    assert scanning.start(IMAGE) is None
    listing = registry(Sessions(samples.REGION)).look_basic(IMAGE)
    assert [f.vulnerability_id for f in listing.findings] == ["CVE-2026-00001"]
    assert listing.scan.scanned_at is not None
    assert listing.scan.scanned_at > samples.SCANNED + timedelta(days=1)


def test_an_image_is_scanned_once_in_24_hours(scanning: EcrScanning, told: list[Any]) -> None:
    samples.hold(IMAGE)
    assert [scanning.start(IMAGE), scanning.start(IMAGE)] == [None, ScanRefusal.LIMIT]
    assert len(told) == 1


def test_what_cannot_be_scanned_is_refused_with_its_reason(scanning: EcrScanning, told: list[Any]) -> None:
    samples.hold(IMAGE).status = "ARCHIVED"
    index = samples.ref(digit="b")
    ecr_of(index.home).hold_image(index.repository, index.digest, media_type=demo_registry.INDEX)
    refusals = [scanning.start(ref) for ref in (IMAGE, index, samples.ref(digit="c"), samples.ref("absent"))]
    assert refusals == [ScanRefusal.ARCHIVED, ScanRefusal.UNSUPPORTED, ScanRefusal.ABSENT, ScanRefusal.ABSENT]
    assert told == []


def test_under_enhanced_scanning_nothing_is_scanned_by_hand(told: list[Any]) -> None:
    samples.hold(IMAGE)
    ecr_of(IMAGE.home).registry_scanning_configuration = {"scanType": "ENHANCED", "rules": []}
    with pytest.raises(ClientError, match="ValidationException"):
        boto3.client("ecr").start_image_scan(repositoryName=IMAGE.repository, imageId={"imageDigest": IMAGE.digest})
