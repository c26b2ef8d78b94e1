"""Judge copies, keep what was found otherwise than before, quarantine what must not be had, and tell people.

All of it can be done again at any point: what was kept is found as it was, an order that stands is not given again, and
what was told is remembered after it was sent.

Tell people of copies that are not as their source: once for each image, destination and state, and channel.

One alert tells of all that one look has found. An audit record of the repository is put before sending and is the
claim: two that find the same at once tell it once, and what a dead worker left untold is told by the next sweep. What a
channel was told is kept with the copies, so that one that fails is tried again without the others being told twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.alerts.alert import hears
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.enforcement.enforcement import is_mirrored
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.image import Repository
from chalicelib.domain.replication.alert import REPLICATION, compose_replication_alert
from chalicelib.domain.replication.replica import Note, Replica
from chalicelib.domain.replication.rules import Destination
from chalicelib.errors import LazarettoError, TransientError
from chalicelib.services.alerts.send_alert import send_alert
from chalicelib.services.ports.context import Channel, Context
from chalicelib.services.replication.judge_copies import Ends, judge_copies
from chalicelib.services.replication.mirror_quarantine import mirror_quarantine

Blind = Mapping[Destination, str]


def notify_copies(
    home: Repository,
    replicas: Sequence[Replica],
    blind: Blind,
    done: Sequence[str],
    tries: int,
    context: Context,
    channels: Mapping[str, Channel],
    api_url: str | None = None,
    told: Sequence[str] = (),
) -> tuple[tuple[str, ...], LazarettoError | None]:
    """`blind`: destinations that nobody can look at, and why; `told` of them as `ReplicationState` keeps it, and it is
    returned with what was told now. `tries`: how often the message has come, from 0.

    Beside it, what a channel that failed has raised: for the caller to raise when all else is done.
    """
    policy, failures = context.rules.current().policy, list[LazarettoError]()
    known = list(told)
    for name in dict.fromkeys(r.channel for r in policy.notify if hears(r, REPLICATION, home.name, None, None)):
        if name not in channels:
            continue
        unknown = [place for place in blind if _blind(place, name) not in known]
        unseen = {place: blind[place] for place in unknown if _claimed_blind(home, name, place, tries, context)}
        known += [_blind(place, name) for place in unknown if place not in unseen]
        untold = [r for r in replicas if not r.known_to(name)]
        if untold and not _claimed(home, name, untold, tries, context):
            untold = []
        if not untold and not unseen:
            continue
        alert = compose_replication_alert(home, untold, unseen, done, context.clock.now(), api_url)
        try:
            send_alert(alert, [r for r in policy.notify if r.channel == name], channels)
        except LazarettoError as error:
            failures.append(error)
            continue
        known += [_blind(place, name) for place in unseen]
        replicas = [_keep(r.heard_by(name), context) if r in untold else r for r in replicas]
    transient = next((f for f in failures if isinstance(f, TransientError)), None)
    return tuple(known), transient or next(iter(failures), None)


def _keep(replica: Replica, context: Context) -> Replica:
    context.replicas.store_delivered(replica)
    return replica


def _blind(place: Destination, channel: str) -> str:
    return f"{place.path}#{channel}"


def _claimed(home: Repository, channel: str, untold: Sequence[Replica], tries: int, context: Context) -> bool:
    """Whether it is ours to tell. Who comes again may take over: the one before has failed, or died. An hour later so
    may the next sweep."""
    said = [f"{r.ref.digest} {r.destination.path} {r.alarm}" for r in untold]
    mark = hashlib.sha256("\n".join(sorted(said)).encode()).hexdigest()[:12]
    hour = context.clock.now().replace(minute=0, second=0, microsecond=0)
    return _recorded(f"{channel}#{mark}", f"repository/{home.path}", hour, _reason(untold), tries, context)


def _claimed_blind(home: Repository, channel: str, place: Destination, tries: int, context: Context) -> bool:
    """A registry has hundreds of repositories, and one reason why nobody can look at a destination: one of them tells
    it in a day, for all."""
    day = context.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    subject = f"registry/{home.registry}/{home.region}"
    return _recorded(f"{channel}#{place.path}", subject, day, f"{place} cannot be looked at", tries, context)


def _recorded(claim: str, subject: str, wanted_at: datetime, reason: str, tries: int, context: Context) -> bool:
    record = ActionRecord(
        ref=None,
        effect=f"REPLICATION#{claim}{f'#{tries}' if tries else ''}",
        wanted_at=wanted_at,
        kind=ActionKind.REPLICATION_FAILED,
        actor="system",
        reason=reason,
        at=context.clock.now(),
        subject=subject,
    )
    return context.table.record_action(record)


def _reason(untold: Sequence[Replica]) -> str:
    kinds: dict[str, int] = {}
    for replica in untold:
        said = f"{replica.alarm} at {replica.destination}"
        kinds[said] = kinds.get(said, 0) + 1
    return "; ".join(f"{n} {'copy' if n == 1 else 'copies'} {said}" for said, n in sorted(kinds.items()))


class StoredCopies(msgspec.Struct, frozen=True):
    """`after`: the digest to go on after, None where all were judged. `told`: see `ReplicationState`. `failure`: what a
    channel has raised; to be raised when all else is done."""

    replicas: tuple[Replica, ...]
    after: str | None
    told: tuple[str, ...]
    failure: LazarettoError | None


def store_copies(
    digests: Iterable[str],
    ends: Ends,
    context: Context,
    channels: Mapping[str, Channel],
    api_url: str | None,
    tries: int,
    blind: Blind | None = None,
    told: Sequence[str] = (),
) -> StoredCopies:
    """`blind` and `told`: of destinations that nobody can look at, which are told of where all was judged: only then is
    it kept who was told. Raises TransientError."""
    rules = context.rules.current()
    found, after = judge_copies(digests, ends, rules.policy, context)
    kept = [replica for one in found if (replica := _kept(one, ends, context)) is not None]
    done = [line for replica in kept if (line := _mirrored(replica, ends, rules, context)) is not None]
    unseen = blind if blind is not None and after is None else {}
    known, failure = notify_copies(ends.home, kept, unseen, done, tries, context, channels, api_url, told)
    return StoredCopies(tuple(found), after, known, failure)


def _kept(replica: Replica, ends: Ends, context: Context) -> Replica | None:
    """As it is stored now. None: somebody else has looked later, and what that one found stands."""
    former = ends.known.get((replica.ref.digest, replica.destination))
    if former is not None and replica.like(former) and replica.told == former.told:
        return former
    return replica if context.replicas.keep(replica) else None


def _mirrored(replica: Replica, ends: Ends, rules: Rules, context: Context) -> str | None:
    copy = ends.copies[replica.destination].images.get(replica.ref.digest)
    there = ends.there.get(replica.destination, {}).get(replica.ref.digest)
    ordered = there is not None and is_mirrored(there)
    if copy is None or not (ordered or Note.PASSES in replica.notes):
        return None
    return mirror_quarantine(replica, copy, ends.here.get(replica.ref.digest), rules, context)
