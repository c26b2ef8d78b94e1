"""The bucket of bundles: made once, private, never another account's; the same content is sent once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.artefact_bucket import ArtefactBucket
from chalicelib.errors import ConflictError, DeniedError, InputError, UpstreamError
from tests.fakes.buckets import heed_no_policy
from tests.fakes.moto_aws import mock_aws

ARN = "arn:aws:sts::123456789012:assumed-role/deployer/me"
REGION = "eu-west-1"
OURS = "lazaretto-artefacts-123456789012-eu-west-1"
MINE = {"Bucket": OURS, "ExpectedBucketOwner": "123456789012"}


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    heed_no_policy(monkeypatch)
    with mock_aws():
        yield Sessions(session=boto3.Session("x", "x", region_name=REGION))


def bucket(sessions: Sessions, name: str | None = None, region: str = REGION) -> ArtefactBucket:
    return ArtefactBucket(sessions, ARN, region, name)


def test_it_is_made_once_private_encrypted_and_versioned(sessions: Sessions) -> None:
    assert bucket(sessions).ensure() is True
    assert bucket(sessions).ensure() is False
    s3 = sessions.client("s3")
    assert all(s3.get_public_access_block(Bucket=OURS)["PublicAccessBlockConfiguration"].values())
    assert s3.get_bucket_versioning(Bucket=OURS)["Status"] == "Enabled"
    (rule,) = s3.get_bucket_encryption(Bucket=OURS)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=OURS)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Resource"]) == ("Deny", [f"arn:aws:s3:::{OURS}", f"arn:aws:s3:::{OURS}/*"])
    assert (statement["Principal"], statement["Action"]) == ("*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_first_region_of_aws_takes_no_constraint() -> None:
    with mock_aws():
        sessions = Sessions(session=boto3.Session("x", "x", region_name="us-east-1"))
        assert bucket(sessions, region="us-east-1").ensure() is True


def test_what_was_made_halfway_is_finished(sessions: Sessions) -> None:
    s3 = sessions.client("s3")
    s3.create_bucket(Bucket=OURS, CreateBucketConfiguration={"LocationConstraint": REGION})
    assert bucket(sessions).ensure() is False
    assert s3.get_bucket_versioning(Bucket=OURS)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=OURS)["PublicAccessBlockConfiguration"].values())


def test_what_its_owner_has_changed_since_stays(sessions: Sessions) -> None:
    bucket(sessions).ensure()
    s3 = sessions.client("s3")
    s3.delete_bucket_policy(Bucket=OURS)
    bucket(sessions).ensure()
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchBucketPolicy"):
        s3.get_bucket_policy(Bucket=OURS)


def stubbed(sessions: Sessions, name: str | None = None) -> tuple[ArtefactBucket, Stubber]:
    found = bucket(sessions, name)
    stub = Stubber(sessions.client("s3"))
    stub.activate()
    return found, stub


def test_the_same_name_of_another_account_is_never_used(sessions: Sessions) -> None:
    """Anybody can know the name of ours, and make a bucket of that name before us."""
    found, stub = stubbed(sessions)
    stub.add_client_error("head_bucket", "403", "Forbidden", 403, expected_params=MINE)
    with pytest.raises(ConflictError, match=r"another account's.*give --bucket"):
        found.ensure()
    stub.add_client_error("head_bucket", "404", "Not Found", 404, expected_params=MINE)
    stub.add_client_error("create_bucket", "BucketAlreadyExists")
    with pytest.raises(ConflictError, match="another account's: give --bucket"):
        found.ensure()
    stub.assert_no_pending_responses()


@pytest.mark.parametrize("call", ["head_object", "put_object"])
def test_every_call_names_the_account_that_must_own_it(sessions: Sessions, call: str) -> None:
    found, stub = stubbed(sessions)
    seen: list[Any] = []
    sessions.client("s3").meta.events.register(
        f"provide-client-params.s3.{xform(call)}", lambda params, **_: seen.append(params)
    )
    stub.add_client_error("head_object", "404", "Not Found", 404)
    stub.add_response("put_object", {})
    found.put(b"x", "zip")
    assert seen[0]["ExpectedBucketOwner"] == "123456789012"


def xform(call: str) -> str:
    return "".join(part.capitalize() for part in call.split("_"))


def test_a_named_bucket_is_used_as_it_is(sessions: Sessions) -> None:
    s3 = sessions.client("s3")
    s3.create_bucket(Bucket="of-the-team", CreateBucketConfiguration={"LocationConstraint": REGION})
    found = bucket(sessions, "of-the-team")
    assert found.ensure() is False
    assert "Status" not in s3.get_bucket_versioning(Bucket="of-the-team")
    assert found.url(found.put(b"x", "zip")).startswith("https://s3.eu-west-1.amazonaws.com/of-the-team/lazaretto/")


def test_a_named_bucket_must_be_there_and_in_the_region(sessions: Sessions) -> None:
    with pytest.raises(InputError, match="there is no bucket of-nobody"):
        bucket(sessions, "of-nobody").ensure()
    place = {"LocationConstraint": "eu-central-1"}
    boto3.client("s3", region_name="eu-central-1").create_bucket(Bucket="far-away", CreateBucketConfiguration=place)
    with pytest.raises(InputError, match="is in eu-central-1: it must be in eu-west-1"):
        bucket(sessions, "far-away").ensure()
    found, stub = stubbed(sessions, "closed")
    stub.add_client_error("head_bucket", "403", "Forbidden", 403, expected_params={"Bucket": "closed"})
    with pytest.raises(DeniedError):
        found.ensure()
    stub.add_client_error("head_bucket", "400", "Bad Request", 400)
    with pytest.raises(UpstreamError):
        found.ensure()


def test_the_same_content_is_sent_once(sessions: Sessions) -> None:
    found = bucket(sessions)
    found.ensure()
    key = found.put(b"bundle", "zip")
    assert key == f"lazaretto/{hashlib.sha256(b'bundle').hexdigest()}.zip"
    assert found.put(b"bundle", "zip") == key
    assert len(sessions.client("s3").list_object_versions(Bucket=OURS)["Versions"]) == 1


def test_what_somebody_else_has_put_under_that_key_is_replaced(sessions: Sessions) -> None:
    found, s3 = bucket(sessions), sessions.client("s3")
    found.ensure()
    key = f"lazaretto/{hashlib.sha256(b'bundle').hexdigest()}.zip"
    s3.put_object(Bucket=OURS, Key=key, Body=b"a trap")
    assert found.put(b"bundle", "zip") == key
    assert s3.get_object(Bucket=OURS, Key=key)["Body"].read() == b"bundle"
