"""What the sweeps need from the world beside `ports.py`, as Protocols. Adapters implement them.

Every method may raise TransientError (try again later), DeniedError and UpstreamError; what else is said with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from chalicelib.domain.images.image import ImageDetail, ImageRef, Repository, Scan, ScanState
from chalicelib.domain.images.registry import PublicRegistry, RegistryPlace
from chalicelib.domain.reconcile.posture import GatheredSettings, RepositorySettings
from chalicelib.domain.reconcile.registry_listing import (
    ChangesListed,
    CoverageListed,
    ImagesListed,
    OpenCounts,
    RepositoriesListed,
)
from chalicelib.domain.reconcile.scan_budget import Asked, ScanBudget, ScanRefusal
from chalicelib.domain.reconcile.scan_rule import AppliedScanRule, RegistryScanning
from chalicelib.domain.replication.replica import Replica, ReplicationState
from chalicelib.domain.replication.replica_case import Listed, Mutability, Reported
from chalicelib.domain.replication.rules import Configuration, Destination
from chalicelib.domain.retention.image import Deleted, Inside
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct
from chalicelib.services.ports.ports import House, Index


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


class Replicating(House, Protocol):
    """A house that knows of replication."""

    @property
    def replication(self) -> ReplicationReader: ...
    @property
    def replicas(self) -> Replicas: ...


class Inventory(Protocol):
    """Amazon ECR, listed. A listing that fails half-way raises: what it would have lacked proves nothing."""

    def repositories(self, place: RegistryPlace, after: str | None = None) -> RepositoriesListed:
        """One page of those of a registry."""

    def images(self, repository: Repository) -> ImagesListed:
        """All of it, archived images too; a repository that is not there is `absent`."""

    def peek(self, ref: ImageRef) -> Scan:
        """How far the scan of one image got, whichever scanner's it is. Raises AbsentError."""


class Inspection(Protocol):
    """Amazon Inspector, listed: of `home`, or of all of its registry and Region where it has no name.

    `most_pages` ends a listing that is too long.
    """

    def coverage(self, home: Repository, most_pages: int) -> CoverageListed: ...

    def changes(self, home: Repository, since: datetime, most_pages: int) -> ChangesListed: ...

    def repository_counts(self, home: Repository, most_pages: int) -> Mapping[Repository, OpenCounts] | None:
        """Of the registry, those without a finding absent; None where there are more pages than that."""

    def image_counts(self, home: Repository, most_pages: int) -> Mapping[ImageRef, OpenCounts] | None: ...


class KnownRepository(Protocol):
    @property
    def repository(self) -> Repository: ...
    @property
    def facts(self) -> dict[str, object]: ...


class KnownRepositories(Protocol):
    """One page; `after` gets the next one, None: it was the last."""

    @property
    def items(self) -> Sequence[KnownRepository]: ...
    @property
    def after(self) -> str | None: ...


class KnownTag(Protocol):
    @property
    def tag(self) -> str: ...
    @property
    def digest(self) -> str | None:
        """None: it was deleted."""


class KnownTags(Protocol):
    @property
    def items(self) -> Sequence[KnownTag]: ...
    @property
    def after(self) -> str | None: ...


class SweepIndex(Index, Protocol):
    def repository(self, repository: Repository) -> KnownRepository | None:
        """Consistent. None: it was never heard of."""

    def repositories(self, after: str | None = None, limit: int = 50) -> KnownRepositories:
        """All that were heard of, in any registry; eventually consistent."""

    def tags(self, repository: Repository, after: str | None = None, limit: int = 50) -> KnownTags:
        """All that were ever heard of, by name; eventually consistent."""


class Keeper(Protocol):
    """The images of a private repository, for retention: what there is, what is in it, and how it is deleted."""

    def images(self, repository: Repository, most: int | None = None) -> ImagesListed:
        """All of them or an error: half a listing proves nothing. Raises TooLargeError where there are more than
        `most`."""

    def describe(self, repository: Repository, digests: Collection[str]) -> Mapping[str, ImageDetail]:
        """By digest, whatever the storage class; what is not there is absent from the answer."""

    def insides(self, repository: Repository, digests: Collection[str]) -> Mapping[str, Inside]:
        """By digest; what is archived, or cannot be read, is absent from the answer."""

    def delete(self, repository: Repository, digests: Collection[str]) -> Deleted:
        """With all their tags. One that is gone is success. At most a hundred."""


