"""`GET /v1/summary`, `/v1/repositories` and `/v1/policy`: everything at a glance, and what it is decided by.

The summary comes from a snapshot, which is taken again when it is old.
"""

from __future__ import annotations

from chalicelib.api.answers.answers import PolicyAnswer, RepositoryAnswer, RepositoryList
from chalicelib.api.answers.scope import find_scope, read_summary
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import Paging, context, is_meant
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.api.framework.query import Query
from chalicelib.domain.assessment.summary import Summary

area = RouteGroup(__name__)


@area.get("/v1/summary", Summary)
def show_summary(query: Query) -> Summary:
    """Images by decision, scan state and severity, the worst of them, and the repositories.

    A snapshot of at most 60 seconds; of more than 20,000 images the one the last sweep took. `taken_at` says when.
    """
    return read_summary(context())


@area.get("/v1/repositories", RepositoryList, (*p.PLACE, *p.PAGE), (404,))
def list_repositories(query: Query) -> RepositoryList:
    """Repositories, private and public.

    A page holds at most `limit` of them; with a filter it may be short or empty and still have a `next_cursor`.
    """
    place = context()
    paging = Paging("/v1/repositories", query, place)
    scope = find_scope(query, paging, place)
    page = place.queries.repositories(paging.start, paging.limit)
    meant = [row for row in page.items if is_meant(query, row.repository)]
    listed = tuple(
        RepositoryAnswer(r.repository.registry, r.repository.region, r.repository.name, dict(r.facts)) for r in meant
    )
    return RepositoryList(listed, scope.complete, scope.unscanned, paging.next_cursor(page.after))


@area.get("/v1/policy", PolicyAnswer)
def show_policy(query: Query) -> PolicyAnswer:
    """The policy in force and its version, as a policy file would say it, defaults included.

    Version 0 is the policy that came with the bundle: no policy was applied yet.
    """
    book = context().rules
    rules = book.current()
    put = book.read_policy(rules.policy_version) if rules.policy_version else None
    return PolicyAnswer(
        version=rules.policy_version,
        waivers_version=rules.waivers_version,
        put_at=None if put is None else put.put_at,
        put_by=None if put is None else put.put_by,
        policy=rules.policy.document,
    )
