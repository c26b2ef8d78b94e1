"""What Lambda does between a queue and a function: receive, call it, delete what succeeded, redeliver the rest.

The handlers are the app's own, found through its event sources, called with the records and context Lambda gives.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from threading import Event
from typing import Any

from chalice.app import Chalice, SQSEventConfig
from chalice.local import LambdaContext
from moto.sqs.models import Message

from chalicelib.local.aws.queues import LocalQueues

MEMORY_MB, RUNTIME_MS = 512, 300_000
REST_SECONDS = 0.05
Handler = Callable[[Any, Any], Any]


class _Source:
    """A queue and the handler behind it."""

    def __init__(self, config: SQSEventConfig, handler: Handler) -> None:
        self.queue = config.queue or (config.queue_arn or "").rsplit(":", 1)[-1]
        self.batch = config.batch_size
        self.name, self.handler = config.name, handler


class QueuePump:
    """`before` is called before every turn, `after` after every invocation."""

    def __init__(
        self,
        app: Chalice,
        queues: LocalQueues,
        after: Callable[[], None] = lambda: None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._queues, self._after, self._before = queues, after, before
        self._sources = [
            _Source(config, app.handler_map[config.name])
            for config in app.event_sources
            if isinstance(config, SQSEventConfig)
        ]

    def drain(self, seconds: float, progress: Callable[[int], None] = lambda left: None) -> bool:
        """Until every queue is empty, delayed messages included. False: something was left after `seconds`."""
        end = time.monotonic() + seconds
        while (left := self.waiting()) and time.monotonic() < end:
            progress(left)
            if not self.turn():
                time.sleep(REST_SECONDS)
        progress(left)
        return not left

    def run(self, stop: Event) -> None:
        while not stop.is_set():
            if not self.turn():
                stop.wait(REST_SECONDS * 4)

    def turn(self) -> bool:
        """One batch of every queue that has one. Returns whether there was any."""
        self._before()
        worked = False
        for source in self._sources:
            worked = self._deliver(source) or worked
        return worked

    def waiting(self) -> int:
        return sum(self._queues.waiting(source.queue) for source in self._sources)

    def _deliver(self, source: _Source) -> bool:
        messages = self._queues.take(source.queue, source.batch)
        if not messages:
            return False
        failed = self._call(source, messages)
        self._queues.settle(source.queue, {m.id for m in messages} - failed, failed)
        return True

    def _call(self, source: _Source, messages: Sequence[Message]) -> set[str]:
        """The ids of the messages that failed: those the handler names, or all when it raises."""
        records = [self._record(source, message) for message in messages]
        try:
            answer = source.handler({"Records": records}, LambdaContext(source.name, MEMORY_MB, RUNTIME_MS))
        except Exception:  # noqa: BLE001 - as Lambda: whatever a handler raises fails its batch
            traceback.print_exc(file=sys.stderr)
            return {message.id for message in messages}
        finally:
            self._after()
        return {failure["itemIdentifier"] for failure in (answer or {}).get("batchItemFailures", [])}

    def _record(self, source: _Source, message: Message) -> dict[str, Any]:
        return {
            "messageId": message.id,
            "receiptHandle": message.receipt_handle,
            "body": message.body,
            "attributes": {
                "ApproximateReceiveCount": str(message.approximate_receive_count),
                "SentTimestamp": str(message.sent_timestamp),
                "SenderId": message.sender_id,
                "ApproximateFirstReceiveTimestamp": str(message.approximate_first_receive_timestamp),
            },
            "messageAttributes": self._queues.attributes(message),
            "md5OfBody": message.body_md5,
            "eventSource": "aws:sqs",
            "eventSourceARN": self._queues.arn(source.queue),
            "awsRegion": self._queues.sqs.region_name,
        }
