"""What a retention plan frees, in bytes and dollars. Pure.

A layer that an image which stays needs too frees nothing, one that several taken images share frees its bytes once.
Where the layers of an image are not known, what it frees is at most its size.

Prices are those of us-east-1; whoever is shown dollars is told so (`PRICES`). The archive costs as much as the standard
storage class up to 150 TB a registry, and each image at least 90 days of it: it is for evidence, not for savings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from chalicelib.domain.retention.image import Layer
from chalicelib.domain.retention.retention_plan import RetentionPlan

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
