"""Handle a run of ECR's own lifecycle policy: record what it expired; send an alert where that was in use.

The functions of the queues `actions` and `sweeps` alone reach channels and look up where images run, so
`notify_lifecycle_run` runs there.
"""

from __future__ import annotations

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.event import Action, ImageAction, LifecycleExpiry, LifecycleRan
from chalicelib.domain.events.message import Delivery
from chalicelib.domain.events.sweep_message import (
    MOST_IN_A_MESSAGE,
    Expired,
    NotifyExpired,
    expired_image,
    expiry_words,
    lines_of,
)
from chalicelib.domain.images.image import InUse, Repository
from chalicelib.domain.retention.alert import compose_lifecycle_alert
from chalicelib.services.assessment.record_push import record_push
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.registry import Subject


def notify_lifecycle_run(message: NotifyExpired, context: Context) -> None:
    """One alert a message; none where no image runs or is evidence. Raises TransientError: requeue it with a delay."""
    uses = [_use(message.repository, one, context) for one in message.expired]
    lines = lines_of(message.expired, uses)
    if not lines:
        return
    alert = compose_lifecycle_alert(message.repository, lines, context.clock.now())
    effect = f"ALERT#EXPIRED_BY_ECR#{message.event_id}#{message.expired[0].digest[7:19]}"
    announce(alert, AlertKey(effect, message.time, subject=f"repository/{message.repository.path}"), context)


def _use(repository: Repository, one: Expired, context: Context) -> InUse:
    """By the tags it had as well: what runs a tag misses it at the next start."""
    digests = frozenset({one.digest, *one.relatives})
    subject = Subject(repository.image(one.digest), digests, frozenset(one.tags), indexes=frozenset(one.relatives))
    return context.runtime.in_use(subject)


def handle_lifecycle_run(event: LifecycleRan, delivery: Delivery, context: Context) -> None:
    """A dry run has changed nothing. Raises TransientError: requeue it with a delay."""
    if event.dry_run or not event.expiries:
        return
    refs = [event.repository.image(expiry.digest) for expiry in event.expiries]
    stored = context.table.read_headers(refs)
    headers = {ref.digest: stored[ref].header for ref in refs if ref in stored}
    expired = [expired_image(expiry, headers.get(expiry.digest)) for expiry in event.expiries]
    news = [one for one, expiry in zip(expired, event.expiries, strict=True) if _record(expiry, event, context)]
    reported = news if delivery.fresh else expired
    for start in range(0, len(reported), MOST_IN_A_MESSAGE):
        some = tuple(reported[start : start + MOST_IN_A_MESSAGE])
        context.outbox.send("sweeps", NotifyExpired(event.repository, event.time, event.event_id, some))
    for ref in refs:
        gone = ImageAction(ref, Action.DELETE, "SUCCESS", event.time, event.event_id)
        record_push(gone, delivery, context)


def _record(expiry: LifecycleExpiry, event: LifecycleRan, context: Context) -> bool:
    """False: it was recorded before."""
    return context.table.record_action(
        ActionRecord(
            ref=event.repository.image(expiry.digest),
            effect=ActionKind.EXPIRED_BY_ECR,
            wanted_at=event.time,
            kind=ActionKind.EXPIRED_BY_ECR,
            actor="system",
            reason=expiry_words(expiry),
            at=context.clock.now(),
            before=f"there ({', '.join(expiry.tags[:5]) or 'untagged'})",
            after="deleted",
        )
    )
