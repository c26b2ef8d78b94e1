"""What the API answers about images, as types: JSON bodies and OpenAPI schemas are both made from these. No logic.

Absent is null, never 0 and never "no". All times are UTC, ISO 8601 with `Z`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import InUseState, Kind, ScanState, Source, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.reconcile.scan_proof import ScanProofCause

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Counts(msgspec.Struct, frozen=True, rename="upper"):
    """Open findings by severity, of an image that has been listed whole at least once."""

    critical: int = 0
    high: int = 0
    medium: int = 0
    low: int = 0
    informational: int = 0
    unknown: int = 0


class ImageNameAnswer(msgspec.Struct, frozen=True):
    """`uri` is the image as docker would pull it, by digest."""

    registry: str
    region: str
    repository: str
    digest: str
    uri: str
    tags: tuple[str, ...]


class ScanAnswer(msgspec.Struct, frozen=True):
    """`looked_at`: the newest complete listing of findings; null: there has been none, and clean means nothing."""

    state: ScanState
    reason: str | None
    source: Source | None
    scanned_at: Moment | None
    looked_at: Moment | None


class ReasonAnswer(msgspec.Struct, frozen=True):
    """`vulnerability_ids`: the worst of the `count` findings that matched. `waived`: waivers that excused others."""

    rule: str
    decision: Decision
    detail: str
    count: int
    vulnerability_ids: tuple[str, ...]
    waived: tuple[str, ...]


class VerdictAnswer(msgspec.Struct, frozen=True):
    """`decision`: the stronger of the verdict and the order that stands, whose reason has the rule `order`. `number`
    counts the image's verdicts; null while there is none, and the decision is PENDING."""

    image: ImageNameAnswer
    decision: Decision
    reasons: tuple[ReasonAnswer, ...]
    policy_version: int | None
    decided_at: Moment | None
    number: int | None
    suppressed: int
    scan: ScanAnswer


class EnforcementAnswer(msgspec.Struct, frozen=True):
    kind: str
    stage: str
    at: Moment
    number: int
    method: str | None


class ImageRowAnswer(msgspec.Struct, frozen=True):
    """An image in a list. At most three of its tags are named.

    `counts` null: no complete scan yet, or an index; `worst` is the worst heard of, even so.
    """

    image: ImageNameAnswer
    decision: Decision
    worst: Severity | None
    counts: Counts | None
    scan_state: ScanState
    enforcement: EnforcementAnswer | None
    policy_version: int
    pushed_at: Moment | None


class ImageList(msgspec.Struct, frozen=True):
    """`complete` false: a registry that is asked about has not been swept once, and images may be missing. `unscanned`:
    how many images of what is asked about lack a complete scan, whatever the filters; null after the first page."""

    images: tuple[ImageRowAnswer, ...]
    complete: bool
    unscanned: int | None
    next_cursor: str | None


class ScanProofAnswer(msgspec.Struct, frozen=True):
    """Whether its push has led to a usable, recent scan. `cause` null: it has; else why not. `rule`: what scans its
    repository, in words; null: not asked yet."""

    proven: bool
    cause: ScanProofCause | None
    detail: str
    rule: str | None


class ChildAnswer(msgspec.Struct, frozen=True):
    """One manifest of an index. `decision` and `scan_state` null: an artifact, or an image not known yet."""

    digest: str
    platform: str | None
    artifact: bool
    decision: Decision | None
    scan_state: ScanState | None


class RunningAnswer(msgspec.Struct, frozen=True):
    """Where it runs, as far as is known: UNKNOWN must be treated as running. `by` names what runs it, `blind` what
    could not be looked at, where we have looked ourselves."""

    in_use: InUseState
    count: int | None
    last_in_use_at: Moment | None
    seen_at: Moment | None
    by: tuple[str, ...]
    blind: tuple[str, ...]


