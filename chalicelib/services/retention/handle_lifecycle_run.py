"""Hear that ECR's own lifecycle policy ran: each image it expired is recorded, and gone; people are told elsewhere.

Only the queues `actions` and `sweeps` reach channels, and only where images run can be looked up is it known whom an
expiry hurts: that is `notify_lifecycle_run`'s business.

Tell people of images that ECR's own lifecycle policy expired although they run or were evidence.
"""

from __future__ import annotations

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.audit.action import ActionKind
from chalicelib.domain.events.event import Action, ImageAction, LifecycleExpiry, LifecycleRan
from chalicelib.domain.events.lifecycle_run import (
    MOST_IN_A_MESSAGE,
    Expired,
    NotifyExpired,
    expired_image,
    expiry_words,
    lines_of,
)
from chalicelib.domain.events.message import Delivery
from chalicelib.domain.images.image import InUse, Repository
from chalicelib.domain.retention.alert import compose_lifecycle_alert
from chalicelib.services.alerts.announce import announce
from chalicelib.services.assessment.record_push import record_push
from chalicelib.services.ports.audit import ActionRecord
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.usage import Subject


def notify_lifecycle_run(message: NotifyExpired, context: Context, api_url: str | None = None) -> None:
    """One alert a message, none where nobody is hurt. Raises TransientError: put it back with a delay."""
    uses = [_use(message.repository, one, context) for one in message.expired]
    lines = lines_of(message.expired, uses)
    if not lines:
        return
    alert = compose_lifecycle_alert(message.repository, lines, context.clock.now(), api_url)
    key = AlertKey(
        f"ALERT#EXPIRED_BY_ECR#{message.event_id}#{message.expired[0].digest[7:19]}",
        message.time,
        subject=f"repository/{message.repository.path}",
    )
    announce(alert, key, context)


def _use(repository: Repository, one: Expired, context: Context) -> InUse:
    """By the tags it had: whoever runs a tag will miss it at the next start."""
    digests = frozenset({one.digest, *one.relatives})
    subject = Subject(repository.image(one.digest), digests, frozenset(one.tags), indexes=frozenset(one.relatives))
    return context.runtime.in_use(subject)


def handle_lifecycle_run(event: LifecycleRan, delivery: Delivery, context: Context) -> None:
    """A dry run has changed nothing. Raises TransientError: put it back with a delay."""
    if event.dry_run or not event.expiries:
        return
    refs = [event.repository.image(expiry.digest) for expiry in event.expiries]
    stored = context.table.read_headers(refs)
    headers = {ref.digest: stored[ref].header for ref in refs if ref in stored}
    expired = [expired_image(expiry, headers.get(expiry.digest)) for expiry in event.expiries]
    news = [one for one, expiry in zip(expired, event.expiries, strict=True) if _record(expiry, event, context)]
    told = news if delivery.fresh else expired
    for start in range(0, len(told), MOST_IN_A_MESSAGE):
        some = tuple(told[start : start + MOST_IN_A_MESSAGE])
        context.outbox.send("sweeps", NotifyExpired(event.repository, event.time, event.event_id, some))
    for ref in refs:
        gone = ImageAction(ref, Action.DELETE, "SUCCESS", event.time, event.event_id)
        record_push(gone, delivery, context)


def _record(expiry: LifecycleExpiry, event: LifecycleRan, context: Context) -> bool:
    """False: this one was heard of before."""
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
