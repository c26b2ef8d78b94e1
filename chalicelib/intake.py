"""Records of a queue in, `batchItemFailures` out: read, handled, counted, and logged where something was refused.

A message that cannot be read fails alone: it ends in the dead-letter queue, its reason in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from chalicelib.domain.event import Ignored
from chalicelib.domain.message import Delivery
from chalicelib.errors import RefusedPayloadError
from chalicelib.observability import logger, metrics
from chalicelib.parsers.messages import read_delivery

Handler = Callable[[Sequence[Delivery]], Mapping[str, BaseException]]
Answer = dict[str, list[dict[str, str]]]


def take_in(records: Sequence[Mapping[str, Any]], handle: Handler) -> Answer:
    """`records` as Lambda hands them over; `handle` returns what failed, by message id."""
    deliveries: list[Delivery] = []
    failures: dict[str, BaseException] = {}
    for record in records:
        try:
            deliveries.append(read_delivery(record))
        except RefusedPayloadError as e:
            failures[record["messageId"]] = e
    ignored = [d for d in deliveries if isinstance(d.body, Ignored)]
    failures |= handle([d for d in deliveries if not isinstance(d.body, Ignored)])
    _report(len(records), ignored, failures)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failures]}


def _report(received: int, ignored: Sequence[Delivery], failures: Mapping[str, BaseException]) -> None:
    metrics.add_metric("MessagesReceived", MetricUnit.Count, received)
    metrics.add_metric("MessagesIgnored", MetricUnit.Count, len(ignored))
    metrics.add_metric("MessagesFailed", MetricUnit.Count, len(failures))
    for message_id, error in failures.items():
        facts = {"message_id": message_id, "error": type(error).__name__, "reason": str(error)[:500]}
        if isinstance(error, RefusedPayloadError):
            logger.error("message refused", extra=facts | {"path": error.path})
        else:
            logger.error("message failed", exc_info=error, extra=facts)
