"""Which repository and which image a request means. A tag is resolved by its own item; a bare name may be ambiguous."""

from __future__ import annotations

from collections.abc import Iterator

from chalicelib.api.framework.parameters import DIGEST_, PLACE, REGION_, REGISTRY_, REPOSITORY_, TAG
from chalicelib.api.framework.query import Query
from chalicelib.api.framework.reads import Reads, RepositoryRow
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import PUBLIC_REGION, ImageRef, Repository
from chalicelib.errors import NotFoundError, ParameterError

_PAGE = 1000


def find_image(reads: Reads, query: Query) -> ImageRef:
    """Raises ParameterError (nothing or too much named, ambiguous) and NotFoundError (repository or tag unknown)."""
    if (query.get(DIGEST_) is None) == (query.get(TAG) is None):
        raise ParameterError("digest", "give either digest or tag")
    home = find_repository(reads, query)
    if (digest := query.get(DIGEST_)) is not None:
        return home.image(digest)
    tag = query.need(TAG)
    if (found := reads.tag(home, tag)) is None:
        raise NotFoundError(f"the tag {tag} is unknown in {home.path}")
    return home.image(found)


def find_header(reads: Reads, ref: ImageRef) -> Header:
    """Read consistently. Raises NotFoundError."""
    if (header := reads.header(ref)) is None:
        raise NotFoundError(f"the image {ref} is unknown here")
    return header


def find_repository(reads: Reads, query: Query, known_for: str | None = None) -> Repository:
    """The one repository that is meant: of several, the only one with the fact `known_for`. Raises ParameterError and
    NotFoundError."""
    name = query.need(REPOSITORY_, "is needed to know which image is meant")
    registry, region = query.get(REGISTRY_), query.get(REGION_)
    if registry is not None and registry.startswith("public/"):
        region = region or PUBLIC_REGION
    if registry is not None and region is not None:
        return Repository(registry, region, name)
    facts = {row.repository: row.facts for row in _named(reads, name) if is_meant(query, row.repository)}
    found = sorted(facts)
    if len(found) > 1 and known_for is not None:
        found = [home for home in found if facts[home].get(known_for)] or found
    if not found:
        raise NotFoundError(f"the repository {name} is unknown here")
    if len(found) > 1:
        unclear = REGISTRY_ if len({r.registry for r in found}) > 1 else REGION_
        places = ", ".join(f"{r.registry} in {r.region}" for r in found[:10])
        raise ParameterError(unclear.name, f"is needed: {name} exists in {places}")
    return found[0]


def is_meant(query: Query, home: ImageRef | Repository) -> bool:
    """Whether registry, Region and repository are as named, where they are named."""
    name = home.name if isinstance(home, Repository) else home.repository
    asked = (query.get(x) for x in PLACE)
    return all(a in (None, b) for a, b in zip(asked, (home.registry, home.region, name), strict=True))


def _named(reads: Reads, name: str) -> Iterator[RepositoryRow]:
    after: str | None = None
    while True:
        page = reads.repositories(after, _PAGE)
        yield from (row for row in page.items if row.repository.name == name)
        if (after := page.after) is None:
            return
