"""Receive a batch of messages: group them by image, read the headers together, hand each group to its use case.

One message that cannot be handled fails alone. What only needs another moment is put back with a delay and `attempt`
+ 1, so that the queue's receives are spent by refusals only; a crash means redelivery.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from chalicelib.domain.events.event import (
    Action,
    ApiCall,
    CoverageChanged,
    FindingChanged,
    ImageAction,
    LifecycleRan,
    PulledThrough,
    ReferrerAction,
    Replicated,
    ScanFinished,
    ScanResourceChanged,
    TaskChanged,
)
from chalicelib.domain.events.message import Decide, Delivery, InheritFirstSeen, Message, Outcome, Refresh, RetriedEvent
from chalicelib.domain.events.sweep_message import SyntheticEvent
from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import ConflictError, TransientError
from chalicelib.services.assessment.assess_image import assess_image
from chalicelib.services.assessment.record_push import record_push
from chalicelib.services.assessment.record_setting import record_found, record_setting
from chalicelib.services.assessment.requeue import requeue
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import Stored
from chalicelib.services.pulls.notify_pull_failure import handle_pull_failure
from chalicelib.services.replication.schedule_replication_check import schedule_replication_check
from chalicelib.services.retention.handle_lifecycle_run import handle_lifecycle_run
from chalicelib.services.tampering.notify_tampering import notify_tampering

Failures = dict[str, BaseException]


def receive_batch(deliveries: Sequence[Delivery], context: Context) -> Failures:
    """Handles all messages and returns those that failed, by message id, with what went wrong."""
    failures: Failures = {}
    groups: dict[ImageRef, list[Delivery]] = {}
    for delivery in deliveries:
        ref = _assessed(delivery)
        if ref is None:
            _guarded([delivery], partial(_record, delivery, context), context, failures)
        else:
            groups.setdefault(ref, []).append(delivery)
    stored: dict[ImageRef, Stored] = {}
    try:
        stored.update(context.table.read_headers(groups))
    except Exception:  # noqa: BLE001 - one that cannot be read must not take the others with it: each alone, then
        for ref, group in groups.items():
            _guarded(group, partial(_assess_alone, ref, group, context), context, failures)
        return failures
    for ref, group in groups.items():
        _guarded(group, partial(assess_image, ref, group, stored.get(ref), context), context, failures)
    return failures


def _assess_alone(ref: ImageRef, group: Sequence[Delivery], context: Context) -> None:
    assess_image(ref, group, context.table.read_headers([ref]).get(ref), context)


def _guarded(group: Sequence[Delivery], handle: Callable[[], None], context: Context, failures: Failures) -> None:
    """Runs `handle` for the group. Puts it back when it only needs time; whatever else goes wrong fails it alone."""
    with context.journal.handling(*group):
        try:
            handle()
        except (TransientError, ConflictError) as e:
            for delivery in group:
                back = requeue("scans", _again(delivery), e, context)
                context.journal.note(delivery, Outcome.PUT_BACK if back else Outcome.FAILED, e)
                if not back:
                    failures[delivery.message_id] = e
        except Exception as e:  # noqa: BLE001 - the edge of a batch: one bad message must never take the others with it
            for delivery in group:
                context.journal.note(delivery, Outcome.FAILED, e)
                failures[delivery.message_id] = e


def _again(delivery: Delivery) -> Message:
    """The message for its next attempt: our own with its number raised, AWS's event as it came."""
    attempt = delivery.attempt + 1
    if isinstance(delivery.body, Refresh | Decide | InheritFirstSeen | SyntheticEvent):
        return msgspec.structs.replace(delivery.body, attempt=attempt)
    return RetriedEvent(delivery.raw or {}, attempt, delivery.redriven)


def _assessed(delivery: Delivery) -> ImageRef | None:
    """The image whose findings or decision the message is about; None for everything else."""
    match delivery.body:
        case FindingChanged(row=row):
            return row.image.ref
        case ScanFinished(ref=ref) | Refresh(ref=ref) | Decide(ref=ref) | InheritFirstSeen(ref=ref):
            return ref
        case CoverageChanged(coverage=coverage):
            return coverage.ref
    return None


def _record(delivery: Delivery, context: Context) -> None:
    """What changes the registry rather than the findings of an image."""
    match delivery.body:
        case ImageAction() as event:
            record_push(event, delivery, context)
            schedule_replication_check(event, context)
        case SyntheticEvent() as found:
            record_found(found, delivery, context)
        case ReferrerAction() as event:
            record_push(_as_push(event.ref, event.action, event), delivery, context)
            schedule_replication_check(event, context)
        case PulledThrough() as event:
            if event.succeeded and event.ref is not None:
                push = _as_push(event.ref, Action.PUSH, event)
                record_push(push, delivery, context)
                schedule_replication_check(push, context)
            record_setting(event, delivery, context)
        case Replicated() as event:
            if event.result == "SUCCESS":
                record_push(_as_push(event.ref, Action.PUSH, event), delivery, context)
            else:
                record_setting(event, delivery, context)
            schedule_replication_check(event, context)
        case LifecycleRan(dry_run=False) as event:
            handle_lifecycle_run(event, delivery, context)
        case ApiCall() as event:
            notify_tampering(event, context)
            record_setting(event, delivery, context)
        case ScanResourceChanged() as event:
            record_setting(event, delivery, context)
        case TaskChanged() as event:
            handle_pull_failure(event, context)


def _as_push(ref: ImageRef, action: str, event: ReferrerAction | PulledThrough | Replicated) -> ImageAction:
    media_type = event.media_type if isinstance(event, ReferrerAction) else None
    artifact_type = event.artifact_media_type if isinstance(event, ReferrerAction) else None
    result = event.result if isinstance(event, ReferrerAction | Replicated) else "SUCCESS"
    return ImageAction(ref, action, result, event.time, event.event_id, event.tag, media_type, artifact_type)
