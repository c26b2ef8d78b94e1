"""The clock: decide again what time alone can change, and send again what should have been done by now."""

from __future__ import annotations

from datetime import datetime, timedelta

from chalicelib.domain.assessment.conclusion import with_due
from chalicelib.domain.events.message import Act, CheckDeny, Decide, Delivery, Refresh
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import queue_of
from chalicelib.domain.images.image import Kind, ScanState, Source
from chalicelib.errors import ConflictError, UpstreamError
from chalicelib.services.assessment.assess_image import CLOCK, assess_image
from chalicelib.services.assessment.write_header import Attempt, HeaderChange, write_header
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import Stored

SHARDS = 8
BUDGET = timedelta(seconds=15)
"""Of one shard: all eight, one after the other in one batch, leave the other parts of sweeps their time."""
ANSWER_WITHIN = timedelta(hours=1)
"""Inspector is asked when it scanned last; what it has not said by then is decided by what is stored."""


def re_decide(shard: int, context: Context) -> int:
    """Handles what is due in one shard of the index, oldest first, while there is time. Returns the number of images.

    Harmless when run twice or cut off: an image leaves the index only by the write that dealt with it, and what one run
    does not reach the next one finds. One that cannot be dealt with stays due and does not hold up the others; if it is
    a defect, it is raised when all others are done.
    """
    now = context.clock.now()
    refs = context.table.due(shard, now)
    defects: list[Exception] = []
    done = 0
    for ref in refs:
        if done and context.clock.now() - now > BUDGET:
            break
        done += 1
        try:
            stored = context.table.read_headers([ref]).get(ref)
            if stored is not None:
                _catch_up(stored, now, context)
        except (UpstreamError, ConflictError):
            continue
        except Exception as e:  # noqa: BLE001 - one unreadable image must not stop the clock for its whole shard
            defects.append(e)
    if defects:
        raise ExceptionGroup(f"{len(defects)} of {done} images of shard {shard}", defects)
    return done


def _catch_up(stored: Stored, now: datetime, context: Context) -> None:
    header = stored.header
    for effect in header.pending:
        if effect.due_at is not None and effect.due_at <= now:
            context.outbox.send(queue_of(effect.key), Act(header.ref, effect.key, attempt=1))
    if header.denied:  # the policy may have been changed without an event
        context.outbox.send("actions", CheckDeny(header.ref))
    if not header.present or header.kind is Kind.ARTIFACT:
        write_header(header.ref, _with_next_due, context, stored=stored, tries=1)
        return
    if _is_to_be_asked(header, now, context):
        if header.refresh_due_at is None:
            # Sent before it is marked: a look too many is harmless, one that is promised and never comes is not.
            context.outbox.send("scans", Refresh(header.ref, now, Source.ENHANCED))
            context.table.mark_refresh(header.ref, header.version, now)
            return
        if now < header.refresh_due_at + ANSWER_WITHIN:
            return
    clock = Delivery(message_id=f"{CLOCK}:{header.ref.path}", body=Decide(header.ref, CLOCK))
    assess_image(header.ref, [clock], stored, context)


def _with_next_due(attempt: Attempt) -> HeaderChange:
    return HeaderChange(with_due(attempt.header), sends=False)


def _is_to_be_asked(header: Header, now: datetime, context: Context) -> bool:
    """Whether the age of the scan may decide now: Inspector rescans without an event as long as nothing is new."""
    scan, policy = header.scan, context.rules.current().policy
    if header.kind is not Kind.IMAGE or scan.source is not Source.ENHANCED or scan.state is not ScanState.COMPLETE:
        return False
    if not header.exists:  # it is deleted and still denies pulls: nothing scans it
        return False
    if scan.scanned_at is None or (header.scan_seen_at is not None and header.scan_seen_at > now - ANSWER_WITHIN):
        return False
    days = 1 if policy.asks_scan_age else policy.stale.after_days
    return scan.scanned_at + timedelta(days=days) <= now
