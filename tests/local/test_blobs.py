"""The local ECR's layers and referrers: what a client that pushes, copies and deletes meets, as at AWS."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.context import AppContext
from chalicelib.domain.images.quarantine_place import place_of
from chalicelib.local.aws.ecr import ecr_of
from chalicelib.local.aws.push_image import INDEX, MANIFEST, Pusher
from chalicelib.settings import Settings
from tests.local import samples
from tests.local.running import local_aws

HOME = samples.ref().home
SIGNATURE = "application/vnd.cncf.notary.signature"
ROLES = ("arn:aws:iam::123456789012:role/lazaretto-dev-on_actions",)
MEGABYTES = 1024 * 1024


@pytest.fixture(scope="module")
def running():
    with local_aws() as aws:
        yield aws


@pytest.fixture
def ecr(running):
    client = boto3.client("ecr")
    ecr_of(HOME).repositories.clear()
    client.create_repository(repositoryName=HOME.name)
    return client


@pytest.fixture
def push(ecr):
    return Pusher(ecr, HOME)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def url_of(ecr, content: bytes) -> str:
    found = ecr.get_download_url_for_layer(repositoryName=HOME.name, layerDigest=digest_of(content))
    return found["downloadUrl"]


def send(ecr, *parts: bytes, digest: str | None = None) -> None:
    upload = ecr.initiate_layer_upload(repositoryName=HOME.name)["uploadId"]
    first = 0
    for part in parts:
        last = first + len(part) - 1
        ecr.upload_layer_part(
            repositoryName=HOME.name, uploadId=upload, partFirstByte=first, partLastByte=last, layerPartBlob=part
        )
        first = last + 1
    digests = [digest or digest_of(b"".join(parts))]
    ecr.complete_layer_upload(repositoryName=HOME.name, uploadId=upload, layerDigests=digests)


def refusal(act) -> str:
    with pytest.raises(ClientError) as error:
        act()
    return error.value.response["Error"]["Code"]


def delete(ecr, ref) -> list[str]:
    """The codes of what was refused."""
    answer = ecr.batch_delete_image(repositoryName=HOME.name, imageIds=[{"imageDigest": ref.digest}])
    return [failure["failureCode"] for failure in answer["failures"]]


def test_a_layer_is_given_back_byte_for_byte(ecr, push):
    content = bytes(range(256)) * 100
    push.image([content])
    with urllib.request.urlopen(url_of(ecr, content)) as answer:
        assert answer.read() == content


def test_a_layer_that_no_image_needs_is_not_given(ecr):
    send(ecr, b"alone")
    assert refusal(lambda: url_of(ecr, b"alone")) == "LayersNotFoundException"


def test_the_url_of_a_layer_whose_image_is_gone_leads_nowhere(ecr, push):
    ref = push.image([b"content"])
    url = url_of(ecr, b"content")
    assert delete(ecr, ref) == []
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(url)


def test_a_layer_stays_as_long_as_one_image_needs_it(ecr, push):
    first, second = push.image([b"shared", b"one"]), push.image([b"shared", b"two"])
    delete(ecr, first)
    assert url_of(ecr, b"shared")
    assert refusal(lambda: url_of(ecr, b"one")) == "LayersNotFoundException"
    delete(ecr, second)
    assert refusal(lambda: url_of(ecr, b"shared")) == "LayersNotFoundException"


@pytest.mark.parametrize(
    ("parts", "digest", "code"),
    [
        ((b"content",), digest_of(b"other"), "InvalidLayerException"),
        ((b"short", b"rest"), None, "LayerPartTooSmallException"),
        ((), digest_of(b""), "EmptyUploadException"),
        ((b"there already",), None, "LayerAlreadyExistsException"),
    ],
)
def test_an_upload_that_ecr_would_refuse_is_refused(ecr, parts, digest, code):
    send(ecr, b"there already")
    assert refusal(lambda: send(ecr, *parts, digest=digest)) == code


def test_parts_of_five_megabytes_and_a_shorter_last_one_make_a_layer(ecr):
    content = bytes(11 * MEGABYTES)
    send(ecr, content[: 5 * MEGABYTES], content[5 * MEGABYTES : 10 * MEGABYTES], content[10 * MEGABYTES :])
    asked = ecr.batch_check_layer_availability(repositoryName=HOME.name, layerDigests=[digest_of(content)])
    assert asked["layers"][0]["layerSize"] == len(content)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"mediaType": MANIFEST, "config": {"digest": digest_of(b"?"), "size": 1}}, "LayersNotFoundException"),
        ({"mediaType": INDEX, "manifests": [{"digest": digest_of(b"?")}]}, "ReferencedImagesNotFoundException"),
    ],
)
def test_an_image_that_lacks_something_is_refused(ecr, body, code):
    text = json.dumps(body)
    digest = digest_of(text.encode())
    said = {"imageManifest": text, "imageManifestMediaType": body["mediaType"], "imageDigest": digest}
    assert refusal(lambda: ecr.put_image(repositoryName=HOME.name, **said)) == code


def test_a_child_is_deleted_only_after_its_index(ecr, push):
    child = push.image([b"content"])
    index = push.index({"linux/amd64": child})
    assert delete(ecr, child) == ["ImageReferencedByManifestList"]
    assert delete(ecr, index) == []
    assert delete(ecr, child) == []


def test_referrers_are_listed_by_their_subject_archived_ones_when_asked_for(ecr, push):
    image, other = push.image([b"content"]), push.image([b"other"])
    signature, sbom = push.referrer(image, SIGNATURE, b"signed"), push.referrer(image, "application/spdx+json", b"{ }")
    push.referrer(other, SIGNATURE, b"signed too")
    ecr.update_image_storage_class(
        repositoryName=HOME.name, imageId={"imageDigest": sbom.digest}, targetStorageClass="ARCHIVE"
    )

    def listed(**asked) -> set[str]:
        subject = {"imageDigest": image.digest}
        answer = ecr.list_image_referrers(repositoryName=HOME.name, subjectId=subject, **asked)
        return {row["digest"] for row in answer["referrers"]}

    assert listed() == {signature.digest}
    assert listed(filter={"artifactStatus": "ANY"}) == {signature.digest, sbom.digest}


def test_the_house_moves_an_image_of_real_size_and_brings_it_back(ecr, push):
    """With parts as ECR wants them and clients as the functions have them."""
    context = AppContext(
        Settings(
            table="t", queue_scans="s", queue_actions="a", queue_sweeps="w", cursor_secrets=("x",), role_arns=ROLES
        )
    )
    content = hashlib.shake_256(b"layer").digest(21 * MEGABYTES)
    image = push.image([content, b"small"], ["1.0", "latest"])
    push.referrer(image, SIGNATURE, b"signed")
    place = place_of(HOME)
    before = sorted(i["imageDigest"] for i in ecr.list_images(repositoryName=HOME.name)["imageIds"])
    context.mover.move(image, place, [], ["1.0", "latest"])
    assert ecr.list_images(repositoryName=HOME.name)["imageIds"] == []
    assert refusal(lambda: url_of(ecr, content)) == "LayersNotFoundException"
    context.mover.bring_back(image, place, ["1.0", "latest"], lambda *_: True)
    assert sorted(i["imageDigest"] for i in ecr.list_images(repositoryName=HOME.name)["imageIds"]) == before
    with urllib.request.urlopen(url_of(ecr, content)) as answer:
        assert digest_of(answer.read()) == digest_of(content)
