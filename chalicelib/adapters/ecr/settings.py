"""How a registry scans and replicates: its rules, what applies to each repository, and what arrived at a destination.

Calls: GetRegistryScanningConfiguration once a registry, BatchGetRepositoryScanningConfiguration for each 25
repositories, StartImageScan for an image; DescribeRegistry, DescribeImageReplicationStatus, DescribeImages,
ListImageReferrers, DescribeImageScanFindings (one row), GetRegistryPolicy; of a repository's settings
DescribeRepositories, GetLifecyclePolicy, GetRepositoryPolicy. Starting a scan is the only change.

Some of these calls name no registry and answer for the caller's account. Their answers are checked to be about the
registry that was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from chalicelib.adapters.aws.calls import answer_behind, answered_at, asked, batches, code_of, read_answer, unless
from chalicelib.adapters.ecr.listing import EcrListing
from chalicelib.adapters.ecr.registry import named
from chalicelib.domain.images.image import ImageDetail, ImageRef, Repository, ScanState
from chalicelib.domain.reconcile.posture import RepositorySettings
from chalicelib.domain.reconcile.scan_budget import ScanRefusal
from chalicelib.domain.reconcile.scan_rule import AppliedScanRule, RegistryScanning
from chalicelib.domain.replication.replica_case import Listed, Mutability, Reported
from chalicelib.domain.replication.rules import Configuration, Destination
from chalicelib.errors import AbsentError, LazarettoError, TransientError, UpstreamError
from chalicelib.parsers.images import settings_answers as said

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

NAMES_ASKED = 25
_REFUSALS = {
    "LimitExceededException": ScanRefusal.LIMIT,
    "UnsupportedImageTypeException": ScanRefusal.UNSUPPORTED,
    "ImageArchivedException": ScanRefusal.ARCHIVED,
}
_QUOTA = "scan quota"
"""In the message of an image that was scanned within 24 hours, whose code may be that of a throttle."""


class EcrScanning:
    """services.ports.registry.Scans. `client_of` gives the ECR client of an account and a Region.

    All methods raise TransientError, DeniedError and UpstreamError.
    """

    def __init__(self, client_of: Callable[[str, str], ECRClient]) -> None:
        self._client_of = client_of

    def configuration(self, registry: Repository) -> tuple[str, RegistryScanning]:
        """How the registry and Region of `registry` scan, with the account id of the registry that the answer is about.
        It need not be the one that was meant."""
        what = f"read the scanning configuration of {registry.registry} in {registry.region}"
        call = self._client_of(registry.registry, registry.region).get_registry_scanning_configuration
        return read_answer(what, said.read_registry_scanning, call)

    def applied(self, registry: Repository, names: Collection[str]) -> dict[str, AppliedScanRule]:
        """What is applied to repositories of that registry, by name; those that are not there are absent."""
        found: dict[str, AppliedScanRule] = {}
        what = f"read how repositories of {registry.registry} in {registry.region} are scanned"
        call = self._client_of(registry.registry, registry.region).batch_get_repository_scanning_configuration
        for some in batches(sorted(names), NAMES_ASKED):
            found |= read_answer(what, said.read_applied_scanning, call, repositoryNames=some)
        return found

    def start(self, ref: ImageRef) -> ScanRefusal | None:
        """Has ECR's own scanner scan the image. None: it is at it."""
        call = self._client_of(ref.registry, ref.region).start_image_scan
        try:
            asked(f"have {ref} scanned", call, **named(ref.home), imageId={"imageDigest": ref.digest})
        except AbsentError:
            return ScanRefusal.ABSENT
        except UpstreamError as error:
            if (refusal := _refusal(error)) is None:
                raise
            return refusal
        return None


def _refusal(error: LazarettoError) -> ScanRefusal | None:
    return ScanRefusal.LIMIT if _QUOTA in str(error).lower() else _REFUSALS.get(code_of(error) or "")


T = TypeVar("T")
KEPT = timedelta(seconds=60)
_NO_REGISTRY_POLICY = "RegistryPolicyNotFoundException"
_NO_POLICY = "RepositoryPolicyNotFoundException"
_NO_LIFECYCLE = "LifecyclePolicyNotFoundException"


