"""Amazon ECR and ECR Public, listed: repositories, images, how far a scan got, and what refers to an image.

Calls: one DescribeRepositories and one DescribeImages for each thousand, one DescribeImageScanFindings for each image
that is asked for by itself. ECR Public answers in us-east-1 and for our account alone. A listing that fails half-way
raises, because a missing row would prove nothing. Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.calls import answer_behind, answered_at, code_of, read_answer, read_pages
from chalicelib.adapters.ecr.registry import NEVER_SCANNED, describe_all, describe_images, named
from chalicelib.domain.images.image import PUBLIC_REGION, ImageDetail, ImageRef, Repository, Scan, ScanState
from chalicelib.domain.images.names import PublicRegistry, RegistryPlace
from chalicelib.domain.reconcile.registry_listing import ImagesListed, RepositoriesListed
from chalicelib.domain.replication.replica_case import Listed
from chalicelib.errors import AbsentError, TooLargeError, UpstreamError
from chalicelib.parsers.findings.basic_scan import parse_image_scan_findings
from chalicelib.parsers.images.images import (
    ImagesPage,
    parse_describe_images,
    parse_describe_repositories,
    parse_registries,
    read_public_images,
    read_public_repositories,
)
from chalicelib.parsers.images.manifests import Referrers
from chalicelib.parsers.wire.wire import read

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

REFERRERS_ASKED = 50
ROWS_ASKED = 1000
_TOKEN_REFUSED = ("InvalidParameterException", "ValidationException")
"""AWS does not say how long a `nextToken` holds."""


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
        page = read_answer(what, parse_describe_repositories, call, maxResults=ROWS_ASKED, **more)
        for found in page.repositories:
            if place.account is not None and found.repository.registry != place.account:
                raise UpstreamError(f"{what}: the answer is about {found.repository.registry}")
        return RepositoriesListed(page.repositories, page.next_token)

    def images(self, repository: Repository, most: int | None = None) -> ImagesListed:
        """All pages, archived images too. A repository that is not there has none, and is `absent`. Raises
        TooLargeError as soon as there are more than `most`."""
        parse = partial(parse_describe_images, region=repository.region)
        request: Any = {**named(repository), "filter": {"imageStatus": "ANY"}}
        return _listed(repository, parse, self._client(repository).describe_images, most, **request)

    def page(self, repository: Repository, after: str | None = None) -> Listed:
        """One page of it, archived images too. Raises AbsentError (`repository`; `page`: ECR does not take `after`)."""
        what, call = f"list the images of {repository.path}", self._client(repository).describe_images
        request: Any = {**named(repository), "filter": {"imageStatus": "ANY"}, "maxResults": ROWS_ASKED}
        request |= {"nextToken": after} if after is not None else {}
        parse = partial(parse_describe_images, region=repository.region)
        try:
            page, answer = next(read_pages(what, parse, call, **request))
        except UpstreamError as error:
            if after is not None and code_of(error) in _TOKEN_REFUSED:
                raise AbsentError("page", str(error)) from error
            raise
        return Listed({image.ref.digest: image for image in page.images}, answered_at(answer), page.next_token)

    def describe(self, home: Repository, digests: Collection[str]) -> dict[str, ImageDetail]:
        """By digest, whatever the storage class; what is not there is absent from the answer."""
        return describe_all(self._client(home), home, digests)

    def details(self, home: Repository, ids: Sequence[Any]) -> tuple[tuple[ImageDetail, ...], Any]:
        """As `describe_images`."""
        return describe_images(f"describe images of {home.path}", self._client(home), home, ids)

    def referrers(self, home: Repository, digest: str) -> tuple[str, ...]:
        """Digests of signatures, SBOMs and the like that name the image as their subject, archived or not. ECR has no
        paginator for them."""
        request: Any = {
            **named(home),
            "subjectId": {"imageDigest": digest},
            "filter": {"artifactStatus": "ANY"},
            "maxResults": REFERRERS_ASKED,
        }
        what, call = f"list referrers of {home.image(digest)}", self._client(home).list_image_referrers
        pages = read_pages(what, partial(read, Referrers), call, **request)
        return tuple(one.digest for page, _ in pages for one in page.referrers)

    def peek(self, ref: ImageRef) -> Scan:
        """How far the scan of one image got, and when it ended, whatever it found. Raises AbsentError (`image`,
        `repository`)."""
        what, call = f"read the state of the scan of {ref}", self._client(ref.home).describe_image_scan_findings
        image: Any = {**named(ref.home), "imageId": {"imageDigest": ref.digest}, "maxResults": 1}
        try:
            return read_answer(what, partial(parse_image_scan_findings, region=ref.region), call, **image).scan
        except AbsentError as error:
            if error.what != "scan":
                raise
            return Scan(ScanState.PENDING, NEVER_SCANNED)

    def _client(self, home: Repository) -> ECRClient:
        return self._client_of(home.registry, home.region)


def _listed(
    home: Repository,
    parse: Callable[[Any], ImagesPage],
    call: Callable[..., Any],
    most: int | None = None,
    **request: Any,
) -> ImagesListed:
    images: dict[str, ImageDetail] = {}
    listed_at: datetime | None = None
    try:
        what = f"list the images of {home.path}"
        for page, answer in read_pages(what, parse, call, maxResults=ROWS_ASKED, **request):
            listed_at = listed_at or answered_at(answer)
            images |= {image.ref.digest: image for image in page.images}
            if most is not None and len(images) > most:
                raise TooLargeError(f"{home.path} has more than {most:,} images")
    except AbsentError as error:
        if error.what != "repository" or listed_at is not None:
            raise
        return ImagesListed(answered_at(answer_behind(error)), absent=True)
    assert listed_at is not None
    return ImagesListed(listed_at, images)


class EcrPublicListing:
    """services.ports.registry.PublicInventory. `client_of` gives the `ecr-public` client of a Region.

    All methods raise TransientError, DeniedError and UpstreamError.
    """

    def __init__(self, client_of: Callable[[str], Any]) -> None:
        self._client_of = client_of

    def registry(self) -> PublicRegistry | None:
        """None: our account has none, or none that has an alias."""
        call = self._client().describe_registries
        pages = read_pages("find our public registry", parse_registries, call, maxResults=ROWS_ASKED)
        return next((page.registries[0] for page, _ in pages if page.registries), None)

    def repositories(self, registry: PublicRegistry, after: str | None = None) -> RepositoriesListed:
        """One page."""
        request = {"registryId": registry.account, "maxResults": ROWS_ASKED} | ({"nextToken": after} if after else {})
        parse = partial(read_public_repositories, alias=registry.aliases[0])
        what, call = f"list the repositories of {registry.name}", self._client().describe_repositories
        page = read_answer(what, parse, call, **request)
        return RepositoriesListed(page.repositories, page.next_token)

    def images(self, registry: PublicRegistry, home: Repository) -> ImagesListed:
        """All pages. A repository that is not there, or is named by another alias than the primary one, is `absent`."""
        request: Any = {"registryId": registry.account, "repositoryName": home.name}
        listed = _listed(home, partial(read_public_images, home=home), self._client().describe_images, **request)
        return listed if home.registry == registry.name else ImagesListed(listed.listed_at, absent=True)

    def _client(self) -> Any:
        return self._client_of(PUBLIC_REGION)
