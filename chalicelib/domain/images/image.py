"""What an image is, how it is named, how far its scan got. No finding, no verdict lives here.

Sources: ECR API reference (ImageDetail, ImageScanStatus), Inspector API reference (CoveredResource).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
REGISTRY = re.compile(r"[0-9]{12}|public/[a-z0-9][a-z0-9._-]{0,49}")
ACCOUNT = re.compile(r"[0-9]{12}")
REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}")
REPOSITORY = re.compile(r"(?:[a-z0-9]+(?:[._-]+[a-z0-9]+)*/)*[a-z0-9]+(?:[._-]+[a-z0-9]+)*")
PUBLIC_REGION = "us-east-1"


class Partition(msgspec.Struct, frozen=True):
    """`regions`: how the names of its Regions begin. `suffix`, `dual_stack`: how the hosts of its registries end.

    Source: partitions.json of botocore, whose `api.` of dual-stack APIs is `on.` for registries (ECR user guide,
    "Making requests over IPv6"). Read at run time it would cost each function its import.
    """

    name: str
    regions: str
    suffix: str
    dual_stack: str


PARTITIONS = (
    Partition("aws-cn", "cn-", "amazonaws.com.cn", "on.amazonwebservices.com.cn"),
    Partition("aws-eusc", "eusc-", "amazonaws.eu", "on.amazonwebservices.eu"),
    Partition("aws-iso", "us-iso-", "c2s.ic.gov", "on.aws.ic.gov"),
    Partition("aws-iso-b", "us-isob-", "sc2s.sgov.gov", "on.aws.scloud"),
    Partition("aws-iso-e", "eu-isoe-", "cloud.adc-e.uk", "on.cloud-aws.adc-e.uk"),
    Partition("aws-iso-f", "us-isof-", "csp.hci.ic.gov", "on.aws.hci.ic.gov"),
    Partition("aws-us-gov", "us-gov-", "amazonaws.com", "on.aws"),
    Partition("aws", "", "amazonaws.com", "on.aws"),
)
"""A Region is of the first whose beginning it has."""
SUFFIXES = tuple(sorted({one.suffix for one in PARTITIONS}))
_TEXT = re.compile(
    rf"(?:(?P<account>[0-9]{{12}})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.(?:{'|'.join(map(re.escape, SUFFIXES))})"
    r"|public\.ecr\.aws/(?P<alias>[^/]+))/(?P<repository>[^@:]+)@(?P<digest>sha256:[0-9a-f]{64})"
)


class Repository(msgspec.Struct, frozen=True, order=True):
    """A repository by registry (12-digit account, or `public/<alias>`), Region and name.

    `region` is "" where a payload names none (most API responses); such a reference names nothing in the table.
    """

    registry: str
    region: str
    name: str

    @property
    def public(self) -> bool:
        return self.registry.startswith("public/")

    @property
    def path(self) -> str:
        """`<registry>/<region>/<name>`: the form used in the table's keys."""
        return f"{self.registry}/{self.region}/{self.name}"

    @property
    def arn(self) -> str:
        return f"arn:{partition(self.region).name}:ecr:{self.region}:{self.registry}:repository/{self.name}"

    @property
    def uri(self) -> str:
        """As docker would pull from it."""
        if self.public:
            return f"public.ecr.aws/{self.registry.removeprefix('public/')}/{self.name}"
        return f"{self.registry}.dkr.ecr.{self.region}.{partition(self.region).suffix}/{self.name}"

    def image(self, digest: str) -> ImageRef:
        return ImageRef(self.registry, self.region, self.name, digest)


