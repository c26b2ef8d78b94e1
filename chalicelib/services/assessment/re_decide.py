"""The clock: decide again what time alone can change, send again what should have been done by now, and look whether
runs what the door of a cluster would refuse."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.assessment.conclusion import with_due
from chalicelib.domain.events.message import Act, CheckDeny, Decide, Delivery, Refresh
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import queue_of
from chalicelib.domain.images.image import ImageRef, Kind, ScanState, Source
from chalicelib.errors import ConflictError, UpstreamError
from chalicelib.services.assessment.assess_image import CLOCK, assess_image
from chalicelib.services.assessment.write_header import Attempt, HeaderChange, decide_image, write_header
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import Stored
from chalicelib.services.usage.find_blast_radius import find_running

SHARDS = 8
BUDGET = timedelta(seconds=15)
"""Of one shard: all eight, one after the other in one batch, leave the other parts of sweeps their time."""
ANSWER_WITHIN = timedelta(hours=1)
"""Inspector is asked when it scanned last; what it has not said by then is decided by what is stored."""


def re_decide(shard: int, context: Context) -> int:
    """Handles what is due in one shard of the index, oldest first, while there is time. Returns the number of images.
    Whether they run is looked up when all else is done: a look takes seconds.

    Harmless when run twice or cut off: an image leaves the index only by the write that dealt with it, and what one run
    does not reach the next one finds. One that cannot be dealt with stays due and does not hold up the others; if it is
    a defect, it is raised when all others are done.
    """
    now = context.clock.now()
    refs = context.table.due(shard, now)
    defects: list[Exception] = []
    looked_for: list[ImageRef] = []
    done = 0
    for ref in refs:
        if done and context.clock.now() - now > BUDGET:
            break
        done += 1
        try:
            stored = context.table.read_headers([ref]).get(ref)
            if stored is not None:
                _catch_up(stored, now, context)
                looked_for += [ref] if _is_to_be_looked_for(stored.header, now) else []
        except (UpstreamError, ConflictError):
            continue
        except Exception as e:  # noqa: BLE001 - one unreadable image must not stop the clock for its whole shard
            defects.append(e)
    for ref in looked_for:
        if context.clock.now() - now > BUDGET:
            break
        with suppress(UpstreamError, ConflictError):
            _look_for(ref, context)
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


def _is_to_be_looked_for(header: Header, now: datetime) -> bool:
    door = header.door
    return header.exists and door is not None and door.look_at is not None and door.look_at <= now


def _look_for(ref: ImageRef, context: Context) -> None:
    """A place that cannot be asked is no answer: it is asked again in an hour."""
    stored = context.table.read_headers([ref]).get(ref)
    if stored is None or not _is_to_be_looked_for(stored.header, context.clock.now()):
        return
    use, at = find_running(stored.header, context), context.clock.now()

    def seen(attempt: Attempt) -> HeaderChange:
        before, document, rules = attempt.header, attempt.document(), attempt.rules_as_new_as_header()
        header = msgspec.structs.replace(before, door=before.door and before.door.seen(use, at))
        after = decide_image(header, document, rules, context.clock.now(), context)
        return HeaderChange(with_due(after), document)

    write_header(ref, seen, context, stored=stored)


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
