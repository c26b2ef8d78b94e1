"""Gather for a what-if all that the decision about one image hangs on, as stored. Nothing is written or looked up."""

from __future__ import annotations

from datetime import datetime

from chalicelib.domain.assessment.merge import learn
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.document import FindingsDocument
from chalicelib.domain.images.image import ImageRef, Kind, Source
from chalicelib.domain.whatif.what_if import Case, Question
from chalicelib.services.assessment.decide_image import indexes_of, members_of
from chalicelib.services.ports.ports import House


def gather_case(header: Header, question: Question, house: House) -> Case:
    """The image with its findings, the tags of its indexes and, of an index, its images."""
    return _gathered(header, question, house, frozenset())


def _gathered(header: Header, question: Question, house: House, above: frozenset[ImageRef]) -> Case:
    """`above`: the indexes it was reached by; one that holds itself is followed once."""
    document = FindingsDocument(header.ref)
    if header.kind is Kind.IMAGE and header.revision:
        document = _with_known_kev(house.table.read_document(header.ref), question, house)
    tags = tuple(tag for index in indexes_of(header, house) for tag in index.named)
    return Case(header, document, tags, _children(header, question, house, above | {header.ref}))


def _children(header: Header, question: Question, house: House, above: frozenset[ImageRef]) -> tuple[Case | None, ...]:
    members = members_of(header, house)
    return tuple(None if h is None or h.ref in above else _gathered(h, question, house, above) for h in members)


def _with_known_kev(document: FindingsDocument, question: Question, house: House) -> FindingsDocument:
    """With what other images' findings have taught of the same flaws: applying a policy would take it over too."""
    policies = [p for p in (question.today, question.candidate) if p.asks_kev]
    if not policies:
        return document
    enhanced = (f for f in document.findings if f.open and f.source is Source.ENHANCED)
    asked = [f for f in enhanced if any(policy.asks(f) for policy in policies)]
    known = house.table.read_kev({f.vulnerability_id for f in asked}) if asked else {}
    facts = {f.source_finding_id: _fact(known, f.vulnerability_id) for f in asked}
    return learn(document, {i: fact for i, fact in facts.items() if fact is not None}, question.moments[-1]).document


def _fact(known: dict[str, tuple[bool | None, datetime]], vulnerability_id: str) -> bool | None:
    return known[vulnerability_id][0] if vulnerability_id in known else None
