"""Look at the registries that are watched, and at whether reading their images leaves a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from chalicelib.domain.doctor.health import Check, CheckResult, ago, fail, ok, unknown, warn
from chalicelib.domain.doctor.installed import Installed
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.registry import RegistryPlace
from chalicelib.domain.reconcile.registry_listing import RepositoriesListed
from chalicelib.errors import UpstreamError
from chalicelib.services.doctor.run_check import run_check
from chalicelib.services.ports.registry import PullTimes
from chalicelib.services.reconcile.plan_sweep import COMPARED_AT
from chalicelib.services.retention.exclude_pull_times import Roles, exclude_pull_times, missing_exclusions

LATELY = timedelta(hours=13)
"""Registries are compared every six hours; one time may be missed."""
Known = Mapping[Repository, Mapping[str, object]]
"""What is stored of repositories."""


class RegistryInventory(Protocol):
    def repositories(self, place: RegistryPlace, after: str | None = None) -> RepositoriesListed: ...


def check_registries(
    there: Installed,
    places: Sequence[RegistryPlace],
    known: Callable[[], Known],
    inventory: RegistryInventory,
    now: datetime,
) -> Iterator[Check]:
    yield run_check("registries", lambda: _registries(there, places, known(), inventory, now))


def _registries(
    there: Installed, places: Sequence[RegistryPlace], known: Known, inventory: RegistryInventory, now: datetime
) -> CheckResult:
    told, denied, failed, blind, new = list[str](), list[str](), list[str](), list[str](), list[str]()
    for place in places:
        at = compared_at(known_in(place, known, there.account))
        try:
            page = inventory.repositories(place)
        except UpstreamError as error:
            if at is None:
                blind.append(f"{place}: never compared, and not seen: {error}")
            elif now - at < LATELY:
                denied.append(f"{place}: compared {ago(now - at)}, though you may not look: {error}")
            else:
                failed.append(f"{place}: compared {ago(now - at)}, and not seen: {error}")
            continue
        if at is not None and now - at >= LATELY:
            failed.append(f"{place}: you can look, but the functions looked last {ago(now - at)}")
            continue
        count = f"{len(page.repositories)}{' or more' if page.after else ''} repositories"
        if at is None and page.repositories:
            new.append(f"{place}: {count}, and the functions have compared none of them yet")
            continue
        told.append(f"{place} ({count}, {f'compared {ago(now - at)}' if at else 'never compared'})")
    lines, seen = (*failed, *blind, *new, *denied), f"{len(told)} of {len(places)} were seen as they must be"
    if failed:
        advice = "docs/operations.md#several-regions-and-accounts: the role there must trust ours, and let it look"
        return fail(seen, advice, lines)
    if blind:
        return unknown(seen, f"`lazaretto sweep reconcile --stage {there.stage}`, and look here again", lines)
    if new:
        return warn(seen, f"`lazaretto sweep reconcile --stage {there.stage}`, and look here again", lines)
    if denied:
        return warn(seen, "nothing, if that is meant: the functions have looked", lines)
    return ok(", ".join(told))


def known_in(place: RegistryPlace, known: Known, own: str) -> list[Mapping[str, object]]:
    """What is stored of the repositories of one registry. `own`: our own account."""
    return [facts for home, facts in known.items() if is_in(place, home, own)]


def is_in(place: RegistryPlace, home: Repository, own: str) -> bool:
    return (home.registry, home.region) == (place.account or own, place.region)


def compared_at(there: Iterable[Mapping[str, object]]) -> datetime | None:
    return max((at for facts in there if isinstance(at := facts.get(COMPARED_AT), datetime)), default=None)


def check_pull_times(stage: str, readers: Roles, pull_times: PullTimes, *, register: bool) -> Iterator[Check]:
    """`register`: those that are missing are registered."""
    yield run_check("pull-times", lambda: _pull_times(stage, readers, pull_times, register))


def _pull_times(stage: str, readers: Roles, pull_times: PullTimes, register: bool) -> CheckResult:
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
        f"`lazaretto doctor --stage {stage} --exclude-our-pulls` registers them",
        lines,
    )
