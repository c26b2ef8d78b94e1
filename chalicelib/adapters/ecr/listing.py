"""Amazon ECR and ECR Public, listed: repositories, images, how far a scan got, and what refers to an image.

Calls: one DescribeRepositories and one DescribeImages for each thousand, one DescribeImageScanFindings for each image
that is asked for by itself. ECR Public answers in us-east-1 and for our account alone. A listing that fails half-way
raises, because a missing row would prove nothing. Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.calls import answered_at, asked, aws_call, body_of, pages, readable, told
from chalicelib.adapters.ecr.registry import NEVER_SCANNED
from chalicelib.domain.images.image import PUBLIC_REGION, ImageDetail, ImageRef, Repository, Scan, ScanState
from chalicelib.domain.images.names import PublicRegistry, RegistryPlace
from chalicelib.domain.reconcile.registry_listing import ImagesListed, RepositoriesListed
from chalicelib.errors import AbsentError, TooLargeError, UpstreamError
from chalicelib.parsers.findings.basic_scan import parse_image_scan_findings
from chalicelib.parsers.images.images import (
    parse_describe_images,
    parse_describe_repositories,
    read_public_images,
    read_public_repositories,
    read_registries,
)
from chalicelib.parsers.images.manifests import read_referrers

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

IN_A_BATCH = 100
REFERRERS_ASKED = 50


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
        for answer in pages(what, self._client_of(home.registry, home.region).list_image_referrers, **request):
            with readable(what):
                found += read_referrers(answer)
        return tuple(found)


def _named(home: Repository) -> Any:
    return {"registryId": home.registry, "repositoryName": home.name}


def _batches(digests: Collection[str]) -> Iterator[Sequence[str]]:
    ordered = sorted(digests)
    for start in range(0, len(ordered), IN_A_BATCH):
        yield ordered[start : start + IN_A_BATCH]


REPOSITORIES_ASKED = IMAGES_ASKED = 1000


class EcrListing:
    """`client_of` gives the ECR client of an account (None: our own) and a Region.

    All methods raise TransientError, DeniedError, UpstreamError.
    """

    def __init__(self, client_of: Callable[[str | None, str], ECRClient]) -> None:
        self._client_of = client_of

    def repositories(self, place: RegistryPlace, after: str | None = None) -> RepositoriesListed:
        """One page of those of a registry."""
        more: dict[str, Any] = {"nextToken": after} if after else {}
        more |= {"registryId": place.account} if place.account else {}
        what = f"list the repositories of {place}"
        call = self._client_of(place.account, place.region).describe_repositories
        answer = asked(what, call, maxResults=REPOSITORIES_ASKED, **more)
        with readable(what):
            page = parse_describe_repositories(told(answer))
        for found in page.repositories:
            if place.account is not None and found.repository.registry != place.account:
                raise UpstreamError(f"{what}: the answer is about {found.repository.registry}")
        return RepositoriesListed(page.repositories, page.next_token)

    def images(self, repository: Repository, most: int | None = None) -> ImagesListed:
        """All pages, archived images too. A repository that is not there has none, and is `absent`. Raises
        TooLargeError as soon as there are more than `most`."""
        images: dict[str, ImageDetail] = {}
        listed_at: datetime | None = None
        try:
            for page, at in self._pages(repository):
                listed_at = listed_at or at
                images |= {image.ref.digest: image for image in page}
                if most is not None and len(images) > most:
                    raise TooLargeError(f"{repository.path} has more than {most:,} images")
        except AbsentError as error:
            if error.what != "repository" or listed_at is not None:
                raise
            return ImagesListed(answered_at(getattr(error.__cause__, "response", {})), absent=True)
        assert listed_at is not None
        return ImagesListed(listed_at, images)

    def peek(self, ref: ImageRef) -> Scan:
        """How far the scan of one image got, and when it ended, whatever it found. Raises AbsentError (`image`,
        `repository`)."""
        what = f"read the state of the scan of {ref}"
        try:
            with aws_call(what):
                answer: Any = self._client_of(ref.registry, ref.region).describe_image_scan_findings(
                    registryId=ref.registry,
                    repositoryName=ref.repository,
                    imageId={"imageDigest": ref.digest},
                    maxResults=1,
                )
        except AbsentError as error:
            if error.what != "scan":
                raise
            return Scan(ScanState.PENDING, NEVER_SCANNED)
        with readable(what):
            return parse_image_scan_findings(body_of(answer), ref.region).scan

    def _pages(self, repository: Repository) -> Iterator[tuple[tuple[ImageDetail, ...], datetime]]:
        request: dict[str, Any] = {
            "registryId": repository.registry,
            "repositoryName": repository.name,
            "filter": {"imageStatus": "ANY"},
            "maxResults": IMAGES_ASKED,
        }
        what = f"list the images of {repository.path}"
        for answer in pages(what, self._client_of(repository.registry, repository.region).describe_images, **request):
            with readable(what):
                page = parse_describe_images(told(answer), repository.region)
            yield page.images, answered_at(answer)


class EcrPublicListing:
    """services.ports.registry.PublicInventory. `client_of` gives the `ecr-public` client of a Region.

    All methods raise TransientError, DeniedError and UpstreamError.
    """

    def __init__(self, client_of: Callable[[str], Any]) -> None:
        self._client_of = client_of

    def registry(self) -> PublicRegistry | None:
        """None: our account has none, or none that has an alias."""
        what = "find our public registry"
        for answer in pages(what, self._client().describe_registries, maxResults=IMAGES_ASKED):
            with readable(what):
                registries = read_registries(told(answer))
            if registries:
                return registries[0]
        return None

    def repositories(self, registry: PublicRegistry, after: str | None = None) -> RepositoriesListed:
        """One page."""
        more = {"nextToken": after} if after else {}
        what = f"list the repositories of {registry.name}"
        call = self._client().describe_repositories
        answer = asked(what, call, registryId=registry.account, maxResults=REPOSITORIES_ASKED, **more)
        with readable(what):
            page = read_public_repositories(told(answer), registry.aliases[0])
        return RepositoriesListed(page.repositories, page.next_token)

    def images(self, registry: PublicRegistry, home: Repository) -> ImagesListed:
        """All pages. A repository that is not there, or is named by another alias than the primary one, is `absent`."""
        images: dict[str, ImageDetail] = {}
        listed_at: datetime | None = None
        what = f"list the images of {home.path}"
        request: dict[str, Any] = {"registryId": registry.account, "repositoryName": home.name}
        try:
            for answer in pages(what, self._client().describe_images, maxResults=IMAGES_ASKED, **request):
                listed_at = listed_at or answered_at(answer)
                with readable(what):
                    page = read_public_images(told(answer), home)
                images |= {image.ref.digest: image for image in page.images}
        except AbsentError as error:
            if error.what != "repository" or listed_at is not None:
                raise
            return ImagesListed(answered_at(getattr(error.__cause__, "response", {})), absent=True)
        assert listed_at is not None
        return (
            ImagesListed(listed_at, images) if home.registry == registry.name else ImagesListed(listed_at, absent=True)
        )

    def _client(self) -> Any:
        return self._client_of(PUBLIC_REGION)
