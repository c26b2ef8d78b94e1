"""Receive messages of the queue `alerts`: an alert that a header asks for, or one alert for one channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.domain.events.message import Act, Delivery, SendAlert
from chalicelib.errors import ConflictError, TransientError
from chalicelib.services.alerts.notify import notify
from chalicelib.services.assessment.requeue import handle_each, requeue
from chalicelib.services.channels.deliver_alert import UndeliveredError, deliver_alert
from chalicelib.services.ports.context import Channel, Context


def receive_alerts(
    deliveries: Sequence[Delivery], context: Context, channels: Mapping[str, Channel], api_url: str | None = None
) -> dict[str, BaseException]:
    """Handles all messages and returns those that failed, by message id."""

    def handle(delivery: Delivery) -> None:
        match delivery.body:
            case SendAlert() as message:
                linked = msgspec.structs.replace(message.alert, api_url=api_url)
                message = msgspec.structs.replace(message, alert=linked)
                deliver_alert(message, context, channels, fresh=delivery.fresh)
            case Act() as act:
                notify(act, context)
            case body:
                raise TypeError(f"no alert: {type(body).__name__}")

    def requeued(delivery: Delivery, why: TransientError | ConflictError) -> bool:
        body = delivery.body
        if not isinstance(body, Act | SendAlert):
            return False
        if isinstance(body, SendAlert) and isinstance(why, UndeliveredError):
            body = msgspec.structs.replace(body, claims=why.claims)
        return requeue("alerts", msgspec.structs.replace(body, attempt=body.attempt + 1), why, context)

    return handle_each(deliveries, handle, requeued, context)
