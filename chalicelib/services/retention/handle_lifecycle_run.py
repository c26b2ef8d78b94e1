"""Handle a run of ECR's own lifecycle policy: record what it expired and archived; send an alert where that was in use.

The functions of the queues `actions` and `sweeps` alone reach channels and look up where images run, so
`notify_lifecycle_run` runs there.
"""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.event import EXPIRE, Action, ImageAction, LifecycleImage, LifecycleRan
from chalicelib.domain.events.message import Delivery
from chalicelib.domain.events.sweep_message import (
    MOST_IN_A_MESSAGE,
    Expired,
    NotifyExpired,
    expired_image,
    expiry_words,
    lines_of,
)
from chalicelib.domain.images.image import InUse, Repository, StorageStatus
from chalicelib.domain.retention.alert import compose_lifecycle_alert
from chalicelib.errors import AbsentError
from chalicelib.services.assessment.record_push import record_push
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.registry import Subject


def notify_lifecycle_run(message: NotifyExpired, context: Context) -> None:
    """One alert a message; none where no image runs or is evidence. Raises TransientError: requeue it with a delay."""
    uses = [_use(message.repository, one, context) for one in message.expired]
    lines = lines_of(message.expired, uses, archived=message.archived)
    if not lines:
        return
    alert = compose_lifecycle_alert(message.repository, lines, context.clock.now(), archived=message.archived)
    kind = ActionKind.ARCHIVED_BY_ECR if message.archived else ActionKind.EXPIRED_BY_ECR
    effect = f"ALERT#{kind}#{message.event_id}#{message.expired[0].digest[7:19]}"
    announce(alert, AlertKey(effect, message.time, subject=f"repository/{message.repository.path}"), context)


def _use(repository: Repository, one: Expired, context: Context) -> InUse:
    """By the tags it had as well: what runs a tag misses it at the next start."""
    digests = frozenset({one.digest, *one.relatives})
    subject = Subject(repository.image(one.digest), digests, frozenset(one.tags), indexes=frozenset(one.relatives))
    return context.runtime.in_use(subject)


def handle_lifecycle_run(event: LifecycleRan, delivery: Delivery, context: Context) -> None:
    """A dry run has changed nothing. Raises TransientError: requeue it with a delay."""
    if event.dry_run or not event.images:
        return
    fates = [(image, _fate(image, event, context)) for image in event.images]
    for kind in (ActionKind.EXPIRED_BY_ECR, ActionKind.ARCHIVED_BY_ECR):
        if images := [image for image, fate in fates if fate is kind]:
            _took(images, kind, event, delivery, context)


def _fate(image: LifecycleImage, event: LifecycleRan, context: Context) -> ActionKind | None:
    """What the run did to it. What ECR writes of a rule that archives is not published: an image that is not said to be
    expired, and is there, was not deleted. None: it is there and in no archive, or archived and gone since."""
    if image.action == EXPIRE:
        return ActionKind.EXPIRED_BY_ECR
    try:
        detail = context.registry.describe_image(event.repository.image(image.digest))
    except AbsentError:
        return ActionKind.EXPIRED_BY_ECR if image.action is None else None
    if image.action is not None or detail.storage is not StorageStatus.ACTIVE:
        return ActionKind.ARCHIVED_BY_ECR
    pushed_since = detail.pushed_at is not None and detail.pushed_at > event.time
    return ActionKind.EXPIRED_BY_ECR if pushed_since else None


def _took(
    images: Sequence[LifecycleImage], kind: ActionKind, event: LifecycleRan, delivery: Delivery, context: Context
) -> None:
    refs = [event.repository.image(image.digest) for image in images]
    stored = context.table.read_headers(refs)
    headers = {ref.digest: stored[ref].header for ref in refs if ref in stored}
    archived = kind is ActionKind.ARCHIVED_BY_ECR
    taken = [expired_image(image, headers.get(image.digest)) for image in images]
    news = [one for one, image in zip(taken, images, strict=True) if _record(image, kind, event, context)]
    reported = news if delivery.fresh else taken
    for start in range(0, len(reported), MOST_IN_A_MESSAGE):
        some = tuple(reported[start : start + MOST_IN_A_MESSAGE])
        context.outbox.send("sweeps", NotifyExpired(event.repository, event.time, event.event_id, some, archived))
    action = Action.UPDATE_STORAGE_CLASS if archived else Action.DELETE
    for ref in refs:
        record_push(ImageAction(ref, action, "SUCCESS", event.time, event.event_id), delivery, context)


def _record(image: LifecycleImage, kind: ActionKind, event: LifecycleRan, context: Context) -> bool:
    """False: it was recorded before."""
    archived = kind is ActionKind.ARCHIVED_BY_ECR
    return context.table.record_action(
        ActionRecord(
            ref=event.repository.image(image.digest),
            effect=kind,
            wanted_at=event.time,
            kind=kind,
            actor="system",
            reason=expiry_words(image, archived=archived),
            at=context.clock.now(),
            before=f"there ({', '.join(image.tags[:5]) or 'untagged'})",
            after="archived" if archived else "deleted",
        )
    )
