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
from chalicelib.domain.events.handling import Outcome
from chalicelib.domain.events.message import Again, Age, Decide, Delivery, Look, Message
from chalicelib.domain.events.sweep_message import Found
from chalicelib.domain.images.image import ImageRef, Kind
from chalicelib.errors import ConflictError, TransientError
from chalicelib.services.assessment.assess_image import assess_image
from chalicelib.services.assessment.keep_sights import keep_sights
from chalicelib.services.assessment.put_back import put_back
from chalicelib.services.assessment.record_push import record_push
from chalicelib.services.assessment.record_setting import record_found, record_setting
from chalicelib.services.ports.ports import Stored
from chalicelib.services.ports.sweep_ports import Replicating
from chalicelib.services.pulls.tell_pull_failure import hear_pull_failure
from chalicelib.services.replication.schedule_replication_check import schedule_replication_check
from chalicelib.services.retention.hear_lifecycle_run import hear_lifecycle_run

Failures = dict[str, BaseException]


def receive_batch(deliveries: Sequence[Delivery], house: Replicating) -> Failures:
    """Handles all messages and returns those that failed, by message id, with what went wrong."""
    keep_sights(deliveries, house)
    failures: Failures = {}
    groups: dict[ImageRef, list[Delivery]] = {}
    for delivery in deliveries:
        ref = _assessed(delivery)
        if ref is None:
            _guarded([delivery], partial(_record, delivery, house), house, failures)
        else:
            groups.setdefault(ref, []).append(delivery)
    stored: dict[ImageRef, Stored] = {}
    try:
        stored.update(house.table.read_headers(groups))
    except Exception:  # noqa: BLE001 - one that cannot be read must not take the others with it: each alone, then
        for ref, group in groups.items():
            _guarded(group, partial(_assess_alone, ref, group, house), house, failures)
        return failures
    for ref, group in groups.items():
        _guarded(group, partial(assess_image, ref, group, stored.get(ref), house), house, failures)
    return failures


def _assess_alone(ref: ImageRef, group: Sequence[Delivery], house: Replicating) -> None:
    assess_image(ref, group, house.table.read_headers([ref]).get(ref), house)


def _guarded(group: Sequence[Delivery], handle: Callable[[], None], house: Replicating, failures: Failures) -> None:
    """Runs `handle` for the group. Puts it back when it only needs time; whatever else goes wrong fails it alone."""
    with house.journal.handling(*group):
        try:
            handle()
        except (TransientError, ConflictError) as e:
            for delivery in group:
                back = put_back("scans", _again(delivery), e, house)
                house.journal.note(delivery, Outcome.PUT_BACK if back else Outcome.FAILED, e)
                if not back:
                    failures[delivery.message_id] = e
        except Exception as e:  # noqa: BLE001 - the edge of a batch: one bad message must never take the others with it
            for delivery in group:
                house.journal.note(delivery, Outcome.FAILED, e)
                failures[delivery.message_id] = e


def _again(delivery: Delivery) -> Message:
    """The message for its next attempt: our own with its number raised, AWS's event as it came."""
    attempt = delivery.attempt + 1
    if isinstance(delivery.body, Look | Decide | Age | Found):
        return msgspec.structs.replace(delivery.body, attempt=attempt)
    return Again(delivery.raw or {}, attempt, delivery.redriven)


def _assessed(delivery: Delivery) -> ImageRef | None:
    """The image whose findings or decision the message is about; None for everything else."""
    match delivery.body:
        case FindingChanged(row=row):
            return row.image.ref
        case ScanFinished(ref=ref) | Look(ref=ref) | Decide(ref=ref) | Age(ref=ref):
            return ref
        case CoverageChanged(coverage=coverage):
            return coverage.ref
    return None


def _record(delivery: Delivery, house: Replicating) -> None:
    """What changes the registry rather than the findings of an image."""
    match delivery.body:
        case ImageAction() as event:
            record_push(event, delivery, house)
            schedule_replication_check(event, house)
        case Found() as found:
            record_found(found, delivery, house)
        case ReferrerAction() as event:
            record_push(_as_push(event.ref, event.action, event), delivery, house, Kind.ARTIFACT)
            schedule_replication_check(event, house)
        case PulledThrough(ref=ImageRef() as ref) as event if event.status == "SUCCESS":
            record_push(_as_push(ref, Action.PUSH, event), delivery, house)
        case Replicated() as event:
            if event.result == "SUCCESS":
                record_push(_as_push(event.ref, Action.PUSH, event), delivery, house)
            else:
                record_setting(event, delivery, house)
            schedule_replication_check(event, house)
        case LifecycleRan(dry_run=False) as event:
            hear_lifecycle_run(event, delivery, house)
        case ScanResourceChanged() | ApiCall() | PulledThrough() as event:
            record_setting(event, delivery, house)
        case TaskChanged() as event:
            hear_pull_failure(event, house)


def _as_push(ref: ImageRef, action: str, event: ReferrerAction | PulledThrough | Replicated) -> ImageAction:
    media_type = event.media_type if isinstance(event, ReferrerAction) else None
    artifact_type = event.artifact_media_type if isinstance(event, ReferrerAction) else None
    result = event.result if isinstance(event, ReferrerAction | Replicated) else "SUCCESS"
    return ImageAction(ref, action, result, event.time, event.event_id, event.tag, media_type, artifact_type)
