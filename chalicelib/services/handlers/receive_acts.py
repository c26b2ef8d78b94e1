"""Receive messages of the queue `actions`: one effect of one image, one Deny to check, one pull that failed, or one
repository from which retention takes images; each stands alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.domain.events.message import Act, CheckDeny, Delivery, Outcome, PullFailed
from chalicelib.domain.events.sweep_message import TakeImages
from chalicelib.domain.headers.pending_action import acts
from chalicelib.errors import TransientError
from chalicelib.services.alerts.notify import notify
from chalicelib.services.assessment.requeue import requeue
from chalicelib.services.enforcement.deny_pulls import check_deny
from chalicelib.services.enforcement.enforce_verdict import enforce_verdict
from chalicelib.services.ports.context import Channel, Context
from chalicelib.services.pulls.notify_pull_failure import notify_pull_failure
from chalicelib.services.retention.enforce_retention import take_images


def receive_acts(
    deliveries: Sequence[Delivery], context: Context, channels: Mapping[str, Channel], api_url: str | None = None
) -> dict[str, BaseException]:
    """Handles all messages and returns those that failed, by message id. What only needs time is put back."""
    failures: dict[str, BaseException] = {}
    for delivery in deliveries:
        with context.journal.handling(delivery):
            try:
                _do(delivery, context, channels, api_url)
            except TransientError as e:
                context.journal.note(delivery, Outcome.PUT_BACK, e)
                if not _is_requeued(delivery, e, context):
                    failures[delivery.message_id] = e
            except Exception as e:  # noqa: BLE001 - the edge of a batch: one bad message must not take the others along
                failures[delivery.message_id] = e
            if (error := failures.get(delivery.message_id)) is not None:
                context.journal.note(delivery, Outcome.FAILED, error)
    return failures


def _do(delivery: Delivery, context: Context, channels: Mapping[str, Channel], api_url: str | None) -> None:
    fresh, redelivered = delivery.fresh, delivery.receives > 1
    match delivery.body:
        case PullFailed() as failed:
            notify_pull_failure(failed, context, channels, api_url, receives=delivery.receives)
        case TakeImages() as taking:
            take_images(taking, context, channels, api_url, redelivered=not fresh)
        case CheckDeny(ref=ref):
            check_deny(ref, delivery, context)
        case Act() as act if acts(act.effect):
            enforce_verdict(act, context, channels, api_url, fresh=fresh, redelivered=redelivered)
        case Act() as act:
            notify(act, context, channels, api_url, fresh=fresh)
        case body:
            raise TypeError(f"no act: {type(body).__name__}")


def _is_requeued(delivery: Delivery, why: TransientError, context: Context) -> bool:
    if not isinstance(delivery.body, Act | CheckDeny | PullFailed | TakeImages):
        return False
    again = msgspec.structs.replace(delivery.body, attempt=delivery.body.attempt + 1)
    return requeue("actions", again, why, context)
