"""Decide one image: everything its decision hangs on beside its own header and findings is read here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from chalicelib.domain.assessment.conclusion import conclude
from chalicelib.domain.enforcement.enforcement import DesiredState, wanted, wants_quarantine
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.line import as_same_digest, has_last_word
from chalicelib.domain.headers.pending_action import EndedWaivers
from chalicelib.domain.images.document import FindingsDocument
from chalicelib.domain.images.image import Kind
from chalicelib.domain.images.verdict import Decision, VerdictSummary
from chalicelib.services.ports.context import Context


def decide_image(
    header: Header, document: FindingsDocument, rules: Rules, now: datetime, context: Context, *, quiet: bool = False
) -> Header:
    """The header as it must be put. An index is decided by its children as they stand now (their change re-decides)."""
    indexes = indexes_of(header, context)
    children = members_of(header, context)
    return conclude(
        header,
        document,
        rules,
        now,
        children=standings_of(header, children, rules, now),
        index_tags=[tag for index in indexes for tag in index.tags],
        needed_by=needing(indexes, rules),
        ended=[_ended(child) for child in children],
        quiet=quiet,
    )


def desired_state(header: Header, rules: Rules, context: Context) -> DesiredState:
    """What is wanted of the image as it stands, with the indexes that need it looked at now."""
    return wanted(header, rules.policy, needing(indexes_of(header, context), rules))


def needing(indexes: Sequence[Header], rules: Rules) -> tuple[str, ...]:
    """The digests of the indexes that need an image: all that are not to be quarantined themselves."""
    return tuple(i.ref.digest for i in indexes if i.exists and not wants_quarantine(i, rules.policy))


def indexes_of(header: Header, context: Context) -> Sequence[Header]:
    """The indexes that hold the image. A rule about tags means it by theirs: it has no tag of its own."""
    if header.kind is not Kind.IMAGE or not header.parents:
        return ()
    found = context.table.read_headers([header.ref.home.image(parent) for parent in header.parents])
    return [stored.header for stored in found.values()]


def members_of(header: Header, context: Context) -> Sequence[Header | None]:
    """Whose verdicts it takes. A child not known yet is None; attestations and whatever else turned out to be no image
    do not count, nor does a twin that is gone and had closed no doors."""
    refs = header.members
    found = context.table.read_headers(refs) if refs else {}
    known = [found[r].header if r in found else None for r in refs]
    if header.ref.home.public:
        told = [h for h in known if h is not None and (h.present or has_last_word(h))]
        return [h for h in told if h.kind is not Kind.ARTIFACT]
    return [h for h in known if h is None or h.kind is not Kind.ARTIFACT]


def standings_of(
    header: Header, members: Sequence[Header | None], rules: Rules, now: datetime
) -> tuple[VerdictSummary, ...]:
    """How they stand for it."""
    if not header.ref.home.public:
        return tuple(VerdictSummary(Decision.PENDING) if member is None else member.standing for member in members)
    name, policy, waivers = header.ref.repository, rules.policy, rules.waivers
    return tuple(as_same_digest(m, m.verdict, name, policy, waivers, now) for m in members if m is not None)


def _ended(child: Header | None) -> EndedWaivers | None:
    waiting = child.left_to_summary if child else None
    return waiting.ended if waiting else None
