"""What retention would do to one repository: a decision for every image, limits, what it frees, and the plan's id.

`retention.py` makes the decisions. A layer that a kept image needs too frees nothing, and one that several taken images
share frees its bytes once; an image whose layers are unknown frees at most its size. Prices are those of us-east-1
(`PRICES`). The archive costs as much as standard storage up to 150 TB, and each image for at least 90 days.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from chalicelib.domain.images.image import InUseState, Repository, StorageStatus
from chalicelib.domain.policy.section import Retention
from chalicelib.domain.retention.image import Layer, RetainedImage

GB = 1024**3
STANDARD_PER_GB_MONTH = 0.10
ARCHIVE_PER_GB_MONTH = 0.10
ARCHIVE_MONTHS = 3
RETRIEVAL_PER_GB = 0.03
PRICES = (
    f"Dollars are list prices of us-east-1 without discounts: ${STANDARD_PER_GB_MONTH:.2f} a GB-month. Those of the"
    f" archive (${ARCHIVE_PER_GB_MONTH:.2f} a GB-month for 90 days at least, ${RETRIEVAL_PER_GB:.2f} a GB to take back)"
    " are not verified: see the Amazon ECR pricing page of your Region."
)


class Freed(msgspec.Struct, frozen=True):
    """`at_most`: the layers of some image are unknown, so it may be less. `dollars_a_month`: saved from then on;
    `committed_dollars`: for 90 days of archive, also of an image that is deleted sooner; `retrieval_dollars`: to
    restore all of it."""

    size_bytes: int
    at_most: bool = False
    dollars_a_month: float = 0.0
    committed_dollars: float = 0.0
    retrieval_dollars: float = 0.0


def freed_by(plan: RetentionPlan, layers: Mapping[str, Collection[Layer]]) -> Freed:
    """`layers` by the digest of the image; unknown where absent. An index has none."""
    taken = {decision.image.digest: decision.image for decision in plan.wanted}
    kept = {decision.image.digest: decision.image for decision in plan.decisions if not decision.taken}
    needed = {layer.digest for digest in kept for layer in layers.get(digest, ())}
    found = {layer.digest: layer.size_bytes for d in taken for layer in layers.get(d, ()) if layer.digest not in needed}
    unknown = [image for digest, image in taken.items() if digest not in layers and image.contains == ()]
    at_most = bool(unknown) or (bool(taken) and any(d not in layers and i.contains == () for d, i in kept.items()))
    size = sum(found.values()) + sum(image.size_bytes or 0 for image in unknown)
    return _priced(size, at_most, archived=plan.action == "archive")


def _priced(size: int, at_most: bool, *, archived: bool) -> Freed:
    gigabytes = size / GB
    if not archived:
        return Freed(size, at_most, gigabytes * STANDARD_PER_GB_MONTH)
    return Freed(
        size,
        at_most,
        gigabytes * (STANDARD_PER_GB_MONTH - ARCHIVE_PER_GB_MONTH),
        gigabytes * ARCHIVE_PER_GB_MONTH * ARCHIVE_MONTHS,
        gigabytes * RETRIEVAL_PER_GB,
    )


Action = Literal["expire", "archive"]
MAX_IMAGES = 1_000


class RetentionDecision(msgspec.Struct, frozen=True):
    """`by`: the part of the policy that keeps or takes the image (`retention[0].keep.newest`, `retention[0]`), or a
    word of `retention.py` (`running`, `index`, …). `why`: for people. `asked`: whether it runs, where that was looked
    up, in a look begun at `asked_at`. `open`: it stays only because that was not looked up."""

    image: RetainedImage
    taken: bool
    by: str
    why: str
    asked: InUseState | None = None
    open: bool = False
    asked_at: datetime | None = None


class RetentionPlan(msgspec.Struct, frozen=True):
    """`decisions` newest push first. `stopped`: why nothing is taken although some would be; "": it may be applied.
    `rule`: the position of the rule in the policy's `retention`; None: none names the repository."""

    repository: Repository
    rule: int | None
    action: Action | None
    decisions: tuple[RetentionDecision, ...]
    stopped: str = ""
    id: str = ""

    @property
    def wanted(self) -> tuple[RetentionDecision, ...]:
        return tuple(decision for decision in self.decisions if decision.taken)

    @property
    def takes(self) -> tuple[RetentionDecision, ...]:
        """What an apply takes; nothing while it is stopped."""
        return () if self.stopped else self.wanted


