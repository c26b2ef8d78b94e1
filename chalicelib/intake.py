"""Records of a queue in, `batchItemFailures` out: read, handled, counted, and logged where something was refused.

A message that cannot be read fails alone: it ends in the dead-letter queue, its reason in the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chalicelib.domain.events.event import Ignored
from chalicelib.domain.events.message import Delivery, Metric, Outcome
from chalicelib.errors import RefusedPayloadError
from chalicelib.observability import journal, log_failure
from chalicelib.parsers.events.events import event_id_of, read_delivery

Handler = Callable[[Sequence[Delivery]], Mapping[str, BaseException]]
Answer = dict[str, list[dict[str, str]]]


def take_in(records: Sequence[Mapping[str, Any]], handle: Handler) -> Answer:
    """`records` as Lambda hands them over; `handle` returns what failed, by message id."""
    _measure(records)
    deliveries: list[Delivery] = []
    failures: dict[str, BaseException] = {}
    for record in records:
        try:
            deliveries.append(read_delivery(record))
        except RefusedPayloadError as e:
            failures[record["messageId"]] = e
            _tell_refusal(record, e)
    ignored = [d for d in deliveries if isinstance(d.body, Ignored)]
    for delivery in ignored:
        with journal.handling(delivery):
            journal.note(delivery, Outcome.IGNORED, getattr(delivery.body, "reason", None))
    _measure_events(deliveries)
    failures |= handle([d for d in deliveries if not isinstance(d.body, Ignored)])
    for metric, number in ((Metric.MESSAGES_IGNORED, len(ignored)), (Metric.MESSAGES_FAILED, len(failures))):
        if number:
            journal.count(metric, number)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failures]}


def _measure(records: Sequence[Mapping[str, Any]]) -> None:
    """How old the oldest message is: by when it was sent, by AWS or by us who put it back."""
    journal.count(Metric.MESSAGES_RECEIVED, len(records))
    for record in records:
        sent = record.get("attributes", {}).get("SentTimestamp")
        if sent is not None:
            queue = str(record.get("eventSourceARN", "")).rpartition(":")[2] or "unknown"
            journal.measure(Metric.OLDEST_MESSAGE_SECONDS, max(0.0, time.time() - int(sent) / 1000), by=queue)


def _measure_events(deliveries: Sequence[Delivery]) -> None:
    """How long ago it was, by AWS's clock, that the newest event happened of which these messages tell."""
    times = [at.timestamp() for d in deliveries if d.raw is not None and (at := getattr(d.body, "time", None))]
    if times:
        journal.measure(Metric.LAST_EVENT_SECONDS, max(0.0, time.time() - max(times)))


def _tell_refusal(record: Mapping[str, Any], error: RefusedPayloadError) -> None:
    """What cannot be read is named by its ids alone, and by the place that is wrong."""
    names = {"message_id": record["messageId"], "event_id": event_id_of(record["body"]), "path": error.path}
    log_failure("message refused", error, {**names, "outcome": Outcome.REFUSED})
