"""Check one repository's replication: every image at every destination, and the settings that ECR does not copy.

One call a page and end, whatever the number of images; see `judge_copies` for the others. A check that is out of time
goes on by another message, with what was listed (`list_ends`). Each part may be killed at any point and run again, and
two may run at once. After MOST_PARTS the rest is left to the next sweep, and people are told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.events.message import Metric
from chalicelib.domain.events.sweep_message import SweepRepository
from chalicelib.domain.images.image import Repository
from chalicelib.domain.reconcile.posture import RepositorySettings, differences
from chalicelib.domain.replication.check_progress import UNFINISHED, CheckProgress, ListedEnd, Unfinished
from chalicelib.domain.replication.lag import CopyTimes, longest_lag, measure_lag
from chalicelib.domain.replication.replica import Replica, ReplicationState, counted
from chalicelib.domain.replication.replica_case import Copies
from chalicelib.domain.replication.rules import Configuration, Destination, DestinationAccess, sights_of
from chalicelib.errors import UpstreamError
from chalicelib.services.ports.context import Context
from chalicelib.services.replication.announce_copies import announce_copies, announce_unfinished
from chalicelib.services.replication.judge_copies import Ends
from chalicelib.services.replication.list_ends import ListedEnds, list_ends
from chalicelib.services.replication.store_copies import store_copies

COMPARED_EVERY = timedelta(days=1)
PART = timedelta(seconds=60)
"""Of one message. Alarms that are all new take as long again to be stored as announced: with that it uses 60 % of its
function's 300 seconds at most, and ends although a batch begins messages for 150 seconds."""


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
    """The part of a check that `message.after` says. Raises TransientError: requeue it; DeniedError and UpstreamError
    where the source itself cannot be read: then nothing is changed."""
    home, until = message.repository, context.clock.now() + PART
    rules = context.replication.configuration(home)
    state = context.replicas.state(home)
    if not rules.destinations_of(home) and (state is None or not state.sights):
        now = context.clock.now()
        if state is None or state.unfinished is not None:
            context.replicas.store_state(home, ReplicationState(refreshed_at=now))
        context.table.store_repository(home, {"replication_at": now, "replication": {}, UNFINISHED: None})
        return
    tries = message.attempt + receives - 1
    _Check(message, rules, state or ReplicationState(), tries, until, context).run()


class _Check:
    """One part."""

    def __init__(
        self,
        message: SweepRepository,
        rules: Configuration,
        state: ReplicationState,
        tries: int,
        until: datetime,
        context: Context,
    ) -> None:
        self.message, self.rules, self.state, self.tries, self.context = message, rules, state, tries, context
        self.home, self.until, self.progress = message.repository, until, _progress(message, state)
        self.parts = message.parts_with(self.progress.parts)
        ends = self.progress.ends or _both_ends(self.home, rules, state)
        self.listing = list_ends(self.home, ends, tries, until, context)

    def run(self) -> None:
        if not self.listing.is_whole:
            self._go_on(self.progress.digest, self.listing.put_aside())
        elif (listed := self.listing.read()) is None:
            self._go_on(self.progress.digest, ())
        else:
            self._look(_ends(self.home, self.rules, self.state, listed))

    def _look(self, ends: Ends) -> None:
        looked = store_copies(ends, self.progress.digest, self.until, self.context)
        if looked.after is not None and self.parts is not None:
            announce_copies(self.home, looked.kept, {}, {}, looked.done, self.tries, self.context)
            self._go_on(looked.after, self.listing.put_aside())
            return
        standing = self.context.replicas.of(self.home).values()
        blind = {s.destination: s.unread for s in ends.sights if s.unread is not None and s.gone_at is None}
        paths = {place.path for place in blind}
        # A destination that can be looked at again, and then cannot, is announced anew.
        announced = [said for said in self.state.announced if said.partition(" ")[0] in paths]
        ended = {} if ends.deleted else _ended(ends, standing)
        known = announce_copies(self.home, looked.kept, blind, ended, looked.done, self.tries, self.context, announced)
        unfinished = None
        if looked.after is not None:
            since = self.progress.since or ends.at
            unfinished = Unfinished(since, looked.after, looked.left, len(ends.digests))
        _finish(ends, standing, known, self._looked_at(ends), unfinished, self.state, self.context)
        if unfinished is not None:
            announce_unfinished(self.home, unfinished, self.tries, self.context)

    def _looked_at(self, ends: Ends) -> datetime:
        """When the first of the images were listed that no later sweep has looked at again."""
        return min(self.progress.since or ends.at, ends.at)

    def _go_on(self, digest: str, ends: tuple[ListedEnd, ...]) -> None:
        """By another message; where the chain is too long, by the next sweep."""
        if self.parts is None:
            former = self.state.unfinished
            unfinished = Unfinished(former.since if former is not None else self.message.started_at, digest)
            self.context.replicas.store_state(self.home, msgspec.structs.replace(self.state, unfinished=unfinished))
            self.context.table.store_repository(self.home, {UNFINISHED: msgspec.to_builtins(unfinished)})
            announce_unfinished(self.home, unfinished, self.tries, self.context)
            return
        after = str(msgspec.structs.replace(self.progress, digest=digest, ends=ends, parts=self.parts))
        self.context.outbox.send("sweeps", msgspec.structs.replace(self.message, after=after, attempt=0))


