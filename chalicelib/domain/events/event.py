"""The events Lazaretto hears, as values. How they are read is the parsers' business; what they cause, the services'.

Every event carries `time` (when AWS says it happened, whole seconds) and `event_id` (opaque).
AWS promises neither order nor uniqueness.
Sources: EventBridge events of Amazon ECR, Amazon Inspector, Amazon ECS and AWS CloudTrail.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from chalicelib.domain.images.finding import FindingRow, Severity
from chalicelib.domain.images.image import Coverage, ImageRef, Repository, Scan, Source


class Action(StrEnum):
    PUSH = "PUSH"
    DELETE = "DELETE"
    UPDATE_STORAGE_CLASS = "UPDATE_STORAGE_CLASS"


class _EcrAction(msgspec.Struct, frozen=True):
    ref: ImageRef
    action: str
    result: str
    time: datetime
    event_id: str
    tag: str | None = None
    media_type: str | None = None
    artifact_media_type: str | None = None
    target_storage_class: str | None = None


class ImageAction(_EcrAction, frozen=True, tag=True):
    """`ECR Image Action`. `succeeded` is False for any `result` but SUCCESS. `tag` None: a push or delete by digest."""

    last_activated_at: datetime | None = None

    @property
    def succeeded(self) -> bool:
        return self.result == "SUCCESS"


class ReferrerAction(_EcrAction, frozen=True, tag=True):
    """`ECR Referrer Action`: `ref.digest` is the referrer (signature, SBOM, attestation), never an image."""


class ScanFinished(msgspec.Struct, frozen=True, tag=True):
    """`ECR Image Scan` (BASIC) or `Inspector2 Scan` (ENHANCED). `counts` None: none given, which is not zero."""

    ref: ImageRef
    source: Source
    scan: Scan
    time: datetime
    event_id: str
    tags: tuple[str, ...] = ()
    counts: dict[Severity, int] | None = None
    total: int | None = None


class FindingChanged(msgspec.Struct, frozen=True, tag=True):
    """`Inspector2 Finding` about an ECR image: created, updated or closed."""

    row: FindingRow
    time: datetime
    event_id: str


class CoverageChanged(msgspec.Struct, frozen=True, tag=True):
    """`Inspector2 Coverage` about an ECR image."""

    coverage: Coverage
    time: datetime
    event_id: str


class Replicated(msgspec.Struct, frozen=True, tag=True):
    """`ECR Replication Action`: `ref` is the copy at the destination; a failed one names an image that is not there."""

    ref: ImageRef
    result: str
    source_registry: str
    source_region: str
    time: datetime
    event_id: str
    tag: str | None = None


class ScanningRule(msgspec.Struct, frozen=True):
    repository: Repository
    frequency: str | None = None
    previous_frequency: str | None = None


class ScanResourceChanged(msgspec.Struct, frozen=True, tag=True):
    """`ECR Scan Resource Change`: which enhanced scanning rule covers each repository."""

    action: str
    rules: tuple[ScanningRule, ...]
    time: datetime
    event_id: str


class PulledThrough(msgspec.Struct, frozen=True, tag=True):
    """`ECR Pull Through Cache Action`. `ref` is None where the event names no digest (a failed sync). `upstream`: the
    host of the registry; `prefix`: of the cache rule."""

    repository: Repository
    status: str
    time: datetime
    event_id: str
    ref: ImageRef | None = None
    tag: str | None = None
    upstream: str | None = None
    failure_code: str | None = None
    failure_reason: str | None = None
    prefix: str | None = None

    @property
    def succeeded(self) -> bool:
        return self.status == "SUCCESS"


class NamedImage(msgspec.Struct, frozen=True):
    """As a call named it: by digest, by tag, or both."""

    digest: str | None = None
    tag: str | None = None


class ApiCall(msgspec.Struct, frozen=True, tag=True):
    """A call of ECR or ECR Public recorded by CloudTrail. `error_code` set: the call failed and changed nothing.

    `repository` is None for registry-wide calls and for those of ECR Public (`public`), which name no alias. `changed`
    holds the request parameters that matter as short texts. `role`: the ARN of the role whose session `actor` is;
    `source_ip`: an address, or the name of the AWS service that called. `policy`: the whole text of a repository's
    policy; `images`: those that are pushed, deleted or archived; `layers`: of a pushed manifest, in its order.
    """

    name: str
    account: str
    region: str
    actor: str | None
    time: datetime
    event_id: str
    repository: Repository | None = None
    error_code: str | None = None
    changed: dict[str, str] = {}
    role: str | None = None
    source_ip: str | None = None
    policy: str | None = None
    images: tuple[NamedImage, ...] = ()
    layers: tuple[str, ...] = ()
    public: bool = False


EXPIRE = "expire"


class LifecycleImage(msgspec.Struct, frozen=True):
    """One image that a run took. `action`: of the rule that did, in lower case (EXPIRE; of one that archives it is not
    published); None: the event does not say it."""

    digest: str
    tags: tuple[str, ...] = ()
    rule_priority: int | None = None
    pushed_at: datetime | None = None
    action: str | None = None


class LifecycleRan(msgspec.Struct, frozen=True, tag=True):
    """`PolicyExecutionEvent` (`dry_run` False) or `DryRunEvent` of a native lifecycle policy."""

    repository: Repository
    dry_run: bool
    images: tuple[LifecycleImage, ...]
    time: datetime
    event_id: str


class TaskContainer(msgspec.Struct, frozen=True):
    name: str
    image: str | None = None
    digest: str | None = None
    reason: str | None = None


class TaskChanged(msgspec.Struct, frozen=True, tag=True):
    """`ECS Task State Change`. `pull_failed`: the task stopped because an image could not be pulled."""

    task_arn: str
    cluster_arn: str
    task_definition_arn: str
    last_status: str
    desired_status: str
    version: int
    group: str | None
    stop_code: str | None
    stopped_reason: str | None
    containers: tuple[TaskContainer, ...]
    pull_failed: bool
    time: datetime
    event_id: str


class Ignored(msgspec.Struct, frozen=True, tag=True):
    """Valid, and not about an ECR image or not of use: said, counted, done."""

    reason: str
    event_id: str | None = None


Event = (
    ImageAction
    | ReferrerAction
    | ScanFinished
    | FindingChanged
    | CoverageChanged
    | Replicated
    | ScanResourceChanged
    | PulledThrough
    | ApiCall
    | LifecycleRan
    | TaskChanged
    | Ignored
)
