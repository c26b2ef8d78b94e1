"""Registries and what runs their images: listing, changing, scanning, replication, use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from chalicelib.domain.images.finding import Listing
from chalicelib.domain.images.image import ImageDetail, ImageRef, InUse, Manifest, Repository, Scan, ScanState
from chalicelib.domain.images.names import PublicRegistry, RegistryPlace
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
from chalicelib.domain.retention.legal_hold import LegalHold
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct
from chalicelib.services.ports.table import DigestRange


class Registry(Protocol):
    def describe_image(self, ref: ImageRef) -> ImageDetail:
        """Whatever its storage class. Raises AbsentError (`image`, `repository`)."""

    def describe_tag(self, repository: Repository, tag: str) -> ImageDetail:
        """The image that a tag of a private repository points at now. Raises as `describe_image`."""

    def tags_now(self, repository: Repository, digests: Collection[str]) -> frozenset[str]:
        """All tags of these images of a private repository. One that is not there has none."""

    def read_manifest(self, ref: ImageRef) -> Manifest:
        """Raises AbsentError."""

    def read_manifests(self, repository: Repository, digests: Collection[str]) -> Mapping[str, Manifest]:
        """Of a private repository, a call for each hundred. What ECR does not give is absent from the answer."""

    def read_layers(self, ref: ImageRef) -> Sequence[str]:
        """The digests of its layers in their order; none of an index. Raises AbsentError."""


class Acts(Protocol):
    """What may be changed in ECR. "Already so" is success: each method says what is so afterwards.

    Raises TransientError, DeniedError, UpstreamError, and AbsentError (`image`, `repository`) besides.
    """

    def archive(self, ref: ImageRef) -> None: ...

    def restore(self, ref: ImageRef) -> None:
        """Asynchronous: the image is ACTIVATING afterwards."""

    def read_policy(self, repository: Repository) -> str | None:
        """The repository's policy as ECR has it; None: it has none."""

    def write_policy(self, repository: Repository, text: str) -> None: ...

    def delete_policy(self, repository: Repository) -> None: ...


class Inventory(Protocol):
    """Amazon ECR, listed. A listing that fails half-way raises: what it would have lacked proves nothing."""

    def repositories(self, place: RegistryPlace, after: str | None = None) -> RepositoriesListed:
        """One page of those of a registry."""

    def images(self, repository: Repository) -> ImagesListed:
        """All of it, archived images too; a repository that is not there is `absent`."""

    def peek(self, ref: ImageRef) -> Scan:
        """How far the scan of one image got, whichever scanner's it is. Raises AbsentError."""


class Keeper(Protocol):
    """The images of a private repository, for retention: what there is, what is in it, and how it is deleted."""

    def images(self, repository: Repository, most: int | None = None) -> ImagesListed:
        """All of them or an error: half a listing proves nothing. Raises TooLargeError beyond `most`."""

    def describe(self, repository: Repository, digests: Collection[str]) -> Mapping[str, ImageDetail]:
        """By digest, whatever the storage class; what is not there is absent from the answer."""

    def insides(self, repository: Repository, digests: Collection[str]) -> Mapping[str, Inside]:
        """By digest; what is archived, or cannot be read, is absent from the answer."""

    def delete(self, repository: Repository, images: Mapping[str, Collection[str]]) -> Deleted:
        """By digest, with the tags that are known: by these it is deleted, so that a tag that came since keeps it; by
        its digest where it has none. One that is gone is success. At most a hundred images."""


class LegalHolds(Protocol):
    """What people have put under legal hold. Read consistently."""

    def of(self, repository: Repository) -> Sequence[LegalHold]:
        """On the repository and on its images, ended ones included."""

    def put(self, hold: LegalHold) -> None:
        """In the place of the one on the same image or repository."""


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


class PublicInventory(Protocol):
    """Our registry at ECR Public, listed. A listing that fails half-way raises."""

    def registry(self) -> PublicRegistry | None:
        """None: our account has none."""

    def repositories(self, registry: PublicRegistry, after: str | None = None) -> RepositoriesListed:
        """One page."""

    def images(self, registry: PublicRegistry, home: Repository) -> ImagesListed:
        """All of it. A repository that is not there, or is named by a former alias, is `absent`."""


