"""Read what a public image is judged by: how the same digest stands in private repositories, and the findings of one.

Each twin is read when its own message comes, and all of them by a sweep: a change of many costs a read of each, not of
all of them for each.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from chalicelib.domain.assessment.scanned_copy import ScannedCopy
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.twin import Twin, lender_of, origin_verdicts, origins_of
from chalicelib.domain.images.finding import FindingsDocument
from chalicelib.domain.images.image import Kind
from chalicelib.services.ports.context import Context


def hear_twins(public: Header, context: Context, news: Collection[str] | None = None) -> tuple[Twin, ...]:
    """`news`: the paths of those that are known to have changed; None: any may have."""
    known = {twin.path: twin for twin in public.heard} if news is not None else {}
    refs = [ref for ref in public.members if ref.path not in known or ref.path in (news or ())]
    found = context.table.read_headers(refs) if refs else {}
    known |= {ref.path: found[ref].header.as_twin if ref in found else Twin(ref.path) for ref in refs}
    return tuple(known[path] for path in public.twins)


def find_copy(public: Header, rules: Rules, now: datetime, context: Context) -> ScannedCopy | None:
    """By whose findings it is judged. None: it has an origin that says something, or nothing was scanned anywhere."""
    if not public.ref.home.public or has_origin(public, rules, now):
        return None
    lender = lender_of(public.heard, rules.publication_of(public.ref.repository))
    found = context.table.read_headers([lender.ref]).get(lender.ref) if lender is not None else None
    return None if found is None else _with_images(found.header, context)


def has_origin(public: Header, rules: Rules, now: datetime) -> bool:
    """Whether an image that it is published from is there, or was deleted after it had closed its doors."""
    origins = origins_of(public.heard, rules.publication_of(public.ref.repository))
    return any(not one.silent for one in origin_verdicts(origins, rules.policy, rules.waivers, now))


def _with_images(lender: Header, context: Context) -> ScannedCopy:
    """An index within an index counts as one that nobody has heard of."""
    refs = lender.members if lender.kind is Kind.INDEX else ()
    found = context.table.read_headers(refs) if refs else {}
    held = [found[ref].header if ref in found else None for ref in refs]
    images = (image for image in held if image is None or image.counts_in_index)
    return ScannedCopy(
        lender,
        _document(lender, context),
        tuple(None if i is None or i.kind is Kind.INDEX else ScannedCopy(i, _document(i, context)) for i in images),
    )


def _document(image: Header, context: Context) -> FindingsDocument:
    return context.table.read_document(image.ref) if image.revision else FindingsDocument(image.ref)
