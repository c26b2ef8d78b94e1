"""What is kept of one repository's replication beside the copies of its images. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from chalicelib.domain.replication.replica import Replica
from chalicelib.domain.replication.replication import Sight


class ReplicationState(msgspec.Struct, frozen=True):
    """`sights`: its destinations, also those that no rule names any more. `looked_at`: when all its images were last
    looked at, None: never. `told`: `<path>#<channel>` for each destination that nobody can look at, as far as the
    channel was told of it."""

    sights: tuple[Sight, ...] = ()
    looked_at: datetime | None = None
    told: tuple[str, ...] = ()


def counted(replicas: Iterable[Replica]) -> Mapping[str, int]:
    """How many copies stand how, and how many there is a note about, in alphabetical order."""
    found: dict[str, int] = {}
    for replica in replicas:
        for word in (replica.status.value, *(note.value for note in replica.notes)):
            found[word] = found.get(word, 0) + 1
    return dict(sorted(found.items()))


def is_missing(state: ReplicationState | None, replicas: Iterable[Replica], digest: str) -> bool | None:
    """Whether a copy that a rule asks for is not (known to be) there, so that the source is to be kept for it. None:
    nobody has looked yet."""
    if state is None:
        return None
    places = {sight.destination for sight in state.sights if sight.gone_at is None}
    there = {r.destination for r in replicas if r.ref.digest == digest and r.status.there}
    return None if places and state.looked_at is None else bool(places - there)
