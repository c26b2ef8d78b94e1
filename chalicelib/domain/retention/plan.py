"""What retention would do to one repository: the fate of every image, the limits, and the plan's id. Pure.

How fates come about is `retention.py`'s business; what follows in bytes and dollars, `retention_cost.py`'s.

What a retention plan frees, in bytes and dollars. Pure.

A layer that an image which stays needs too frees nothing, one that several taken images share frees its bytes once.
Where the layers of an image are not known, what it frees is at most its size.

Prices are those of us-east-1; whoever is shown dollars is told so (`PRICES`). The archive costs as much as the standard
storage class up to 150 TB a registry, and each image at least 90 days of it: it is for evidence, not for savings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
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
    """`at_most`: the layers of some image are not known, so that it may free less. `dollars_a_month`: what storage
    costs less from then on; `committed_dollars`: what the archive's 90 days cost however soon an image is deleted;
    `retrieval_dollars`: what it would cost to take all of it back."""

    size_bytes: int
    at_most: bool = False
    dollars_a_month: float = 0.0
    committed_dollars: float = 0.0
    retrieval_dollars: float = 0.0


def freed_by(plan: RetentionPlan, layers: Mapping[str, Collection[Layer]]) -> Freed:
    """`layers` by the digest of the image; whoever is absent is not known. An index has none."""
    taken = {fate.image.digest: fate.image for fate in plan.wanted}
    kept = {fate.image.digest: fate.image for fate in plan.fates if not fate.taken}
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
    """`by`: the part of the policy that keeps or takes it (`retention[0].keep.newest`, `retention[0]`), or one of the
    words of `retention.py` (`running`, `index`, …). `why`: one sentence's worth for people. `asked`: whether it runs,
    where that was looked up. `open`: it is kept only because nobody looked whether it runs."""

    image: RetainedImage
    taken: bool
    by: str
    why: str
    asked: InUseState | None = None
    open: bool = False


class RetentionPlan(msgspec.Struct, frozen=True):
    """`fates` newest push first. `stopped`: why nothing is taken although `fates` names some; "": it may be applied.
    `rule`: the position in the policy's `retention` of the rule that is meant, None where none names the repository.
    """

    repository: Repository
    rule: int | None
    action: Action | None
    fates: tuple[RetentionDecision, ...]
    stopped: str = ""
    id: str = ""

    @property
    def wanted(self) -> tuple[RetentionDecision, ...]:
        return tuple(fate for fate in self.fates if fate.taken)

    @property
    def takes(self) -> tuple[RetentionDecision, ...]:
        """What an apply does; nothing while it is stopped."""
        return () if self.stopped else self.wanted


def conclude(
    repository: Repository,
    number: int | None,
    rule: Retention | None,
    fates: Sequence[RetentionDecision],
    gone: int = 0,
) -> RetentionPlan:
    """The plan of these fates, in whatever order they come. `gone`: how many went earlier in the same run."""
    ordered = sorted(fates, key=_newest_first)
    plan = RetentionPlan(repository, number, rule.action if rule else None, tuple(ordered))
    stopped = _over_the_limit(plan, rule, gone) if rule else ""
    return msgspec.structs.replace(plan, stopped=stopped, id=_id_of(plan, rule))


def stages(taken: Collection[RetainedImage]) -> list[tuple[str, ...]]:
    """Digests in the order they go: an index before its images, a signature before what it signs, because ECR refuses
    it otherwise, and because whoever is stopped half-way then leaves nothing that points nowhere. All of a stage may go
    at once. What refers in a circle, which no digest can, goes last."""
    waiting = {image.digest: image for image in taken}
    held = {digest: [d for d in _held_by(image) if d in waiting and d != digest] for digest, image in waiting.items()}
    found: list[tuple[str, ...]] = []
    while waiting:
        needed = {digest for holder in waiting for digest in held[holder]}
        first = tuple(sorted(waiting.keys() - needed)) or tuple(sorted(waiting))
        found.append(first)
        for digest in first:
            del waiting[digest]
    return found


def _held_by(image: RetainedImage) -> set[str]:
    return {*(image.contains or ()), *([image.subject] if image.subject else [])}


def _over_the_limit(plan: RetentionPlan, rule: Retention, gone: int) -> str:
    """What nobody looked up counts as wanted: a limit that hangs on how far a look-up got would be none. What lies
    archived and stays makes no share bigger: a repository of evidence could lose all that it still serves."""
    wanted = gone + sum(fate.taken or fate.open for fate in plan.fates)
    there = gone + sum(f.taken or f.image.storage is not StorageStatus.ARCHIVED for f in plan.fates)
    if wanted > round(rule.max_share * there, 6):
        return f"{wanted} of {there} images would go, more than max_share ({rule.max_share:g}) allows at once"
    if wanted > rule.max_images:
        return f"{wanted} images would go, more than max_images ({rule.max_images}) allows at once"
    return ""


def _newest_first(fate: RetentionDecision) -> tuple[float, str]:
    pushed_at = fate.image.pushed_at
    return -(pushed_at.timestamp() if pushed_at else 0.0), fate.image.digest


def _id_of(plan: RetentionPlan, rule: Retention | None) -> str:
    """Changes with digests, tags, storage, in-use, the rule, or any fate; not with pulls and sizes."""
    rows = sorted(
        (f.image.digest, f.image.tags, f.image.storage, f.asked or "", f.taken, f.by, f.open) for f in plan.fates
    )
    said = msgspec.json.encode([plan.repository.path, plan.rule, rule, rows])
    return hashlib.sha256(said).hexdigest()[:16]


def by_digest(images: Collection[RetainedImage]) -> Mapping[str, RetainedImage]:
    """Each once, however often a listing that changed while it was read names it."""
    return {image.digest: image for image in sorted(images, key=_by_name)}


def _by_name(image: RetainedImage) -> tuple[str, bytes]:
    return image.digest, msgspec.json.encode(image)