class ReplicationReader(Protocol):
    """Both ends of replication, read. Every method raises DeniedError where nothing lets us look."""

    def configuration(self, home: Repository) -> Configuration:
        """The rules of the registry and Region of `home`, a minute old at most."""

    def listing(self, home: Repository, after: str | None = None) -> Listed:
        """A page of its images, whatever their storage class. Raises AbsentError (`repository`; `page`: AWS does not go
        on from `after` any more)."""

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
        """None: not looked at yet."""

    def store_state(self, home: Repository, state: ReplicationState) -> None: ...

    def of(self, home: Repository, between: DigestRange | None = None) -> Mapping[tuple[str, Destination], Replica]:
        """Those of a repository, by digest and destination."""

    def of_image(self, ref: ImageRef) -> Sequence[Replica]: ...

    def keep(self, replica: Replica) -> bool:
        """False: a later look is stored, and stands."""

    def store_delivered(self, replica: Replica) -> None:
        """What people were told of it; nothing where it was found otherwise in between."""

    def drop(self, replica: Replica) -> None: ...

    def store_listing(self, home: Repository, images: Iterable[ImageDetail]) -> str:
        """Keeps for some hours what was listed of `home`; returns the name for `stored_listing`."""

    def stored_listing(self, home: Repository, name: str) -> Mapping[str, ImageDetail] | None:
        """By digest, without sizes and scans. None: it is not there as a whole any more."""

    def missing(self, home: Repository, digests: Collection[str]) -> Mapping[str, bool | None]:
        """By digest, whether a copy that a rule asks for is not (known to be) there. None: not looked at yet."""


class GatheredPosture(Protocol):
    """The settings of repositories as they were gathered last."""

    def read(self, repository: Repository) -> tuple[GatheredSettings, datetime] | None:
        """With the time since when they are so. None: they were never gathered."""

    def keep(self, repository: Repository, settings: GatheredSettings, at: datetime) -> bool:
        """False: they are so already, or a later look found something else."""


class Scanner(Protocol):
    """Amazon Inspector and ECR's own scanner."""

    def look(self, ref: ImageRef, source: str | None, since: datetime | None = None) -> Listing:
        """All pages, then coverage. `source` None: whichever scanner is in force. Raises AbsentError.

        `since`: when the image was pushed or last restored; an Inspector scan older than that makes it incomplete.
        """

    def known_exploited(self, finding_ids: Sequence[str]) -> dict[str, bool]:
        """By findingArn; ids without an answer are absent."""


class Inspection(Protocol):
    """Amazon Inspector, listed: of `home`, or of all of its registry and Region where it has no name.

    `most_pages` ends a listing that is too long.
    """

    def coverage(self, home: Repository, most_pages: int) -> CoverageListed: ...

    def changes(self, home: Repository, since: datetime, most_pages: int) -> ChangesListed: ...

    def repository_counts(self, home: Repository, most_pages: int) -> Mapping[Repository, OpenCounts] | None:
        """Of the registry, those without a finding absent; None where there are more pages than that."""

    def image_counts(self, home: Repository, most_pages: int) -> Mapping[ImageRef, OpenCounts] | None: ...


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
        """From now on it is asked for. False: another worker has claimed it since `former`."""

    def end_claim(self, ref: ImageRef, at: datetime, asked: Asked | None) -> None:
        """What became of the claim of `at`; None: it was not asked after all."""

    def change_budget(self, registry: Repository, change: Callable[[ScanBudget], ScanBudget]) -> ScanBudget:
        """Of the registry and Region; `change` may be called more than once."""


class Subject(msgspec.Struct, frozen=True):
    """What is asked about: an image by every digest (its own, its indexes', its children's) and tag it may be started
    by; `whole`: any image of the repository. `indexes`: the digests among them that are indexes, which no scanner
    knows. `attached`: signatures, SBOMs and attestations that go with it, which nothing starts and no scanner knows:
    they count where a place names them. `pinned`: only what names a digest counts, for a tag may be another's by now.
    """

    ref: ImageRef
    digests: frozenset[str]
    tags: frozenset[str]
    whole: bool = False
    indexes: frozenset[str] = frozenset()
    attached: frozenset[str] = frozenset()
    pinned: bool = False


class Runtime(Protocol):
    """Where images run: ECS, EKS (through Inspector), Lambda; and who else may pull them."""

    def in_use(self, subject: Subject, since: datetime | None = None) -> InUse:
        """Looked up now (at most a minute old; `since`: by looks that were begun at or after it). A place that cannot
        be looked at is in `blind` and makes it UNKNOWN; so it never raises for one."""

    def pull_role(self, task_arn: str) -> str | None:
        """The role by which a task pulls: its execution role, else its instance's. None: it cannot be told."""
