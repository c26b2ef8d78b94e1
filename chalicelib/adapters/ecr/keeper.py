"""Amazon ECR for retention: all images of a repository, what is in them, and their deletion a hundred at a time.

Nothing else in this house deletes images. Who may be deleted is `domain/retention/retention.py`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.answers import answered_at, readable, told
from chalicelib.adapters.aws.errors import asked
from chalicelib.adapters.ecr.images import EcrImages
from chalicelib.adapters.ecr.listing import EcrListing
from chalicelib.domain.images.image import IMAGE_MEDIA_TYPES, INDEX_MEDIA_TYPES, ImageDetail, Repository
from chalicelib.domain.reconcile.registry_listing import ImagesListed
from chalicelib.domain.retention.image import Deleted, Inside, Layer
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.images.images import BatchImage, parse_batch_get_image
from chalicelib.parsers.images.manifest_blobs import parse_blobs

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

IN_A_BATCH = 100
GONE = "ImageNotFound"
_ACCEPTED = sorted(IMAGE_MEDIA_TYPES | INDEX_MEDIA_TYPES)


class EcrKeeper:
    """`client_of` gives the ECR client of an account and a Region. Implements `services.ports.registry.Keeper`.

    Every method raises TransientError, DeniedError and UpstreamError.
    """

    def __init__(self, client_of: Callable[[str | None, str], ECRClient]) -> None:
        self._client_of = client_of
        self._listing, self._images = EcrListing(client_of), EcrImages(client_of)

    def images(self, repository: Repository, most: int | None = None) -> ImagesListed:
        return self._listing.images(repository, most)

    def describe(self, repository: Repository, digests: Collection[str]) -> Mapping[str, ImageDetail]:
        return self._images.describe(repository, digests)

    def insides(self, repository: Repository, digests: Collection[str]) -> Mapping[str, Inside]:
        """A call for each hundred. Archived images have no manifest to be had, and are absent."""
        found: dict[str, Inside] = {}
        what = f"read manifests of {repository.path}"
        for batch in _batches(sorted(digests)):
            ids = [{"imageDigest": digest} for digest in batch]
            call = self._client_of(repository.registry, repository.region).batch_get_image
            answer = asked(what, call, **_named(repository), imageIds=ids, acceptedMediaTypes=_ACCEPTED)
            with readable(what):
                page = parse_batch_get_image(told(answer), repository.region)
            found |= {image.ref.digest: _inside(image) for image in page.images}
        return found

    def delete(self, repository: Repository, digests: Collection[str]) -> Deleted:
        """By digest: with all tags. What the answer does not speak of is not taken for gone."""
        if not 1 <= len(digests) <= IN_A_BATCH:
            raise ValueError(f"{len(digests)} images: ECR deletes 1 to {IN_A_BATCH} in a call")
        what = f"delete images of {repository.path}"
        ids = [{"imageDigest": digest} for digest in sorted(digests)]
        call = self._client_of(repository.registry, repository.region).batch_delete_image
        answer: Any = asked(what, call, **_named(repository), imageIds=ids)
        gone = {str(one.get("imageDigest")) for one in answer.get("imageIds") or ()}
        failed = dict.fromkeys(digests, "ECR's answer does not speak of it")
        for failure in answer.get("failures") or ():
            digest, code = str((failure.get("imageId") or {}).get("imageDigest")), str(failure.get("failureCode"))
            if code == GONE:
                gone.add(digest)
            elif digest in failed:
                failed[digest] = f"{code}: {failure.get('failureReason') or 'no reason given'}"
        left = {digest: why for digest, why in sorted(failed.items()) if digest not in gone}
        return Deleted(tuple(sorted(gone.intersection(digests))), left, answered_at(answer))


def _inside(image: BatchImage) -> Inside:
    try:
        layers = tuple(Layer(blob.digest, blob.size_bytes) for blob in parse_blobs(image.body) if not blob.foreign)
    except RefusedPayloadError:
        return Inside(_children(image), image.manifest.subject, None)
    return Inside(_children(image), image.manifest.subject, layers)


def _children(image: BatchImage) -> tuple[str, ...]:
    return tuple(dict.fromkeys(child.digest for child in image.manifest.children))


def _batches(digests: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(digests), IN_A_BATCH):
        yield digests[start : start + IN_A_BATCH]


def _named(repository: Repository) -> Any:
    return {"registryId": repository.registry, "repositoryName": repository.name}
