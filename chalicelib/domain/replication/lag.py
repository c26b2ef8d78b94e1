"""How long copies take: what a Region that is lost takes with it (the recovery point objective, RPO). Pure.

By ECR's own times: a copy's push at the destination less the push of its source, or less the restore that had it
copied. What cannot be known is counted and never a zero: a copy without a time, or with the very time of its source; a
destination that cannot be read. Left out is what no rule in force has copied: what is older than the rule (a backfill
brings it), what was there before its source, what ECR had copied and is gone since.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.images.fact import Fact
from chalicelib.domain.images.image import ImageDetail
from chalicelib.domain.replication.replica import Note, Replica, ReplicaStatus
from chalicelib.domain.replication.rules import DestinationAccess

MEASURED = timedelta(days=30)
"""Of which pushes the percentiles are."""
TOO_LONG = timedelta(hours=2)
"""From when a copy that waits is a fault: ECR copies most images within 30 minutes, and looks come hourly. The alarm in
the template has the same threshold."""
_ON_ITS_WAY = (ReplicaStatus.IN_PROGRESS, ReplicaStatus.MISSING, ReplicaStatus.FAILED)
_NOT_AWAITED = frozenset({Note.EXPIRED, Note.SOURCE_ARCHIVED, Note.OLDER_THAN_RULE, Note.NO_RULE})


class CopyTimes(msgspec.Struct, frozen=True):
    """One copy and both ends as they were listed. `source` None: it is there no more; `copy` None: not there."""

    replica: Replica
    sight: DestinationAccess
    source: ImageDetail | None
    copy: ImageDetail | None


class ReplicationLag(Fact, frozen=True):
    """Of one repository and destination. Seconds; None: nothing was measured. `arrived`: copies of the last 30 days
    whose time is known, and of them the percentiles; `waiting`: copies that are owed and not there as a whole, the
    oldest since `waiting_seconds`; `unknown`: copies whose time cannot be known."""

    arrived: int = 0
    p50_seconds: int | None = None
    p95_seconds: int | None = None
    max_seconds: int | None = None
    waiting: int = 0
    waiting_seconds: int | None = None
    unknown: int = 0

    @property
    def is_too_long(self) -> bool:
        return self.waiting_seconds is not None and self.waiting_seconds >= TOO_LONG.total_seconds()


def measure_lag(copies: Iterable[CopyTimes], now: datetime) -> ReplicationLag:
    arrived, waiting, unknown = list[int](), list[int](), 0
    for one in copies:
        if one.sight.gone_at is not None or one.source is None or _NOT_AWAITED & {*one.replica.notes}:
            continue
        starts = _starts(one.source)
        if not starts or _is_unseen(one):
            unknown += 1
        elif _is_awaited(one):
            waiting.append(max(0, _seconds(now - starts[-1])))
        elif (took := _taken(one, starts, now)) is not None:
            unknown += took == 0
            arrived += [took] if took > 0 else []
    return ReplicationLag(
        arrived=len(arrived),
        p50_seconds=_percentile(arrived, 50),
        p95_seconds=_percentile(arrived, 95),
        max_seconds=max(arrived, default=None),
        waiting=len(waiting),
        waiting_seconds=max(waiting, default=None),
        unknown=unknown,
    )


def longest_lag(copies: Sequence[CopyTimes], since: datetime | None, now: datetime) -> int | None:
    """The longest in seconds of what waits now, and of what has arrived after `since`, the look before (None: there was
    none, and all that is there was there before). None: nothing did."""
    news = [one for one in copies if _is_awaited(one) or _came_after(one, since)]
    lag = measure_lag(news, now)
    return max((s for s in (lag.waiting_seconds, lag.max_seconds) if s is not None), default=None)


def _came_after(one: CopyTimes, since: datetime | None) -> bool:
    at = one.copy.pushed_at if one.copy is not None else None
    return since is not None and at is not None and at > since


def _starts(source: ImageDetail) -> list[datetime]:
    """When ECR had reason to copy it: it was pushed, or restored from the archive. Earliest first."""
    return sorted(at for at in (source.pushed_at, source.activated_at) if at is not None)


def _is_unseen(one: CopyTimes) -> bool:
    return one.sight.unread is not None or one.replica.status is ReplicaStatus.UNREADABLE


def _is_awaited(one: CopyTimes) -> bool:
    """Not tags alone: when a tag was moved is not known."""
    lacks = one.copy is None or Note.CHILDREN in one.replica.notes
    return lacks and one.replica.status in _ON_ITS_WAY


def _taken(one: CopyTimes, starts: Sequence[datetime], now: datetime) -> int | None:
    """0: it cannot be known. None: it is none of ours to measure."""
    at = one.copy.pushed_at if one.copy is not None else None
    if at is None:
        return 0
    before = [start for start in starts if start <= at]
    if not before or before[-1] < max(one.sight.seen_at, now - MEASURED):
        return None
    return _seconds(at - before[-1])


def _seconds(taken: timedelta) -> int:
    return math.ceil(taken.total_seconds())


def _percentile(values: Iterable[int], percent: int) -> int | None:
    """The nearest rank: a value that was measured."""
    ranked = sorted(values)
    return ranked[math.ceil(len(ranked) * percent / 100) - 1] if ranked else None
