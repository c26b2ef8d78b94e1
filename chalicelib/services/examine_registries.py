"""Look at the registries that are watched, and at whether reading their images leaves a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from chalicelib.domain.age import ago
from chalicelib.domain.health import Check, Seen, fail, ok, unknown, warn
from chalicelib.domain.image import Repository
from chalicelib.domain.registry_listing import RepositoriesListed
from chalicelib.domain.registry_place import RegistryPlace
from chalicelib.errors import UpstreamError
from chalicelib.services.examine import examine
from chalicelib.services.exclude_pull_times import Roles, exclude_pull_times, missing_exclusions
from chalicelib.services.plan_sweep import COMPARED_AT
from chalicelib.services.sweep_ports import PullTimes

LATELY = timedelta(hours=13)
"""Registries are compared every six hours; one time may be missed."""
Known = Mapping[Repository, Mapping[str, object]]
"""What is stored of repositories."""


class Inventory(Protocol):
    def repositories(self, place: RegistryPlace, after: str | None = None) -> RepositoriesListed: ...


def examine_registries(
    places: Sequence[RegistryPlace], known: Callable[[], Known], inventory: Inventory, now: datetime
) -> Iterator[Check]:
    yield examine("registries", lambda: _registries(places, known(), inventory, now))


def _registries(places: Sequence[RegistryPlace], known: Known, inventory: Inventory, now: datetime) -> Seen:
    told, denied, failed = list[str](), list[str](), list[str]()
    for place in places:
        compared_at = _compared_at(place, known)
        try:
            page = inventory.repositories(place)
        except UpstreamError as error:
            if compared_at is not None and now - compared_at < LATELY:
                denied.append(f"{place}: compared {ago(now - compared_at)}, though you may not look: {error}")
            else:
                failed.append(f"{place}: {error}")
            continue
        count = f"{len(page.repositories)}{' or more' if page.after else ''} repositories"
        told.append(f"{place} ({count}{f', compared {ago(now - compared_at)}' if compared_at else ''})")
    if failed:
        advice = "docs/operations.md#several-regions-and-accounts: the role there must trust ours, and let it look"
        return fail(f"{len(failed)} of {len(places)} cannot be looked at", advice, (*failed, *denied))
    if denied:
        return warn(f"{len(told)} of {len(places)} can be looked at by you", "nothing, if that is meant", denied)
    return ok(", ".join(told))


def _compared_at(place: RegistryPlace, known: Known) -> datetime | None:
    times = [
        at
        for home, facts in known.items()
        if home.region == place.region
        and not home.public
        and place.account in (None, home.registry)
        and isinstance(at := facts.get(COMPARED_AT), datetime)
    ]
    return max(times, default=None)


def examine_pull_times(readers: Roles, pull_times: PullTimes, *, register: bool) -> Iterator[Check]:
    """`register`: those that are missing are registered."""
    yield examine("pull-times", lambda: _pull_times(readers, pull_times, register))


def _pull_times(readers: Roles, pull_times: PullTimes, register: bool) -> Seen:
    if not any(readers.values()):
        return unknown("no function tells its role")
    if patterns := [role for roles in readers.values() for role in roles if "*" in role]:
        return unknown(f"{patterns[0]} is a pattern: ECR excludes roles by their whole ARN")
    missing = exclude_pull_times(readers, pull_times) if register else missing_exclusions(readers, pull_times)
    lines = [f"{place}: {role}" for place, roles in missing.items() for role in roles]
    count = len({role for roles in readers.values() for role in roles})
    if not lines:
        return ok(f"of {count} roles none leaves a pull time")
    if register:
        return ok(f"{len(lines)} were registered: no pull of ours leaves a pull time from now on")
    return warn(
        f"{len(lines)} of our roles leave pull times: retention keeps what we have looked at",
        "lazaretto doctor --exclude-our-pulls registers them",
        lines,
    )
