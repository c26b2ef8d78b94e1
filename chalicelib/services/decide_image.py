"""Decide one image: everything its decision hangs on beside its own header and findings is read here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from chalicelib.domain.document import FindingsDocument
from chalicelib.domain.header import Header, Rules, conclude
from chalicelib.domain.image import Kind
from chalicelib.domain.verdict import Decision
from chalicelib.services.ports import House


def decide_image(
    header: Header, document: FindingsDocument, rules: Rules, now: datetime, house: House, *, quiet: bool = False
) -> Header:
    """The header as it must be put. An index is decided by its children as they stand now (their change re-decides)."""
    children, index_tags = _decisions(header, house), _index_tags(header, house)
    return conclude(header, document, rules, now, children=children, index_tags=index_tags, quiet=quiet)


def _decisions(header: Header, house: House) -> Sequence[Decision]:
    """A child not known yet is PENDING; attestations and whatever else turned out to be no image do not count."""
    if header.kind is not Kind.INDEX:
        return ()
    refs = [header.ref.home.image(c.digest) for c in header.children if not c.artifact]
    found = house.table.read_headers(refs) if refs else {}
    known = [found[r].header if r in found else None for r in refs]
    return [h.decision if h else Decision.PENDING for h in known if h is None or h.kind is not Kind.ARTIFACT]


def _index_tags(header: Header, house: House) -> Sequence[str]:
    """An image of an index has no tag of its own; a rule about tags means it by the index's."""
    if header.kind is not Kind.IMAGE or not header.parents:
        return ()
    indexes = house.table.read_headers([header.ref.home.image(parent) for parent in header.parents])
    return [tag for stored in indexes.values() for tag in stored.header.tags]
