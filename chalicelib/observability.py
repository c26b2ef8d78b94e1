"""What a function tells of its work: the one logger, and the journal over it, which writes a line for each message and
counts for CloudWatch. No secret and no whole finding is ever logged.

Counts are kept until the end of the invocation and leave it as metrics in the embedded format (EMF): one line, and one
more for each value of a dimension. Source: CloudWatch user guide, "Embedded metric format".
"""

from __future__ import annotations

import os
import textwrap
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.metrics import EphemeralMetrics

from chalicelib.domain.events.message import Delivery, Metric, Outcome, named
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.text import without_secrets

SERVICE, NAMESPACE = f"lazaretto-{os.environ.get('LAZARETTO_STAGE', 'dev')}", "Lazaretto"
"""The stage is in it: two of them in one account and Region are not counted together."""
LONGEST_REASON = 500
Dimension = tuple[str, str] | None


class _Formatter(LambdaPowertoolsFormatter):
    """Of an error whence it came, and the first line of what it says. Below it AWS repeats the signed request, and with
    it the session's token."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        return "".join(_told(ei[1], set()))


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _told(before, seen)
        yield "\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__name__}: {_reason(error)}\n"
    for part in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        if id(part) not in seen:
            yield textwrap.indent("".join(_told(part, seen)), "  ")


def _reason(why: object) -> str:
    return without_secrets(str(why).partition("\n")[0])[:LONGEST_REASON]


logger = Logger(service=SERVICE, logger_formatter=_Formatter(serialize_stacktrace=False, location=None))
"""Its lines do not say where in the code they are written: nearly all are in one place."""


class Handling:
    """Messages that are handled together: what became of each, and the verdicts their images have by now."""

    def __init__(self, deliveries: tuple[Delivery, ...]) -> None:
        self.deliveries, self.began = deliveries, time.perf_counter()
        self.noted: dict[str, tuple[Outcome, object]] = {}
        self.verdicts: dict[str, int] = {}

    @property
    def names(self) -> dict[str, str]:
        """What a line is told by that is written while they are handled: all that they have in common."""
        first, *others = map(named, self.deliveries)
        return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}

    def tell(self) -> None:
        """One line for each message. A failure has its reason and where it was raised."""
        ms = round((time.perf_counter() - self.began) * 1000)
        for delivery in self.deliveries:
            outcome, why = self.noted.get(delivery.message_id, (Outcome.HANDLED, None))
            names: dict[str, Any] = named(delivery)
            facts = {
                **names,
                "attempt": delivery.attempt or None,
                "receives": delivery.receives if delivery.receives > 1 else None,
                "redriven": delivery.redriven or None,
                "verdict": self.verdicts.get(names.get("image", "")),
                "together": len(self.deliveries) if len(self.deliveries) > 1 else None,
                "outcome": outcome,
                "ms": ms,
            }
            if outcome is Outcome.FAILED:
                log_failure("message failed", why, facts)
            else:
                facts["reason"] = None if why is None else _reason(why)
                logger.info("message", extra={name: value for name, value in facts.items() if value is not None})


class MetricJournal:
    """services.ports.Journal. What is handled is known by thread: the local stack answers requests beside queues."""

    def __init__(self) -> None:
        self._counted: dict[tuple[Metric, Dimension], float] = defaultdict(float)
        self._now: ContextVar[Handling | None] = ContextVar("handling", default=None)

    def count(self, metric: Metric, number: float = 1, by: str | None = None) -> None:
        self._counted[metric, _dimension(metric, by)] += number

    def measure(self, metric: Metric, value: float, by: str | None = None) -> None:
        """The largest value of this invocation counts."""
        key = metric, _dimension(metric, by)
        self._counted[key] = max(value, self._counted.get(key, value))

    @contextmanager
    def handling(self, *deliveries: Delivery) -> Iterator[None]:
        handled = Handling(deliveries)
        token, names = self._now.set(handled), handled.names
        logger.thread_safe_append_keys(**names)
        try:
            yield
        finally:
            logger.thread_safe_remove_keys(names)
            self._now.reset(token)
        handled.tell()

    def note(self, delivery: Delivery, outcome: Outcome, why: object = None) -> None:
        if (handled := self._now.get()) is not None:
            handled.noted[delivery.message_id] = outcome, why

    def decided(self, ref: ImageRef, number: int) -> None:
        if (handled := self._now.get()) is not None:
            handled.verdicts[str(ref)] = number

    def flush(self) -> None:
        """The metrics of this invocation, to standard output. What was not counted costs nothing."""
        counted, self._counted = self._counted, defaultdict(float)
        for dimension in sorted({dimension for _, dimension in counted}, key=lambda d: d or ()):
            metrics = EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)
            if dimension is not None:
                metrics.add_dimension(*dimension)
            for (metric, its), value in counted.items():
                if its == dimension:
                    metrics.add_metric(metric, metric.unit, value)
            metrics.flush_metrics()


def log_failure(what: str, why: object, facts: dict[str, Any]) -> None:
    """At ERROR, with the reason."""
    error = why if isinstance(why, BaseException) else None
    reason = {"error": type(why).__name__, "reason": _reason(why)}
    facts = {name: value for name, value in facts.items() if value is not None}
    logger.error(what, exc_info=error, extra={**facts, **reason})


def _dimension(metric: Metric, by: str | None) -> Dimension:
    """Raises ValueError where a metric that has a dimension is given no value of it, or the other way round."""
    if (metric.dimension is None) is not (by is None):
        raise ValueError(f"{metric} is counted by {metric.dimension}, not by {by}")
    return None if metric.dimension is None or by is None else (metric.dimension, by)


journal = MetricJournal()
