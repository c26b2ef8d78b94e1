"""A repository in memory, as retention meets it: the contracts of `Keeper`, `Acts.archive`, `Replicas.missing`.

It refuses what ECR refuses: an image that an index still needs is not deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

import msgspec

from chalicelib.domain.images.image import ImageDetail, ImageRef, Repository, StorageStatus
from chalicelib.domain.reconcile.registry_listing import ImagesListed
from chalicelib.domain.retention.image import Deleted, Inside, RetainedImage
from chalicelib.errors import AbsentError, TooLargeError

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class FakeKeeper:
    """`rows` is what there is; `refused` are digests ECR does not delete, with its reason; `log` all that was changed.

    `absent` are digests whose copies are not there, `unknown` those nobody has looked for.
    """

    def __init__(self, home: Repository, images: Collection[RetainedImage], now: Callable[[], datetime]) -> None:
        self.home, self._now = home, now
        self.rows = {image.digest: _detail(home, image) for image in images}
        self.inside = {i.digest: Inside(i.contains or (), i.subject) for i in images if i.contains is not None}
        self.refused: dict[str, str] = {}
        self.log: list[tuple[str, str]] = []
        self.absent: set[str] = set()
        self.unknown: set[str] = set()
        self.before: Callable[[str], None] = lambda call: None
        self.after: Callable[[str], None] = lambda call: None

    def hold(self, image: RetainedImage) -> None:
        self.rows[image.digest] = _detail(self.home, image)
        self.inside[image.digest] = Inside(image.contains or (), image.subject)

    # ---- Keeper

    def images(self, repository: Repository, most: int | None = None) -> ImagesListed:
        self.before("images")
        if most is not None and len(self.rows) > most:
            raise TooLargeError(f"{repository.path} has more than {most:,} images")
        if repository != self.home:
            return ImagesListed(self._now(), absent=True)
        return ImagesListed(self._now(), dict(self.rows))

    def describe(self, repository: Repository, digests: Collection[str]) -> Mapping[str, ImageDetail]:
        self.before("describe")
        return {digest: self.rows[digest] for digest in digests if digest in self.rows}

    def insides(self, repository: Repository, digests: Collection[str]) -> Mapping[str, Inside]:
        self.before("insides")
        active = [d for d in digests if d in self.rows and self.rows[d].storage is StorageStatus.ACTIVE]
        return {digest: self.inside[digest] for digest in active if digest in self.inside}

    def delete(self, repository: Repository, images: Mapping[str, Collection[str]]) -> Deleted:
        if not images:
            raise ValueError("ECR deletes one at least")
        self.before("delete")
        failed = {}
        for digest, tags in sorted(images.items()):
            unseen = tuple(tag for tag in self.rows[digest].tags if tag not in tags) if digest in self.rows else ()
            if digest in self.refused:
                failed[digest] = self.refused[digest]
            elif self._is_needed(digest):
                failed[digest] = "ImageReferencedByManifestList: an index needs it"
            elif tags and unseen:
                self.rows[digest] = msgspec.structs.replace(self.rows[digest], tags=unseen)
                failed[digest] = f"its tag {unseen[0]} has come since, and keeps it"
            elif digest in self.rows:
                del self.rows[digest]
                self.log.append(("delete", digest))
        self.after("delete")
        return Deleted(tuple(sorted(images.keys() - failed.keys())), failed, self._now())

    def _is_needed(self, digest: str) -> bool:
        return any(digest in self.inside[other].contains for other in self.rows if other in self.inside)

    # ---- Acts, Registry, Replicas

    def archive(self, ref: ImageRef) -> None:
        self.before("archive")
        row = self.describe_image(ref)
        if row.storage is StorageStatus.ACTIVE:
            self.rows[ref.digest] = msgspec.structs.replace(row, storage=StorageStatus.ARCHIVED)
            self.log.append(("archive", ref.digest))
        self.after("archive")

    def describe_image(self, ref: ImageRef) -> ImageDetail:
        if ref.digest not in self.rows:
            raise AbsentError("image", f"{ref} is not there")
        return self.rows[ref.digest]

    def missing(self, home: Repository, digests: Collection[str]) -> Mapping[str, bool | None]:
        self.before("missing")
        return {digest: None if digest in self.unknown else digest in self.absent for digest in digests}

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"retention must not call {name}")


def _detail(home: Repository, image: RetainedImage) -> ImageDetail:
    return ImageDetail(
        ref=home.image(image.digest),
        tags=image.tags,
        pushed_at=image.pushed_at,
        size_bytes=image.size_bytes,
        media_type=INDEX if image.contains != () else MANIFEST,
        subject_digest=image.subject,
        storage=image.storage,
        last_pulled_at=image.pulled_at,
        archived_at=image.archived_at,
        activated_at=image.activated_at,
    )


class HeaderKeeper:
    """What the table knows of a repository is what there is: for tests that ask about retention among other things."""

    def __init__(self, queries: Any, now: Callable[[], datetime]) -> None:
        self._queries, self._now = queries, now

    def images(self, repository: Repository, most: int | None = None) -> ImagesListed:
        headers = [h for h in self._queries.stored.values() if h.ref.home == repository and h.exists]
        rows = {h.ref.digest: ImageDetail(h.ref, h.tags, h.pushed_at, h.size_bytes, h.media_type) for h in headers}
        return ImagesListed(self._now(), rows, absent=not rows)

    def insides(self, repository: Repository, digests: Collection[str]) -> Mapping[str, Inside]:
        return {}

    def missing(self, home: Repository, digests: Collection[str]) -> Mapping[str, bool | None]:
        return dict.fromkeys(digests, False)
