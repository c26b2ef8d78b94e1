"""Indexes as ECR holds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.domain.events.event import ImageAction
from chalicelib.domain.images.image import Child, ImageRef, Kind, Manifest, Scan, ScanState, StorageStatus
from tests.services.aws_model import Image

if TYPE_CHECKING:
    pass

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


def as_index(detail: Any, image: Image) -> Any:
    """What DescribeImages says of it."""
    return msgspec.structs.replace(detail, media_type=MEDIA_TYPE) if isinstance(image, Index) else detail
