"""ECR Public, listed: our registry, its repositories, their images. It answers in us-east-1, and for our account alone.

Calls: one DescribeRegistries, one DescribeRepositories and one DescribeImages for each thousand. A listing that fails
half-way raises: what it would have lacked proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from chalicelib.adapters.aws.answers import answered_at, readable, told
from chalicelib.adapters.aws.errors import asked
from chalicelib.domain.images.image import PUBLIC_REGION, ImageDetail, Repository
from chalicelib.domain.images.registry import PublicRegistry
from chalicelib.domain.reconcile.registry_listing import ImagesListed, RepositoriesListed
from chalicelib.errors import AbsentError, UpstreamError
from chalicelib.parsers.images.public_answers import read_public_images, read_public_repositories, read_registries

ASKED = 1000
PAGES = 1000
"""Far more than a registry has: an answer that names the same next page for ever must end."""


class EcrPublicListing:
    """services.ports.registry.PublicInventory. `client_of` gives the `ecr-public` client of a Region.

    All methods raise TransientError, DeniedError and UpstreamError.
    """

    def __init__(self, client_of: Callable[[str], Any]) -> None:
        self._client_of = client_of

    def registry(self) -> PublicRegistry | None:
        """None: our account has none, or none that has an alias."""
        for answer in self._pages("find our public registry", "describe_registries", {}):
            with readable("find our public registry"):
                registries, _ = read_registries(told(answer))
            if registries:
                return registries[0]
        return None

    def repositories(self, registry: PublicRegistry, after: str | None = None) -> RepositoriesListed:
        """One page."""
        more = {"nextToken": after} if after else {}
        what = f"list the repositories of {registry.name}"
        answer = self._ask(what, "describe_repositories", {"registryId": registry.account, **more})
        with readable(what):
            page = read_public_repositories(told(answer), registry.aliases[0])
        return RepositoriesListed(page.repositories, page.next_token)

    def images(self, registry: PublicRegistry, home: Repository) -> ImagesListed:
        """All pages. A repository that is not there, or is named by another alias than the primary one, is `absent`."""
        images: dict[str, ImageDetail] = {}
        listed_at: datetime | None = None
        what = f"list the images of {home.path}"
        request = {"registryId": registry.account, "repositoryName": home.name}
        try:
            for answer in self._pages(what, "describe_images", request):
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

    def _pages(self, what: str, method: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for _ in range(PAGES):
            answer = self._ask(what, method, request)
            yield answer
            if not (token := answer.get("nextToken")):
                return
            request = {**request, "nextToken": token}
        raise UpstreamError(f"{what}: more than {PAGES} pages")

    def _ask(self, what: str, method: str, request: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = asked(
            what, getattr(self._client_of(PUBLIC_REGION), method), maxResults=ASKED, **request
        )
        return answer
