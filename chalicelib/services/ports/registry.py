"""Amazon ECR, private and public: what one image is, what is listed, what is changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from chalicelib.domain.images.image import ImageDetail, ImageRef, Manifest, Repository, Scan
from chalicelib.domain.images.registry import PublicRegistry, RegistryPlace
from chalicelib.domain.reconcile.registry_listing import ImagesListed, RepositoriesListed
from chalicelib.domain.retention.image import Deleted, Inside
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct


class Registry(Protocol):
    def describe_image(self, ref: ImageRef) -> ImageDetail:
        """Whatever its storage class. Raises AbsentError (`image`, `repository`)."""

    def describe_tag(self, repository: Repository, tag: str) -> ImageDetail:
        """The image that a tag of a private repository points at now. Raises as `describe_image`."""

    def read_manifest(self, ref: ImageRef) -> Manifest:
        """Raises AbsentError."""


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


class PublicInventory(Protocol):
    """Our registry at ECR Public, listed. A listing that fails half-way raises."""

    def registry(self) -> PublicRegistry | None:
        """None: our account has none."""

    def repositories(self, registry: PublicRegistry, after: str | None = None) -> RepositoriesListed:
        """One page."""

    def images(self, registry: PublicRegistry, home: Repository) -> ImagesListed:
        """All of it. A repository that is not there, or is named by a former alias, is `absent`."""
