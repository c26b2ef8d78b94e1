"""One repository as it is listed and as it is stored, side by side. Pure.

Nothing here is believed of the last moments: what is younger than `consistency_delay` is some event's to tell.

What Inspector says of one repository, as a planner found it out once for a whole registry and hands it on. Pure.

A message holds 1 MiB, and one that carries an image's share of it is about 60 bytes longer for each image.
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
    CONTAINER_CONFIG_TYPES,
    INDEX_MEDIA_TYPES,
    ImageDetail,
    InUse,
    InUseState,
    Kind,
    Repository,
    Scan,
    Source,
)
from chalicelib.domain.reconcile.registry_listing import ChangesListed, CoverageListed, ImagesListed, OpenCounts
from chalicelib.domain.reconcile.scan_rule import ScanRule

MOST_CHARACTERS = 200_000


class Covered(msgspec.Struct, frozen=True):
    """How far Inspector's scan of each image got, by digest. An image that is absent is not covered."""

    at: datetime
    scans: Mapping[str, Scan] = {}


class Changed(msgspec.Struct, frozen=True):
    """When findings of an image were last updated, by digest, of those updated at or after `since`. `whole` False:
    there were so many that not all were listed."""

    since: datetime
    at: datetime
    updated: Mapping[str, datetime] = {}
    whole: bool = True


class Inspected(msgspec.Struct, frozen=True):
    """Each None: nobody could find out, so that nothing follows from it. `scanner`: which one the registry's
    configuration names, `rule`: how it scans this repository. `counts`: of all findings of the repository."""

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
    """What the listings of a registry, or of the repository itself, say of it. Coverage that was not listed whole says
    nothing; who is not counted has no findings."""
    return Inspected(
        None if covered is None or not covered.whole else Covered(covered.covered_at, covered.scans.get(home, {})),
        None
        if changed is None
        else Changed(changed.since, changed.changed_at, changed.updated.get(home, {}), changed.whole),
        None if counts is None else counts.get(home, OpenCounts()),
        scanner,
    )


def pack(inspected: Inspected) -> str | None:
    """As a message carries it; None where it is too long for one: whoever wants it must ask itself."""
    text = base64.b64encode(zlib.compress(msgspec.msgpack.encode(inspected))).decode()
    return text if len(text) <= MOST_CHARACTERS else None


def unpack(text: str) -> Inspected:
    """The inverse of `pack`. Raises ValueError."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(base64.b64decode(text)), type=Inspected)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"not what a planner has handed on: {error}") from error


class RepositoryView(msgspec.Struct, frozen=True):
    """`headers`, by digest and as `compared` leaves them, and `tags` are read after the images are listed. `tags`: the
    digest that each tag's own item points at; None: deleted. `consistency_delay`: how long an event may need."""

    repository: Repository
    listed: ImagesListed
    headers: Mapping[str, Header]
    consistency_delay: timedelta
    inspected: Inspected = Inspected()
    tags: Mapping[str, str | None] = {}

    @property
    def believed_at(self) -> datetime:
        """What the listing shows was so by then; what happened since is not believed."""
        return self.listed.listed_at - self.consistency_delay

    def is_recent(self, at: datetime | None) -> bool:
        return at is not None and at > self.believed_at


def compared(header: Header, detail: ImageDetail | None) -> Header:
    """What a comparison asks of it, without verdict, sketch and whoever runs it, and sharing with the listing what is
    equal: a repository of 100,000 images is held whole."""
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


def kind_of(detail: ImageDetail) -> Kind:
    """As a push of it would tell; an attestation looks like an image until its index is known."""
    artifact_type = detail.artifact_media_type
    if detail.subject_digest is not None or (artifact_type and artifact_type not in CONTAINER_CONFIG_TYPES):
        return Kind.ARTIFACT
    return Kind.INDEX if detail.media_type in INDEX_MEDIA_TYPES else Kind.IMAGE


def is_half_known(header: Header, detail: ImageDetail) -> bool:
    """Whether no push told of the image, or not of its last one."""
    unheard = header.existence_at is None or (detail.media_type is not None and header.media_type is None)
    return unheard or _is_later(detail.pushed_at, header.pushed_at)


def is_stored_elsewhere(header: Header, detail: ImageDetail) -> bool:
    """Whether it was archived or restored since."""
    return detail.storage is not header.storage or _is_later(detail.activated_at, header.activated_at)


def _is_later(told: datetime | None, known: datetime | None) -> bool:
    """By whole seconds: not every source gives more."""
    if told is None:
        return False
    return known is None or int(told.timestamp()) > int(known.timestamp())
