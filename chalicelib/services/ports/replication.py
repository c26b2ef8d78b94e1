"""Both ends of replication, what is stored of copies, and settings of repositories."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from chalicelib.domain.images.image import ImageDetail, ImageRef, Repository, ScanState
from chalicelib.domain.reconcile.posture import GatheredSettings, RepositorySettings
from chalicelib.domain.replication.replica import Replica, ReplicationState
from chalicelib.domain.replication.replica_case import Listed, Mutability, Reported
from chalicelib.domain.replication.rules import Configuration, Destination


class ReplicationReader(Protocol):
    """Both ends of replication, read. Every method raises DeniedError where nothing lets us look."""

    def configuration(self, home: Repository) -> Configuration:
        """The rules of the registry and Region of `home`, a minute old at most."""

    def listing(self, home: Repository) -> Listed:
        """Every image, whatever its storage class. Raises AbsentError (`repository`)."""

    def describe(self, ref: ImageRef) -> Listed:
        """The one image; without it where it is not there."""

    def describe_all(self, home: Repository, digests: Collection[str]) -> Mapping[str, ImageDetail]:
        """Those of the images that are there, by digest."""

    def describe_tag(self, home: Repository, tag: str) -> Listed:
        """The image that has the tag; without one where none has it."""

    def reports(self, ref: ImageRef) -> Mapping[Destination, Reported]:
        """How far ECR got with an image of the source. Raises AbsentError (`image`, `repository`)."""

    def referrers(self, ref: ImageRef) -> Sequence[str]:
        """Digests of what names the image as its subject."""

    def mutability(self, home: Repository) -> Mutability:
        """Raises AbsentError (`repository`)."""

    def registry_policy(self, home: Repository) -> str | None:
        """Of the registry and Region of `home`; None: it has none."""

    def settings(self, home: Repository) -> RepositorySettings:
        """What of it cannot be read is in its `unread`. Raises AbsentError (`repository`)."""

    def scan_state(self, ref: ImageRef) -> ScanState:
        """Raises AbsentError (`image`, `repository`)."""


class Replicas(Protocol):
    """What was found of copies. Read consistently."""

    def state(self, home: Repository) -> ReplicationState | None:
        """None: nobody has looked yet."""

    def store_state(self, home: Repository, state: ReplicationState) -> None: ...

    def of(self, home: Repository) -> Mapping[tuple[str, Destination], Replica]:
        """All of a repository, by digest and destination."""

    def of_image(self, ref: ImageRef) -> Sequence[Replica]: ...

    def keep(self, replica: Replica) -> bool:
        """False: somebody has looked later, and what that one found stands."""

    def store_delivered(self, replica: Replica) -> None:
        """What people were told of it; nothing where it was found otherwise in between."""

    def drop(self, replica: Replica) -> None: ...

    def missing(self, home: Repository, digests: Collection[str]) -> Mapping[str, bool | None]:
        """By digest, whether a copy of the image that a rule asks for is not (known to be) there. None: nobody has
        looked yet."""


class GatheredPosture(Protocol):
    """The settings of repositories as they were gathered last."""

    def read(self, repository: Repository) -> tuple[GatheredSettings, datetime] | None:
        """With the time since when they are so. None: they were never gathered."""

    def keep(self, repository: Repository, settings: GatheredSettings, at: datetime) -> bool:
        """False: they are so already, or whoever looked later found something else."""
