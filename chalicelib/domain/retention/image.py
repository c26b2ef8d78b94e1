"""An image as retention sees it: what the registry lists of it, what it holds, and what guards it. Pure.

Unknown is None, never "nothing": an index whose manifest could not be read may need any image.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime

import msgspec

from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.images.image import (
    INDEX_MEDIA_TYPES,
    ImageDetail,
    Kind,
    StorageStatus,
)
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.reconcile.reconciliation import behind

QUARANTINED, WAIVED, UNKNOWN_HERE, UNDECIDED = "quarantined", "waived", "not known here", "not decided yet"
_REFERRER_TAG = re.compile(r"(sha256)-([0-9a-f]{64})(?:\.[a-z0-9]+)?")


class Layer(msgspec.Struct, frozen=True):
    """A blob that an image needs: a layer, or its config."""

    digest: str
    size_bytes: int


class Inside(msgspec.Struct, frozen=True):
    """What a manifest says: the digests of an index, the subject of a referrer, and its blobs (None: unknown kind)."""

    contains: tuple[str, ...] = ()
    subject: str | None = None
    layers: tuple[Layer, ...] | None = ()


class Deleted(msgspec.Struct, frozen=True):
    """The result of a deletion. `failed`: why, by digest. `at`: AWS's time."""

    gone: tuple[str, ...]
    failed: Mapping[str, str]
    at: datetime


class Guard(msgspec.Struct, frozen=True):
    """What keeps an image whatever the rules say, and why."""

    by: str
    why: str


class RetainedImage(msgspec.Struct, frozen=True, kw_only=True):
    """`contains`: the digests an index needs; None: unknown; () of everything else. `subject`: what it says it refers
    to, which any image may. `parents`: indexes that hold it or held it. `guard` None: only rules keep it. `attached`: a
    signature, SBOM or attestation of another image: it is never started, and is in use where that is. `decision` of its
    verdict."""

    digest: str
    tags: tuple[str, ...] = ()
    pushed_at: datetime | None = None
    pulled_at: datetime | None = None
    activated_at: datetime | None = None
    archived_at: datetime | None = None
    storage: StorageStatus = StorageStatus.ACTIVE
    size_bytes: int | None = None
    contains: tuple[str, ...] | None = ()
    subject: str | None = None
    parents: tuple[str, ...] = ()
    guard: Guard | None = None
    attached: bool = False
    decision: Decision = Decision.PENDING

    @property
    def goes_with(self) -> str | None:
        """The subject that it stays and goes with. An image does neither, whatever it says it refers to."""
        return self.subject if self.attached else None

    @property
    def used_at(self) -> datetime | None:
        """The last pull, else the push; or a later restore, as in `sinceImagePulled`. Pull times may be a day old."""
        last = self.pulled_at or self.pushed_at
        return _later(last, self.activated_at)

    @property
    def age_order(self) -> tuple[float, str]:
        """By push alone, as ECR counts `imageCountMoreThan`; without a push time oldest."""
        return (self.pushed_at.timestamp() if self.pushed_at else 0.0), self.digest

    @property
    def holds(self) -> set[str]:
        """What it refers to: the images of an index, the subject of a referrer."""
        return {*(self.contains or ()), *([self.subject] if self.subject else [])}

    @property
    def arrived_at(self) -> datetime | None:
        """The push or the last restore, as ECR counts `sinceImagePushed`."""
        return _later(self.pushed_at, self.activated_at)


def retained_image(
    detail: ImageDetail, inside: Inside | None, header: Header | None, rules: Rules, now: datetime
) -> RetainedImage:
    """`inside` None: its manifest was not read now; the header has what was read from it before. `rules`: in force."""
    index = detail.media_type in INDEX_MEDIA_TYPES
    digest, contains = detail.ref.digest, inside.contains if inside is not None else None
    if contains is None and header is not None and header.children:
        contains = tuple(child.digest for child in header.children)
    named = detail.subject_digest or (inside.subject if inside else None) or (header.subject if header else None)
    subject = named or _named_by_tags(detail.tags, digest)
    artifact = header is not None and header.kind_read and header.kind is Kind.ARTIFACT
    inner = header is not None and bool(header.parents) and not detail.tags
    guard = guard_of(header, rules, now)
    if guard is None and subject is not None and header is not None and not header.kind_read:
        guard = Guard(UNDECIDED, "its manifest is not read yet: it may be an image, or belong to another")
    return RetainedImage(
        digest=digest,
        tags=tuple(sorted(detail.tags)),
        pushed_at=detail.pushed_at,
        pulled_at=detail.last_pulled_at,
        activated_at=detail.activated_at,
        archived_at=detail.archived_at,
        storage=detail.storage,
        size_bytes=detail.size_bytes,
        contains=(None if contains is None else tuple(sorted(set(contains)))) if index else (),
        subject=subject,
        parents=tuple(sorted(header.parents)) if header else (),
        guard=guard,
        attached=artifact and (subject is not None or inner),
        decision=header.decision if header is not None else Decision.PENDING,
    )


def guard_of(header: Header | None, rules: Rules, now: datetime) -> Guard | None:
    """None: nothing in the table guards it."""
    if header is None:
        return Guard(UNKNOWN_HERE, "no event has told of it yet: lazaretto reconcile")
    if header.hold is not None or header.denied or header.decision is Decision.QUARANTINE:
        return Guard(QUARANTINED, "it is quarantined, or to be: evidence stays")
    if header.begun is not None or header.order is not None:
        return Guard(QUARANTINED, "a person's order or an act under way is about it")
    if header.verdict is not None:
        excused = sorted(header.verdict.waived & {waiver.id for waiver in rules.waivers if waiver.in_force(now)})
        if excused:
            return Guard(WAIVED, f"it is needed: waived by {', '.join(excused[:3])}")
    if (difference := behind(header, header.revision, rules)) is not None:
        return Guard(UNDECIDED, f"it is not decided yet by {difference.detail} in force")
    return None


def within(digest: str, images: Mapping[str, RetainedImage]) -> frozenset[str]:
    """What an index holds among `images`, on every level."""
    found: set[str] = set()
    waiting = [digest]
    while waiting:
        inner = [d for d in images[waiting.pop()].contains or () if d in images and d not in found]
        found.update(inner)
        waiting += inner
    return frozenset(found - {digest})


def names_subject(tag: str) -> bool:
    """Tools without referrers name the subject of a signature or SBOM in its tag alone."""
    return _REFERRER_TAG.fullmatch(tag) is not None


def _named_by_tags(tags: Collection[str], own: str) -> str | None:
    """Tools that copy by digest tag an image with its `own` digest: it signs nothing."""
    named = {f"{m[1]}:{m[2]}" for tag in tags if (m := _REFERRER_TAG.fullmatch(tag))}
    return named.pop() if all(map(names_subject, tags)) and len(named) == 1 and own not in named else None


def _later(first: datetime | None, second: datetime | None) -> datetime | None:
    if first is None or second is None:
        return first or second
    return max(first, second)
