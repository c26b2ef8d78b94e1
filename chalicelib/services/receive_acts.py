"""Receive messages of the queue `actions`: one effect of one image, one Deny to check, one pull that failed, or one
repository from which retention takes images; each stands alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.domain.effect import acts
from chalicelib.domain.message import Act, CheckDeny, Delivery, PullFailed
from chalicelib.domain.retention_message import TakeImages
from chalicelib.errors import TransientError
from chalicelib.services.check_deny import check_deny
from chalicelib.services.enforce_verdict import enforce_verdict
from chalicelib.services.notify import notify
from chalicelib.services.ports import Channel
from chalicelib.services.put_back import put_back
from chalicelib.services.sweep_ports import RetentionHouse
from chalicelib.services.take_images import take_images
from chalicelib.services.tell_pull_failure import tell_pull_failure


def receive_acts(
    deliveries: Sequence[Delivery], house: RetentionHouse, channels: Mapping[str, Channel], api_url: str | None = None
) -> dict[str, BaseException]:
    """Handles all messages and returns those that failed, by message id. What only needs time is put back."""
    failures: dict[str, BaseException] = {}
    for delivery in deliveries:
        if not isinstance(delivery.body, Act | CheckDeny | PullFailed | TakeImages):
            failures[delivery.message_id] = TypeError(f"no act: {type(delivery.body).__name__}")
            continue
        try:
            if isinstance(delivery.body, PullFailed):
                tell_pull_failure(delivery.body, house, channels, api_url, receives=delivery.receives)
                continue
            if isinstance(delivery.body, TakeImages):
                take_images(delivery.body, house, channels, api_url, redelivered=not delivery.fresh)
                continue
            if isinstance(delivery.body, CheckDeny):
                check_deny(delivery.body.ref, delivery, house)
                continue
            fresh, redelivered = delivery.fresh, delivery.receives > 1
            if acts(delivery.body.effect):
                enforce_verdict(delivery.body, house, channels, api_url, fresh=fresh, redelivered=redelivered)
            else:
                notify(delivery.body, house, channels, api_url, fresh=fresh)
        except TransientError as e:
            again = msgspec.structs.replace(delivery.body, attempt=delivery.body.attempt + 1)
            if not put_back("actions", again, e, house):
                failures[delivery.message_id] = e
        except Exception as e:  # noqa: BLE001 - the edge of a batch: one bad message must not take the others with it
            failures[delivery.message_id] = e
    return failures
