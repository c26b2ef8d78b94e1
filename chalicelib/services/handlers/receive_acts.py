"""Receive messages of the queue `actions`: one effect of one image, one Deny to check, one pull that failed, or one
repository from which retention takes images; each stands alone."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chalicelib.domain.events.message import Act, CheckDeny, Delivery, PullFailed
from chalicelib.domain.events.sweep_message import TakeImages
from chalicelib.domain.headers.pending_action import queue_of
from chalicelib.errors import ConflictError, TransientError
from chalicelib.services.assessment.requeue import handle_each, requeue
from chalicelib.services.enforcement.check_deny import check_deny
from chalicelib.services.enforcement.enforce_verdict import enforce_verdict
from chalicelib.services.ports.context import Context
from chalicelib.services.pulls.notify_pull_failure import notify_pull_failure
from chalicelib.services.retention.enforce_retention import take_images


def receive_acts(deliveries: Sequence[Delivery], context: Context) -> dict[str, BaseException]:
    """Handles all messages and returns those that failed, by message id."""

    def requeued(delivery: Delivery, why: TransientError | ConflictError) -> bool:
        body = delivery.body
        if not isinstance(body, Act | CheckDeny | PullFailed | TakeImages):
            return False
        return requeue("actions", msgspec.structs.replace(body, attempt=body.attempt + 1), why, context)

    return handle_each(deliveries, lambda delivery: _do(delivery, context), requeued, context)


def _do(delivery: Delivery, context: Context) -> None:
    fresh, redelivered = delivery.fresh, delivery.receives > 1
    match delivery.body:
        case PullFailed() as failed:
            notify_pull_failure(failed, context, fresh=fresh)
        case TakeImages() as taking:
            take_images(taking, context, redelivered=not fresh)
        case CheckDeny() as check:
            check_deny(check, delivery, context)
        case Act() as act if queue_of(act.effect) == "actions":
            enforce_verdict(act, context, fresh=fresh, redelivered=redelivered)
        case Act() as alert:  # as sent before alerts had a queue of their own
            context.outbox.send("alerts", alert)
        case body:
            raise TypeError(f"no act: {type(body).__name__}")
