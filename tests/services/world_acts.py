"""What a worker may change in the registry, done to the images of `aws_model`; the events of it are delivered later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.domain.images.image import ImageRef, Repository, StorageStatus
from chalicelib.domain.reconcile.registry_listing import ImagesListed
from chalicelib.errors import AbsentError, TooLargeError, TransientError
from tests.services.aws_model import Image, described
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


class WorldKeeper:
    """Lists a repository."""

    def __init__(self, world: World) -> None:
        self.world = world

    def images(self, repository: Repository, most: int | None = None) -> ImagesListed:
        turn("list images")
        there = [i for ref, i in self.world.images.items() if ref.home == repository and i.current.exists]
        if most is not None and len(there) > most:
            raise TooLargeError(f"more than {most} images")
        listed = {image.ref.digest: described(image.ref, image.current, image.pushed_at) for image in there}
        return ImagesListed(self.world.moment, listed)
