"""What Inspector says of one repository, as a planner found it out once for a whole registry and hands it on. Pure.

A message holds 1 MiB, and one that carries an image's share of it is about 60 bytes longer for each image.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from datetime import datetime

import msgspec

from chalicelib.domain.images.image import Repository, Scan, Source
from chalicelib.domain.reconcile.registry_listing import ChangesListed, CoverageListed, OpenCounts
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
