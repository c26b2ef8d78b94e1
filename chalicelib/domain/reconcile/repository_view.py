"""One repository as it is listed and as it is stored, side by side, with what Inspector says of it. Pure.

What is younger than `consistency_delay` is left to its event. A planner asks Inspector once for a whole registry; each
message carries the share of its repository, about 60 bytes an image of the 1 MiB that a message holds.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from sys import intern

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import (
    ImageDetail,
    InUse,
    InUseState,
    Repository,
    Scan,
    Source,
    is_later,
)
from chalicelib.domain.reconcile.registry_listing import ChangesListed, CoverageListed, ImagesListed, OpenCounts
from chalicelib.domain.reconcile.scan_rule import ScanRule

MOST_CHARACTERS = 200_000


class Covered(msgspec.Struct, frozen=True):
    """Inspector's scan of each image, by digest. An absent image is not covered."""

    at: datetime
    scans: Mapping[str, Scan] = {}


class Changed(msgspec.Struct, frozen=True):
    """When findings of an image were last updated, by digest, if since `since`. `whole` False: there were more."""

    since: datetime
    at: datetime
    updated: Mapping[str, datetime] = {}
    whole: bool = True


class Inspected(msgspec.Struct, frozen=True):
    """None: unknown. `scanner`: the one that the registry's configuration names; `rule`: how it scans this repository;
    `counts`: of all findings of the repository."""

    covered: Covered | None = None
    changed: Changed | None = None
    counts: OpenCounts | None = None
    scanner: Source | None = None
    rule: ScanRule | None = None


def share_of(
    home: Repository,
    covered: CoverageListed | None,
    changed: ChangesListed | None,
    counts: Mapping[Repository, OpenCounts] | None,
    scanner: Source | None,
) -> Inspected:
    """What listings of a registry, or of the repository itself, say of it. Coverage that was not listed whole says
    nothing; a repository that is not counted has no findings."""
    return Inspected(
        None if covered is None or not covered.whole else Covered(covered.covered_at, covered.scans.get(home, {})),
        None
        if changed is None
        else Changed(changed.since, changed.changed_at, changed.updated.get(home, {}), changed.whole),
        None if counts is None else counts.get(home, OpenCounts()),
        scanner,
    )


def pack(inspected: Inspected) -> str | None:
    """As a message carries it; None: it is too long, and the repository must ask itself."""
    text = base64.b64encode(zlib.compress(msgspec.msgpack.encode(inspected))).decode()
    return text if len(text) <= MOST_CHARACTERS else None


def unpack(text: str) -> Inspected:
    """The inverse of `pack`. Raises ValueError."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(base64.b64decode(text)), type=Inspected)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"not what a planner has handed on: {error}") from error


class RepositoryView(msgspec.Struct, frozen=True):
    """`headers` (by digest, as `compared` leaves them) and `tags` are read after the images are listed. `tags`: the
    digest that each tag's item points at; None: deleted. `consistency_delay`: how long an event may take."""

    repository: Repository
    listed: ImagesListed
    headers: Mapping[str, Header]
    consistency_delay: timedelta
    inspected: Inspected = Inspected()
    tags: Mapping[str, str | None] = {}

    @property
    def believed_at(self) -> datetime:
        """What the listing shows of later is left to events."""
        return self.listed.listed_at - self.consistency_delay

    def is_recent(self, at: datetime | None) -> bool:
        return at is not None and at > self.believed_at


def compared(header: Header, detail: ImageDetail | None) -> Header:
    """Only what a comparison needs, and shared with the listing where equal: 100,000 images are in memory at once."""
    bare = msgspec.structs.replace(
        header,
        verdict=None,
        sketch=b"",
        in_use=_USES[header.in_use.state],
        enforcement=header.enforcement if header.begun is not None else None,
        media_type=_shared(header.media_type),
        artifact_media_type=_shared(header.artifact_media_type),
        architecture=_shared(header.architecture),
        platform=_shared(header.platform),
    )
    if detail is None or detail.ref != header.ref:
        return bare
    tags = detail.tags if detail.tags == header.tags else header.tags
    pushed_at = detail.pushed_at if detail.pushed_at == header.pushed_at else header.pushed_at
    return msgspec.structs.replace(bare, ref=detail.ref, tags=tags, pushed_at=pushed_at)


def _shared(word: str | None) -> str | None:
    return None if word is None else intern(word)


_USES = {state: InUse(state) for state in InUseState}


def is_half_known(header: Header, detail: ImageDetail) -> bool:
    """Whether the event of its (last) push is missing."""
    unknown = header.existence_at is None or (detail.media_type is not None and header.media_type is None)
    return unknown or is_later(detail.pushed_at, header.pushed_at)


def is_stored_elsewhere(header: Header, detail: ImageDetail) -> bool:
    """Whether it was archived or restored since."""
    return detail.storage is not header.storage or is_later(detail.activated_at, header.activated_at)
