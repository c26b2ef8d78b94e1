"""Check one repository's replication: every image at every destination, and the settings that ECR does not copy.

Two calls a page and end, whatever the number of images; see `judge_copies` for the others. It may be killed at any
point and run again, and two may run at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.events.message import Metric
from chalicelib.domain.events.sweep_message import SweepRepository
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Repository
from chalicelib.domain.reconcile.posture import RepositorySettings, differences
from chalicelib.domain.replication.lag import CopyTimes, longest_lag, measure_lag
from chalicelib.domain.replication.replica import Replica, ReplicationState, counted
from chalicelib.domain.replication.replica_case import Copies, Listed
from chalicelib.domain.replication.rules import Configuration, Destination, DestinationAccess, sights_of
from chalicelib.errors import AbsentError, UpstreamError
from chalicelib.services.ports.context import Context
from chalicelib.services.replication.judge_copies import Ends, list_copies
from chalicelib.services.replication.store_copies import StoredCopies, store_copies

COMPARED_EVERY = timedelta(days=1)


def compare_settings(
    home: Repository, sights: tuple[DestinationAccess, ...], now: datetime, context: Context
) -> tuple[DestinationAccess, ...]:
    """Once a day for each destination that a rule names. What AWS does not answer now is compared by the next sweep."""
    open_ = (s for s in sights if s.gone_at is None and s.unread is None)
    due = [s for s in open_ if s.compared_at is None or now >= s.compared_at + COMPARED_EVERY]
    if not due or (source := _settings(home, context)) is None:
        return sights
    compared: dict[Destination, DestinationAccess] = {}
    for sight in due:
        there = _settings(sight.destination.repository(home), context)
        if there is not None:  # one that is not there (yet) is compared by the next sweep
            found = differences(source, there)
            compared[sight.destination] = msgspec.structs.replace(sight, differences=found, compared_at=now)
    return tuple(compared.get(s.destination, s) for s in sights)


def _settings(home: Repository, context: Context) -> RepositorySettings | None:
    try:
        return context.replication.settings(home)
    except UpstreamError:
        return None


def check_replication(message: SweepRepository, context: Context, *, receives: int = 1) -> None:
    """`message.after`: the digest after which it continues. Raises TransientError: requeue it; DeniedError and
    UpstreamError where the source itself cannot be read: then nothing is changed."""
    home = message.repository
    rules = context.replication.configuration(home)
    destinations = rules.destinations_of(home)
    state = context.replicas.state(home)
    if not destinations and (state is None or not state.sights):
        now = context.clock.now()
        if state is None:
            context.replicas.store_state(home, ReplicationState(refreshed_at=now))
        context.table.store_repository(home, {"replication_at": now, "replication": {}})
        return
    known = context.replicas.of(home)
    tries = message.attempt + receives - 1
    ends = _ends(home, rules, state or ReplicationState(), known, tries, context)
    after = message.after or ""
    digests = [digest for digest in ends.digests if digest > after]
    blind = _blind(ends)
    paths = {place.path for place in blind}
    # A destination that can be looked at again, and then cannot, is announced anew.
    announced = [said for said in (state.announced if state else ()) if said.partition(" ")[0] in paths]
    kept = store_copies(digests, ends, context, tries, blind, _ended(ends), announced)
    if kept.after is not None:
        context.outbox.send("sweeps", msgspec.structs.replace(message, after=kept.after, attempt=0))
        return
    gone = _drop_gone(ends, context)
    _finish(ends, kept, gone, state, context)


def _ends(
    home: Repository,
    rules: Configuration,
    state: ReplicationState,
    known: Mapping[tuple[str, Destination], Replica],
    tries: int,
    context: Context,
) -> Ends:
    """The source is listed last: see `judge_copies`."""
    destinations = rules.destinations_of(home)
    places = sorted({*destinations, *(sight.destination for sight in state.sights)})
    copies = {place: list_copies(place.repository(home), context, tries) for place in places}
    try:
        listed = context.replication.listing(home)
    except AbsentError:  # the repository was deleted, and may have left copies
        listed = None
    source = listed or Listed({}, context.clock.now())
    seen = sights_of(state.sights, destinations, source.at, rules.deleting(home))
    sights = [sight.looked_at(copies[sight.destination].unread, source.at) for sight in seen]
    return Ends(
        home=home,
        source=source.images,
        at=source.at,
        sights=sights,
        copies=copies,
        here=_headers(home, context),
        there={place: _headers(place.repository(home), context) for place in places},
        known=known,
        deleted=listed is None,
    )


def _headers(home: Repository, context: Context) -> dict[str, Header]:
    return {header.ref.digest: header for header in context.table.headers_of(home)}


def _blind(ends: Ends) -> dict[Destination, str]:
    return {s.destination: s.unread for s in ends.sights if s.unread is not None and s.gone_at is None}


def _ended(ends: Ends) -> dict[Destination, int]:
    """How many copies are at destinations that a rule named at the last check, and none names any more."""
    ended = [s.destination for s in ends.sights if s.gone_at == ends.at]
    counts = {place: sum(there == place for _, there in ends.known) for place in ended}
    return {place: n for place, n in counts.items() if n and not ends.deleted}


def _drop_gone(ends: Ends, context: Context) -> set[tuple[str, Destination]]:
    """Copies that are neither wanted nor listed at the destination any more."""
    gone = set()
    for (digest, place), replica in ends.known.items():
        copies = ends.copies.get(place, Copies(ends.home))
        nowhere = digest not in copies.images and copies.unread is None
        wanted = digest in ends.source and any(s.destination == place and s.gone_at is None for s in ends.sights)
        if nowhere and not wanted:
            context.replicas.drop(replica)
            gone.add((digest, place))
    return gone


def _finish(
    ends: Ends,
    kept: StoredCopies,
    gone: set[tuple[str, Destination]],
    former: ReplicationState | None,
    context: Context,
) -> None:
    home, now = ends.home, ends.at
    found = {(r.ref.digest, r.destination): r for r in kept.replicas}
    standing = {key: r for key, r in {**ends.known, **found}.items() if key not in gone}
    left = {place for _, place in standing}
    sights = tuple(s for s in ends.sights if s.destination in left or (s.gone_at is None and not ends.deleted))
    sights = compare_settings(home, sights, now, context)
    times = {sight.destination: _times(sight, standing.values(), ends) for sight in sights}
    lags = (longest_lag(copies, former.refreshed_at if former is not None else None, now) for copies in times.values())
    if (lag := max((lag for lag in lags if lag is not None), default=None)) is not None:
        context.journal.measure(Metric.REPLICATION_LAG_SECONDS, lag)
    context.replicas.store_state(home, ReplicationState(sights, now, kept.announced))
    context.table.store_repository(home, {"replication_at": now, "replication": _result(standing, sights, times, now)})


def _times(sight: DestinationAccess, standing: Iterable[Replica], ends: Ends) -> list[CopyTimes]:
    there = ends.copies.get(sight.destination, Copies(ends.home)).images
    return [
        CopyTimes(replica, sight, ends.source.get(replica.ref.digest), there.get(replica.ref.digest))
        for replica in standing
        if replica.destination == sight.destination
    ]


def _result(
    standing: Mapping[tuple[str, Destination], Replica],
    sights: Sequence[DestinationAccess],
    times: Mapping[Destination, Sequence[CopyTimes]],
    now: datetime,
) -> dict[str, dict[str, object]]:
    """By destination: counts of its copies, how long they take, why it cannot be read, and how its settings differ."""
    return {
        sight.destination.path: {
            **counted(r for (_, place), r in standing.items() if place == sight.destination),
            "alarms": sum(bool(r.alarm) for (_, place), r in standing.items() if place == sight.destination),
            "lag": msgspec.to_builtins(measure_lag(times[sight.destination], now)),
            **({"unread": sight.unread} if sight.unread is not None else {}),
            **({"unread_at": sight.unread_at.isoformat()} if sight.unread_at is not None else {}),
            **({"settings": list(sight.differences)} if sight.differences else {}),
        }
        for sight in sights
    }