class ImageRef(msgspec.Struct, frozen=True, order=True):
    """One image: registry, Region, repository and digest. A tag is never an identity."""

    registry: str
    region: str
    repository: str
    digest: str

    @property
    def home(self) -> Repository:
        return Repository(self.registry, self.region, self.repository)

    @property
    def path(self) -> str:
        """`<registry>/<region>/<repository>@<digest>`: the form used in the table's keys."""
        return f"{self.home.path}@{self.digest}"

    @property
    def arn(self) -> str:
        """The ARN Inspector knows the image by (ListFindings `resourceId`)."""
        return f"{self.home.arn}/{self.digest}"

    def __str__(self) -> str:
        """The canonical text, as docker would pull it."""
        return f"{self.home.uri}@{self.digest}"

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """From the canonical text. Raises ValueError."""
        if not (m := _TEXT.fullmatch(text)):
            raise ValueError(f"not an image reference by digest: {text[:200]!r}")
        if m["alias"]:
            return cls(f"public/{m['alias']}", PUBLIC_REGION, m["repository"], m["digest"])
        return cls(m["account"], m["region"], m["repository"], m["digest"])

    @classmethod
    def from_path(cls, path: str) -> ImageRef:
        """From `path`: the inverse of the property. Raises ValueError."""
        home, at, digest = path.rpartition("@")
        parts = home.split("/")
        width = 2 if parts[0] == "public" else 1
        if not at or len(parts) < width + 2:
            raise ValueError(f"not an image path: {path[:200]!r}")
        return cls("/".join(parts[:width]), parts[width], "/".join(parts[width + 1 :]), digest)


def restore_command(ref: ImageRef) -> str:
    """For a shell: brings an archived image back."""
    return (
        f"aws ecr update-image-storage-class --region {ref.region} --registry-id {ref.registry}"
        f" --repository-name {ref.repository} --image-id imageDigest={ref.digest} --target-storage-class STANDARD"
    )


def partition(region: str) -> Partition:
    return next(one for one in PARTITIONS if region.startswith(one.regions))


class Source(StrEnum):
    """Which scanner: ECR's own (BASIC) or Amazon Inspector (ENHANCED)."""

    BASIC = "BASIC"
    ENHANCED = "ENHANCED"


class ScanState(StrEnum):
    """Nothing but COMPLETE may ever be read as clean."""

    PENDING = "PENDING"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    UNSUPPORTED = "UNSUPPORTED"
    EXPIRED = "EXPIRED"
    ARCHIVED = "ARCHIVED"
    UNAVAILABLE = "UNAVAILABLE"

    @property
    def lapsed(self) -> bool:
        """There was or should have been a scan, and there is none to rely on now."""
        return self in (ScanState.EXPIRED, ScanState.FAILED, ScanState.UNSUPPORTED, ScanState.UNAVAILABLE)


NOT_SINCE = "not scanned since its push or restore"


class Scan(msgspec.Struct, frozen=True):
    """How far the scan of one image got.

    `reason` is AWS's word for the state (`SCAN_ELIGIBILITY_EXPIRED`, the status description, …), None if it gave none.
    `scanned_at` is `imageScanCompletedAt` (basic) or `lastScannedAt` (enhanced): scan age counts from it.
    """

    state: ScanState = ScanState.PENDING
    reason: str | None = None
    source: Source | None = None
    scanned_at: datetime | None = None

    def since(self, at: datetime | None) -> Scan:
        """PENDING where it completed before the push or restore of `at`, and so is of another state of the image."""
        if self.state is not ScanState.COMPLETE:
            return self
        scanned_at = self.scanned_at
        too_old = scanned_at is None or (at is not None and int(scanned_at.timestamp()) < int(at.timestamp()))
        return Scan(ScanState.PENDING, NOT_SINCE, self.source, scanned_at) if too_old else self


class StorageStatus(StrEnum):
    """`imageStatus` of DescribeImages. ACTIVATING: a restore is under way; neither pullable nor archivable."""

    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"
    ACTIVATING = "ACTIVATING"


class InUseState(StrEnum):
    """NO needs every place that can pull to have been looked at; UNKNOWN is treated as running."""

    YES = "YES"
    NO = "NO"
    UNKNOWN = "UNKNOWN"


LOOKED_UP_FOR = timedelta(days=1)
PASSING = NO_TIME, NO_ANSWER, THROTTLED = "no time left", "no answer", "throttled"
"""In a sentence of `InUse.blind`: the next look-up may get further."""


