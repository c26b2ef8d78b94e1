"""Plan a sweep: one message for each repository of our registry in a Region, for a reconcile with its share of what
Inspector says.

Nothing depends on one run finishing a registry: who is out of time sends itself on behind the repository it sent last,
and who is run twice sends twice, which is harmless.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.image import Repository
from chalicelib.domain.scan_comparison import ASKED_AGAIN
from chalicelib.domain.sweep import Sweep
from chalicelib.domain.sweep_message import Filled, PlanSweep, SweepRepository
from chalicelib.services.survey_registry import Survey, survey_registry
from chalicelib.services.sweep_ports import SweepHouse

PATIENCE = timedelta(seconds=20)
CHANGES_KEPT = timedelta(days=2)
"""Whose findings were compared longer ago asks for them itself: it must not make all others' listing longer."""
KNOWN_ASKED = 500
TOLD_AFTER_SECONDS = 900.0
COMPARED_AT, FINDINGS_AT = "reconcile_at", "reconcile_findings_at"
CLOCKS_APART = timedelta(minutes=1)
Facts = Mapping[str, object]


class Homes(msgspec.Struct, frozen=True):
    """All repositories of a sweep, by path, what is stored of them, and when those that are listed were made."""

    homes: tuple[Repository, ...]
    known: Mapping[Repository, Facts]
    created: Mapping[Repository, datetime | None]


class Plan(msgspec.Struct, frozen=True):
    """`homes` by path. `survey` None: this sweep asks Inspector nothing, or there is nothing to ask about. `filling`:
    those of all the registry of which nothing can have been lost yet."""

    homes: tuple[Repository, ...]
    survey: Survey | None = None
    filling: frozenset[Repository] = frozenset()

    def messages(self, plan: PlanSweep) -> Iterator[SweepRepository]:
        for home in self.homes:
            handed = self.survey.handed(home) if self.survey is not None else None
            yield SweepRepository(plan.sweep, home, plan.started_at, handed, filling=home in self.filling)


def plan_sweep(plan: PlanSweep, house: SweepHouse) -> int:
    """Returns how many messages were sent. Raises TransientError: put it back."""
    began, found = house.clock.now(), find_plan(plan, house)
    for sent, message in enumerate(found.messages(plan), 1):
        house.outbox.send("sweeps", message)
        if sent < len(found.homes) and house.clock.now() - began > PATIENCE:
            rest = msgspec.structs.replace(plan, after=message.repository.path, attempt=0)
            house.outbox.send("sweeps", rest)
            return sent
    if found.filling:
        announce(house)
    return len(found.homes)


def announce(house: SweepHouse) -> None:
    """People are to be told of a first fill in a while, by a summary: once, so after all else is sent."""
    house.outbox.send("sweeps", Filled(), TOLD_AFTER_SECONDS)


def find_plan(plan: PlanSweep, house: SweepHouse) -> Plan:
    """What is left of the sweep: all of it, or what comes after `plan.after`."""
    found = find_homes(plan, house)
    left = tuple(home for home in found.homes if plan.after is None or home.path > plan.after)
    if plan.sweep is not Sweep.RECONCILE or not left:
        return Plan(left)
    since = _since([found.known.get(home, {}) for home in left], plan.started_at, house)
    survey = survey_registry(left[0], [home.name for home in left], since, house)
    return Plan(left, survey, _filling(found, plan.started_at))


def find_homes(plan: PlanSweep, house: SweepHouse) -> Homes:
    listed = _listed(plan.region, house)
    if plan.sweep not in (Sweep.RECONCILE, Sweep.REPLICATION):
        return Homes(tuple(sorted(listed, key=lambda home: home.path)), {}, listed)
    known = _known(plan.region, house)
    left = _gone(listed, known) if plan.sweep is Sweep.RECONCILE else _copied(listed, known)
    return Homes(tuple(sorted([*listed, *left], key=lambda home: home.path)), known, listed)


def _listed(region: str, house: SweepHouse) -> dict[Repository, datetime | None]:
    found: dict[Repository, datetime | None] = {}
    after: str | None = None
    while True:
        page = house.inventory.repositories(region, after)
        found |= {msgspec.structs.replace(d.repository, region=region): d.created_at for d in page.repositories}
        if page.after is None:
            return found
        after = page.after


def _known(region: str, house: SweepHouse) -> dict[Repository, Facts]:
    found: dict[Repository, Facts] = {}
    after: str | None = None
    while True:
        page = house.queries.repositories(after, KNOWN_ASKED)
        found |= {row.repository: row.facts for row in page.items if row.repository.region == region}
        if page.after is None:
            return found
        after = page.after


def _gone(listed: Collection[Repository], known: Mapping[Repository, Facts]) -> Iterator[Repository]:
    """Repositories of our registry that are not listed, and of which nobody has told that they were deleted. Whether
    they are there is asked once more by whoever handles them. What lies in another account is not ours to list."""
    ours = {home.registry for home in listed} or {home.registry for home in known if not home.public}
    for home in known.keys() - {*listed} if len(ours) == 1 else ():
        created_at, deleted_at = (known[home].get(name) for name in ("created_at", "deleted_at"))
        told = isinstance(deleted_at, datetime) and not (isinstance(created_at, datetime) and created_at > deleted_at)
        if home.registry in ours and not told:
            yield home


def _copied(listed: Collection[Repository], known: Mapping[Repository, Facts]) -> Iterator[Repository]:
    """Repositories that are not listed and have left copies elsewhere."""
    return (home for home in known.keys() - {*listed} if not home.public and known[home].get("replication"))


def _filling(found: Homes, started_at: datetime) -> frozenset[Repository]:
    """Those that no former sweep has compared and that were there before any was: a first fill, or what is left of one
    that was broken off. A planner that is run again finds what its own sweep has compared meanwhile, by AWS's clock."""
    compared = {home: found.known.get(home, {}).get(COMPARED_AT) for home in found.homes}
    formerly = {h: at for h, at in compared.items() if isinstance(at, datetime) and at < started_at - CLOCKS_APART}
    first = min(formerly.values(), default=started_at)
    new = {h for h, at in found.created.items() if formerly and (at is None or at >= first)}
    return frozenset(compared.keys() - formerly.keys() - new)


def _since(facts: list[Facts], started_at: datetime, house: SweepHouse) -> datetime | None:
    """How far all are known whose findings were compared lately."""
    times = [f.get(FINDINGS_AT) for f in facts]
    lately = [at for at in times if isinstance(at, datetime) and at > started_at - CHANGES_KEPT]
    return margin(min(lately), house) if lately else None


def margin(at: datetime, house: SweepHouse) -> datetime:
    """A finding may be listed that much later than it was updated."""
    return at - ASKED_AGAIN * house.settle
