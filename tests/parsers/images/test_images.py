from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.domain.images.image import Child, Kind, Repository, ScanState, StorageStatus
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.images.images import parse_describe_images, parse_describe_repositories
from chalicelib.parsers.images.manifests import EMPTY_DIGEST, parse_batch_get_image, parse_manifest
from tests.parsers.composed import ACCOUNT, REGION, REPOSITORY, digest, image_detail, repository, repository_arn

OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


EMPTY_CONFIG = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": EMPTY_DIGEST}
"""As OCI's guidance for artifacts has it; one of another digest only calls itself empty."""


def manifest(config: str | None = CONFIG, layer: str | None = LAYER, **changes: Any) -> str:
    parts: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI, "layers": [{"mediaType": layer}] if layer else []}
    return json.dumps(parts | ({"config": {"mediaType": config}} if config else {}) | changes)


def test_an_empty_page_lists_no_image() -> None:
    assert parse_describe_images({"imageDetails": []}).images == ()


def test_one_image_is_read_whole() -> None:
    summary = {"imageScanCompletedAt": 1772359260, "findingSeverityCounts": {"HIGH": 1, "UNDEFINED": 2}}
    row = image_detail(imageScanStatus={"status": "COMPLETE"}, imageScanFindingsSummary=summary, imageStatus="ARCHIVED")
    (image,) = parse_describe_images({"imageDetails": [row]}, REGION).images
    assert image.ref == Repository(ACCOUNT, REGION, REPOSITORY).image(digest())
    assert (image.tags, image.size_bytes, image.storage) == (("1.4.2",), 12_345_678, StorageStatus.ARCHIVED)
    assert image.summary_counts == {"HIGH": 1, "UNKNOWN": 2}
    assert image.scan is not None
    assert image.scan.state is ScanState.COMPLETE
    assert image.last_pulled_at is not None
    assert image.last_pulled_at.hour == 10


