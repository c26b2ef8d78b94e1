"""How messages travel in the local AWS: from the default event bus to queues, and from queues to the app's handlers.

Of moto's bus only the pattern matching is used: it changes ids and times and refuses arrays. Queues are moto's, used
from inside: moto recounts a queue for every message it sends or receives and walks it for each it deletes. Delays,
visibility and dead-letter queues follow SQS. Handlers get what Lambda gives them.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from threading import Event, RLock
from typing import Any, NamedTuple
from uuid import uuid4

from chalice.app import Chalice, SQSEventConfig
from chalice.local import LambdaContext
from moto.events.models import EventPattern
from moto.sqs.models import Message, Queue, SQSBackend

from chalicelib.local.aws.deployment import RulePlan

VISIBILITY_SECONDS = 60
RETRY_SECONDS = 1
MEMORY_MB, RUNTIME_MS = 512, 300_000
REST_SECONDS = 0.05
Handler = Callable[[Any, Any], Any]


def queues_of(event: dict[str, Any], rules: Sequence[RulePlan]) -> list[str]:
    """Where the rules of the bus send the event; without a queue AWS drops an event silently."""
    fields = _fields_of(event)
    fitting = (rule for rule in rules if EventPattern(None, rule.pattern)._does_event_match(fields, rule.pattern))
    return list(dict.fromkeys(queue for rule in fitting for queue in rule.queues))


def _fields_of(node: dict[str, Any]) -> dict[str, Any]:
    """Every value by its path; those in an array by the path of the array, because any element may match."""
    fields: dict[str, Any] = {}
    for key, value in node.items():
        elements = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict) and one]
        if not elements:
            fields[key] = value
        for element in elements:
            for name, inner in _fields_of(element).items():
                former = fields.get(f"{key}.{name}", [])
                several = [*former, *(inner if isinstance(inner, list) else [inner])]
                fields[f"{key}.{name}"] = several if isinstance(value, list) else inner
    return fields


class LocalQueues:
    """`lock` guards moto's queues, which are not thread-safe. `hurry`: the longest delay in seconds."""

    def __init__(self, sqs: SQSBackend, lock: RLock, hurry: float | None = None) -> None:
        self.sqs, self._lock, self._hurry = sqs, lock, hurry

    def put(self, name: str, body: str) -> None:
        with self._lock:
            message = Message(str(uuid4()), body)
            message.mark_sent()
            self._queue(name).add_message(message)

    def take(self, name: str, most: int) -> list[Message]:
        """Up to `most` messages, oldest first, invisible to others for VISIBILITY_SECONDS."""
        with self._lock:
            queue, now = self._queue(name), time.time() * 1000
            taken: list[Message] = []
            dead: list[Message] = []
            for message in queue._messages:
                if len(taken) == most:
                    break
                if now <= message.visible_at or now < self._delayed_until(message):
                    continue
                if message.approximate_receive_count >= _receives(queue):
                    dead.append(message)
                    continue
                _mark_received(message)
                taken.append(message)
            self._bury(queue, dead)
            return taken

    def finish(self, name: str, done: set[str], failed: set[str]) -> None:
        """Deletes the messages `done` and makes the `failed` ones visible soon, by message id."""
        with self._lock:
            queue = self._queue(name)
            queue._messages = [message for message in queue._messages if message.id not in done]
            for message in queue._messages:
                if message.id in failed:
                    message.change_visibility(RETRY_SECONDS)

    def skip(self, seconds: float) -> None:
        """As if that much time had passed: delayed and invisible messages appear sooner."""
        with self._lock:
            for queue in self.sqs.queues.values():
                for message in queue._messages:
                    message.delayed_until = self._delayed_until(message) - seconds * 1000
                    message.visible_at -= seconds * 1000

    def waiting(self, name: str) -> int:
        """All messages: visible, delayed and invisible."""
        with self._lock:
            return len(self._queue(name)._messages)

    def bodies(self, name: str) -> list[str]:
        with self._lock:
            return [message.body for message in self._queue(name)._messages]

    def attributes(self, message: Message) -> dict[str, dict[str, str]]:
        """As Lambda passes them."""
        return {
            name: {"dataType": value["DataType"], "stringValue": value["StringValue"]}
            for name, value in message.message_attributes.items()
            if "StringValue" in value
        }

    def arn(self, name: str) -> str:
        return str(self._queue(name).queue_arn)

    def _queue(self, name: str) -> Queue:
        return self.sqs.get_queue(name)

    def _bury(self, queue: Queue, dead: list[Message]) -> None:
        if not dead:
            return
        queue._messages = [message for message in queue._messages if message not in dead]
        assert queue.dead_letter_queue is not None
        for message in dead:
            queue.dead_letter_queue.add_message(message)

    def _delayed_until(self, message: Message) -> float:
        if self._hurry is None:
            return message.delayed_until
        return min(message.delayed_until, float(message.sent_timestamp or 0) + self._hurry * 1000)


def _mark_received(message: Message) -> None:
    """Like moto's, which is slow: it draws the 185 letters of a receipt handle one by one."""
    message.approximate_first_receive_timestamp = message.approximate_first_receive_timestamp or int(time.time() * 1000)
    message.approximate_receive_count += 1
    message.change_visibility(VISIBILITY_SECONDS)
    message.receipt_handle = str(uuid4())


def _receives(queue: Queue) -> float:
    """How often a message may be received. moto stores the policy as text or as an object."""
    policy = queue.redrive_policy
    if not policy or queue.dead_letter_queue is None:
        return float("inf")
    known = json.loads(policy) if isinstance(policy, str) else policy
    return float(known["maxReceiveCount"])


class _Source(NamedTuple):
    """A queue and the handler that reads it."""

    queue: str
    batch_size: int
    name: str
    handler: Handler


class QueuePump:
    """Does what Lambda does between a queue and a function. Calls `before` each turn."""

    def __init__(self, app: Chalice, queues: LocalQueues, before: Callable[[], None] = lambda: None) -> None:
        self._queues, self._before = queues, before
        self._sources = [
            _Source(c.queue or (c.queue_arn or "").rsplit(":", 1)[-1], c.batch_size, c.name, app.handler_map[c.name])
            for c in app.event_sources
            if isinstance(c, SQSEventConfig)
        ]

    def drain(self, seconds: float, progress: Callable[[int], None] = lambda left: None) -> bool:
        """Until every queue is empty, delayed messages included. False: messages were left after `seconds`."""
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
        """Delivers one batch of every queue. Returns whether there was any."""
        self._before()
        worked = False
        for source in self._sources:
            worked = self._deliver(source) or worked
        return worked

    def waiting(self) -> int:
        return sum(self._queues.waiting(source.queue) for source in self._sources)

    def _deliver(self, source: _Source) -> bool:
        if messages := self._queues.take(source.queue, source.batch_size):
            failed = self._call(source, messages)
            self._queues.finish(source.queue, {m.id for m in messages} - failed, failed)
        return bool(messages)

    def _call(self, source: _Source, messages: Sequence[Message]) -> set[str]:
        """The ids of the failed messages: those the handler names, or all where it raises."""
        records = [self._record(source, message) for message in messages]
        try:
            answer = source.handler({"Records": records}, LambdaContext(source.name, MEMORY_MB, RUNTIME_MS))
        except Exception:  # noqa: BLE001 - as in Lambda, any exception fails the batch
            traceback.print_exc(file=sys.stderr)
            return {message.id for message in messages}
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
