"""Send what follows from a header that was put: its effects, and the indexes and images that hang on it.

Put a header that was decided anew, and send what follows from it: effects, parents and children, a look.

Update one header by what its registry says: read, change, decide, put, until no other writer is in between.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from chalicelib.domain.enforcement.enforcement import is_freed
from chalicelib.domain.events.handling import Metric
from chalicelib.domain.events.message import Act, Decide, Delivery
from chalicelib.domain.events.sweep_message import SyntheticEvent
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import Holding, PendingAction
from chalicelib.domain.images.document import FindingsDocument
from chalicelib.domain.images.image import ImageRef, Kind, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import ConflictError, TransientError
from chalicelib.services.assessment.decide_image import decide_image
from chalicelib.services.assessment.send_refresh import promised, send_refresh
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import Stored


def put_decided(before: Header, after: Header, context: Context) -> Header:
    """Nothing where nothing has changed. What an archive closed was not believed: an image that left it is looked at.

    Raises ConflictError when another writer was faster.
    """
    moved = after.kind is Kind.IMAGE and (before.storage, before.activated_at) != (after.storage, after.activated_at)
    freed = is_freed(before, after, context.rules.current().policy)
    listed_at = context.clock.now() + context.consistency_delay if after.exists and (moved or freed) else None
    after = promised(after, listed_at)
    if after == before:
        return before
    put = context.table.put_header(after)
    send_effects(before, put, context, again=False)
    send_refresh(put.ref, listed_at, put.scan.source, context)
    return put


def send_again(header: Header, context: Context, but: str | None = None) -> None:
    """Whoever put this header may have died before it had sent what follows. `but`: the effect that is being done."""
    rest = msgspec.structs.replace(header, pending=tuple(e for e in header.pending if e.key != but))
    send_effects(rest, rest, context, again=True)
    send_refresh(header.ref, header.refresh_due_at, header.scan.source, context)


CONFLICTS = 10


def update_header(ref: ImageRef, change: Callable[[Header], Header], delivery: Delivery, context: Context) -> Header:
    """`change` may be called more than once. Where it changes nothing, nothing is written; returns what then is stored.

    An image that came back (pushed again, restored) or left its archive is looked at after `consistency_delay`. Raises
    TransientError when other writers are faster again and again.
    """
    rules, quiet = context.rules.current(), isinstance(delivery.body, SyntheticEvent | Decide) and delivery.body.quiet
    for _ in range(CONFLICTS):
        now = context.clock.now()
        stored = context.table.read_headers([ref]).get(ref)
        before = stored.header if stored else Header(ref=ref, known_at=now)
        after = change(before)
        if stored is None and after == before:
            return before
        if before.versions > rules.versions:
            rules = context.rules.fresh()
        after = _still_due(
            before, decide_image(after, _document(ref, stored, context), rules, now, context, quiet=quiet)
        )
        wanted = _needs_refresh(before, after, delivery) or is_freed(before, after, rules.policy)
        listed_at = now + context.consistency_delay if wanted else None
        after = promised(after, listed_at)
        try:
            put = before if after == before else context.table.put_header(after)
        except ConflictError:
            rules = context.rules.fresh()
            continue
        send_effects(before, put, context, again=not delivery.fresh, quiet=quiet)
        send_refresh(ref, listed_at, put.scan.source, context)
        if context.table.read_versions() <= rules.versions:
            return put
        rules = context.rules.fresh()
    raise TransientError(f"{ref}: {CONFLICTS} times another writer was faster")


def _still_due(before: Header, after: Header) -> Header:
    """What is due is not done here (nobody is asked what is exploited): the clock comes to it all the same."""
    if before.due_at is None or after.decide_at is None or after.due_at is None:
        return after
    return msgspec.structs.replace(after, due_at=min(before.due_at, after.due_at))


def _document(ref: ImageRef, stored: Stored | None, context: Context) -> FindingsDocument:
    if stored is None or not max(stored.document_revision, stored.header.revision):
        return FindingsDocument(ref)
    return context.table.read_document(ref)


def _needs_refresh(before: Header, after: Header, delivery: Delivery) -> bool:
    """What was heard of a deleted image was dropped, and what an archive closed was not believed: so look.

    A redelivered message may have put such a change already, and its look may not have been sent.
    """
    if not after.exists or after.kind is not Kind.IMAGE:
        return False
    came_back = not before.exists and before.existence_at is not None
    moved = before.version > 0 and (before.storage, before.activated_at) != (after.storage, after.activated_at)
    return came_back or moved or not delivery.fresh


def send_effects(before: Header, put: Header, context: Context, *, again: bool, quiet: bool = False) -> None:
    """`again`: whoever came before us may have died between putting and sending, so everything is sent.

    An act that waits is the clock's to send, and so is an alert that is left to a summary; an act that is begun is in a
    worker's hands; one that is only observed is sent once, to be recorded. Indexes hear of a child that blocks or is
    quarantined when it gets worse or less bad, of any other when its decision changes: not of every finding. The same
    digest in public repositories hears of every verdict: what is excused here may not be there."""
    _tell_verdict(before, put, context)
    for effect in put.pending:
        if effect.left_to_summary:
            continue
        if again or (effect not in before.pending and _is_to_be_sent(put, effect)):
            context.outbox.send("actions", Act(put.ref, effect.key))
    turned = again or put.exists is not before.exists or put.kind is not before.kind
    if turned or put.standing != before.standing:
        for parent in put.parents:
            context.outbox.send("scans", Decide(put.ref.home.image(parent), "child", quiet=quiet))
    if not put.ref.home.public and (turned or put.verdict != before.verdict):
        for twin in put.twins:
            context.outbox.send("scans", Decide(ImageRef.from_path(twin), "twin", quiet=quiet))
    if put.kind is Kind.INDEX and before.version and (again or _needs(put) != _needs(before)):
        for child in put.children:
            if not child.artifact:
                context.outbox.send("scans", Decide(put.ref.home.image(child.digest), "tag", quiet=quiet))


def _tell_verdict(before: Header, put: Header, context: Context) -> None:
    if put.verdict is None:
        return
    context.journal.decided(put.ref, put.verdict.number)
    if before.verdict is None or before.verdict.number != put.verdict.number:
        context.journal.count(Metric.VERDICTS, by=put.verdict.decision)


def _is_to_be_sent(header: Header, effect: PendingAction) -> bool:
    if effect.kind.acts and header.begun is not None:
        return False
    return effect.held is None or effect.held.why is Holding.OBSERVE


def _needs(index: Header) -> tuple[object, ...]:
    """What of an index its images are decided by: its tags, and whether it can, and is to be pulled."""
    archived = index.storage is StorageStatus.ARCHIVED
    return index.named, index.exists, archived, index.decision is Decision.QUARANTINE, index.order
