"""`GET /v1/repositories`: every repository that was heard of, with what is known of its settings."""

from __future__ import annotations

from chalicelib.api.answers.answers import RepositoryAnswer, RepositoryList
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import is_meant
from chalicelib.api.framework.context import context
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.api.framework.paging import Paging
from chalicelib.api.framework.query import Query

area = RouteGroup(__name__)


@area.get("/v1/repositories", RepositoryList, (*p.PLACE, *p.PAGE))
def list_repositories(query: Query) -> RepositoryList:
    """Repositories, private and public.

    A page holds at most `limit` of them; with a filter it may be short or empty and still have a `next_cursor`.
    """
    place = context()
    paging = Paging("/v1/repositories", query, place)
    page = place.queries.repositories(paging.start, paging.limit)
    meant = [row for row in page.items if is_meant(query, row.repository)]
    listed = tuple(
        RepositoryAnswer(r.repository.registry, r.repository.region, r.repository.name, dict(r.facts)) for r in meant
    )
    return RepositoryList(listed, paging.next_cursor(page.after))
