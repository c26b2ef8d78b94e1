"""Differences between the table and a registry: of one image, of a whole repository, and what its item stores of them.

Other facts of a repository's item (who changed it, its settings) are shown by the API and decide nothing here. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.reconcile.scan_budget import StartedScans
from chalicelib.domain.reconcile.scan_proof import ScanProofs


class DifferenceKind(StrEnum):
    """MISSING: an image, or what its push tells of it, is unknown. TAG_MOVED: a tag is new at an image; TAG_UNSETTLED:
    header and tag item contradict each other. CAME_BACK: a quarantined digest can be pulled again. KIND_UNREAD: its
    manifest was not read yet. SIGNATURE: whether it is signed is stored otherwise than listed. SCAN_UNHEARD: a scan has
    finished; SCAN_STALE: its state has changed. VANISHED: findings are gone without an event. Our own work: LOOK_LOST,
    EFFECT_LOST, DECISION_LOST, and BEHIND its document, its policy or its waivers."""

    MISSING = "MISSING"
    DELETED = "DELETED"
    TAG_MOVED = "TAG_MOVED"
    TAG_DELETED = "TAG_DELETED"
    TAG_UNSETTLED = "TAG_UNSETTLED"
    ARCHIVED = "ARCHIVED"
    RESTORED = "RESTORED"
    CAME_BACK = "CAME_BACK"
    CHILDREN_UNKNOWN = "CHILDREN_UNKNOWN"
    KIND_UNREAD = "KIND_UNREAD"
    SIGNATURE = "SIGNATURE"
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
        """Whether AWS announces it by an event: that one was lost, unless this is a first fill."""
        return self not in _NOT_ANNOUNCED


_NOT_ANNOUNCED = frozenset(
    {
        DifferenceKind.TAG_UNSETTLED,
        DifferenceKind.CHILDREN_UNKNOWN,
        DifferenceKind.KIND_UNREAD,
        DifferenceKind.SIGNATURE,
        DifferenceKind.VANISHED,
        DifferenceKind.LOOK_LOST,
        DifferenceKind.EFFECT_LOST,
        DifferenceKind.DECISION_LOST,
        DifferenceKind.BEHIND,
    }
)


class Difference(msgspec.Struct, frozen=True):
    """`action`: of the event that repairs it (`Action`, SETTLE_TAG or RECORD_SIGNATURE). `tag`: the tag it is about.
    `effect`: the key of a lost one. `detail`: for people. `signed`: whether a signature is listed."""

    kind: DifferenceKind
    ref: ImageRef
    action: str | None = None
    tag: str | None = None
    effect: str | None = None
    detail: str = ""
    signed: bool | None = None

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


class Reconciled(msgspec.Struct, frozen=True):
    """`images`: as listed. `found` by kind, `differences`: what was repaired, or would be in a dry run. `filling`:
    nothing was compared before, so no event was lost. `more`: another message does the rest. `error`: why it could not
    be listed, and then nothing was compared, or why it was not compared to its end. `proofs`: of the scans of its
    images; `started`: scans asked for."""

    repository: Repository
    images: int = 0
    found: Mapping[DifferenceKind, int] = {}
    differences: tuple[Difference, ...] = ()
    filling: bool = False
    more: bool = False
    error: str | None = None
    proofs: ScanProofs = ScanProofs()
    started: StartedScans = StartedScans()

    @property
    def lost_events(self) -> int:
        return 0 if self.filling else sum(n for kind, n in self.found.items() if kind.is_lost_event)


class Memory(msgspec.Struct, frozen=True):
    """The fact `reconcile`. `counts` and `seen`: where Inspector counts otherwise than we do, in words
    (`scan_comparison`): what a refresh did not repair is not refreshed again before it changes. `left_after`: the sweep
    was out of time there, and the next one begins behind it."""

    images: int = 0
    found: dict[DifferenceKind, int] = {}
    lost_events: int = 0
    counts: str | None = None
    seen: tuple[str, ...] = ()
    error: str | None = None
    proofs: ScanProofs = ScanProofs()
    started: StartedScans = StartedScans()
    left_after: str = ""

    @classmethod
    def read(cls, fact: object) -> Memory:
        """A fact that another version wrote counts as absent."""
        try:
            return msgspec.convert(fact, cls)
        except msgspec.ValidationError:
            return cls()


class ReconcileProgress(msgspec.Struct, frozen=True):
    """`after` of a reconcile's messages: it continues behind `digest`, with what was found before. `parts`: messages of
    its chain before this one. `first`: the sweep begins behind this digest and comes to those up to it last."""

    digest: str = ""
    found: dict[DifferenceKind, int] = {}
    parts: int = 0
    first: str = ""

    @classmethod
    def read(cls, after: str | None, first: str = "") -> ReconcileProgress:
        """`first`: of a sweep that begins."""
        return cls(first=first) if after is None else msgspec.json.decode(after, type=cls)

    def left(self, digests: Iterable[str]) -> list[str]:
        """Those that it has not come to yet, in its order."""
        in_turn = sorted(digests, key=self._turn)
        return [d for d in in_turn if not self.digest or self._turn(d) > self._turn(self.digest)]

    def _turn(self, digest: str) -> tuple[bool, str]:
        return digest <= self.first, digest

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()


class RepositoryFacts(msgspec.Struct, frozen=True):
    """What sweeps read of a repository's item; names are those of the stored attributes. `reconcile_at`: last compared;
    `reconcile_findings_at`: findings are known up to then; `public_at`: last compared, of a public repository;
    `has_copies`: a replication sweep found destinations; `filling_at`: the first sweep of its registry listed it."""

    created_at: datetime | None = None
    deleted_at: datetime | None = None
    reconcile_at: datetime | None = None
    reconcile_findings_at: datetime | None = None
    public_at: datetime | None = None
    reconcile: Memory = Memory()
    has_copies: bool = False
    filling_at: datetime | None = None

    @classmethod
    def read(cls, stored: Mapping[str, object]) -> RepositoryFacts:
        """A fact of an unexpected type, written by another version, counts as absent."""
        times: dict[str, Any] = {name: at for name in TIMES if isinstance(at := stored.get(name), datetime)}
        return cls(**times, reconcile=Memory.read(stored.get("reconcile")), has_copies=bool(stored.get("replication")))

    @property
    def is_deleted(self) -> bool:
        """Deleted by an event or a listing, and not created later."""
        return self.deleted_at is not None and not (self.created_at is not None and self.created_at > self.deleted_at)

    @property
    def is_unlisted(self) -> bool:
        """A public repository that a sweep found gone, and that no sweep has listed since."""
        return self.deleted_at is not None and not (self.public_at is not None and self.public_at > self.deleted_at)

    @property
    def is_compared(self) -> bool:
        return self.reconcile_at is not None or self.public_at is not None


def left_words(left: int) -> str:
    """What a sweep had no time for."""
    return f"not compared to the end: {left:,} images are left, and the next sweep goes on with them"


def is_swept(known: Iterable[RepositoryFacts]) -> bool:
    """Whether the first sweep of a registry is over: every repository that it listed has been compared, or is gone."""
    facts = tuple(known)
    awaited = (f for f in facts if f.filling_at is not None and not f.is_compared and not f.is_deleted)
    return any(f.is_compared for f in facts) and not any(awaited)


TIMES = tuple(name for name in RepositoryFacts.__struct_fields__ if name.endswith("_at"))
