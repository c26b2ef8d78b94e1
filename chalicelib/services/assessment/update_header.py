"""Update one header by what its registry says, and decide it by that."""

from __future__ import annotations

from collections.abc import Callable

from chalicelib.domain.enforcement.enforcement import is_freed
from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.events.sweep_message import SyntheticEvent
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.document import FindingsDocument
from chalicelib.domain.images.image import ImageRef, Kind
from chalicelib.services.assessment.decide_image import decide_image
from chalicelib.services.assessment.write_header import Attempt, HeaderChange, still_due, write_header
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import Stored


def update_header(ref: ImageRef, change: Callable[[Header], Header], delivery: Delivery, context: Context) -> Header:
    """`change` may be called more than once. Where it changes nothing, nothing is written; returns what then is stored.

    An image that came back (pushed again, restored) or left its archive is refreshed after `consistency_delay`. Raises
    TransientError when other writers are faster again and again.
    """
    rules, quiet = context.rules.current(), isinstance(delivery.body, SyntheticEvent | Decide) and delivery.body.quiet

    def decide(attempt: Attempt) -> HeaderChange | None:
        before, now = attempt.header, context.clock.now()
        after = change(before)
        if attempt.stored is None and after == before:
            return None
        rules = attempt.rules_as_new_as_header()
        document = _document(ref, attempt.stored, context)
        after = still_due(before, decide_image(after, document, rules, now, context, quiet=quiet))
        wanted = _needs_refresh(before, after, delivery) or is_freed(before, after, rules.policy)
        refresh_at = now + context.consistency_delay if wanted else None
        return HeaderChange(after, document, refresh_at, again=not delivery.fresh, quiet=quiet)

    return write_header(ref, decide, context, stored=context.table.read_headers([ref]).get(ref), rules=rules)


def _document(ref: ImageRef, stored: Stored | None, context: Context) -> FindingsDocument:
    if stored is None or not max(stored.document_revision, stored.header.revision):
        return FindingsDocument(ref)
    return context.table.read_document(ref)


def _needs_refresh(before: Header, after: Header, delivery: Delivery) -> bool:
    """What was heard of a deleted image was dropped, and what an archive closed was not believed: so refresh.

    A redelivered message may have put such a change already, and its refresh may not have been sent.
    """
    if not after.exists or after.kind is not Kind.IMAGE:
        return False
    came_back = not before.exists and before.existence_at is not None
    moved = before.version > 0 and (before.storage, before.activated_at) != (after.storage, after.activated_at)
    return came_back or moved or not delivery.fresh
