"""Indexes as ECR holds them, and the moving of what belongs together: an image with the images of its index."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.domain.events.event import ImageAction
from chalicelib.domain.images.image import Child, ImageRef, Kind, Manifest, Repository, Scan, ScanState, StorageStatus
from chalicelib.errors import AbsentError, TransientError, UpstreamError
from tests.services.aws_model import Image
from tests.services.lockstep import turn

if TYPE_CHECKING:
    from tests.services.enforcing import WatchedActs

ACTIVE = StorageStatus.ACTIVE
MEDIA_TYPE = "application/vnd.oci.image.index.v1+json"


class Index(Image):
    """What is scanned are its images, never the index."""

    def __init__(self, ref: ImageRef, clock: Callable[[], datetime], children: Sequence[ImageRef]) -> None:
        super().__init__(ref, clock)
        self.children = tuple(children)
        self.change(coverage=Scan(ScanState.UNAVAILABLE, "Inspector does not cover this image"))

    @property
    def manifest(self) -> Manifest:
        platforms = ("linux/amd64", "linux/arm64")
        children = [Child(c.digest, platform) for c, platform in zip(self.children, platforms, strict=False)]
        return Manifest(Kind.INDEX, MEDIA_TYPE, tuple(children))

    def action(self, kind: str, **fields: Any) -> ImageAction:
        return super().action(kind, media_type=MEDIA_TYPE, **fields)

    def lapse(self, state: ScanState, reason: str, **fields: Any) -> list[Any]:
        self.change(**fields)
        return []

    def archive(self) -> list[Any]:
        self.change(storage=StorageStatus.ARCHIVED)
        return [self.action("UPDATE_STORAGE_CLASS", target_storage_class="ARCHIVE")]

    def restore(self) -> list[Any]:
        self.change(storage=ACTIVE, activated_at=self.clock())
        return [self.action("UPDATE_STORAGE_CLASS", target_storage_class="STANDARD")]


class Mover:
    """Keeps the contract of `services.ports.Mover`. `kept` is what lies in a place: it stays there. ECR deletes no
    image that an index of the same repository needs."""

    def __init__(self, acts: WatchedActs) -> None:
        self.acts, self.world = acts, acts.world
        self.kept: set[tuple[ImageRef, Repository]] = set()

    def move(self, ref: ImageRef, place: Repository, members: Sequence[ImageRef], tags: Container[str]) -> None:
        turn("move: copy")
        for part in self._parts(ref, place):
            moment = self.world.image(part).current
            if moment.exists and moment.storage is not ACTIVE:
                raise UpstreamError(f"move {ref}: {part.digest} is archived")
            self.kept.add((part, place))
        if new := [tag for tag in self.world.image(ref).current.tags if tag not in tags]:
            raise TransientError(f"move {ref}: it got the tag {new[0]} meanwhile; nothing is deleted", 5)
        children = [child for child in self._children(ref) if child in members]
        for part in (ref, *(child for child in children if not self.world.image(child).current.tags)):
            turn("move: delete")
            if self.world.image(part).current.exists:
                self._delete(ref, part)

    def bring_back(
        self, ref: ImageRef, place: Repository, tags: Sequence[str], is_its: Callable[[ImageRef, str], bool]
    ) -> None:
        turn("bring back")
        parts = [*self._parts(ref, place)]
        for part in reversed(parts):
            turn("bring back: copy")
            image = self.world.image(part)
            if not image.current.exists or image.current.storage is not ACTIVE:
                self.world.gives_back(part)
                self.world.comes_back(image)
                self.acts._tell(image.action("PUSH"))
        image = self.world.image(ref)
        for tag in tags:
            turn("bring back: tag")
            if not any(tag in i.current.tags for i in self.world.images.values() if i.ref.home == ref.home):
                image.change(tags=(*image.current.tags, tag))
                self.acts._tell(image.action("PUSH", tag=tag))

    def _delete(self, ref: ImageRef, part: ImageRef) -> None:
        if [i for i in self.world.indexes_of(part) if i.current.exists]:
            if part == ref:
                raise UpstreamError(f"move {ref}: an index of its repository still needs it; nothing is deleted")
            return
        self.world.takes(part)
        image, tags = self.world.image(part), self.world.image(part).current.tags
        closed = image.lapse(ScanState.UNAVAILABLE, "Inspector does not cover this image", exists=False, tags=())
        self.acts._tell(*closed, *[image.action("DELETE", tag=tag) for tag in tags[:-1]])
        self.acts._tell(image.action("DELETE", tag=tags[-1] if tags else None))

    def _parts(self, ref: ImageRef, place: Repository) -> Iterator[ImageRef]:
        for part in (ref, *self._children(ref)):
            if not self.world.image(part).current.exists and (part, place) not in self.kept:
                error = AbsentError("image", f"{ref} is on neither side") if part == ref else None
                raise error or UpstreamError(f"{ref} needs {part}, which is on neither side")
            yield part

    def _children(self, ref: ImageRef) -> tuple[ImageRef, ...]:
        image = self.world.image(ref)
        return image.children if isinstance(image, Index) else ()


def as_index(detail: Any, image: Image) -> Any:
    """What DescribeImages says of it."""
    return msgspec.structs.replace(detail, media_type=MEDIA_TYPE) if isinstance(image, Index) else detail
