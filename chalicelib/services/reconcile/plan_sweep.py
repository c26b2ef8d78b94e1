"""Plan a sweep: one message for each repository of a registry, with its share of what Inspector says.

A planner that is out of time sends itself for what comes after the last repository it sent. One that is run twice sends
twice, which is harmless.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import partial

import msgspec

from chalicelib.domain.events.sweep_message import InitialBackfill, MatchSameDigest, PlanSweep, Sweep, SweepRepository
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.reconcile.difference import RepositoryFacts
from chalicelib.services.ports.answers import pages, repository_rows
from chalicelib.services.ports.context import Context
from chalicelib.services.reconcile.survey_registry import Survey, margin, survey_registry

PATIENCE = timedelta(seconds=20)
"""From when the survey is complete: else a slow registry would be surveyed again for each repository."""
CHANGES_KEPT = timedelta(days=2)
"""A repository whose findings were compared longer ago asks itself: the others' listing stays short."""
KNOWN_ASKED = 500
TOLD_AFTER_SECONDS = 900.0
COMPARED_AT, FINDINGS_AT = "reconcile_at", "reconcile_findings_at"
CLOCKS_APART = timedelta(minutes=1)


class Homes(msgspec.Struct, frozen=True):
    """All repositories of a sweep, in the order of its day. `known`: what is stored of them. `created`: of those that
    are listed."""

    homes: tuple[Repository, ...]
    known: Mapping[Repository, RepositoryFacts]
    created: Mapping[Repository, datetime | None]

    def facts(self, home: Repository) -> RepositoryFacts:
        return self.known.get(home, RepositoryFacts())


class SweepPlan(msgspec.Struct, frozen=True):
    """`homes` in the order of the day. `survey` None: there is nothing to ask Inspector. `filling`: repositories that
    no sweep has compared before, so that no event was lost."""

    homes: tuple[Repository, ...]
    survey: Survey | None = None
    filling: frozenset[Repository] = frozenset()

    def messages(self, plan: PlanSweep) -> Iterator[SweepRepository]:
        for home in self.homes:
            handed = self.survey.handed(home) if self.survey is not None else None
            yield SweepRepository(plan.sweep, home, plan.started_at, handed, filling=home in self.filling)


def plan_sweep(plan: PlanSweep, context: Context) -> SweepPlan:
    """The part after `plan.after`. Raises TransientError, UpstreamError."""
    found = find_homes(plan, context)
    day = plan.started_at.date()
    left = tuple(h for h in found.homes if plan.after is None or turn(h.path, day) > turn(plan.after, day))
    if plan.sweep is not Sweep.RECONCILE or not left:
        return SweepPlan(left)
    since = _since([found.facts(home) for home in left], plan.started_at, context)
    survey = survey_registry(left[0], [home.name for home in left], since, context)
    return SweepPlan(left, survey, find_filling(found, plan.started_at))


def send_plan(plan: PlanSweep, found: SweepPlan, context: Context) -> int:
    """Returns how many messages were sent. Where time runs out, one more message plans the rest."""
    sent = _send(found.messages(plan), len(found.homes), plan, context)
    if sent == len(found.homes) and found.filling:
        announce(plan.started_at, context)
    return sent


def _send(messages: Iterable[SweepRepository], count: int, plan: PlanSweep, context: Context) -> int:
    began, sent, left = context.clock.now(), 0, list(messages)
    keep_listed(left[:1], context)
    for sent, message in enumerate(left, 1):
        # The next one first: else the sweep would look over when those that were sent are compared.
        keep_listed(left[sent : sent + 1], context)
        context.outbox.send("sweeps", message)
        if sent < count and context.clock.now() - began > PATIENCE:
            rest = msgspec.structs.replace(plan, after=message.repository.path, attempt=0)
            context.outbox.send("sweeps", rest)
            break
    return sent


def keep_listed(messages: Iterable[SweepRepository], context: Context) -> None:
    """Keeps that the first sweep of a registry listed these, before any is compared: until all are, it is not over."""
    for message in messages:
        if message.filling:
            context.table.store_repository(message.repository, {"filling_at": message.started_at})


def announce(started_at: datetime, context: Context) -> None:
    """The summary of the first fill follows later, once: so it is sent after all else. A planner that dies afterwards
    sends it again, and the recorded action tells the second from the first."""
    context.outbox.send("sweeps", InitialBackfill(started_at=started_at), TOLD_AFTER_SECONDS)