def conclude(
    repository: Repository,
    number: int | None,
    rule: Retention | None,
    decisions: Sequence[RetentionDecision],
    gone: int = 0,
) -> RetentionPlan:
    """The plan of these decisions, in any order. `gone`: how many images went earlier in the same run."""
    ordered = sorted(decisions, key=_newest_first)
    plan = RetentionPlan(repository, number, rule.action if rule else None, tuple(ordered))
    stopped = _over_the_limit(plan, rule, gone) if rule else ""
    return msgspec.structs.replace(plan, stopped=stopped, id=_id_of(plan, rule))


def stages(taken: Collection[RetainedImage]) -> list[tuple[str, ...]]:
    """Digests in the order they go, stage by stage: an index before its images, a signature before what it signs. ECR
    refuses the other order, and a run that is stopped halfway then leaves no dangling reference."""
    waiting = {image.digest: image for image in taken}
    held = {digest: [d for d in image.holds if d in waiting and d != digest] for digest, image in waiting.items()}
    found: list[tuple[str, ...]] = []
    while waiting:
        needed = {digest for holder in waiting for digest in held[holder]}
        first = tuple(sorted(waiting.keys() - needed)) or tuple(sorted(waiting))
        found.append(first)
        for digest in first:
            del waiting[digest]
    return found


def _over_the_limit(plan: RetentionPlan, rule: Retention, gone: int) -> str:
    """An image that was not looked up counts as taken, so that the limit does not depend on the look-ups. Kept images
    in the archive do not count as there: else a repository with much evidence could lose all it serves."""
    wanted = gone + sum(decision.taken or decision.open for decision in plan.decisions)
    there = gone + sum(f.taken or f.image.storage is not StorageStatus.ARCHIVED for f in plan.decisions)
    if wanted > round(rule.max_share * there, 6):
        return f"{wanted} of {there} images would go, more than max_share ({rule.max_share:g}) allows at once"
    if wanted > rule.max_images:
        return f"{wanted} images would go, more than max_images ({rule.max_images}) allows at once"
    return ""


def _newest_first(decision: RetentionDecision) -> tuple[float, str]:
    pushed_at = decision.image.pushed_at
    return -(pushed_at.timestamp() if pushed_at else 0.0), decision.image.digest


def _id_of(plan: RetentionPlan, rule: Retention | None) -> str:
    """Changes with digests, tags, storage, in-use, the rule and the decisions; not with pulls and sizes."""
    rows = sorted(
        (f.image.digest, f.image.tags, f.image.storage, f.asked or "", f.taken, f.by, f.open) for f in plan.decisions
    )
    said = msgspec.json.encode([plan.repository.path, plan.rule, rule, rows])
    return hashlib.sha256(said).hexdigest()[:16]


def by_digest(images: Collection[RetainedImage]) -> Mapping[str, RetainedImage]:
    """Each once: a listing that changes while it is read may repeat one."""
    return {image.digest: image for image in sorted(images, key=lambda i: (i.digest, msgspec.json.encode(i)))}


BETWEEN = "#"


class RetentionProgress(msgspec.Struct, frozen=True):
    """`after` of a run's messages. `start`: where the part before ended; `taken`: how many images went before."""

    start: str = ""
    taken: int = 0

    @classmethod
    def read(cls, after: str | None) -> RetentionProgress:
        start, _, taken = (after or "").partition(BETWEEN)
        return cls(start, int(taken or 0))

    def __str__(self) -> str:
        return f"{self.start}{BETWEEN}{self.taken}"


class RetentionResult(msgspec.Struct, frozen=True):
    """The fact `retention` of a repository. `failed`, `kept`: why, by digest, of the first ones. `taken`: in the whole
    run by now. `stopped`: why nothing was taken."""

    plan: str
    images: int
    wanted: int
    taken: int
    observed: bool
    stopped: str | None
    failed: Mapping[str, str]
    kept: Mapping[str, str]
