"""Receive messages of the queue `actions`: each is one effect of one image, and each stands alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.domain.message import Act, Delivery
from chalicelib.errors import TransientError
from chalicelib.services.notify import notify
from chalicelib.services.ports import Channel, House
from chalicelib.services.put_back import put_back


def receive_acts(
    deliveries: Sequence[Delivery], house: House, channels: Mapping[str, Channel], api_url: str | None = None
) -> dict[str, BaseException]:
    """Handles all messages and returns those that failed, by message id. What only needs time is put back."""
    failures: dict[str, BaseException] = {}
    for delivery in deliveries:
        if not isinstance(delivery.body, Act):
            failures[delivery.message_id] = TypeError(f"no act: {type(delivery.body).__name__}")
            continue
        try:
            notify(delivery.body, house, channels, api_url, fresh=delivery.fresh)
        except TransientError as e:
            again = msgspec.structs.replace(delivery.body, attempt=delivery.body.attempt + 1)
            if not put_back("actions", again, e, house):
                failures[delivery.message_id] = e
        except Exception as e:  # noqa: BLE001 - the edge of a batch: one bad message must not take the others with it
            failures[delivery.message_id] = e
    return failures
