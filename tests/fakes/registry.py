"""Amazon ECR as a test scripts it. Keeps what use cases ask of `services.ports.Registry`, manifests left out."""

from __future__ import annotations

from collections.abc import Callable, Collection

from chalicelib.domain.images.image import ImageDetail, ImageRef, Repository
from chalicelib.errors import AbsentError


class FakeRegistry:
    """It has the images in `details`, or raises `failure`. `asked` keeps what was asked, in order."""

    def __init__(self) -> None:
        self.details: dict[ImageRef, ImageDetail] = {}
        self.failure: Exception | None = None
        self.asked: list[str] = []

    def hold(self, detail: ImageDetail) -> None:
        self.details[detail.ref] = detail

    def describe_image(self, ref: ImageRef) -> ImageDetail:
        return self._found(str(ref), lambda detail: detail.ref == ref)

    def describe_tag(self, repository: Repository, tag: str) -> ImageDetail:
        asked = f"{repository.path}:{tag}"
        return self._found(asked, lambda detail: detail.ref.home == repository and tag in detail.tags)

    def tags_now(self, repository: Repository, digests: Collection[str]) -> frozenset[str]:
        self.asked.append(f"tags of {', '.join(sorted(digests))}")
        if self.failure is not None:
            raise self.failure
        mine = [d for d in self.details.values() if d.ref.home == repository and d.ref.digest in digests]
        return frozenset(tag for detail in mine for tag in detail.tags)

    def _found(self, what: str, meant: Callable[[ImageDetail], bool]) -> ImageDetail:
        self.asked.append(what)
        if self.failure is not None:
            raise self.failure
        found = next((detail for detail in self.details.values() if meant(detail)), None)
        if found is None:
            raise AbsentError("image", f"{what} is not there")
        return found
