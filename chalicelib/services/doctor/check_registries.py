"""Check the registries that are watched: who may list them, and when the functions have compared them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from chalicelib.domain.doctor.health import Check, CheckResult, ago, fail, ok, unknown, warn
from chalicelib.domain.doctor.installed import Installed
from chalicelib.domain.doctor.stored import StoredRepositories
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.reconcile.registry_listing import RepositoriesListed
from chalicelib.errors import UpstreamError
from chalicelib.services.doctor.run_check import run_check

LATELY = timedelta(hours=13)
"""Registries are compared every six hours; one time may be missed."""
Listing = Callable[[RegistryPlace], RepositoriesListed]
"""The first page of a registry's repositories."""


def check_registries(
    there: Installed,
    places: Sequence[RegistryPlace],
    known: Callable[[], StoredRepositories],
    listing: Listing,
    now: datetime,
) -> Iterator[Check]:
    yield run_check("registries", lambda: _registries(there, places, known(), listing, now))


def _registries(
    there: Installed, places: Sequence[RegistryPlace], known: StoredRepositories, listing: Listing, now: datetime
) -> CheckResult:
    told, denied, failed, blind, new = list[str](), list[str](), list[str](), list[str](), list[str]()
    for place in places:
        at = known.of(place).compared_at
        try:
            page = listing(place)
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
