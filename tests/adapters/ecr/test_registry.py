"""ECR read: images whatever their storage class, manifests, basic scans, and which scanner answers for an image."""

from __future__ import annotations

import json

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.ecr.registry import NEVER_SCANNED, NOT_LISTED, EcrRegistry
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import PUBLIC_REGION, ImageRef, Kind, ScanState, Source, StorageStatus
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.local.demo import demo_registry
from chalicelib.local.demo.demo_registry import Flaw
from chalicelib.local.ecr.ecr import MANIFEST, ecr_of
from chalicelib.local.inspector import inspector_of
from tests.local import samples
from tests.local.running import local_aws, registry, scanner

IMAGE = samples.ref()
PUBLIC = ImageRef("public/demo", PUBLIC_REGION, "team/api", f"sha256:{'c' * 64}")
FLAWS = tuple(Flaw(f"CVE-2026-{n:05d}", "HIGH", f"p{n}", "1.0") for n in range(3))


@pytest.fixture(scope="module")
def running():
    with local_aws() as aws:
        yield aws


@pytest.fixture
def ecr(running):
    ecr_of(IMAGE.home).repositories.clear()
    inspector_of(samples.REGION).coverage.clear()
    inspector_of(samples.REGION)._of_image.clear()
    return registry(Sessions(samples.REGION))


class Client:
    """An ECR client that gives one answer, or raises it."""

    class meta:  # noqa: N801
        class events:  # noqa: N801
            @staticmethod
            def register(*_, **__):
                pass

    def __init__(self, answer):
        self.answer = answer

    def __getattr__(self, name):
        def call(**_):
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        return call


def answering(answer):
    return EcrRegistry(lambda *_: Client(answer), lambda _: Client(answer))


def refused(code):
    date = {"HTTPHeaders": {"date": "Sun, 01 Mar 2026 10:06:00 GMT"}}
    return ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": date}, "DescribeImages")


def test_an_image_is_described_whatever_its_storage_class(ecr):
    samples.hold(IMAGE, "1.0.0", "latest")
    detail = ecr.describe_image(IMAGE)
    assert (detail.ref, set(detail.tags), detail.pushed_at) == (IMAGE, {"1.0.0", "latest"}, samples.PUSHED)
    boto3.client("ecr").update_image_storage_class(
        repositoryName=IMAGE.repository, imageId={"imageDigest": IMAGE.digest}, targetStorageClass="ARCHIVE"
    )
    assert ecr.describe_image(IMAGE).storage is StorageStatus.ARCHIVED


def test_what_is_not_there_is_absent(ecr):
    with pytest.raises(AbsentError) as repository:
        ecr.describe_image(IMAGE)
    samples.hold(samples.ref(digit="b"))
    with pytest.raises(AbsentError) as image:
        ecr.describe_image(IMAGE)
    assert (repository.value.what, image.value.what) == ("repository", "image")
    with pytest.raises(AbsentError):
        ecr.read_manifest(IMAGE)


@pytest.mark.parametrize(("code", "error"), [("ThrottlingException", TransientError), ("AccessDenied", DeniedError)])
def test_a_throttled_call_is_tried_again_and_a_denied_one_is_not(code, error):
    for call in ("describe_image", "read_manifest", "read_layers", "look_basic"):
        with pytest.raises(error):
            getattr(answering(refused(code)), call)(IMAGE)


def test_an_index_names_its_children_and_attestations(ecr):
    text = demo_registry.index({"linux/arm64": IMAGE.digest}, {IMAGE.digest: samples.ref(digit="d").digest})
    index = samples.ref(digit="b")
    ecr_of(index.home).hold_image(index.repository, index.digest, text, demo_registry.INDEX)
    manifest = ecr.read_manifest(index)
    assert manifest.kind is Kind.INDEX
    assert [child.platform for child in manifest.children] == ["linux/arm64", "unknown/unknown"]


def test_the_layers_of_an_image_are_read_in_their_order_and_an_index_has_none(ecr):
    text = demo_registry.manifest("team/api", "1.0.0", "linux/amd64")
    image, index, broken = (samples.ref(digit=digit) for digit in "abc")
    hold = ecr_of(image.home).hold_image
    hold(image.repository, image.digest, text)
    hold(index.repository, index.digest, demo_registry.index({"linux/arm64": image.digest}, {}), demo_registry.INDEX)
    assert list(ecr.read_layers(image)) == [layer["digest"] for layer in json.loads(text)["layers"]] != []
    assert ecr.read_layers(index) == ()
    with pytest.raises(AbsentError):
        ecr.read_layers(broken)


@pytest.mark.parametrize(
    ("code", "error"),
    [("ImageNotFound", AbsentError), ("UpstreamTooManyRequests", TransientError), ("KmsError", UpstreamError)],
)
def test_a_manifest_that_is_not_given_says_why(code, error):
    with pytest.raises(error, match=code):
        answering({"images": [], "failures": [{"failureCode": code}]}).read_manifest(IMAGE)


def test_a_basic_scan_is_complete_with_what_it_lists(ecr):
    samples.hold(IMAGE).basic_scan = demo_registry.basic_scan(FLAWS, samples.SCANNED)
    listing = ecr.look_basic(IMAGE)
    assert (listing.complete, listing.source, len(listing.findings)) == (True, Source.BASIC, 3)
    assert (listing.scan.state, listing.scan.scanned_at) == (ScanState.COMPLETE, samples.SCANNED)


