"""What one reconcile of a repository found: counted by kind, and kept with the repository for the next one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from chalicelib.domain.images.image import Repository
from chalicelib.domain.reconcile.difference import Difference, DifferenceKind
from chalicelib.domain.reconcile.scan_budget import StartedScans
from chalicelib.domain.reconcile.scan_proof import ScanProofs


class Reconciled(msgspec.Struct, frozen=True):
    """`images`: as listed. `found` by kind: what was mended, or with a dry run would be; `differences` each of them.
    `filling`: nothing was ever compared before, so that nothing was lost. `more`: the rest is another
    message's. `error`: why it could not be listed; then nothing was compared. `proofs`: how many of its images have a
    usable, recent scan, and why the others have none; `started`: the scans that were asked for."""

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
    """What is kept as the fact `reconcile`. `counts` and `seen`: where Inspector counted otherwise than we do, in words
    (`scan_comparison`): what a look did not mend is not looked at again before it changes."""

    images: int = 0
    found: dict[DifferenceKind, int] = {}
    lost_events: int = 0
    counts: str | None = None
    seen: tuple[str, ...] = ()
    error: str | None = None
    proofs: ScanProofs = ScanProofs()
    started: StartedScans = StartedScans()

    @classmethod
    def read(cls, fact: object) -> Memory:
        """Of a fact that another version wrote nothing is remembered."""
        try:
            return msgspec.convert(fact, cls)
        except msgspec.ValidationError:
            return cls()


class Place(msgspec.Struct, frozen=True):
    """Where a reconcile goes on: behind `digest`, with what was found before."""

    digest: str = ""
    found: dict[DifferenceKind, int] = {}

    @classmethod
    def read(cls, after: str | None) -> Place:
        return cls() if after is None else msgspec.json.decode(after, type=cls)

    def beyond(self, digest: str, found: Counter[DifferenceKind]) -> str:
        return msgspec.json.encode(Place(digest, dict(found))).decode()
