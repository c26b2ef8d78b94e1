"""What a policy may ask about one image, its findings apart. Where it is read from is the services' business."""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.domain.images.image import ImageRef, InUse, Kind, Scan
from chalicelib.domain.images.verdict import VerdictSummary


class ImageState(msgspec.Struct, frozen=True):
    """`known_at`, when the image was first heard of, stands in for an unknown `pushed_at` in `unscanned.after_minutes`.

    `listed`: there has been a complete listing of its findings; without one it is PENDING whatever `findings` holds.
    `children`: of an INDEX, how its children that are images stand (PENDING for one not known yet); of a public image,
    how the same digest stands in private repositories.
    `signed` None: not looked up. `held`: our own quarantine is what keeps it from being scanned.
    """

    ref: ImageRef
    tags: tuple[str, ...] = ()
    kind: Kind = Kind.IMAGE
    pushed_at: datetime | None = None
    known_at: datetime | None = None
    architecture: str | None = None
    platform: str | None = None
    scan: Scan = Scan()
    listed: bool = False
    in_use: InUse = InUse()
    signed: bool | None = None
    children: tuple[VerdictSummary, ...] = ()
    held: bool = False


STORED_OF_IMAGE = frozenset(
    {
        *("ref.registry", "ref.region", "ref.repository", "ref.digest"),
        *("tags", "kind", "pushed_at", "known_at", "architecture", "platform", "signed"),
        *("scan.state", "scan.reason", "scan.source", "scan.scanned_at"),
        *("in_use.state", "in_use.count", "in_use.last_at", "in_use.seen_at"),
    }
)
"""What a header gives back, with the part of a field that is compared. `children` are other images'."""
