"""Judge copies, keep what was found otherwise than before, quarantine what must not be had, and tell people.

All of it can be done again at any point: what was kept is found as it was, an order that stands is not given again, and
what was told is remembered after it was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from chalicelib.domain.enforcement.enforcement import is_mirrored
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.replication.replica import Note, Replica
from chalicelib.errors import LazarettoError
from chalicelib.services.ports.ports import Channel
from chalicelib.services.ports.sweep_ports import Replicating
from chalicelib.services.replication.judge_copies import Ends, judge_copies
from chalicelib.services.replication.mirror_quarantine import mirror_quarantine
from chalicelib.services.replication.tell_copies import Blind, tell_copies


class Kept(msgspec.Struct, frozen=True):
    """`after`: the digest to go on after, None where all were judged. `told`: see `ReplicationState`. `failure`: what a
    channel has raised; to be raised when all else is done."""

    replicas: tuple[Replica, ...]
    after: str | None
    told: tuple[str, ...]
    failure: LazarettoError | None


def keep_copies(
    digests: Iterable[str],
    ends: Ends,
    house: Replicating,
    channels: Mapping[str, Channel],
    api_url: str | None,
    tries: int,
    blind: Blind | None = None,
    told: Sequence[str] = (),
) -> Kept:
    """`blind` and `told`: of destinations that nobody can look at, which are told of where all was judged: only then is
    it kept who was told. Raises TransientError."""
    rules = house.rules.current()
    found, after = judge_copies(digests, ends, rules.policy, house)
    kept = [replica for one in found if (replica := _kept(one, ends, house)) is not None]
    done = [line for replica in kept if (line := _mirrored(replica, ends, rules, house)) is not None]
    unseen = blind if blind is not None and after is None else {}
    known, failure = tell_copies(ends.home, kept, unseen, done, tries, house, channels, api_url, told)
    return Kept(tuple(found), after, known, failure)


def _kept(replica: Replica, ends: Ends, house: Replicating) -> Replica | None:
    """As it is stored now. None: somebody else has looked later, and what that one found stands."""
    former = ends.known.get((replica.ref.digest, replica.destination))
    if former is not None and replica.like(former) and replica.told == former.told:
        return former
    return replica if house.replicas.keep(replica) else None


def _mirrored(replica: Replica, ends: Ends, rules: Rules, house: Replicating) -> str | None:
    copy = ends.copies[replica.destination].images.get(replica.ref.digest)
    there = ends.there.get(replica.destination, {}).get(replica.ref.digest)
    ordered = there is not None and is_mirrored(there)
    if copy is None or not (ordered or Note.PASSES in replica.notes):
        return None
    return mirror_quarantine(replica, copy, ends.here.get(replica.ref.digest), rules, house)