def test_both_ways_of_reading_a_scan_agree(ecr):
    samples.hold(IMAGE).basic_scan = demo_registry.basic_scan(FLAWS, samples.SCANNED)
    client = boto3.client("ecr")
    client.meta.events.register = lambda *_, **__: None
    parsed = EcrRegistry(lambda *_: client, lambda _: client).look_basic(IMAGE)
    taken = ecr.look_basic(IMAGE)
    assert (parsed.findings, parsed.scan, parsed.complete) == (taken.findings, taken.scan, taken.complete)


def test_all_pages_of_a_basic_scan_are_read_and_repeats_count_once(ecr):
    flaws = [Flaw(f"CVE-2026-{n:05d}", "LOW", f"p{n}", "1.0") for n in range(1500)]
    worse = Flaw("CVE-2026-00000", "HIGH", "p0", "1.0")
    samples.hold(IMAGE).basic_scan = demo_registry.basic_scan((*flaws, worse), samples.SCANNED)
    found = {f.vulnerability_id: f.severity for f in ecr.look_basic(IMAGE).findings}
    assert len(found) == 1500
    assert found["CVE-2026-00000"] is Severity.HIGH


def test_an_image_never_scanned_is_pending_not_clean(ecr):
    samples.hold(IMAGE)
    listing = ecr.look_basic(IMAGE)
    assert (listing.complete, listing.scan.state, listing.scan.reason) == (False, ScanState.PENDING, NEVER_SCANNED)


def test_a_failed_scan_is_not_complete(ecr):
    samples.hold(IMAGE).basic_scan = demo_registry.basic_scan((), samples.SCANNED, "FAILED", "broken")
    listing = ecr.look_basic(IMAGE)
    assert (listing.complete, listing.scan.state, listing.scan.reason) == (False, ScanState.FAILED, "broken")


@pytest.mark.parametrize(
    ("found", "complete"),
    [
        ({"findings": []}, True),
        ({"findingSeverityCounts": {}}, True),
        ({"findingSeverityCounts": {"LOW": 1}}, False),
        ({}, False),
    ],
)
def test_a_finished_scan_that_lists_nothing_is_clean_only_if_it_says_so(found, complete):
    answer = {
        "registryId": IMAGE.registry,
        "repositoryName": IMAGE.repository,
        "imageId": {"imageDigest": IMAGE.digest},
        "imageScanStatus": {"status": "COMPLETE"},
        "imageScanFindings": {"imageScanCompletedAt": samples.SCANNED, **found},
        "ResponseMetadata": {"HTTPHeaders": {"date": "Sun, 01 Mar 2026 10:06:00 GMT"}},
    }
    listing = answering(answer).look_basic(IMAGE)
    assert listing.complete is complete
    assert complete or listing.scan.reason == NOT_LISTED


def test_a_private_and_a_public_repository_of_one_name_do_not_meet(ecr, running):
    samples.hold(IMAGE, "1.0.0")
    running.public.hold(PUBLIC, ("2.0.0",), MANIFEST, samples.PUSHED)
    detail = ecr.describe_image(PUBLIC)
    assert (detail.ref, detail.tags, detail.storage) == (PUBLIC, ("2.0.0",), StorageStatus.ACTIVE)
    assert ecr.read_manifest(PUBLIC).kind is Kind.IMAGE
    with pytest.raises(AbsentError):
        ecr.describe_image(PUBLIC.home.image(IMAGE.digest))


# ---- which scanner


@pytest.fixture
def scan(ecr):
    return scanner(Sessions(samples.REGION))


def test_a_basic_scan_answers_for_its_image(scan):
    samples.hold(IMAGE).basic_scan = demo_registry.basic_scan(FLAWS, samples.SCANNED)
    assert scan.look(IMAGE, None).source is Source.BASIC
    assert scan.look(IMAGE, "BASIC").complete


def test_inspector_answers_for_an_image_it_scans_whatever_was_asked(scan):
    samples.scanned(IMAGE, samples.row(IMAGE))
    for source in (None, "BASIC", "ENHANCED"):
        listing = scan.look(IMAGE, source)
        assert (listing.source, listing.complete, len(listing.findings)) == (Source.ENHANCED, True, 1)


@pytest.mark.parametrize("reason", ["PENDING_INITIAL_SCAN", "UNSUPPORTED_OS", "IMAGE_ARCHIVED", "INTERNAL_ERROR"])
def test_inspector_answers_where_the_state_could_be_of_either_scanner(scan, reason):
    samples.scanned(IMAGE, code="INACTIVE", reason=reason)
    listing = scan.look(IMAGE, None)
    assert (listing.source, listing.scan.reason, listing.complete) == (Source.ENHANCED, reason, False)


def test_ecr_answers_where_inspector_does_not_know_the_image(scan):
    samples.hold(IMAGE).basic_scan = demo_registry.basic_scan((), samples.SCANNED, "UNSUPPORTED_IMAGE", "scratch")
    listing = scan.look(IMAGE, None)
    assert (listing.source, listing.scan.state) == (Source.BASIC, ScanState.UNSUPPORTED)


def test_nobody_scans_public_images(scan, running):
    running.public.hold(PUBLIC, (), MANIFEST, samples.PUSHED)
    for source in (None, "ENHANCED"):
        listing = scan.look(PUBLIC, source)
        assert (listing.scan.state, listing.complete) == (ScanState.UNSUPPORTED, False)
