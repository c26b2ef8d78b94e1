"""Receive messages of the queue `actions`: each is one effect of one image, and each stands alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.domain.message import Act, Delivery
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.notify import notify
from chalicelib.services.ports import Channel, House

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, MOST_ATTEMPTS = 5.0, 600.0, 60


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
            if not _put_back(delivery.body, e, house):
                failures[delivery.message_id] = e
        except Exception as e:  # noqa: BLE001 - the edge of a batch: one bad message must not take the others with it
            failures[delivery.message_id] = e
    return failures


def _put_back(act: Act, why: TransientError, house: House) -> bool:
    if act.attempt >= MOST_ATTEMPTS:
        return False
    delay = why.retry_after_seconds or min(FIRST_DELAY_SECONDS * 2 ** min(act.attempt, 8), LONGEST_DELAY_SECONDS)
    try:
        house.outbox.send("actions", msgspec.structs.replace(act, attempt=act.attempt + 1), delay)
    except UpstreamError:
        return False
    return True
