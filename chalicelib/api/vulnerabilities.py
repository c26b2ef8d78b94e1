"""`GET /v1/vulnerabilities/{id}`: what is known of a vulnerability, and every image that has it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.api.answers import answers as a
from chalicelib.api.answers.answering import answer_affected, copied
from chalicelib.api.answers.scope import find_scope
from chalicelib.api.answers.walk import MAX_DOCUMENTS, MAX_IMAGES, Position, steps
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import Paging, context, is_meant
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.api.framework.query import Query
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import Finding, FindingStatus
from chalicelib.domain.images.image import InUseState
from chalicelib.errors import NotFoundError

area = RouteGroup(__name__)


@area.get("/v1/vulnerabilities/{id}", a.VulnerabilityAnswer, (p.VULNERABILITY_PATH, *p.PLACE, *p.PAGE), (404,))
def show_vulnerability(query: Query) -> a.VulnerabilityAnswer:
    """A vulnerability and its blast radius: every image in which it is open or suppressed, the worst verdict first.

    A page ends at `limit` images or after 200 documents; `blast_radius` sums up the page.
    """
    place = context()
    asked = query.need(p.VULNERABILITY_PATH)
    paging = Paging("/v1/vulnerabilities", query, place)
    scope = find_scope(query, paging, place)
    affected, position = _affected(place.queries, asked, query, paging)
    facts = place.queries.vulnerability(asked)
    if not facts and not affected and paging.start is None and position is None:
        raise NotFoundError(f"the vulnerability {asked} is unknown here")
    related = {i for f in facts for i in f.related_ids} | {i for _, found in affected for f in found for i in _ids(f)}
    return a.VulnerabilityAnswer(
        id=asked,
        related_ids=tuple(sorted(related - {asked})),
        kev=next((f.kev for f in facts), None),
        kev_at=next((f.kev_at for f in facts), None),
        databases=tuple(copied(a.DatabaseAnswer, f) for f in facts),
        blast_radius=_blast_radius([header for header, _ in affected]),
        affected=tuple(answer_affected(header, found) for header, found in affected),
        complete=scope.complete,
        unscanned=scope.unscanned,
        next_cursor=paging.cursor_at(position),
    )


def _affected(
    reads: FindingsQueries, asked: str, query: Query, paging: Paging
) -> tuple[list[tuple[Header, Sequence[Finding]]], Position | None]:
    found: list[tuple[Header, Sequence[Finding]]] = []
    position: Position | None = None
    documents = 0
    walk = steps(partial(reads.affected, asked), paging.position(Position) or Position())
    for seen, (row, then) in enumerate(walk, 1):
        position = then
        if row is not None and is_meant(query, row.ref):
            header, documents = reads.header(row.ref), documents + 1
            findings = [f for f in reads.confirm(row.ref, asked) if f.status is not FindingStatus.RESOLVED]
            if header is not None and header.exists and findings:
                found.append((header, sorted(findings, key=lambda f: (f.severity.digit, not f.open))))
        if len(found) == paging.limit or documents >= MAX_DOCUMENTS or seen >= MAX_IMAGES:
            break
    return found, position


def _ids(finding: Finding) -> tuple[str, ...]:
    return (finding.vulnerability_id, *finding.related_ids)


def _blast_radius(headers: Sequence[Header]) -> a.BlastRadiusAnswer:
    return a.BlastRadiusAnswer(
        images=len(headers),
        repositories=len({h.ref.home for h in headers}),
        running=sum(h.in_use.state is InUseState.YES for h in headers),
        maybe_running=sum(h.in_use.state is InUseState.UNKNOWN for h in headers),
        closed=sum(h.decision.closes_doors for h in headers),
    )