class EcrReplication:
    """services.ports.registry.ReplicationReader. `client_of` gives the ECR client of an account and a Region, and
    raises DeniedError where nothing lets us look there."""

    def __init__(self, client_of: Callable[[str | None, str], ECRClient], now: Callable[[], datetime]) -> None:
        self._client_of, self._now = client_of, now
        self._listing = EcrListing(client_of)
        self._kept: dict[tuple[str, str], tuple[datetime, Configuration]] = {}

    def configuration(self, home: Repository) -> Configuration:
        """The rules of the registry and Region of `home`, a minute old at most."""
        place, now = (home.registry, home.region), self._now()
        kept = self._kept.get(place)
        if kept is not None and now < kept[0] + KEPT:
            return kept[1]
        registry, found = self._ask(home, "describe_registry", said.read_configuration)
        _is_meant("ecr:DescribeRegistry", registry, home)
        self._kept[place] = (now, found)
        return found

    def listing(self, home: Repository, after: str | None = None) -> Listed:
        """A page of its images, whatever their storage class. Raises AbsentError (`repository`; `page`: begin anew)."""
        return self._listing.page(home, after)

    def describe(self, ref: ImageRef) -> Listed:
        """The one image; without it where it, or its repository, is not there."""
        return self._found(ref.home, {"imageDigest": ref.digest})

    def describe_all(self, home: Repository, digests: Collection[str]) -> Mapping[str, ImageDetail]:
        """Those of the images that are there, by digest: a call for each hundred where none is missing."""
        return self._listing.describe(home, digests)

    def describe_tag(self, home: Repository, tag: str) -> Listed:
        """The image that has the tag; without one where none has it."""
        return self._found(home, {"imageTag": tag})

    def reports(self, ref: ImageRef) -> dict[Destination, Reported]:
        """How far ECR got with an image of the source, by destination. Raises AbsentError (`image`)."""
        image = {**named(ref.home), "imageId": {"imageDigest": ref.digest}}
        return self._ask(ref.home, "describe_image_replication_status", said.read_reports, **image)

    def referrers(self, ref: ImageRef) -> tuple[str, ...]:
        """Digests of signatures, SBOMs and the like that name the image as their subject."""
        return self._listing.referrers(ref.home, ref.digest)

    def mutability(self, home: Repository) -> Mutability:
        """Raises AbsentError (`repository`)."""
        return self._described(home)[0]

    def registry_policy(self, home: Repository) -> str | None:
        """Of the registry and Region of `home`; None: it has none."""
        answer = unless(_NO_REGISTRY_POLICY, lambda: self._ask(home, "get_registry_policy", said.read_policy))
        if answer is None:
            return None
        registry, text = answer
        _is_meant("ecr:GetRegistryPolicy", registry, home)
        return text

    def settings(self, home: Repository) -> RepositorySettings:
        """What of it cannot be read is in `unread`. Raises AbsentError (`repository`), TransientError."""
        unread: dict[str, str] = {}

        def part(names: tuple[str, ...], read: Callable[[], T], nothing: T) -> T:
            try:
                return read()
            except (TransientError, AbsentError):
                raise
            except UpstreamError as error:
                unread.update(dict.fromkeys(names, str(error).partition(": ")[0]))
                return nothing

        unknown: tuple[Mutability | None, str | None] = (None, None)
        held = part(("mutability", "encryption"), lambda: self._described(home), unknown)
        return RepositorySettings(
            mutability=held[0],
            encryption=held[1],
            scan_frequency=part(("scan_frequency",), lambda: self._scan_frequency(home), None),
            lifecycle=part(("lifecycle",), lambda: self._lifecycle(home), None),
            policy=part(("policy",), lambda: self._policy(home), None),
            unread=unread,
        )

    def scan_state(self, ref: ImageRef) -> ScanState:
        """How far the scan of one image got; one that was never scanned is PENDING. Raises AbsentError."""
        return self._listing.peek(ref).state

    # ---- how it is asked

    def _found(self, home: Repository, image_id: dict[str, str]) -> Listed:
        try:
            images, answer = self._listing.details(home, [image_id])
        except AbsentError as error:
            return Listed({}, answered_at(answer_behind(error)))
        return Listed({image.ref.digest: image for image in images}, answered_at(answer))

    def _described(self, home: Repository) -> tuple[Mutability, str | None]:
        request = {"registryId": home.registry, "repositoryNames": [home.name]}
        return self._ask(home, "describe_repositories", said.read_repository, **request)

    def _scan_frequency(self, home: Repository) -> str:
        read = partial(said.read_scan_frequency, name=home.name)
        return self._ask(home, "batch_get_repository_scanning_configuration", read, repositoryNames=[home.name])

    def _lifecycle(self, home: Repository) -> str | None:
        ask = partial(self._ask, home, "get_lifecycle_policy", said.read_lifecycle, **named(home))
        return unless(_NO_LIFECYCLE, ask)

    def _policy(self, home: Repository) -> str | None:
        policy = unless(_NO_POLICY, partial(self._ask, home, "get_repository_policy", said.read_policy, **named(home)))
        return None if policy is None else policy[1]

    def _ask(self, home: Repository, method: str, read: Callable[[Any], T], **params: Any) -> T:
        client: Any = self._client_of(home.registry, home.region)
        what = f"ecr:{client.meta.method_to_api_mapping[method]}"
        return read_answer(what, read, getattr(client, method), **params)


def _is_meant(what: str, registry: str, home: Repository) -> None:
    if registry != home.registry:
        raise UpstreamError(f"{what}: an answer about {registry} and not {home.registry}")
