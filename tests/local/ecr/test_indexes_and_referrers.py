"""The local ECR lists referrers, and keeps the images of an index until it is deleted, as AWS does."""

from __future__ import annotations

import boto3
import pytest

from chalicelib.local.ecr.ecr import ecr_of
from tests.local import samples
from tests.local.push_image import Pusher
from tests.local.running import local_aws

HOME = samples.ref().home
SIGNATURE = "application/vnd.cncf.notary.signature"


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


def delete(ecr, ref) -> list[str]:
    """The codes of what was refused."""
    answer = ecr.batch_delete_image(repositoryName=HOME.name, imageIds=[{"imageDigest": ref.digest}])
    return [failure["failureCode"] for failure in answer["failures"]]


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
