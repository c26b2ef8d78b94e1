"""Requeue a message that only needs time: with a delay, so that the queue's receives are spent by refusals only."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from chalicelib.domain.events.message import Delivery, Message, Outcome
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
        # Those that were throttled together are not to come together: times 1 to 2, by repository and attempt.
        delay *= 1 + zlib.crc32(f"{message.repository.path} {message.attempt}".encode()) / 2**32
    try:
        context.outbox.send(queue, message, delay)
    except UpstreamError:
        return False
    return True


def handle_each(
    deliveries: Sequence[Delivery],
    handle: Callable[[Delivery], None],
    requeued: Callable[[Delivery, TransientError | ConflictError], bool],
    context: Context,
) -> dict[str, BaseException]:
    """Returns the messages that failed, by message id. `requeued`: sends the message again later; False: it did not."""
    failures: dict[str, BaseException] = {}
    for delivery in deliveries:
        with context.journal.handling(delivery):
            try:
                handle(delivery)
            except (TransientError, ConflictError) as e:
                context.journal.note(delivery, Outcome.PUT_BACK, e)
                if not requeued(delivery, e):
                    failures[delivery.message_id] = e
            except Exception as e:  # noqa: BLE001 - the edge of a batch: one bad message must not take the others along
                failures[delivery.message_id] = e
            if (error := failures.get(delivery.message_id)) is not None:
                context.journal.note(delivery, Outcome.FAILED, error)
    return failures
