"""Find the public repositories with images that lie in none of the repositories they are published from, by the policy.

Of what is stored: which private images have a digest is as old as the last sweep of public repositories.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.policy.section import Publication
from chalicelib.domain.reconcile.difference import RepositoryFacts
from chalicelib.services.ports.answers import repository_rows
from chalicelib.services.ports.context import Context

REPOSITORIES_ASKED = 500


class UnknownOrigin(msgspec.Struct, frozen=True):
    """One public repository: how many images it has, and of how many the origin is unknown, one at least. `origins`:
    the names of the private repositories that it is published from."""

    repository: Repository
    origins: tuple[str, ...]
    images: int
    unknown: int


def find_unknown_origins(context: Context) -> tuple[UnknownOrigin, ...]:
    """By repository. Raises TransientError, DeniedError and UpstreamError."""
    rules = context.rules.current()
    rows = repository_rows(context.queries, REPOSITORIES_ASKED)
    known = (row.repository for row in rows if not RepositoryFacts.read(row.facts).is_unlisted)
    found = (_of(home, rules, context) for home in sorted(known, key=lambda home: home.path) if home.public)
    return tuple(one for one in found if one.unknown)


def _of(home: Repository, rules: Rules, context: Context) -> UnknownOrigin:
    publication = rules.publication_of(home.name)
    images = [header for header in context.table.headers_of(home) if header.present and header.counts_in_index]
    unknown = sum(not _is_known(image, publication) for image in images)
    return UnknownOrigin(home, publication.sources, len(images), unknown)


def _is_known(image: Header, publication: Publication) -> bool:
    return any(publication.is_from(ImageRef.from_path(path)) for path in image.twins)
