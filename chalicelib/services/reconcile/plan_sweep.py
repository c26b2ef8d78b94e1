"""Plan a sweep: one message for each repository of a registry, for a reconcile with its share of what Inspector says.

Nothing depends on one run finishing a registry: who is out of time sends itself on behind the repository it sent last,
and who is run twice sends twice, which is harmless.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime, timedelta

import msgspec

from chalicelib.domain.events.sweep_message import InitialBackfill, PlanSweep, Sweep, SweepRepository
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.reconcile.repository_facts import RepositoryFacts
from chalicelib.domain.reconcile.scan_comparison import ASKED_AGAIN
from chalicelib.services.ports.context import Context
from chalicelib.services.reconcile.survey_registry import Survey, survey_registry

PATIENCE = timedelta(seconds=20)
"""From when all is found out: a registry that takes longer than this would be surveyed again for each repository."""
CHANGES_KEPT = timedelta(days=2)
"""Whose findings were compared longer ago asks for them itself: it must not make all others' listing longer."""
KNOWN_ASKED = 500
TOLD_AFTER_SECONDS = 900.0
COMPARED_AT, FINDINGS_AT = "reconcile_at", "reconcile_findings_at"
CLOCKS_APART = timedelta(minutes=1)


class Homes(msgspec.Struct, frozen=True):
    """All repositories of a sweep, in the order of its day, what is stored of them, and when those that are listed were
    made."""

    homes: tuple[Repository, ...]
    known: Mapping[Repository, RepositoryFacts]
    created: Mapping[Repository, datetime | None]

    def facts(self, home: Repository) -> RepositoryFacts:
        """Of one that was never heard of: none."""
        return self.known.get(home, RepositoryFacts())


class SweepPlan(msgspec.Struct, frozen=True):
    """`homes` in the order of the day. `survey` None: this sweep asks Inspector nothing, or there is nothing to ask
    about. `filling`: those of all the registry of which nothing can have been lost yet."""

    homes: tuple[Repository, ...]
    survey: Survey | None = None
    filling: frozenset[Repository] = frozenset()

    def messages(self, plan: PlanSweep) -> Iterator[SweepRepository]:
        for home in self.homes:
            handed = self.survey.handed(home) if self.survey is not None else None
            yield SweepRepository(plan.sweep, home, plan.started_at, handed, filling=home in self.filling)


def plan_sweep(plan: PlanSweep, context: Context) -> SweepPlan:
    """What is left of the sweep: all of it, or what comes after `plan.after`. Raises TransientError, UpstreamError."""
    found = find_homes(plan, context)
    day = plan.started_at.date()
    left = tuple(h for h in found.homes if plan.after is None or turn(h.path, day) > turn(plan.after, day))
    if plan.sweep is not Sweep.RECONCILE or not left:
        return SweepPlan(left)
    since = _since([found.facts(home) for home in left], plan.started_at, context)
    survey = survey_registry(left[0], [home.name for home in left], since, context)
    return SweepPlan(left, survey, find_filling(found, plan.started_at))


def send_plan(plan: PlanSweep, found: SweepPlan, context: Context) -> int:
    """Returns how many messages were sent: all, or as many as there was time for, and one that goes on behind them."""
    began = context.clock.now()
    for sent, message in enumerate(found.messages(plan), 1):
        context.outbox.send("sweeps", message)
        if sent < len(found.homes) and context.clock.now() - began > PATIENCE:
            rest = msgspec.structs.replace(plan, after=message.repository.path, attempt=0)
            context.outbox.send("sweeps", rest)
            return sent
    if found.filling:
        announce(plan.started_at, context)
    return len(found.homes)


def announce(started_at: datetime, context: Context) -> None:
    """People are to be told of the first fill of that sweep in a while, by a summary: once, so after all else is
    sent. A planner that dies afterwards sends it again, and the sweep tells one from the other."""
    context.outbox.send("sweeps", InitialBackfill(started_at=started_at), TOLD_AFTER_SECONDS)


