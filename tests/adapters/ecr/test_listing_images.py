"""What refers to an image, page by page: neither an answer that never ends nor one that says nothing is "none"."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from chalicelib.adapters.ecr.listing import EcrListing
from chalicelib.domain.images.image import Repository
from chalicelib.errors import UpstreamError

HOME = Repository("111122223333", "eu-west-1", "team/api")
DIGEST = f"sha256:{1:064x}"
CREDENTIALS = dict.fromkeys(("aws_access_key_id", "aws_secret_access_key"), "any")


def asked(*answers: dict[str, Any]) -> tuple[str, ...]:
    """The referrers, when ECR answers so, one answer after the other."""
    client = boto3.client("ecr", region_name=HOME.region, **CREDENTIALS)  # type: ignore[call-overload]
    with Stubber(client) as stub:
        for answer in answers:
            stub.add_response("list_image_referrers", answer)
        return EcrListing(lambda account, region: client).referrers(HOME, DIGEST)


def page(number: int, **more: str) -> dict[str, Any]:
    row = {"digest": f"sha256:{number:064x}", "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1}
    return {"referrers": [row], **more}


def test_an_image_that_nothing_refers_to_has_no_referrers() -> None:
    assert asked({"referrers": []}) == ()


def test_referrers_are_read_over_all_pages() -> None:
    assert asked(page(2, nextToken="more"), page(3)) == tuple(f"sha256:{n:064x}" for n in (2, 3))


def test_pages_that_never_end_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.adapters.aws.calls.PAGES", 3)
    with pytest.raises(UpstreamError, match="more than 3 pages"):
        asked(*[page(n, nextToken="the same") for n in range(3)])


def test_an_answer_without_a_list_is_not_that_there_are_none() -> None:
    with pytest.raises(UpstreamError, match="cannot be read"):
        asked({})
