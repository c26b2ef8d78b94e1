"""One difference between the table and the registry, or between what was promised and what came. Pure.

How differences are found is `reconciliation.py`'s and `scan_comparison.py`'s business, how they are mended a service's.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from chalicelib.domain.images.image import ImageRef


class DifferenceKind(StrEnum):
    """MISSING: an image, or what its push tells of it, is not known. TAG_MOVED: a tag is new at an image;
    TAG_UNSETTLED: a header says of a tag what the tag's own item does not. CAME_BACK: a digest in our quarantine can be
    pulled again. SCAN_UNHEARD: a scan has finished; SCAN_STALE: its state is another one by now. VANISHED: findings are
    gone without a word. Of our own: LOOK_LOST, EFFECT_LOST, DECISION_LOST, and BEHIND its document, its policy or its
    waivers."""

    MISSING = "MISSING"
    DELETED = "DELETED"
    TAG_MOVED = "TAG_MOVED"
    TAG_DELETED = "TAG_DELETED"
    TAG_UNSETTLED = "TAG_UNSETTLED"
    ARCHIVED = "ARCHIVED"
    RESTORED = "RESTORED"
    CAME_BACK = "CAME_BACK"
    CHILDREN_UNKNOWN = "CHILDREN_UNKNOWN"
    SCAN_UNHEARD = "SCAN_UNHEARD"
    SCAN_STALE = "SCAN_STALE"
    FINDINGS_CHANGED = "FINDINGS_CHANGED"
    VANISHED = "VANISHED"
    LOOK_LOST = "LOOK_LOST"
    EFFECT_LOST = "EFFECT_LOST"
    DECISION_LOST = "DECISION_LOST"
    BEHIND = "BEHIND"

    @property
    def is_lost_event(self) -> bool:
        """Whether AWS announces such a thing by an event: then it was lost, unless this is a first fill."""
        return self not in _NOT_ANNOUNCED


_NOT_ANNOUNCED = frozenset(
    {
        DifferenceKind.TAG_UNSETTLED,
        DifferenceKind.CHILDREN_UNKNOWN,
        DifferenceKind.VANISHED,
        DifferenceKind.LOOK_LOST,
        DifferenceKind.EFFECT_LOST,
        DifferenceKind.DECISION_LOST,
        DifferenceKind.BEHIND,
    }
)


class Difference(msgspec.Struct, frozen=True):
    """`action`: of the event that mends it (`domain.event.Action`, or SETTLE_TAG), where one does. `tag` where it is
    about one, `effect` the key of one that is lost. `detail`: for people."""

    kind: DifferenceKind
    ref: ImageRef
    action: str | None = None
    tag: str | None = None
    effect: str | None = None
    detail: str = ""

    @property
    def wants_refresh(self) -> bool:
        return self.kind in _LOOKED_AT


_LOOKED_AT = frozenset(
    {
        DifferenceKind.SCAN_UNHEARD,
        DifferenceKind.SCAN_STALE,
        DifferenceKind.FINDINGS_CHANGED,
        DifferenceKind.VANISHED,
        DifferenceKind.LOOK_LOST,
    }
)