class ActionAnswer(msgspec.Struct, frozen=True):
    """What was done because of a verdict, and how to undo it. `number` counts the image's actions."""

    action_id: str
    number: int
    effect: str
    kind: str
    actor: str
    reason: str
    at: Moment
    before: str | None
    after: str | None
    policy_version: int
    vulnerability_ids: tuple[str, ...]
    undo: str | None


class HeldAnswer(msgspec.Struct, frozen=True):
    """Why an act is not done now. `until` null: only another policy or order changes it."""

    why: str
    detail: str
    since: Moment
    until: Moment | None


class ActAnswer(msgspec.Struct, frozen=True):
    """The act that is still to be done. `held` null: it is on its way."""

    kind: str
    method: str | None
    number: int
    wanted_at: Moment
    held: HeldAnswer | None


class OrderAnswer(msgspec.Struct, frozen=True):
    """A person's word that stands. `until`: when a release ends at the latest; null for a quarantine."""

    kind: str
    by: str
    reason: str
    at: Moment
    until: Moment | None


class TouchedAnswer(msgspec.Struct, frozen=True):
    """How many images and findings a release or a waiver is about. `whole` false: there are more; the time was up."""

    images: int
    findings: int
    whole: bool


class HoldAnswer(msgspec.Struct, frozen=True):
    """Our quarantine: begun (`enforcement.stage` is BEGUN) or in force, and then the image cannot be pulled.
    `method` is `archive`."""

    method: str
    at: Moment


class ImageAnswer(msgspec.Struct, frozen=True):
    """All that is known of one image, its findings apart. `exists` false: deleted, its push is not known yet, or its
    registry was retired (`retired_at`).

    `counts` null: no complete scan yet, or an index, which has no findings of its own (its `scan` is the weakest of its
    images' scans). `worst` is the worst heard of, even so. `actions`: the last 100, newest first. `enforcement` is
    what was last done to it, `hold` our quarantine in force, `denied` that its repository denies all pulls because of
    it, `act` what is to be done next and `aside` what lets it go first, `order` a person's word. `scan_proof` null: it
    is not scanned itself, or is gone. `kind_read` false: its manifest could not be read, or is public, so that `kind`
    is what the media type says. `signed`: a signature refers to it (not verified); null: it was not listed yet, or is
    public. `twins`: the same digest in public repositories, or of a public image in private ones. `etag`: what an order
    about the image says in `If-Match`; also in the header `ETag`.
    """

    image: ImageNameAnswer
    kind: Kind
    kind_read: bool
    exists: bool
    retired_at: Moment | None
    pushed_at: Moment | None
    size_bytes: int | None
    media_type: str | None
    artifact_media_type: str | None
    subject: str | None
    signed: bool | None
    architecture: str | None
    platform: str | None
    storage: StorageStatus
    children: tuple[ChildAnswer, ...]
    parents: tuple[str, ...]
    scan: ScanAnswer
    worst: Severity | None
    counts: Counts | None
    verdict: VerdictAnswer
    enforcement: EnforcementAnswer | None
    hold: HoldAnswer | None
    denied: bool
    act: ActAnswer | None
    aside: tuple[ActAnswer, ...]
    order: OrderAnswer | None
    running: RunningAnswer
    last_pulled_at: Moment | None
    actions: tuple[ActionAnswer, ...]
    scan_proof: ScanProofAnswer | None
    twins: tuple[str, ...]
    etag: str


class TagMoveAnswer(msgspec.Struct, frozen=True):
    digest: str | None
    at: Moment


class TagAnswer(msgspec.Struct, frozen=True):
    """`digest` null: the tag is gone. `moves`: the last 20, newest first."""

    tag: str
    digest: str | None
    moved_at: Moment
    moves: tuple[TagMoveAnswer, ...]


class TagList(msgspec.Struct, frozen=True):
    registry: str
    region: str
    repository: str
    tags: tuple[TagAnswer, ...]
    next_cursor: str | None
