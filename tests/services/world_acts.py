"""What a worker may change in the registry, done to the images of `aws_model`; the events of it are delivered later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.domain.images.image import ImageRef, Repository, StorageStatus
from chalicelib.errors import AbsentError, TransientError
from tests.services.aws_model import Image
from tests.services.lockstep import turn

if TYPE_CHECKING:
    from tests.services.world import World


class WorldActs:
    """Keeps the contract of `services.ports.Acts`. `calls` are the changes that were made, in order.

    `restores_at_once` False: a restored image stays ACTIVATING until `finish_restore`.
    """

    def __init__(self, world: World) -> None:
        self.world, self.calls = world, list[tuple[str, ImageRef, str]]()
        self.restores_at_once = True
        self.immutable = False
        self.policies: dict[Repository, str] = {}

    def archive(self, ref: ImageRef) -> None:
        turn("archive")
        image = self._there(ref)
        if image.current.storage is StorageStatus.ARCHIVED:
            return
        if image.current.storage is StorageStatus.ACTIVATING:
            raise TransientError(f"{ref} is being restored")
        self.calls.append(("archive", ref, ""))
        self._tell(*image.archive())

    def restore(self, ref: ImageRef) -> None:
        turn("restore")
        image = self._there(ref)
        if image.current.storage is not StorageStatus.ARCHIVED:
            return
        self.calls.append(("restore", ref, ""))
        if self.restores_at_once:
            self._tell(*image.restore())
        else:
            image.change(storage=StorageStatus.ACTIVATING)

    def finish_restore(self, ref: ImageRef) -> None:
        """ECR comes to an end with it."""
        image = self.world.image(ref)
        if image.current.storage is StorageStatus.ACTIVATING:
            self._tell(*image.restore())

    def put_tag(self, ref: ImageRef, tag: str) -> None:
        turn("put_tag")
        image = self._there(ref)
        if tag in image.current.tags:
            return
        self.calls.append(("put_tag", ref, tag))
        for other in self.world.images.values():
            if other.ref.home == ref.home and tag in other.current.tags:
                other.change(tags=tuple(t for t in other.current.tags if t != tag))
        image.change(tags=(*image.current.tags, tag))
        self._tell(image.action("PUSH", tag=tag))

    def remove_tag(self, ref: ImageRef, tag: str) -> None:
        turn("remove_tag")
        image = self._there(ref)
        if tag not in image.current.tags:
            return
        left = tuple(t for t in image.current.tags if t != tag)
        assert left, "the last tag was removed: ECR would have deleted the image"
        self.calls.append(("remove_tag", ref, tag))
        image.change(tags=left)
        self._tell(image.action("DELETE", tag=tag))

    def tags_are_immutable(self, repository: Repository) -> bool:
        turn("tags_are_immutable")
        return self.immutable

    def read_policy(self, repository: Repository) -> str | None:
        turn("read_policy")
        return self.policies.get(repository)

    def write_policy(self, repository: Repository, text: str) -> None:
        turn("write_policy")
        self.policies[repository] = text

    def delete_policy(self, repository: Repository) -> None:
        turn("delete_policy")
        self.policies.pop(repository, None)

    def _there(self, ref: ImageRef) -> Image:
        image = self.world.image(ref)
        if not image.current.exists:
            raise AbsentError("image", f"{ref} is not there")
        return image

    def _tell(self, *events: Any) -> None:
        self.world.deliver(*events, delay_seconds=self.world.random.choice((0, 5, 70)))
