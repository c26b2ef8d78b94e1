"""Decide one image: everything its decision hangs on beside its own header and findings is read here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from chalicelib.domain.conclusion import conclude
from chalicelib.domain.document import FindingsDocument
from chalicelib.domain.enforcement import MOVE, is_quarantined, wants_quarantine
from chalicelib.domain.header import Header, Rules
from chalicelib.domain.image import Kind
from chalicelib.domain.policy import Policy
from chalicelib.domain.verdict import Decision, Standing
from chalicelib.services.ports import House


def decide_image(
    header: Header, document: FindingsDocument, rules: Rules, now: datetime, house: House, *, quiet: bool = False
) -> Header:
    """The header as it must be put. An index is decided by its children as they stand now (their change re-decides)."""
    indexes = indexes_of(header, house)
    return conclude(
        header,
        document,
        rules,
        now,
        children=_standings(header, house),
        index_tags=[tag for index in indexes for tag in index.named],
        needed_by=needing(header, indexes, rules),
        quiet=quiet,
    )


def needing(header: Header, indexes: Sequence[Header], rules: Rules) -> Sequence[str]:
    """The digests of those of its indexes that exist and need the image: all that are not to be quarantined themselves,
    and where quarantine deletes, every one: ECR deletes no image before its index, and moves none that is archived.
    But where index and image are archived both, a policy with another method restores neither."""
    return [i.ref.digest for i in indexes if i.exists and _needs(i, header, rules.policy)]


def _needs(index: Header, header: Header, policy: Policy) -> bool:
    if not wants_quarantine(index, policy):
        return True
    done = is_quarantined(index, MOVE) and is_quarantined(header, MOVE)
    return policy.quarantine.method == MOVE and not done


def indexes_of(header: Header, house: House) -> Sequence[Header]:
    """The indexes that hold the image. A rule about tags means it by theirs: it has no tag of its own."""
    if header.kind is not Kind.IMAGE or not header.parents:
        return ()
    found = house.table.read_headers([header.ref.home.image(parent) for parent in header.parents])
    return [stored.header for stored in found.values()]


def _standings(header: Header, house: House) -> Sequence[Standing]:
    """A child not known yet is PENDING; attestations and whatever else turned out to be no image do not count."""
    if header.kind is not Kind.INDEX:
        return ()
    refs = [header.ref.home.image(c.digest) for c in header.children if not c.artifact]
    found = house.table.read_headers(refs) if refs else {}
    known = [found[r].header if r in found else None for r in refs]
    return [h.standing if h else Standing(Decision.PENDING) for h in known if h is None or h.kind is not Kind.ARTIFACT]
