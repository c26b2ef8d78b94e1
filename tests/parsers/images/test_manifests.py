"""What a manifest says it needs."""

from __future__ import annotations

import json

import pytest

from chalicelib.domain.images.image import Kind
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.images.manifests import Blob, parse_blobs, parse_manifest

A, B, C = (f"sha256:{digit * 64}" for digit in "abc")
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def blob(digest: str, size: int = 1, media_type: str = LAYER) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def manifest(**members: object) -> str:
    return json.dumps({"schemaVersion": 2, **members})


def test_config_comes_first_then_the_layers_each_once():
    text = manifest(config=blob(C, 7), layers=[blob(A, 1), blob(B, 2), blob(A, 1)])
    assert parse_blobs(text) == (Blob(C, 7), Blob(A, 1), Blob(B, 2))
    assert parse_blobs(text.encode()) == parse_blobs(text)


def test_an_index_needs_no_blobs():
    assert parse_blobs(manifest(manifests=[{"digest": A, "size": 1}])) == ()


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ],
)
def test_a_layer_that_is_not_to_be_handed_on_is_foreign(media_type):
    text = manifest(config=blob(C), layers=[blob(A, 5, media_type), blob(B)])
    assert [b.foreign for b in parse_blobs(text)] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("no JSON", "$"),
        (json.dumps({"schemaVersion": 1, "fsLayers": []}), "$.schemaVersion"),
        (json.dumps({"config": blob(C)}), "$.schemaVersion"),
        (manifest(blobs=[blob(A)]), "$.config"),
        (manifest(config=blob("sha256:short")), "$.config.digest"),
        (manifest(config=blob(C), layers=[blob(A), blob("md5:1")]), "$.layers[1].digest"),
        (manifest(config=blob(C), layers=[blob(A, 1), blob(A, 2)]), "$.layers[1].size"),
        (manifest(config=blob(C, -1)), "$.config.size"),
        (manifest(config={"digest": C}), "$.config.size"),
    ],
)
def test_what_cannot_be_copied_whole_is_refused_with_the_place(text, path):
    with pytest.raises(RefusedPayloadError) as error:
        parse_blobs(text)
    assert error.value.path == path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"manifests": [], "Manifests": []}', "$.Manifests"),
        ('{"manifests": [], "manifests": []}', "$.manifests"),
        ('{"layerſ": []}', "$.layerſ"),
        ('{"layers": [{"digest": "a", "DIGEST": "b"}]}', "$.layers[0].DIGEST"),
        ('{"config": {"mediaType": "a", "mediaType": "b"}}', "$.config.mediaType"),
    ],
)
def test_a_key_that_a_runtime_reads_otherwise_makes_a_manifest_unreadable(text, path):
    with pytest.raises(RefusedPayloadError) as refused:
        parse_manifest(text, None)
    assert refused.value.path == path


@pytest.mark.parametrize(
    "text",
    [
        '{"annotations": {"Config": "a", "config": "b"}, "layers": []}',
        '{"history": [], "fsLayers": [], "tag": "1", "Extra": 1}',
        '{"layers": [], "annotations": {"n": %s}}' % ("9" * 5_000),
    ],
)
def test_other_keys_and_numbers_of_any_length_are_let_be(text):
    assert parse_manifest(text, None).kind is Kind.IMAGE