def find_homes(plan: PlanSweep, context: Context) -> Homes:
    listed = _listed(plan.place, context)
    if plan.sweep not in (Sweep.RECONCILE, Sweep.REPLICATION):
        return Homes(_in_turn(listed, plan), {}, listed)
    known = known_homes(plan.place, listed, context)
    unlisted = known.keys() - listed.keys()
    if plan.sweep is Sweep.RECONCILE:  # of those not known to be deleted: their own message asks for them once more
        left = [home for home in unlisted if not known[home].is_deleted]
    else:
        left = [home for home in unlisted if known[home].has_copies]
    return Homes(_in_turn([*listed, *left], plan), known, listed)


def turn(path: str, day: date) -> tuple[int, str]:
    """Another order each day: what has a daily budget, above all scans, goes to the first repositories."""
    return zlib.crc32(f"{day:%Y-%m-%d} {path}".encode()), path


def _in_turn(homes: Collection[Repository], plan: PlanSweep) -> tuple[Repository, ...]:
    return tuple(sorted(homes, key=lambda home: turn(home.path, plan.started_at.date())))


def _listed(place: RegistryPlace, context: Context) -> dict[Repository, datetime | None]:
    found: dict[Repository, datetime | None] = {}
    for page in pages(lambda after: context.inventory.repositories(place, after)):
        found |= {msgspec.structs.replace(d.repository, region=place.region): d.created_at for d in page.repositories}
    return found


def known_homes(
    place: RegistryPlace, listed: Collection[Repository], context: Context
) -> dict[Repository, RepositoryFacts]:
    """What is stored of the private repositories of a registry. The listing says which account is ours; without it, and
    with images of several accounts in the table, none is taken to be ours."""
    found = {
        row.repository: RepositoryFacts.read(row.facts)
        for row in repository_rows(context.queries, KNOWN_ASKED)
        if row.repository.region == place.region and not row.repository.public
    }
    accounts = {place.account} if place.account else {home.registry for home in listed or found}
    return {home: facts for home, facts in found.items() if {home.registry} == accounts}


def find_filling(found: Homes, started_at: datetime) -> frozenset[Repository]:
    """Repositories that existed before the first comparison, and that no former sweep has compared: a first fill, or
    the rest of an interrupted one. What this sweep has compared before its planner was run again does not count."""
    compared = {home: found.facts(home).reconcile_at for home in found.homes}
    formerly = {h: at for h, at in compared.items() if at is not None and at < started_at - CLOCKS_APART}
    first = min(formerly.values(), default=started_at)
    new = {h for h, at in found.created.items() if formerly and (at is None or at >= first)}
    return frozenset(compared.keys() - formerly.keys() - new)


def _since(facts: Collection[RepositoryFacts], started_at: datetime, context: Context) -> datetime | None:
    """Up to when the findings are known of all that were compared lately."""
    times = [f.reconcile_findings_at for f in facts]
    lately = [at for at in times if at is not None and at > started_at - CHANGES_KEPT]
    return margin(min(lately), context) if lately else None


MATCHED_AFTER = timedelta(minutes=10)
"""Most repositories are listed by then; the next sweep finds the others."""
SHARDS = 8


def plan_public(plan: PlanSweep, context: Context) -> int:
    """A message for each public repository, and one for each shard in which the same digests are matched. Returns how
    many repositories were sent. Raises TransientError: requeue it."""
    registry = context.public.registry()
    stored = (row for row in repository_rows(context.queries, KNOWN_ASKED) if row.repository.public)
    rows = {row.repository: RepositoryFacts.read(row.facts) for row in stored}
    # What our sweeps have compared was ours, also by an alias that we have no more: its images are gone by that name.
    known = {h: f for h, f in rows.items() if f.public_at is not None or (registry is not None and registry.owns(h))}
    there = {home for home, facts in known.items() if not facts.is_unlisted}
    if registry is not None:
        listed = pages(partial(context.public.repositories, registry))
        there |= {detail.repository for page in listed for detail in page.repositories}
    homes = sorted(there, key=lambda home: home.path)
    left = [home for home in homes if plan.after is None or home.path > plan.after]
    handed = msgspec.json.encode(registry).decode()
    listed_at = [facts.public_at for facts in known.values() if facts.public_at is not None]
    first = not any(at < plan.started_at for at in listed_at)
    messages = (SweepRepository(plan.sweep, home, plan.started_at, handed, filling=first) for home in left)
    sent = _send(messages, len(left), plan, context)
    if homes and sent == len(left):
        # Where no public repository was listed before this sweep one summary announces what it finds.
        filling = plan.started_at if first else None
        for shard in range(SHARDS):
            context.outbox.send("sweeps", MatchSameDigest(shard, filling=filling), MATCHED_AFTER.total_seconds())
    return sent
