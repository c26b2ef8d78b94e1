"""`GET /v1/findings`: of one image in any order, or across images, worst first, of the registry, Region and repository
that are named.

A repository whose whole name is given is a partition of the table, sorted by digest: it is read whole and sorted while
it is small; a larger one is picked out of the index of all images.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import partial

from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.api.answers.answering import answer_finding, answer_scan, images_behind
from chalicelib.api.answers.answers import FindingList
from chalicelib.api.answers.image_answers import ScanAnswer
from chalicelib.api.answers.scope import Scope, count_unscanned, find_scope
from chalicelib.api.answers.walk import (
    MAX_IMAGES,
    FindingsFilter,
    Hit,
    Pages,
    Place,
    Position,
    RowPlace,
    SortOrder,
    Walk,
    page_of,
    place_of_row,
    read_wanted,
)
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import (
    Paging,
    context,
    find_header,
    find_image,
    is_meant,
    read_position,
    write_position,
)
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.api.framework.parameters import PLACE
from chalicelib.api.framework.query import Query
from chalicelib.domain.headers.header import Header, weakest
from chalicelib.errors import ParameterError
from chalicelib.services.ports.answers import pages
from chalicelib.services.ports.table import ImageRow, Page

_CHUNK = 500


def images_of(reads: FindingsQueries, query: Query) -> Pages:
    """Rows of other Regions may be among them: the caller keeps what is meant."""
    registry, region, repository = (query.get(x) for x in PLACE)
    if registry and region and repository:
        rows = _whole(reads, registry, region, repository)
        if rows is not None:
            return lambda after, limit: _slice(rows, after, limit)
        region = None
    return lambda after, limit: reads.images(
        registry=registry, region=region, repository=repository, after=after, limit=limit
    )


def _whole(reads: FindingsQueries, registry: str, region: str, repository: str) -> list[ImageRow] | None:
    """All images of the repository, worst first; None when there are too many to sort."""
    rows: list[ImageRow] = []
    ask = partial(reads.images, registry=registry, region=region, repository=repository, limit=_CHUNK)
    for page in pages(lambda after: ask(after=after)):
        rows += page.items
        if page.after is not None and len(rows) > MAX_IMAGES:
            return None
    return sorted(rows, key=place_of_row)


def _slice(rows: list[ImageRow], after: str | None, limit: int) -> Page[ImageRow]:
    start = 0 if after is None else bisect_right(rows, read_position(after, RowPlace), key=place_of_row)
    items = rows[start : start + limit]
    more = start + limit < len(rows)
    return Page(tuple(items), write_position(place_of_row(items[-1])) if more else None)


ROUTE = "/v1/findings"
area = RouteGroup(__name__)


@area.get(ROUTE, FindingList, (*p.IMAGE, *p.FINDING, p.SORT, *p.PAGE), (404,))
def list_findings(query: Query) -> FindingList:
    """Findings of one image, of a repository, of a vulnerability or of everything.

    With `repository` and `digest` or `tag`: one image, in any order. Without: image by image, the worst first, ending
    at `limit` findings or after 200 documents with a cursor; a page may then be short or empty and still have a
    `next_cursor`. Open and suppressed findings are listed unless `status` says otherwise. An index (an image of several
    platforms) has the findings of its images.
    """
    place = context()
    paging = Paging(ROUTE, query, place)
    wanted = read_wanted(query, place.rules.current().policy.unknown_severity)
    sort = query.get(p.SORT, p.DEFAULT_SORT)
    scan: ScanAnswer | None = None
    position: Position | Place | None
    if query.get(p.DIGEST_) is not None or query.get(p.TAG) is not None:
        image = find_header(place.queries, find_image(place.queries, query))
        headers = images_behind(place.queries, image)
        hits, position = _of_images(place.queries, headers, wanted, SortOrder(sort), paging)
        scan = answer_scan(weakest(headers) or image)
        scope = Scope(place.queries.is_swept(image.ref.registry, image.ref.region), count_unscanned(headers))
    else:
        scope = find_scope(query, paging, place)
        hits, position = _of_many(place.queries, query, wanted, sort, paging)
    described = place.queries.with_texts([f for _, f in hits])
    listed = tuple(answer_finding(header, f) for (header, _), f in zip(hits, described, strict=True))
    return FindingList(listed, scan, scope.complete, scope.unscanned, paging.cursor_at(position))


def _of_images(
    reads: FindingsQueries, headers: list[Header], wanted: FindingsFilter, order: SortOrder, paging: Paging
) -> tuple[list[Hit], Place | None]:
    passed: Place | None = paging.position(Place)
    if passed is not None and passed[2] not in {h.ref.path for h in headers}:
        raise ParameterError("cursor", "belongs to another image: the tag has moved; ask again without it")
    return page_of(reads, headers, wanted, order, passed, paging.limit)


def _of_many(
    reads: FindingsQueries, query: Query, wanted: FindingsFilter, sort: str, paging: Paging
) -> tuple[list[Hit], Position | Place | None]:
    vulnerability_id = query.get(p.VULNERABILITY_ID)
    pages = images_of(reads, query) if vulnerability_id is None else partial(reads.affected, vulnerability_id)
    walk = Walk(reads, pages, partial(is_meant, query), wanted)
    if sort == p.DEFAULT_SORT:
        return walk.page(paging.limit, paging.position(Position) or Position())
    if query.get(p.REPOSITORY_) is None and vulnerability_id is None:
        reason = f"without repository, digest, tag or vulnerability_id only {p.DEFAULT_SORT} is possible"
        raise ParameterError("sort", reason)
    return page_of(reads, walk.few(), wanted, SortOrder(sort), paging.position(Place), paging.limit)