class Lifecycles(Protocol):
    """Native lifecycle policies. Each method raises AbsentError (`repository`)."""

    def read(self, repository: Repository) -> str | None:
        """None: the repository has none."""

    def write(self, repository: Repository, text: str) -> None: ...

    def delete(self, repository: Repository) -> None:
        """One that is gone is success."""

    def preview(self, repository: Repository, text: str) -> Mapping[str, NativeAct]:
        """By digest, what ECR itself says it would do by this text. Raises TransientError while it is still at it."""


class PullTimes(Protocol):
    """Who leaves no trace in the pull times of a registry's images."""

    def excluded(self, place: RegistryPlace) -> frozenset[str]:
        """ARNs of roles and users."""

    def exclude(self, place: RegistryPlace, role_arn: str) -> None:
        """One that is excluded already is success."""


class RetentionHouse(House, Protocol):
    """What retention asks for beside the house's other ports."""

    @property
    def keeper(self) -> Keeper: ...
    @property
    def lifecycles(self) -> Lifecycles: ...
    @property
    def replicas(self) -> Replicas: ...


class SweepHouse(Replicating, RetentionHouse, Protocol):
    """Everything a sweep may ask for beside what all use cases may."""

    @property
    def queries(self) -> SweepIndex: ...
    @property
    def inventory(self) -> Inventory: ...
    @property
    def inspection(self) -> Inspection: ...
    @property
    def scans(self) -> Scans: ...
    @property
    def scan_asks(self) -> ScanAsks: ...
    @property
    def public(self) -> PublicInventory: ...
    @property
    def replication(self) -> ReplicationReader: ...
    @property
    def posture(self) -> GatheredPosture: ...


class Scans(Protocol):
    """How ECR scans, and what it is asked to scan. `registry`: a registry and Region, without a name."""

    def configuration(self, registry: Repository) -> tuple[str, RegistryScanning]:
        """How it scans, with the account id of the registry that is spoken of: another one than was meant where
        nothing lets us look there."""

    def applied(self, registry: Repository, names: Collection[str]) -> Mapping[str, AppliedScanRule]:
        """By name of a repository; those that are not there are absent."""

    def start(self, ref: ImageRef) -> ScanRefusal | None:
        """Has ECR's own scanner scan the image. None: it is at it."""


class ScanAsks(Protocol):
    """Which scans were asked for, by all workers together."""

    def asked(self, refs: Iterable[ImageRef]) -> Mapping[ImageRef, Asked]:
        """Images never asked for are absent; may be a moment behind."""

    def claim(self, ref: ImageRef, at: datetime, former: Asked | None) -> bool:
        """From now on it is asked for. False: somebody else has claimed it since `former`."""

    def end_claim(self, ref: ImageRef, at: datetime, asked: Asked | None) -> None:
        """What became of the claim of `at`; None: it was not asked after all."""

    def change_budget(self, registry: Repository, change: Callable[[ScanBudget], ScanBudget]) -> ScanBudget:
        """Of the registry and Region; `change` may be called more than once."""


class ScanHouse(House, Protocol):
    """What is asked for beside the house's other ports to have images scanned."""

    @property
    def scans(self) -> Scans: ...
    @property
    def scan_asks(self) -> ScanAsks: ...


class PublicInventory(Protocol):
    """Our registry at ECR Public, listed. A listing that fails half-way raises."""

    def registry(self) -> PublicRegistry | None:
        """None: our account has none."""

    def repositories(self, registry: PublicRegistry, after: str | None = None) -> RepositoriesListed:
        """One page."""

    def images(self, registry: PublicRegistry, home: Repository) -> ImagesListed:
        """All of it. A repository that is not there, or is named by a former alias, is `absent`."""


class PublicHouse(House, Protocol):
    """What is asked for beside the house's other ports to know our public images."""

    @property
    def queries(self) -> SweepIndex: ...
    @property
    def public(self) -> PublicInventory: ...


class GatheredPosture(Protocol):
    """The settings of repositories as they were gathered last."""

    def read(self, repository: Repository) -> tuple[GatheredSettings, datetime] | None:
        """With the time since when they are so. None: they were never gathered."""

    def keep(self, repository: Repository, settings: GatheredSettings, at: datetime) -> bool:
        """False: they are so already, or whoever looked later found something else."""


class PostureHouse(House, Protocol):
    """What is asked for beside the house's other ports to gather settings."""

    @property
    def replication(self) -> ReplicationReader: ...
    @property
    def scans(self) -> Scans: ...
    @property
    def posture(self) -> GatheredPosture: ...
