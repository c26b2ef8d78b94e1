"""`GET /v1/findings`: of one image in any order, or across images, worst first."""

from __future__ import annotations

from functools import partial

from chalicelib.api.answers.answering import answer_finding, answer_scan
from chalicelib.api.answers.answers import FindingList
from chalicelib.api.answers.image_answers import ScanAnswer
from chalicelib.api.answers.index_images import images_behind, weakest
from chalicelib.api.answers.walk import Hit, Position, Walk, page_of
from chalicelib.api.answers.wanted import Order, Place, Wanted, read_wanted
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.address import find_header, find_image, is_meant
from chalicelib.api.framework.endpoint import Area
from chalicelib.api.framework.paging import Paging, read_position, write_position
from chalicelib.api.framework.query import Query
from chalicelib.api.framework.reads import Reads, house
from chalicelib.api.image_pages import images_of
from chalicelib.domain.headers.header import Header
from chalicelib.errors import ParameterError

ROUTE = "/v1/findings"
area = Area(__name__)


@area.get(ROUTE, FindingList, (*p.IMAGE, *p.FINDING, p.SORT, *p.PAGE), (404,))
def list_findings(query: Query) -> FindingList:
    """Findings of one image, of a repository, of a vulnerability or of everything.

    With `repository` and `digest` or `tag`: one image, in any order. Without: image by image, the worst first, ending
    at `limit` findings or after 200 documents with a cursor; a page may then be short or empty and still have a
    `next_cursor`. Open and suppressed findings are listed unless `status` says otherwise. An index (an image of several
    platforms) has the findings of its images.
    """
    place = house()
    paging = Paging(ROUTE, query, place)
    wanted = read_wanted(query, place.rules.current().policy.unknown_severity)
    sort = query.get(p.SORT, p.DEFAULT_SORT)
    scan: ScanAnswer | None = None
    if query.get(p.DIGEST_) is not None or query.get(p.TAG) is not None:
        image = find_header(place.queries, find_image(place.queries, query))
        headers = images_behind(place.queries, image)
        hits, position = _of_images(place.queries, headers, wanted, Order(sort), paging)
        scan = answer_scan(weakest(headers) or image)
    else:
        hits, position = _of_many(place.queries, query, wanted, sort, paging)
    described = place.queries.with_texts([f for _, f in hits])
    listed = tuple(answer_finding(header, f) for (header, _), f in zip(hits, described, strict=True))
    return FindingList(listed, scan, paging.next_cursor(position))


def _of_images(
    reads: Reads, headers: list[Header], wanted: Wanted, order: Order, paging: Paging
) -> tuple[list[Hit], str | None]:
    passed = _passed(paging)
    if passed is not None and passed[2] not in {h.ref.path for h in headers}:
        raise ParameterError("cursor", "belongs to another image: the tag has moved; ask again without it")
    hits, place = page_of(reads, headers, wanted, order, passed, paging.limit)
    return hits, None if place is None else write_position(place)


def _of_many(reads: Reads, query: Query, wanted: Wanted, sort: str, paging: Paging) -> tuple[list[Hit], str | None]:
    vulnerability_id = query.get(p.VULNERABILITY_ID)
    pages = images_of(reads, query) if vulnerability_id is None else partial(reads.affected, vulnerability_id)
    walk = Walk(reads, pages, partial(is_meant, query), wanted)
    if sort == p.DEFAULT_SORT:
        hits, at = walk.page(paging.limit, _start(paging))
        return hits, None if at is None else write_position(at)
    if query.get(p.REPOSITORY_) is None and vulnerability_id is None:
        reason = f"without repository, digest, tag or vulnerability_id only {p.DEFAULT_SORT} is possible"
        raise ParameterError("sort", reason)
    passed = _passed(paging)
    hits, place = page_of(reads, walk.few(), wanted, Order(sort), passed, paging.limit)
    return hits, None if place is None else write_position(place)


def _start(paging: Paging) -> Position:
    at: Position = Position() if paging.start is None else read_position(paging.start, Position)
    return at


def _passed(paging: Paging) -> Place | None:
    place: Place | None = None if paging.start is None else read_position(paging.start, Place)
    return place
