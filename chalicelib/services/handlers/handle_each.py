"""Handle the messages of a batch one by one: each fails alone, and what only needs time is requeued."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chalicelib.domain.events.handling import Outcome
from chalicelib.domain.events.message import Delivery
from chalicelib.errors import ConflictError, TransientError
from chalicelib.services.ports.context import Context


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
