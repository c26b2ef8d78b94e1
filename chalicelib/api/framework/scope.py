"""Whether what a question names exists here, asked where nothing was found: a typo must not read as clean.

A registry or Region is known where it is watched or something of it is stored. A repository is absent only once the
first sweep of its registry has compared all that existed then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import context, find_header, find_image
from chalicelib.api.framework.query import Query
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.text import nearest
from chalicelib.domain.reconcile.difference import RepositoryFacts
from chalicelib.errors import NotFoundError, UnknownNameError
from chalicelib.services.ports.answers import pages
from chalicelib.services.ports.table import RepositoryRow

_PAGE = 1000
_PUBLIC = "public/"
_Place = tuple[str, str]


def check_scope(query: Query) -> bool:
    """False: what was not found may still be there, as a first sweep has not ended. Raises UnknownNameError for a
    registry or Region that is not watched, and for a repository that is not there."""
    registry, region, name = (query.get(parameter) for parameter in p.PLACE)
    stored = list(_stored())
    places = sorted({*_watched(registry), *((row.repository.registry, row.repository.region) for row in stored)})
    if registry is not None and registry.startswith(_PUBLIC) and not any(_is_public(row) for row in stored):
        return False
    _check("registry", registry, [a for a, _ in places])
    _check("region", region, [r for a, r in places if registry in (None, a)])
    places = [(a, r) for a, r in places if registry in (None, a) and region in (None, r)]
    rows = {place: [row for row in stored if _place(row) == place] for place in places}
    swept = all(_is_swept(found) for found in rows.values())
    if name is not None and swept:
        _check("repository", name, [row.repository.name for found in rows.values() for row in found])
    return swept


def is_complete(query: Query) -> bool | None:
    """Of a list in which nothing was found, as `check_scope` says; None for a later page of one. Raises
    UnknownNameError."""
    return check_scope(query) if query.get(p.CURSOR) is None else None


def find_known_image(query: Query) -> Header:
    """Of the image that is named. Raises ParameterError, NotFoundError, UnknownNameError."""
    reads = context().queries
    try:
        return find_header(reads, find_image(reads, query))
    except NotFoundError:
        check_scope(query)
        raise


def _check(parameter: str, said: str | None, known: Sequence[str]) -> None:
    if said is None or said in known:
        return
    meant = nearest(said, known)
    raise UnknownNameError(parameter, f"{said} is unknown here" + (f"; did you mean {meant}?" if meant else ""))


def _stored() -> Iterator[RepositoryRow]:
    for page in pages(lambda after: context().queries.repositories(after, _PAGE)):
        yield from page.items


def _watched(registry: str | None) -> Iterator[_Place]:
    """By account and Region. Which account is ours is asked only where it matters."""
    for place in context().registries:
        account = place.account or (context().own_account() if registry is None or registry[0] != "p" else None)
        if account is not None:
            yield account, place.region


def _place(row: RepositoryRow) -> _Place:
    return row.repository.registry, row.repository.region


def _is_public(row: RepositoryRow) -> bool:
    return row.repository.public


def _is_swept(rows: Sequence[RepositoryRow]) -> bool:
    """Whether all repositories that existed before the first comparison have been compared."""
    facts = [RepositoryFacts.read(row.facts) for row in rows]
    compared = [at for at in (f.reconcile_at or f.public_at for f in facts) if at is not None]
    left = [f for f in facts if f.reconcile_at is None and f.public_at is None and not f.is_deleted]
    return bool(compared) and all(f.created_at is not None and f.created_at >= min(compared) for f in left)