def find_homes(plan: PlanSweep, context: Context) -> Homes:
    listed = _listed(plan.place, context)
    if plan.sweep not in (Sweep.RECONCILE, Sweep.REPLICATION):
        return Homes(_in_turn(listed, plan), {}, listed)
    known = known_homes(plan.place, listed, context)
    left = _gone(listed, known) if plan.sweep is Sweep.RECONCILE else _copied(listed, known)
    return Homes(_in_turn([*listed, *left], plan), known, listed)


def turn(path: str, day: date) -> tuple[int, str]:
    """Another order each day: what is granted by the day, scans above all, goes to whoever comes first."""
    return zlib.crc32(f"{day:%Y-%m-%d} {path}".encode()), path


def _in_turn(homes: Collection[Repository], plan: PlanSweep) -> tuple[Repository, ...]:
    return tuple(sorted(homes, key=lambda home: turn(home.path, plan.started_at.date())))


def _listed(place: RegistryPlace, context: Context) -> dict[Repository, datetime | None]:
    found: dict[Repository, datetime | None] = {}
    after: str | None = None
    while True:
        page = context.inventory.repositories(place, after)
        found |= {msgspec.structs.replace(d.repository, region=place.region): d.created_at for d in page.repositories}
        if page.after is None:
            return found
        after = page.after


def known_homes(
    place: RegistryPlace, listed: Collection[Repository], context: Context
) -> dict[Repository, RepositoryFacts]:
    """What is stored of the private repositories of a registry. Our own account's id is what its listing says; where
    that is empty, and images of several accounts are known, nobody can tell which are ours."""
    found: dict[Repository, RepositoryFacts] = {}
    after: str | None = None
    while True:
        page = context.queries.repositories(after, KNOWN_ASKED)
        rows = [row for row in page.items if row.repository.region == place.region and not row.repository.public]
        found |= {row.repository: RepositoryFacts.read(row.facts) for row in rows}
        if page.after is None:
            break
        after = page.after
    accounts = {place.account} if place.account else {home.registry for home in listed or found}
    return {home: facts for home, facts in found.items() if {home.registry} == accounts}


def _gone(listed: Collection[Repository], known: Mapping[Repository, RepositoryFacts]) -> Iterator[Repository]:
    """Repositories that are not listed, and of which nobody has told that they were deleted. Whether they are there is
    asked once more by whoever handles them."""
    return (home for home in known.keys() - {*listed} if not known[home].is_deleted)


def _copied(listed: Collection[Repository], known: Mapping[Repository, RepositoryFacts]) -> Iterator[Repository]:
    """Repositories that are not listed and have left copies elsewhere."""
    return (home for home in known.keys() - {*listed} if known[home].has_copies)


def find_filling(found: Homes, started_at: datetime) -> frozenset[Repository]:
    """Those that no former sweep has compared and that were there before any was: a first fill, or what is left of one
    that was broken off. A planner that is run again finds what its own sweep has compared meanwhile, by AWS's clock."""
    compared = {home: found.facts(home).reconcile_at for home in found.homes}
    formerly = {h: at for h, at in compared.items() if at is not None and at < started_at - CLOCKS_APART}
    first = min(formerly.values(), default=started_at)
    new = {h for h, at in found.created.items() if formerly and (at is None or at >= first)}
    return frozenset(compared.keys() - formerly.keys() - new)


def _since(facts: Collection[RepositoryFacts], started_at: datetime, context: Context) -> datetime | None:
    """How far all are known whose findings were compared lately."""
    times = [f.reconcile_findings_at for f in facts]
    lately = [at for at in times if at is not None and at > started_at - CHANGES_KEPT]
    return margin(min(lately), context) if lately else None


def margin(at: datetime, context: Context) -> datetime:
    """A finding may be listed that much later than it was updated."""
    return at - ASKED_AGAIN * context.consistency_delay
