"""What a candidate policy would change, added up over many images: exact counts, and the worst images by name. Pure.

A report is put together of parts, one for each shard of the images, in whatever order they come. How one image is
judged is `what_if.py`'s business.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from enum import StrEnum
from itertools import groupby
from typing import Any

import msgspec

from chalicelib.domain.enforcement.fuse import share_of
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Holding
from chalicelib.domain.images.image import ImageRef, InUse, InUseState, Kind
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.domain.whatif.due_acts import NO_ACTS, DueAct, DueActs
from chalicelib.domain.whatif.past import PastNote
from chalicelib.domain.whatif.what_if import Day, Ruling, Weighed

ROWS_OF_PART = 200
ROWS_OF_REPORT = 500
RUNS_KEPT = 12
UNREADABLE_NAMED = 10


class Impact(StrEnum):
    """What applying the candidate would do to an image, the gravest first. "Closed" is BLOCK or QUARANTINE.

    ACTS: both decide alike, but the candidate has something done to it that the policy in force has not. PAST: nothing
    now, but on a past day one policy would have closed it and the other not. STAYS: closed now or in the past, or acted
    on, by both alike.
    """

    CLOSES = "CLOSES"
    OPENS = "OPENS"
    ACTS = "ACTS"
    CHANGES = "CHANGES"
    PAST = "PAST"
    STAYS = "STAYS"


class RunningImage(msgspec.Struct, frozen=True):
    """Successive past days on which both policies said the same, with the reasons of the first, by rule and ids."""

    first: date
    last: date
    today: Ruling
    candidate: Ruling
    notes: tuple[PastNote, ...]


class WhatIfRow(msgspec.Struct, frozen=True):
    """One image that the candidate closes or changes, now or in the past.

    `first_closed`: the first past day on which the candidate would have closed it; `closed_since`: the first day of
    those without a break until now. `days_closed`, `days_closed_today`: on how many past days the candidate, and
    today's policy, would have closed it. `runs`: the newest first, without days on which both let it pass and agree;
    `runs_left_out` are older. `in_use` is as of now. `acts`: what is due under the candidate, in the order in which it
    is done; `acts_today`: under the policy in force.
    """

    ref: ImageRef
    kind: Kind
    tags: tuple[str, ...]
    impact: Impact
    today: Ruling
    candidate: Ruling
    in_use: InUse
    days_closed: int = 0
    days_closed_today: int = 0
    first_closed: date | None = None
    closed_since: date | None = None
    runs: tuple[RunningImage, ...] = ()
    runs_left_out: int = 0
    acts: tuple[DueAct, ...] = ()
    acts_today: tuple[DueAct, ...] = ()


class Tally(msgspec.Struct, frozen=True):
    """Exact counts of images. `today`, `candidate`: by decision as of now; `moves`: `WARN>BLOCK`, where they differ.

    `closes_running`: of those it newly closes, how many run; `closes_maybe_running`: unknown, treat as running.
    `past_closed`, `past_closed_today`: closed on some past day by the candidate, by today's policy. `kev_open`: see
    `Weighed`. `unreadable`: could not be judged, and are in no other count.

    `acts`, `acts_today`: how many images are `quarantined`, `denied`, `released` when all that is due is done; how many
    of those are `held` because something runs them or may run them, and of how many acts are only `observed`. By the
    path of the repository: `taken`, `given_back`: images that pass the fuse, or the brake, under the candidate;
    `denies`: images for which the candidate denies pulls.
    """

    images: int = 0
    today: dict[Decision, int] = {}
    candidate: dict[Decision, int] = {}
    moves: dict[str, int] = {}
    closes: int = 0
    closes_running: int = 0
    closes_maybe_running: int = 0
    opens: int = 0
    past_closed: int = 0
    past_closed_today: int = 0
    kev_open: int = 0
    unreadable: int = 0
    acts: dict[str, int] = {}
    acts_today: dict[str, int] = {}
    taken: dict[str, int] = {}
    given_back: dict[str, int] = {}
    denies: dict[str, int] = {}


class ShardPart(msgspec.Struct, frozen=True):
    """One shard as far as it was judged: all images up to the path `after`, of `size` in the shard when last counted.

    `revision` counts its puts. `rows` are the worst, `rows_left_out` how many more there were. `unreadable` names the
    first images that could not be judged.
    """

    shard: int
    revision: int = 0
    after: str | None = None
    done: bool = False
    size: int | None = None
    tally: Tally = Tally()
    rows: tuple[WhatIfRow, ...] = ()
    rows_left_out: int = 0
    unreadable: tuple[ImageRef, ...] = ()


class Job(msgspec.Struct, frozen=True):
    """A what-if that was asked for. `today` and `candidate` are policies as documents; `today_version` is the number
    of the one in force when it was asked. Everything is judged as of `at`. `known_since`: before it, some of the past
    may be forgotten; None: of none that is asked for."""

    id: str
    by: str
    at: datetime
    since_days: int
    today_version: int
    today: dict[str, Any]
    candidate: dict[str, Any]
    known_since: datetime | None = None


class WhatIfReport(msgspec.Struct, frozen=True):
    """`shards` of `of_shards` are done; `size` images are known to be in those that were begun (None: none was).

    `hours_at_fuse`, `hours_at_brake`: at least so long after the first of what the candidate takes away, or gives back,
    the last of it is done, if nothing but the two counters holds it and no person resets them.
    """

    job: Job
    done: bool
    shards: int
    of_shards: int
    size: int | None
    tally: Tally
    rows: tuple[WhatIfRow, ...]
    rows_left_out: int
    unreadable: tuple[ImageRef, ...]
    hours_at_fuse: int = 0
    hours_at_brake: int = 0


def row_of(header: Header, weighed: Weighed, acts: DueActs = NO_ACTS) -> WhatIfRow | None:
    """None where neither policy closes it at any time or has anything done to it, and both say the same now."""
    impact = _impact(weighed, acts)
    closed = [day for day in weighed.past if day.candidate.closes]
    runs = [run for run in _runs(weighed.past) if run.today.closes or run.candidate.closes or _differ(run)]
    if impact is Impact.STAYS and not weighed.candidate.closes and not closed and acts == NO_ACTS:
        return None
    return WhatIfRow(
        ref=header.ref,
        kind=header.kind,
        tags=header.tags,
        impact=impact,
        today=weighed.today,
        candidate=weighed.candidate,
        in_use=header.in_use,
        days_closed=len(closed),
        days_closed_today=sum(day.today.closes for day in weighed.past),
        first_closed=closed[0].day if closed else None,
        closed_since=_closed_since(weighed),
        runs=tuple(reversed(runs[-RUNS_KEPT:])),
        runs_left_out=max(0, len(runs) - RUNS_KEPT),
        acts=acts.candidate,
        acts_today=acts.today,
    )


def tally_of(header: Header, weighed: Weighed, acts: DueActs = NO_ACTS) -> Tally:
    """Of one image."""
    today, candidate = weighed.today, weighed.candidate
    closes = candidate.closes and not today.closes
    state = header.in_use.state
    return Tally(
        images=1,
        today={today.decision: 1},
        candidate={candidate.decision: 1},
        moves={} if today.decision is candidate.decision else {f"{today.decision}>{candidate.decision}": 1},
        closes=int(closes),
        closes_running=int(closes and state is InUseState.YES),
        closes_maybe_running=int(closes and state is InUseState.UNKNOWN),
        opens=int(today.closes and not candidate.closes),
        past_closed=int(any(day.candidate.closes for day in weighed.past)),
        past_closed_today=int(any(day.today.closes for day in weighed.past)),
        kev_open=int(weighed.kev_open),
        acts=_counted(acts.candidate),
        acts_today=_counted(acts.today),
        taken=_passing(header, acts.candidate, ActionType.QUARANTINE),
        given_back=_passing(header, acts.candidate, ActionType.RELEASE, ActionType.UNBLOCK),
        denies=_passing(header, acts.candidate, ActionType.BLOCK),
    )


_DONE = {
    ActionType.QUARANTINE: "quarantined",
    ActionType.BLOCK: "denied",
    ActionType.RELEASE: "released",
    ActionType.UNBLOCK: "released",
}
_HELD = (Holding.RUNNING, Holding.QUIET)


def _counted(acts: Sequence[DueAct]) -> dict[str, int]:
    """Of one image, once each."""
    names = {_DONE[kind] for kind in _done(acts)}
    waits = {act.waits for act in acts}
    held, observed = waits & {*_HELD}, Holding.OBSERVE in waits
    return dict.fromkeys((*sorted(names), *(["held"] if held else []), *(["observed"] if observed else [])), 1)


def _passing(header: Header, acts: Sequence[DueAct], *kinds: ActionType) -> dict[str, int]:
    """What counts at the fuse or the brake, once nothing else holds it."""
    passes = any(a.kind in kinds and a.counted and a.waits not in (*_HELD, Holding.OBSERVE) for a in acts)
    return {header.ref.home.path: 1} if passes else {}


def _hours(images: Iterable[int], limit: int) -> int:
    """After the first. `images`: of each repository, which has a share of the limit."""
    by_repository = list(images)
    rounds = (-(-sum(by_repository) // limit), *(-(-n // share_of(limit)) for n in by_repository))
    return max(0, max(rounds) - 1)


def added(tallies: Iterable[Tally]) -> Tally:
    total: dict[str, Any] = msgspec.structs.asdict(Tally())
    total |= {name: {} for name, value in total.items() if isinstance(value, dict)}
    for tally in tallies:
        for name, value in msgspec.structs.asdict(tally).items():
            if isinstance(value, dict):
                for key, count in value.items():
                    total[name][key] = total[name].get(key, 0) + count
            else:
                total[name] += value
    return Tally(**total)


def worst_rows(rows: Iterable[WhatIfRow], most: int) -> tuple[WhatIfRow, ...]:
    return tuple(heapq.nsmallest(most, rows, key=_gravity))


def report_of(job: Job, parts: Sequence[ShardPart], of_shards: int) -> WhatIfReport:
    """`parts`: those that were begun."""
    sizes = [part.size for part in parts if part.size is not None]
    rows = worst_rows((row for part in parts for row in part.rows), ROWS_OF_REPORT)
    left_out = sum(len(part.rows) + part.rows_left_out for part in parts) - len(rows)
    shards = sum(part.done for part in parts)
    unreadable = tuple(ref for part in parts for ref in part.unreadable)[:UNREADABLE_NAMED]
    tally = added(part.tally for part in parts)
    size = sum(sizes) if sizes else None
    policy = parse_policy(job.candidate)
    taken = (*tally.taken.values(), *(1 for _ in tally.denies))
    return WhatIfReport(
        job=job,
        done=shards == of_shards,
        shards=shards,
        of_shards=of_shards,
        size=size,
        tally=tally,
        rows=rows,
        rows_left_out=left_out,
        unreadable=unreadable,
        hours_at_fuse=_hours(taken, policy.quarantine.max_per_hour),
        hours_at_brake=_hours(tally.given_back.values(), policy.release.max_per_hour),
    )


def _impact(weighed: Weighed, acts: DueActs) -> Impact:
    today, candidate = weighed.today, weighed.candidate
    if candidate.closes is not today.closes:
        return Impact.CLOSES if candidate.closes else Impact.OPENS
    if _done(acts.candidate) - _done(acts.today):
        return Impact.ACTS
    if candidate.decision is not today.decision:
        return Impact.CHANGES
    differed = any(day.candidate.closes is not day.today.closes for day in weighed.past)
    return Impact.PAST if differed else Impact.STAYS


def _done(acts: Sequence[DueAct]) -> set[ActionType]:
    return {act.kind for act in acts if act.waits is not Holding.OBSERVE}


def _differ(run: RunningImage) -> bool:
    return run.today.decision is not run.candidate.decision


def _runs(past: Sequence[Day]) -> Iterator[RunningImage]:
    """Oldest first."""
    for _, group in groupby(past, key=lambda d: (d.today.decision, d.candidate.decision, d.candidate.rule, d.notes)):
        days = list(group)
        first = days[0]
        today, candidate = (msgspec.structs.replace(r, detail="") for r in (first.today, first.candidate))
        yield RunningImage(first.day, days[-1].day, today, candidate, first.notes)


def _closed_since(weighed: Weighed) -> date | None:
    """None where the candidate does not close it now, or only began to today."""
    if not weighed.candidate.closes:
        return None
    since = None
    for day in reversed(weighed.past):
        if not day.candidate.closes:
            break
        since = day.day
    return since


_IMPACTS = {impact: n for n, impact in enumerate(Impact)}
_RUNNING = {InUseState.YES: 0, InUseState.UNKNOWN: 1, InUseState.NO: 2}


def _gravity(row: WhatIfRow) -> tuple[object, ...]:
    """Worst first: what it newly closes and runs; then the stronger decision, the more findings, the longer."""
    return (
        _IMPACTS[row.impact],
        -row.candidate.decision.rank,
        _RUNNING[row.in_use.state],
        -row.candidate.count,
        -row.days_closed,
        row.ref,
    )
