"""Put a message back that only needs time: with a delay, so that the queue's receives are spent by refusals only."""

from __future__ import annotations

import zlib

from chalicelib.domain.events.message import Message
from chalicelib.domain.events.sweep_message import SweepRepository
from chalicelib.errors import ConflictError, TransientError, UpstreamError
from chalicelib.services.ports.context import Context

FIRST_DELAY_SECONDS = 5.0
LONGEST_DELAY_SECONDS, MOST_ATTEMPTS = 600.0, 60
LONGEST_ALERT_DELAY_SECONDS, MOST_ALERT_ATTEMPTS = 900.0, 100
"""A day: a channel may be out of order for long, and what people were to be told is not old by then."""


def requeue(queue: str, message: Message, why: TransientError | ConflictError, context: Context) -> bool:
    """`message` carries its next `attempt` already. False: too often by now, or the queue does not take it."""
    former, alerts = message.attempt - 1, queue == "alerts"
    if former >= (MOST_ALERT_ATTEMPTS if alerts else MOST_ATTEMPTS):
        return False
    longest = LONGEST_ALERT_DELAY_SECONDS if alerts else LONGEST_DELAY_SECONDS
    asked = why.retry_after_seconds if isinstance(why, TransientError) else None
    delay = asked or min(FIRST_DELAY_SECONDS * 2 ** min(former, 8), longest)
    if isinstance(message, SweepRepository):
        delay *= _spread(message)
    try:
        context.outbox.send(queue, message, delay)
    except UpstreamError:
        return False
    return True


def _spread(message: SweepRepository) -> float:
    """1 to 2, another for each repository and attempt: those that were throttled together are not to come together."""
    return 1 + zlib.crc32(f"{message.repository.path} {message.attempt}".encode()) / 2**32
