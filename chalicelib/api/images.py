"""`GET /v1/images`, `/v1/image`, `/v1/verdict`, `/v1/tags`: what stands about images."""

from __future__ import annotations

from chalicelib.api.answers.answering import (
    answer_image,
    answer_proof,
    answer_row,
    answer_verdict,
    copied,
    images_behind,
)
from chalicelib.api.answers.image_answers import (
    ImageAnswer,
    ImageList,
    ScanProofAnswer,
    TagAnswer,
    TagList,
    VerdictAnswer,
)
from chalicelib.api.answers.scope import find_scope
from chalicelib.api.answers.walk import MAX_IMAGES, Position, steps
from chalicelib.api.findings import images_of
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import Paging, context, find_header, find_image, find_repository, is_meant
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.api.framework.query import Query
from chalicelib.domain.headers.header import Header, weakest
from chalicelib.domain.reconcile.scan_proof import prove_scan
from chalicelib.domain.reconcile.scan_rule import ScanRule
from chalicelib.errors import NotFoundError
from chalicelib.services.ports.table import ImageRow
from chalicelib.services.waivers.revoke_expired_waivers import revoke_expired_waivers

area = RouteGroup(__name__)


@area.get("/v1/images", ImageList, (*p.PLACE, p.DECISION, p.SCAN_STATE, *p.PAGE), (404,))
def list_images(query: Query) -> ImageList:
    """Images, the worst first.

    A page ends at `limit` images or after 2,000 have been looked through; it may be short and still have a
    `next_cursor`. The list is read from an index that may be a second old.
    """
    place = context()
    paging = Paging("/v1/images", query, place)
    scope = find_scope(query, paging, place)
    rows: list[ImageRow] = []
    position: Position | None = None
    walk = steps(images_of(place.queries, query), paging.position(Position) or Position())
    for seen, (row, then) in enumerate(walk, 1):
        position = then
        if row is not None and _wanted(query, row):
            rows.append(row)
        if len(rows) == paging.limit or seen >= MAX_IMAGES:
            break
    return ImageList(tuple(answer_row(r) for r in rows), scope.complete, scope.unscanned, paging.cursor_at(position))


@area.get("/v1/image", ImageAnswer, p.IMAGE_NEEDED, (404,))
def show_image(query: Query) -> ImageAnswer:
    """Everything known of one image but its findings: verdict, counts, scan, actions, where it runs."""
    reads, place = context().queries, context()
    stored = find_header(reads, find_image(reads, query))
    header = revoke_expired_waivers(stored, place)
    behind = [revoke_expired_waivers(image, place) for image in images_behind(reads, header)]
    # An order is compared with what is stored, also while the end of a waiver is still to be written.
    return answer_image(header, behind, reads.actions(header.ref), _proof(header), stored.etag)


@area.get("/v1/verdict", VerdictAnswer, p.IMAGE_NEEDED, (404,))
def show_verdict(query: Query) -> VerdictAnswer:
    """The verdict that stands now, read consistently: what a gate asks.

    From the moment that a waiver has ended it excuses nothing here, whether or not its images were decided again by
    then.
    404 for an image that was never heard of or no longer exists: no door opens for it. A tag may have moved in the
    registry without our having heard of it yet: a gate asks by digest, with registry and region.
    """
    reads = context().queries
    header = find_header(reads, find_image(reads, query))
    if not header.exists:
        raise NotFoundError(f"the image {header.ref} does not exist, as far as is known here")
    return answer_verdict(revoke_expired_waivers(header, context()), weakest(images_behind(reads, header)))


@area.get("/v1/tags", TagList, (*p.PLACE_NEEDED, *p.PAGE), (404,))
def list_tags(query: Query) -> TagList:
    """A repository's tags with their moves, by name."""
    place = context()
    paging = Paging("/v1/tags", query, place)
    home = find_repository(place.queries, query)
    page = place.queries.tags(home, paging.start, paging.limit)
    if not page.items and place.queries.repository(home) is None:
        raise NotFoundError(f"the repository {home.path} is unknown here")
    tags = tuple(copied(TagAnswer, row, moves=row.moves[::-1]) for row in page.items)
    return TagList(home.registry, home.region, home.name, tags, paging.next_cursor(page.after))


def _proof(header: Header) -> ScanProofAnswer | None:
    place = context()
    known = place.queries.repository(header.ref.home)
    rule = ScanRule.read(known.facts.get("scanning")) if known is not None else None
    return answer_proof(prove_scan(header, rule, place.rules.current().policy, place.clock.now()), rule)


def _wanted(query: Query, row: ImageRow) -> bool:
    decisions, states = query.get(p.DECISION), query.get(p.SCAN_STATE)
    return (
        is_meant(query, row.ref)
        and (decisions is None or row.decision in decisions)
        and (states is None or row.scan_state in states)
    )