def test_counts_given_empty_are_not_counts_not_given() -> None:
    rows = [image_detail(imageScanFindingsSummary={"findingSeverityCounts": {}}), image_detail("other", imageTags=None)]
    given, absent = parse_describe_images({"imageDetails": rows, "nextToken": "more"}).images
    assert (given.summary_counts, absent.summary_counts, absent.scan, absent.tags) == ({}, None, None, ())


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"imageDigest": None}, "$.imageDetails[1].imageDigest"),
        ({"imageDigest": "sha256:" + "0" * 60}, "$.imageDetails[1].imageDigest"),
        ({"registryId": "string"}, "$.imageDetails[1].registryId"),
        ({"repositoryName": "a" * 300}, "$.imageDetails[1].repositoryName"),
        ({"imageSizeInBytes": 1.5}, "$.imageDetails[1].imageSizeInBytes"),
        ({"imageTags": "latest"}, "$.imageDetails[1].imageTags"),
        ({"imagePushedAt": "never"}, "$.imageDetails[1].imagePushedAt"),
    ],
)
def test_an_image_that_cannot_be_read_is_refused(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(RefusedPayloadError) as caught:
        parse_describe_images({"imageDetails": [image_detail(), image_detail("other", **changes)]})
    assert caught.value.path == path


@pytest.mark.parametrize("said", ["sha256:x", "sha512:" + "0" * 128, "", "latest"])
def test_a_subject_that_names_nothing_in_ecr_keeps_no_image_from_being_read(said: str) -> None:
    """The pusher of one manifest writes it, and the page lists the repository."""
    rows = [image_detail(subjectManifestDigest=said), image_detail("other")]
    first, _ = parse_describe_images({"imageDetails": rows}).images
    assert first.subject_digest is None
    read = parse_manifest(manifest(subject={"digest": said}), OCI)
    assert (read.subject, read.unreadable) == (None, None)


def test_repositories_take_their_region_from_the_arn() -> None:
    bare = {"registryId": ACCOUNT, "repositoryName": "bare"}
    first, second = parse_describe_repositories({"repositories": [repository(), bare]}).repositories
    assert first.repository == Repository(ACCOUNT, REGION, REPOSITORY)
    assert (first.tag_mutability, first.scan_on_push, first.encryption) == ("IMMUTABLE", True, "KMS")
    assert (second.repository.region, second.scan_on_push) == ("", None)


def test_a_repository_whose_arn_names_another_is_refused() -> None:
    with pytest.raises(RefusedPayloadError, match=r"repositories\[0\]\.repositoryArn"):
        parse_describe_repositories({"repositories": [repository(repositoryArn=repository_arn("team/web"))]})


def test_an_index_has_children_platforms_and_attestations() -> None:
    children = [
        {"digest": digest("a"), "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": digest("b"), "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        {"digest": digest("c"), "platform": {"os": "unknown", "architecture": "unknown"}},
        {"digest": digest("d"), "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
    ]
    read = parse_manifest(json.dumps({"schemaVersion": 2, "manifests": children}), INDEX)
    assert read.kind is Kind.INDEX
    assert read.children == (
        Child(digest("a"), "linux/amd64"),
        Child(digest("b"), "linux/arm64/v8"),
        Child(digest("c"), "unknown/unknown"),
        Child(digest("d")),
    )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (manifest(), Kind.IMAGE),
        (manifest(DOCKER_CONFIG, "application/vnd.docker.image.rootfs.diff.tar.gzip"), Kind.IMAGE),
        (manifest(layer=None), Kind.IMAGE),
        (manifest(config=None), Kind.IMAGE),
        (manifest(artifactType="application/vnd.example.label"), Kind.IMAGE),
        (manifest(layer="application/vnd.in-toto+json"), Kind.ARTIFACT),
        (manifest(layer="application/vnd.dev.cosign.simplesigning.v1+json"), Kind.ARTIFACT),
        (manifest("application/vnd.cncf.helm.config.v1+json"), Kind.ARTIFACT),
        (manifest(layer="application/vnd.in-toto.provenance+dsse"), Kind.ARTIFACT),
        (json.dumps({**json.loads(manifest(layer="text/any")), "config": EMPTY_CONFIG}), Kind.ARTIFACT),
        (manifest("application/vnd.oci.empty.v1+json"), Kind.IMAGE),
        (manifest("application/vnd.unknown.config.v1+json"), Kind.IMAGE),
        (manifest(layer="application/vnd.wasm.content.layer.v1+wasm"), Kind.IMAGE),
        (manifest(layer="application/vnd.oci.image.layer.nydus.blob.v1"), Kind.IMAGE),
        (json.dumps({"schemaVersion": 1, "fsLayers": [{"blobSum": digest()}]}), Kind.IMAGE),
    ],
)
def test_an_image_is_what_a_runtime_can_run_whatever_its_labels(body: str, kind: Kind) -> None:
    assert parse_manifest(body, OCI).kind is kind


@pytest.mark.parametrize(
    "labels",
    [
        {"subject": {"digest": digest("e")}},
        {"artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json"},
        {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
        {"platform": {"os": "unknown", "architecture": "unknown"}},
    ],
)
def test_no_label_makes_an_artifact_of_an_image(labels: dict[str, Any]) -> None:
    assert parse_manifest(manifest(**labels), OCI).kind is Kind.IMAGE


def test_a_runtime_goes_by_the_type_that_the_registry_serves_and_so_does_the_kind() -> None:
    assert parse_manifest(manifest(), INDEX).kind is Kind.INDEX
    assert parse_manifest(manifest(mediaType=INDEX), None).kind is Kind.INDEX
    assert parse_manifest(json.dumps({"manifests": []}), None).kind is Kind.INDEX


@pytest.mark.parametrize("media_type", [OCI, INDEX, None])
@pytest.mark.parametrize("known", [{"config": {}}, {"layers": []}])
def test_what_is_an_image_and_an_index_at_once_is_refused(known: dict[str, Any], media_type: str | None) -> None:
    """Which of both a runtime takes depends on the runtime (CVE-2021-41190)."""
    with pytest.raises(RefusedPayloadError, match="at once"):
        parse_manifest(json.dumps({**known, "manifests": []}), media_type)


@pytest.mark.parametrize(
    "end", ["tar+encrypted", "tar+gzip+encrypted", "nydus.blob.v1", "nondistributable.v1.tar+gzip", "v1.erofs"]
)
def test_layers_that_no_scanner_reads_are_named(end: str) -> None:
    layer = f"application/vnd.oci.image.layer.{end}"
    assert parse_manifest(manifest(layer=layer), OCI).unreadable == f"no scanner reads layers of type {layer}"
    assert parse_manifest(manifest(), OCI).unreadable is None


def test_layers_that_lie_outside_the_registry_are_read_by_no_scanner() -> None:
    layer = {"mediaType": LAYER, "digest": digest(), "urls": ["https://elsewhere.example/layer"]}
    assert "outside the registry" in str(parse_manifest(manifest(layers=[layer]), OCI).unreadable)
    assert parse_manifest(manifest(layers=[{**layer, "urls": []}]), OCI).unreadable is None


def test_a_referrer_names_its_subject() -> None:
    body = manifest("application/vnd.oci.empty.v1+json", "text/sbom+json", subject={"digest": digest()})
    assert parse_manifest(body.encode(), OCI).subject == digest()


@pytest.mark.parametrize("body", ["", "not JSON", "[]", '{"manifests": [{"digest": "x"}]}', "[" * 5000, "\ud800"])
def test_a_manifest_that_cannot_be_read_is_refused(body: str) -> None:
    with pytest.raises(RefusedPayloadError):
        parse_manifest(body, INDEX)


def test_batch_get_image_gives_manifests_and_failures() -> None:
    row = {"registryId": ACCOUNT, "repositoryName": REPOSITORY, "imageManifest": manifest()}
    page = parse_batch_get_image(
        {
            "images": [
                row | {"imageId": {"imageDigest": digest(), "imageTag": "1.4.2"}, "imageManifestMediaType": OCI}
            ],
            "failures": [{"imageId": {"imageTag": "gone"}, "failureCode": "ImageNotFound"}],
        },
        REGION,
    )
    (image,) = page.images
    assert (image.ref.digest, image.tag, image.manifest.kind) == (digest(), "1.4.2", Kind.IMAGE)
    assert image.body == manifest()
    assert page.failures[0].code == "ImageNotFound"
    assert parse_batch_get_image({}).images == ()
