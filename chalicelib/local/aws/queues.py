"""moto's queues from inside: put, take, delete and put back without what costs moto minutes on a full queue.

moto counts a queue's messages anew for every message it sends or receives, and walks the queue for each it deletes. The
rules kept here are SQS's: a delayed message is not seen, a taken one is hidden, one received too often is dead.
"""

from __future__ import annotations

import json
import time
from threading import RLock
from uuid import uuid4

from moto.sqs.models import Message, Queue, SQSBackend

VISIBILITY_SECONDS = 60
AGAIN_AFTER_SECONDS = 1


class LocalQueues:
    """`lock` guards moto's queues, which do not guard themselves. `hurry`: no delay lasts longer (seconds)."""

    def __init__(self, sqs: SQSBackend, lock: RLock, hurry: float | None = None) -> None:
        self.sqs, self._lock, self._hurry = sqs, lock, hurry

    def put(self, name: str, body: str) -> None:
        with self._lock:
            message = Message(str(uuid4()), body)
            message.mark_sent()
            self._queue(name).add_message(message)

    def take(self, name: str, most: int) -> list[Message]:
        """Up to `most` messages, oldest first, hidden from others for VISIBILITY_SECONDS."""
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

    def settle(self, name: str, done: set[str], failed: set[str]) -> None:
        """By message id: deletes what is done, shows again soon what failed."""
        with self._lock:
            queue = self._queue(name)
            queue._messages = [message for message in queue._messages if message.id not in done]
            for message in queue._messages:
                if message.id in failed:
                    message.change_visibility(AGAIN_AFTER_SECONDS)

    def skip(self, seconds: float) -> None:
        """As if that long had passed: what is delayed or hidden is to be seen that much sooner."""
        with self._lock:
            for queue in self.sqs.queues.values():
                for message in queue._messages:
                    message.delayed_until = self._delayed_until(message) - seconds * 1000
                    message.visible_at -= seconds * 1000

    def waiting(self, name: str) -> int:
        """All messages, whether to be seen, delayed or hidden."""
        with self._lock:
            return len(self._queue(name)._messages)

    def bodies(self, name: str) -> list[str]:
        with self._lock:
            return [message.body for message in self._queue(name)._messages]

    def attributes(self, message: Message) -> dict[str, dict[str, str]]:
        """As Lambda hands them over."""
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
    """As moto's own, which makes every receipt handle of 185 random letters, one by one."""
    message.approximate_first_receive_timestamp = message.approximate_first_receive_timestamp or int(time.time() * 1000)
    message.approximate_receive_count += 1
    message.change_visibility(VISIBILITY_SECONDS)
    message.receipt_handle = str(uuid4())


def _receives(queue: Queue) -> float:
    """How often a message may be received; moto keeps the policy as text or as an object."""
    policy = queue.redrive_policy
    if not policy or queue.dead_letter_queue is None:
        return float("inf")
    known = json.loads(policy) if isinstance(policy, str) else policy
    return float(known["maxReceiveCount"])