def _progress(message: SweepRepository, state: ReplicationState) -> CheckProgress:
    """A new sweep goes on with what the last one has left."""
    if message.after is not None:
        return CheckProgress.read(message.after)
    if state.unfinished is None or not state.unfinished.digest:
        return CheckProgress()
    return CheckProgress(state.unfinished.digest, since=state.unfinished.since)


def _both_ends(home: Repository, rules: Configuration, state: ReplicationState) -> tuple[ListedEnd, ...]:
    """The source is listed last."""
    places = sorted({*rules.destinations_of(home), *(sight.destination for sight in state.sights)})
    return (*map(ListedEnd, places), ListedEnd())


def _ends(home: Repository, rules: Configuration, state: ReplicationState, listed: ListedEnds) -> Ends:
    """A destination that a rule names since the check has begun is looked at by the next one."""
    copies, destinations = listed.copies, rules.destinations_of(home)
    seen = sights_of(state.sights, destinations, listed.at, rules.deleting(home))
    sights = [s.looked_at(copies[s.destination].unread, listed.at) for s in seen if s.destination in copies]
    return Ends(
        home=home,
        source=listed.source or {},
        at=listed.at,
        sights=sights,
        copies=copies,
        deleted=listed.source is None,
    )


def _ended(ends: Ends, standing: Iterable[Replica]) -> dict[Destination, int]:
    """How many copies are at destinations that a rule named at the last check, and none names any more."""
    counts = {s.destination: 0 for s in ends.sights if s.gone_at == ends.at}
    for replica in standing:
        if replica.destination in counts:
            counts[replica.destination] += 1
    return {place: n for place, n in counts.items() if n}


def _finish(
    ends: Ends,
    standing: Collection[Replica],
    announced: tuple[str, ...],
    looked_at: datetime,
    unfinished: Unfinished | None,
    former: ReplicationState,
    context: Context,
) -> None:
    """What is `unfinished` keeps the time of the last whole look, and forgets no destination."""
    home, now = ends.home, ends.at
    left = {replica.destination for replica in standing}
    sights = tuple(s for s in ends.sights if s.destination in left or (s.gone_at is None and not ends.deleted))
    if unfinished is None:
        sights = compare_settings(home, sights, now, context)
    times = {sight.destination: _times(sight, standing, ends) for sight in sights}
    lags = (longest_lag(copies, former.refreshed_at, now) for copies in times.values())
    if (lag := max((lag for lag in lags if lag is not None), default=None)) is not None:
        context.journal.measure(Metric.REPLICATION_LAG_SECONDS, lag)
    facts: dict[str, object] = {
        "replication": _result(standing, sights, times, now),
        UNFINISHED: None if unfinished is None else msgspec.to_builtins(unfinished),
    }
    if unfinished is None:
        facts["replication_at"] = looked_at
    refreshed_at = looked_at if unfinished is None else former.refreshed_at
    context.replicas.store_state(home, ReplicationState(sights, refreshed_at, announced, unfinished))
    context.table.store_repository(home, facts)


def _times(sight: DestinationAccess, standing: Iterable[Replica], ends: Ends) -> list[CopyTimes]:
    there = ends.copies.get(sight.destination, Copies(ends.home)).images
    return [
        CopyTimes(replica, sight, ends.source.get(replica.ref.digest), there.get(replica.ref.digest))
        for replica in standing
        if replica.destination == sight.destination
    ]


def _result(
    standing: Iterable[Replica],
    sights: Sequence[DestinationAccess],
    times: Mapping[Destination, Sequence[CopyTimes]],
    now: datetime,
) -> dict[str, dict[str, object]]:
    """By destination: counts of its copies, how long they take, why it cannot be read, and how its settings differ."""
    found: dict[Destination, list[Replica]] = {sight.destination: [] for sight in sights}
    for replica in standing:
        found.setdefault(replica.destination, []).append(replica)
    return {
        sight.destination.path: {
            **counted(found[sight.destination]),
            "alarms": sum(bool(r.alarm) for r in found[sight.destination]),
            "lag": msgspec.to_builtins(measure_lag(times[sight.destination], now)),
            **({"unread": sight.unread} if sight.unread is not None else {}),
            **({"unread_at": sight.unread_at.isoformat()} if sight.unread_at is not None else {}),
            **({"settings": list(sight.differences)} if sight.differences else {}),
        }
        for sight in sights
    }
