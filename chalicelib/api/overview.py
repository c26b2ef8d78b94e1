"""`GET /v1/summary`, `/v1/repositories` and `/v1/policy`: everything at a glance, and what it is decided by.

The summary comes from a snapshot, which is taken again when it is old.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from chalicelib.api.answers.answers import PolicyAnswer, RepositoryAnswer, RepositoryList
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import Paging, context, is_meant
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.api.framework.query import Query
from chalicelib.api.framework.scope import is_complete
from chalicelib.domain.assessment.summary import Summary, summarize

if TYPE_CHECKING:
    from chalicelib.context import AppContext

FRESH_FOR = timedelta(seconds=60)
SMALL_IMAGES = 20_000
area = RouteGroup(__name__)


@area.get("/v1/summary", Summary)
def show_summary(query: Query) -> Summary:
    """Images by decision, scan state and severity, the worst of them, and the repositories.

    A snapshot of at most 60 seconds; of more than 20,000 images the one the last sweep took. `taken_at` says when.
    """
    place = context()
    now = place.clock.now()
    stored = _stored(place)
    if stored is not None and (now - stored.taken_at < FRESH_FOR or stored.images > SMALL_IMAGES):
        return stored
    taken = summarize(place.queries.all_rows(), now)
    place.table.put_snapshot(msgspec.json.encode(taken), now)
    return taken


def _stored(place: AppContext) -> Summary | None:
    """None where there is none, or one that another version of this code wrote."""
    snapshot = place.queries.read_snapshot()
    if snapshot is None:
        return None
    try:
        return msgspec.json.decode(snapshot.content, type=Summary)
    except msgspec.ValidationError:
        return None


@area.get("/v1/repositories", RepositoryList, (*p.PLACE, *p.PAGE), (404,))
def list_repositories(query: Query) -> RepositoryList:
    """Repositories, private and public.

    A page holds at most `limit` of them; with a filter it may be short or empty and still have a `next_cursor`. 404 for
    a registry, Region or repository that does not exist here.
    """
    place = context()
    paging = Paging("/v1/repositories", query, place)
    page = place.queries.repositories(paging.start, paging.limit)
    meant = [row for row in page.items if is_meant(query, row.repository)]
    listed = tuple(
        RepositoryAnswer(r.repository.registry, r.repository.region, r.repository.name, dict(r.facts)) for r in meant
    )
    complete = is_complete(query) if not listed and page.after is None else None
    return RepositoryList(listed, paging.next_cursor(page.after), complete)


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
