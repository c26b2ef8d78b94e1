"""First sight in the image line: a rebuild does not make a finding young again. Nothing is put here."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.domain.assessment.merge import age
from chalicelib.domain.events.message import Age, Delivery
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.line import neighbours
from chalicelib.domain.images.document import FindingsDocument
from chalicelib.errors import TransientError
from chalicelib.services.ports.ports import House

AGE_ATTEMPTS = 3


def meet_line(
    document: FindingsDocument, before: Header, after: Header, deliveries: Sequence[Delivery], house: House
) -> tuple[FindingsDocument, Header | None]:
    """The document with earlier first sights taken over, and the next newer image of the line, which may take them.

    A first listing asks the next older image of its line; an `Age` message names the older image. Raises
    TransientError while there is no listing yet that could take over what an `Age` brings.
    """
    ages = [d for d in deliveries if isinstance(d.body, Age)]
    again = not all(d.fresh for d in deliveries)
    listed_now = after.looked_at is not None and (before.looked_at is None or (again and after != before))
    if not (listed_now and after.pushed_at and document.findings) and not ages:
        return document, None
    elder, younger = neighbours(after, house.table.headers_of(after.ref.home))
    aged = document
    if listed_now and elder is not None and elder.revision:
        aged = age(aged, house.table.read_document(elder.ref).findings).document
    for delivery in ages:
        aged = _take_over(aged, after, delivery, house)
    return aged, younger if listed_now or aged is not document else None


def _take_over(document: FindingsDocument, header: Header, delivery: Delivery, house: House) -> FindingsDocument:
    if not isinstance(delivery.body, Age):
        return document
    if header.looked_at is None and delivery.attempt < AGE_ATTEMPTS:
        raise TransientError(f"{header.ref} has no listing yet that could take over first sights")
    return age(document, house.table.read_document(delivery.body.elder).findings).document
