"""Update one header by what its registry says: read, change, decide, put, until no other writer is in between."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from chalicelib.domain.enforcement.enforcement import is_freed
from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.events.sweep_message import Found
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.document import FindingsDocument
from chalicelib.domain.images.image import ImageRef, Kind
from chalicelib.errors import ConflictError, TransientError
from chalicelib.services.assessment.decide_image import decide_image
from chalicelib.services.assessment.plan_look import promised
from chalicelib.services.assessment.send_effects import send_effects
from chalicelib.services.assessment.send_look import send_look
from chalicelib.services.ports.ports import House, Stored

CONFLICTS = 10


def update_header(ref: ImageRef, change: Callable[[Header], Header], delivery: Delivery, house: House) -> Header:
    """`change` may be called more than once. Where it changes nothing, nothing is written; returns what then is stored.

    An image that came back (pushed again, restored) or left its archive is looked at after `settle`. Raises
    TransientError when other writers are faster again and again.
    """
    rules, quiet = house.rules.current(), isinstance(delivery.body, Found | Decide) and delivery.body.quiet
    for _ in range(CONFLICTS):
        now = house.clock.now()
        stored = house.table.read_headers([ref]).get(ref)
        before = stored.header if stored else Header(ref=ref, known_at=now)
        after = change(before)
        if stored is None and after == before:
            return before
        if before.versions > rules.versions:
            rules = house.rules.fresh()
        after = _still_due(before, decide_image(after, _document(ref, stored, house), rules, now, house, quiet=quiet))
        wanted = _is_to_be_looked_at(before, after, delivery) or is_freed(before, after, rules.policy)
        look_at = now + house.settle if wanted else None
        after = promised(after, look_at)
        try:
            put = before if after == before else house.table.put_header(after)
        except ConflictError:
            rules = house.rules.fresh()
            continue
        send_effects(before, put, house, again=not delivery.fresh, quiet=quiet)
        send_look(ref, look_at, put.scan.source, house)
        if house.table.read_versions() <= rules.versions:
            return put
        rules = house.rules.fresh()
    raise TransientError(f"{ref}: {CONFLICTS} times another writer was faster")


def _still_due(before: Header, after: Header) -> Header:
    """What is due is not done here (nobody is asked what is exploited): the clock comes to it all the same."""
    if before.due_at is None or after.decide_at is None or after.due_at is None:
        return after
    return msgspec.structs.replace(after, due_at=min(before.due_at, after.due_at))


def _document(ref: ImageRef, stored: Stored | None, house: House) -> FindingsDocument:
    if stored is None or not max(stored.document_revision, stored.header.revision):
        return FindingsDocument(ref)
    return house.table.read_document(ref)


def _is_to_be_looked_at(before: Header, after: Header, delivery: Delivery) -> bool:
    """What was heard of a deleted image was dropped, and what an archive closed was not believed: so look.

    A redelivered message may have put such a change already, and its look may not have been sent.
    """
    if not after.exists or after.kind is not Kind.IMAGE:
        return False
    came_back = not before.exists and before.existence_at is not None
    moved = before.version > 0 and (before.storage, before.activated_at) != (after.storage, after.activated_at)
    return came_back or moved or not delivery.fresh
