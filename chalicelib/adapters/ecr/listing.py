"""Amazon ECR, listed: all repositories of a registry, all images of a repository, and how far one scan got.

Calls: one DescribeRepositories and one DescribeImages for each thousand, one DescribeImageScanFindings for each image
that is asked for by itself. A listing that fails half-way raises: what it would have lacked proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.answers import answered_at, body_of, readable, told
from chalicelib.adapters.aws.errors import asked, aws_call
from chalicelib.adapters.ecr.registry import NEVER_SCANNED
from chalicelib.domain.images.image import ImageDetail, ImageRef, Repository, Scan, ScanState
from chalicelib.domain.images.registry import RegistryPlace
from chalicelib.domain.reconcile.registry_listing import ImagesListed, RepositoriesListed
from chalicelib.errors import AbsentError, TooLargeError, UpstreamError
from chalicelib.parsers.findings.basic_scan import parse_image_scan_findings
from chalicelib.parsers.images.images import parse_describe_images, parse_describe_repositories

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

REPOSITORIES_ASKED = IMAGES_ASKED = 1000
PAGES = 1000
"""Far more than a repository may have images: an answer that names the same next page for ever must end."""


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
        for _ in range(PAGES):
            answer = asked(what, self._client_of(repository.registry, repository.region).describe_images, **request)
            with readable(what):
                page = parse_describe_images(told(answer), repository.region)
            yield page.images, answered_at(answer)
            if not page.next_token:
                return
            request["nextToken"] = page.next_token
        raise UpstreamError(f"{what}: more than {PAGES} pages")
