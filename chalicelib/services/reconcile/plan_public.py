"""Plan the sweep of our public repositories: a message for each, and one for each shard in which twins are looked for.

Harmless when run twice. Who is out of time sends itself on behind the repository it sent last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.events.public_message import MatchTwins
from chalicelib.domain.events.sweep_message import PlanSweep, SweepRepository
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.public_registry import PublicRegistry
from chalicelib.services.ports.sweep_ports import PublicHouse

PATIENCE = timedelta(seconds=20)
MATCHED_AFTER = timedelta(minutes=10)
"""Most repositories are listed by then, and the next sweep finds what is not."""
SHARDS = 8
KNOWN_ASKED = 500
Known = Mapping[Repository, dict[str, object]]


def plan_public(plan: PlanSweep, house: PublicHouse) -> int:
    """Returns how many repositories were sent. Raises TransientError: put it back."""
    registry = house.public.registry()
    known = dict(_known(registry, house)) if registry is not None else {}
    homes = _homes(registry, known, house) if registry is not None else ()
    left = [home for home in homes if plan.after is None or home.path > plan.after]
    began = house.clock.now()
    for sent, home in enumerate(left, 1):
        house.outbox.send("sweeps", _message(plan, home, registry))
        if sent < len(left) and house.clock.now() - began > PATIENCE:
            rest = msgspec.structs.replace(plan, after=home.path, attempt=0)
            house.outbox.send("sweeps", rest)
            return sent
    if homes:
        filling = plan.started_at if _is_first(plan, known) else None
        for shard in range(SHARDS):
            house.outbox.send("sweeps", MatchTwins(shard, filling=filling), MATCHED_AFTER.total_seconds())
    return len(left)


def _homes(registry: PublicRegistry, known: Known, house: PublicHouse) -> tuple[Repository, ...]:
    """Our public repositories by path: those that are there, and those that were and are not known to be gone."""
    left = (home for home, facts in known.items() if not is_told_gone(facts))
    return tuple(sorted({*_listed(registry, house), *left}, key=lambda home: home.path))


def _is_first(plan: PlanSweep, known: Known) -> bool:
    """Whether no public repository was listed before this sweep: what it finds is told of by a summary."""
    listed = (facts.get("public_at") for facts in known.values())
    return not any(isinstance(at, datetime) and at < plan.started_at for at in listed)


def _message(plan: PlanSweep, home: Repository, registry: PublicRegistry | None) -> SweepRepository:
    return SweepRepository(plan.sweep, home, plan.started_at, msgspec.json.encode(registry).decode())


def _listed(registry: PublicRegistry, house: PublicHouse) -> Iterator[Repository]:
    after: str | None = None
    while True:
        page = house.public.repositories(registry, after)
        yield from (detail.repository for detail in page.repositories)
        if page.after is None:
            return
        after = page.after


def _known(registry: PublicRegistry, house: PublicHouse) -> Iterator[tuple[Repository, dict[str, object]]]:
    after: str | None = None
    while True:
        page = house.queries.repositories(after, KNOWN_ASKED)
        for row in page.items:
            if registry.owns(row.repository):
                yield row.repository, row.facts
        if page.after is None:
            return
        after = page.after


def is_told_gone(facts: dict[str, object]) -> bool:
    """Whether a sweep has found it gone, and none has found it there since."""
    deleted_at, listed_at = facts.get("deleted_at"), facts.get("public_at")
    again = isinstance(deleted_at, datetime) and isinstance(listed_at, datetime) and listed_at > deleted_at
    return deleted_at is not None and not again
