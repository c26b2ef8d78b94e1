"""Judge copies, keep what was found otherwise than before, and quarantine what must not be had.

All of it can be done again at any point: what was kept is found as it was, an order that stands is not given again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.enforcement.enforcement import closes_copies, is_mirrored
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.images.image import Repository, StorageStatus
from chalicelib.domain.replication.replica import Replica
from chalicelib.domain.replication.replica_case import Copies
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import EVERY, DigestRange
from chalicelib.services.replication.judge_copies import Ends, Judging, StoredImages, judge_copies
from chalicelib.services.replication.mirror_quarantine import mirror_quarantine

READ_AT_ONCE = 1_000
"""Images whose headers are in memory together, of all ends."""


class Looked(msgspec.Struct):
    """`kept`: copies as they are stored now. `done`: what was done about those that people could still have. `after`:
    all up to that digest were looked at; None: all. `left`: how many were not."""

    kept: list[Replica] = []
    done: list[str] = []
    after: str | None = None
    left: int = 0


def store_copies(ends: Ends, after: str, until: datetime, context: Context) -> Looked:
    """All images behind `after`, but for one at least only until `until`. What the table has of them is read in turns,
    by their digests: it does not fit into memory. Raises TransientError."""
    rules = context.rules.current()
    judging, looked, last = Judging(ends, rules.policy, context), Looked(), ""
    digests = sorted(digest for digest in ends.digests if digest > after)
    for start in range(0, max(1, len(digests)), READ_AT_ONCE):
        some = digests[start : start + READ_AT_ONCE]
        upper = some[-1] if start + READ_AT_ONCE < len(digests) else EVERY[1]
        stored = _stored(ends, (last or after, upper), context)
        # What was found of an image that neither end has any more is dropped in its turn.
        known: dict[str, list[Replica]] = {digest: [] for digest in some}
        for (digest, _), replica in stored.known.items():
            if digest > (last or after):
                known.setdefault(digest, []).append(replica)
        for digest in sorted(known):
            if last and (judging.has_asked_enough or context.clock.now() >= until):
                looked.after, looked.left = last, sum(left > last for left in digests)
                return looked
            look_at_image(digest, ends, stored, judging, rules, looked, context)
            _drop_gone(known[digest], ends, context)
            last = digest
    return looked


def look_at_image(
    digest: str, ends: Ends, stored: StoredImages, judging: Judging, rules: Rules, looked: Looked, context: Context
) -> None:
    """Adds to `looked`. Raises TransientError."""
    for found in judge_copies(digest, stored, judging):
        if (replica := _kept(found, stored, context)) is not None:
            looked.kept.append(replica)
        # Another worker that looked later may have read the source before it closed.
        if (line := _mirrored(replica or found, ends, stored, rules, context)) is not None:
            looked.done.append(line)


def _stored(ends: Ends, between: DigestRange, context: Context) -> StoredImages:
    def headers(home: Repository) -> dict[str, Header]:
        return {header.ref.digest: header for header in context.table.headers_of(home, between)}

    there = {place: headers(place.repository(ends.home)) for place in ends.copies}
    return StoredImages(headers(ends.home), there, context.replicas.of(ends.home, between))


def _kept(replica: Replica, stored: StoredImages, context: Context) -> Replica | None:
    """As it is stored now. None: another worker has looked later, and what it found stands."""
    former = stored.known.get((replica.ref.digest, replica.destination))
    if former is not None and replica.like(former) and replica.announced == former.announced:
        return former
    return replica if context.replicas.keep(replica) else None


def _mirrored(replica: Replica, ends: Ends, stored: StoredImages, rules: Rules, context: Context) -> str | None:
    copy = ends.copies[replica.destination].images.get(replica.ref.digest)
    digest = replica.ref.digest
    here, there = (headers.get(digest) for headers in (stored.here, stored.there.get(replica.destination, {})))
    known = there is not None and there.exists
    ordered = there is not None and is_mirrored(there)
    # One that is archived is ordered too: it stays so when its own verdict lets it out, or somebody restores it.
    closes = closes_copies(here, rules.policy) and copy is not None and (known or copy.storage is StorageStatus.ACTIVE)
    if copy is None or not (ordered or closes):
        return None
    return mirror_quarantine(replica, copy, rules, context)


def _drop_gone(known: Sequence[Replica], ends: Ends, context: Context) -> None:
    """Copies that are neither wanted nor listed at the destination any more. What was found after the listing stands:
    the image was pushed since."""
    for replica in known:
        place, digest = replica.destination, replica.ref.digest
        copies = ends.copies.get(place, Copies(ends.home))
        nowhere = digest not in copies.images and copies.unread is None
        wanted = digest in ends.source and any(s.destination == place and s.gone_at is None for s in ends.sights)
        if nowhere and not wanted and replica.at <= ends.at:
            context.replicas.drop(replica)
