"""The registry, Region and repository that a request names: known here, or a typo.

What is no name of ours must not be answered with an empty list, which reads as clean. A repository counts as absent
only when the first sweep of its registry has compared all repositories; before that an answer says that it is not
complete.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.query import Query
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.text import nearest
from chalicelib.errors import UnknownNameError, UpstreamError
from chalicelib.services.ports.answers import pages

if TYPE_CHECKING:
    from chalicelib.context import AppContext

_PAGE = 1000
_Registry = tuple[str, str]
"""Account or `public/<alias>`, and Region."""


class NamedPlace(msgspec.Struct, frozen=True):
    """`homes`: the repositories of the name that is asked for; None: none is named. `complete`: each registry that is
    asked about has been swept once."""

    homes: tuple[Repository, ...] | None
    complete: bool


def find_named(query: Query, context: AppContext) -> NamedPlace:
    """Raises UnknownNameError, with the nearest name, for a registry or Region that is neither watched nor stored, and
    for a repository that is not there after the first sweep of its registry."""
    registry, region, name = (query.get(x) for x in p.PLACE)
    return _find(registry, region, name, context)


def check_named(home: Repository, context: AppContext) -> None:
    """As `find_named`, for one repository."""
    _find(home.registry, home.region, home.name, context)


def _find(registry: str | None, region: str | None, name: str | None, context: AppContext) -> NamedPlace:
    reads = context.queries
    if registry and region and name:
        home = Repository(registry, region, name)
        if reads.repository(home) is not None:
            return NamedPlace((home,), reads.is_swept(registry, region))
    try:
        watched = {(place.account or context.own_account(), place.region) for place in context.registries}
    except UpstreamError:  # STS does not say which account is ours: nothing can be taken for a typo
        watched = None
    asked = {place for place in watched or () if _is_meant(place, registry, region)}
    if asked and name is None:
        return NamedPlace(None, all(reads.is_swept(*place) for place in asked))
    stored = [row.repository for page in pages(lambda a: reads.repositories(a, _PAGE)) for row in page.items]
    known = {(home.registry, home.region) for home in stored}
    asked |= {place for place in known if _is_meant(place, registry, region)}
    homes = [home for home in stored if (home.registry, home.region) in asked]
    # What is stored of an account that is not watched any more is never swept again: it makes nothing incomplete.
    swept = {place for place in asked if place in (watched or ()) or place[0].startswith("public/")} or asked
    complete = bool(watched and asked) and all(reads.is_swept(*place) for place in swept)
    if watched is not None and not asked:
        _refuse(registry, region, watched | known)
    if complete and name is not None and name not in {home.name for home in homes}:
        raise _unknown(p.REPOSITORY_.name, name, {home.name for home in homes})
    return NamedPlace(None if name is None else tuple(home for home in homes if home.name == name), complete)


def _is_meant(place: _Registry, registry: str | None, region: str | None) -> bool:
    return registry in (None, place[0]) and region in (None, place[1])


def _refuse(registry: str | None, region: str | None, known: set[_Registry]) -> None:
    """Not a public registry before one is listed: no setting names those that are ours."""
    accounts = {account for account, _ in known}
    if registry is not None and registry.startswith("public/") and not any(a.startswith("public/") for a in accounts):
        return
    if registry is not None and registry not in accounts:
        raise _unknown(p.REGISTRY_.name, registry, accounts)
    raise _unknown(p.REGION_.name, region or "", {there for account, there in known if registry in (None, account)})


def _unknown(parameter: str, name: str, known: Iterable[str]) -> UnknownNameError:
    meant = nearest(name, known)
    return UnknownNameError(parameter, name, f"; did you mean {meant}?" if meant is not None else "")
