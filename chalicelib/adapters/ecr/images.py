"""Amazon ECR, image by image, for copying: manifests with their very bytes, tags, referrers; put and deleted.

Blobs are `ecr_blobs.py`'s business; what is to be copied or deleted, and in which order, is `ecr_mover.py`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.adapters.aws.answers import readable
from chalicelib.adapters.aws.errors import asked, aws_call, code_of
from chalicelib.domain.images.image import IMAGE_MEDIA_TYPES, INDEX_MEDIA_TYPES, ImageDetail, Repository
from chalicelib.errors import AbsentError, TransientError, UpstreamError
from chalicelib.parsers.images.images import BatchImage, ImageFailure, parse_batch_get_image, parse_describe_images
from chalicelib.parsers.images.manifest_blobs import Blob, parse_blobs
from chalicelib.parsers.images.manifests import read_referrers

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

IN_A_BATCH = 100
REFERRERS_ASKED = 50
PAGES = 1000
"""Far more than an image may have referrers: an answer that names the same next page for ever must end."""
_ACCEPTED = sorted(IMAGE_MEDIA_TYPES | INDEX_MEDIA_TYPES)
_TRY_AGAIN = frozenset({"UpstreamTooManyRequests", "UpstreamUnavailable"})
NEEDED = "ImageReferencedByManifestList"


class HeldManifest(msgspec.Struct, frozen=True):
    """A manifest as ECR holds it: its digest is the SHA-256 of `body`. An index has `children`;
    `subject` is what it refers to."""

    digest: str
    body: str
    media_type: str
    blobs: tuple[Blob, ...]
    children: tuple[str, ...] = ()
    subject: str | None = None


class EcrImages:
    """`client_of` gives the ECR client of an account and a Region.

    All methods raise TransientError, DeniedError and UpstreamError.
    """

    def __init__(self, client_of: Callable[[str, str], ECRClient]) -> None:
        self._client_of = client_of

    def read(self, home: Repository, digests: Collection[str]) -> dict[str, HeldManifest]:
        """By digest; what is not there, or archived, is absent from the answer."""
        found: dict[str, HeldManifest] = {}
        for some in _batches(digests):
            with _no_repository_no_image(), aws_call(f"read manifests of {home.path}"):
                answer: Any = self._client_of(home.registry, home.region).batch_get_image(
                    **_named(home), imageIds=[{"imageDigest": d} for d in some], acceptedMediaTypes=_ACCEPTED
                )
                found |= _manifests(answer, home)
        return found

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

    def holder(self, home: Repository, tag: str) -> str | None:
        """The digest that the tag points at."""
        try:
            return next(iter(self.details(home, [{"imageTag": tag}])[0]), None)
        except AbsentError as error:
            if error.what != "image":
                raise
            return None

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

    def put(self, home: Repository, manifest: HeldManifest, tag: str | None = None) -> None:
        """ECR checks the digest, the blobs and the children. One that is there already, with that tag, is success."""
        tagged = {"imageTag": tag} if tag else {}
        try:
            with aws_call(f"put {home.image(manifest.digest)}"):
                self._client_of(home.registry, home.region).put_image(
                    **_named(home),
                    **tagged,
                    imageManifest=manifest.body,
                    imageManifestMediaType=manifest.media_type,
                    imageDigest=manifest.digest,
                )
        except UpstreamError as error:
            if code_of(error) != "ImageAlreadyExistsException":
                raise

    def delete(self, home: Repository, digest: str) -> bool:
        """With all its tags. False: an index of the repository needs it, so it stays. One that is gone is success."""
        with aws_call(f"delete {home.image(digest)}"):
            answer: Any = self._client_of(home.registry, home.region).batch_delete_image(
                **_named(home), imageIds=[{"imageDigest": digest}]
            )
        codes = {str(failure.get("failureCode")) for failure in answer.get("failures") or ()} - {"ImageNotFound"}
        if codes - {NEEDED}:
            raise UpstreamError(f"delete {home.image(digest)}: {', '.join(sorted(codes))}")
        return not codes


@contextmanager
def _no_repository_no_image() -> Iterator[None]:
    try:
        yield
    except AbsentError as error:
        if error.what != "repository":
            raise


def _manifests(answer: Any, home: Repository) -> dict[str, HeldManifest]:
    with readable(f"read manifests of {home.path}"):
        page = parse_batch_get_image(answer, home.region)
        found = {image.ref.digest: _held(image) for image in page.images}
    for failure in page.failures:
        if failure.code != "ImageNotFound":
            raise _refused(failure, home)
    return found


def _held(image: BatchImage) -> HeldManifest:
    if f"sha256:{hashlib.sha256(image.body.encode()).hexdigest()}" != image.ref.digest:
        raise UpstreamError(f"{image.ref}: the manifest that ECR gives does not have this digest: it cannot be copied")
    return HeldManifest(
        image.ref.digest,
        image.body,
        image.manifest.media_type,
        parse_blobs(image.body),
        tuple(dict.fromkeys(child.digest for child in image.manifest.children)),
        image.manifest.subject,
    )


def _refused(failure: ImageFailure, home: Repository) -> UpstreamError:
    text = f"read the manifest {failure.digest} of {home.path}: {failure.code}"
    return TransientError(text) if failure.code in _TRY_AGAIN else UpstreamError(text)


def _named(home: Repository) -> Any:
    return {"registryId": home.registry, "repositoryName": home.name}


def _batches(digests: Collection[str]) -> Iterator[Sequence[str]]:
    ordered = sorted(digests)
    for start in range(0, len(ordered), IN_A_BATCH):
        yield ordered[start : start + IN_A_BATCH]