class InUse(msgspec.Struct, frozen=True):
    """Whether the image runs: Inspector's `inUseCount` (None: it did not say) and `lastInUseAt`, seen at `seen_at`.

    `looked`: we have looked ourselves where images run; then `by` names what runs it or may start it, and `blind` the
    places that could not be looked at, with the reason; each a sentence, ten at most, then how many more. `left_out`:
    what was not asked by intent (switched off in the policy, Regions that are not in use); it is not stored.
    """

    state: InUseState = InUseState.UNKNOWN
    count: int | None = None
    last_at: datetime | None = None
    seen_at: datetime | None = None
    by: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    looked: bool = False
    left_out: tuple[str, ...] = ()

    def beside(self, told: InUse | None) -> InUse:
        """What stands when a scanner has `told` something: our own look-up of the last day knows more than its 0."""
        if told is None or not self.looked or told.state is InUseState.YES:
            return told or self
        stale = self.seen_at is None or told.seen_at is None or told.seen_at - self.seen_at > LOOKED_UP_FOR
        return told if stale else self


MOST_RELATED = 500
"""Manifests of an index that are judged, and indexes of an image: who may push could name any number."""


class Kind(StrEnum):
    """IMAGE is scanned itself; INDEX takes the worst of its children; ARTIFACT (signature, SBOM, …) has no verdict."""

    IMAGE = "IMAGE"
    INDEX = "INDEX"
    ARTIFACT = "ARTIFACT"

    @classmethod
    def by_media_type(cls, media_type: str | None) -> Kind:
        """While the manifest was not read: an artifact has the type of an image."""
        return cls.INDEX if media_type in INDEX_MEDIA_TYPES else cls.IMAGE


INDEX_MEDIA_TYPES = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)
IMAGE_MEDIA_TYPES = frozenset(
    {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
CONTAINER_CONFIG_TYPES = frozenset(
    {"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
)


class Child(msgspec.Struct, frozen=True):
    """One manifest of an index. `platform` is `os/architecture[/variant]`, None where the index names none."""

    digest: str
    platform: str | None = None


class Manifest(msgspec.Struct, frozen=True):
    """What BatchGetImage says of one digest: its kind, the children of an index, the subject of a referrer.
    `unreadable`: why neither a scan of it nor the images of an index that it names tell what is in it."""

    kind: Kind
    media_type: str
    children: tuple[Child, ...] = ()
    subject: str | None = None
    unreadable: str | None = None


class ImageDetail(msgspec.Struct, frozen=True):
    """One row of DescribeImages. None is absent: `summary_counts` {} was given and empty, None was not given."""

    ref: ImageRef
    tags: tuple[str, ...] = ()
    pushed_at: datetime | None = None
    size_bytes: int | None = None
    media_type: str | None = None
    artifact_media_type: str | None = None
    subject_digest: str | None = None
    storage: StorageStatus = StorageStatus.ACTIVE
    last_pulled_at: datetime | None = None
    archived_at: datetime | None = None
    activated_at: datetime | None = None
    scan: Scan | None = None
    summary_counts: dict[str, int] | None = None


def is_later(listed: datetime | None, known: datetime | None) -> bool:
    """By whole seconds: not every source is more precise."""
    if listed is None:
        return False
    return known is None or int(listed.timestamp()) > int(known.timestamp())


class RepositoryDetail(msgspec.Struct, frozen=True):
    """One row of DescribeRepositories."""

    repository: Repository
    arn: str | None = None
    created_at: datetime | None = None
    tag_mutability: str | None = None
    scan_on_push: bool | None = None
    encryption: str | None = None
    kms_key: str | None = None


class Coverage(msgspec.Struct, frozen=True):
    """One ECR image of Inspector's ListCoverage, or of an `Inspector2 Coverage` event (then without times)."""

    ref: ImageRef
    scan: Scan
    active: bool
    reason: str
    tags: tuple[str, ...] = ()
    last_in_use_at: datetime | None = None
    in_use_count: int | None = None
    pulled_at: datetime | None = None
