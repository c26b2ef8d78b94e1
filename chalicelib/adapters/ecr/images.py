"""Amazon ECR, image by image: descriptions of many at once, and what refers to one. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.answers import readable
from chalicelib.adapters.aws.errors import asked
from chalicelib.domain.images.image import ImageDetail, Repository
from chalicelib.errors import AbsentError, UpstreamError
from chalicelib.parsers.images.images import parse_describe_images
from chalicelib.parsers.images.manifests import read_referrers

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

IN_A_BATCH = 100
REFERRERS_ASKED = 50
PAGES = 1000
"""Far more than an image may have referrers: an answer that names the same next page for ever must end."""


class EcrImages:
    """`client_of` gives the ECR client of an account and a Region.

    All methods raise TransientError, DeniedError and UpstreamError.
    """

    def __init__(self, client_of: Callable[[str, str], ECRClient]) -> None:
        self._client_of = client_of

    def describe(self, home: Repository, digests: Collection[str]) -> dict[str, ImageDetail]:
        """By digest, whatever the storage class; what is not there is absent from the answer."""
        found: dict[str, ImageDetail] = {}
        for some in _batches(digests):
            try:
                found |= self.details(home, [{"imageDigest": d} for d in some])[0]
            except AbsentError as error:
                # ECR refuses the whole batch for one image that is not there.
                if error.what == "image" and len(some) > 1:
                    for digest in some:
                        found |= self.describe(home, [digest])
        return found

    def details(self, home: Repository, ids: Sequence[Any]) -> tuple[dict[str, ImageDetail], Any]:
        """By digest, at most a hundred, and the answer they are of. Raises AbsentError (`image`, `repository`) where
        one of them is not there."""
        what, call = f"describe images of {home.path}", self._client_of(home.registry, home.region).describe_images
        answer = asked(what, call, **_named(home), imageIds=ids, filter={"imageStatus": "ANY"})
        with readable(what):
            images = parse_describe_images(answer, home.region).images
        return {image.ref.digest: image for image in images}, answer

    def referrers(self, home: Repository, digest: str) -> tuple[str, ...]:
        """Digests of signatures, SBOMs and the like that name the image as their subject, archived or not. ECR has no
        paginator for them."""
        what = f"list referrers of {home.image(digest)}"
        request: dict[str, Any] = {
            **_named(home),
            "subjectId": {"imageDigest": digest},
            "filter": {"artifactStatus": "ANY"},
            "maxResults": REFERRERS_ASKED,
        }
        found: list[str] = []
        for _ in range(PAGES):
            answer = asked(what, self._client_of(home.registry, home.region).list_image_referrers, **request)
            with readable(what):
                digests, token = read_referrers(answer)
            found += digests
            if not token:
                return tuple(found)
            request["nextToken"] = token
        raise UpstreamError(f"{what}: more than {PAGES} pages")


def _named(home: Repository) -> Any:
    return {"registryId": home.registry, "repositoryName": home.name}


def _batches(digests: Collection[str]) -> Iterator[Sequence[str]]:
    ordered = sorted(digests)
    for start in range(0, len(ordered), IN_A_BATCH):
        yield ordered[start : start + IN_A_BATCH]
