"""Queues as SQS keeps them, in the time of the scenario: hidden while handled, shown again, dead after five receives.

At least once and in no order: now and then a message is shown to two at once, or comes again although it was deleted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from bench import payloads

MOST_RECEIVES = 5
SHOWN_TWICE, DELETED_IN_VAIN = 0.01, 0.01


@dataclass(eq=False)
class Message:
    id: str
    body: str
    sent_at: float
    visible_at: float
    receives: int = 0

    def record(self, queue: str) -> dict[str, Any]:
        """As Lambda hands it over."""
        sent = str(int(self.sent_at * 1000))
        return {
            "messageId": self.id,
            "body": self.body,
            "attributes": {"ApproximateReceiveCount": str(self.receives), "SentTimestamp": sent},
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:{payloads.REGION}:{payloads.ACCOUNT}:{queue}",
        }


@dataclass(frozen=True)
class Source:
    """Between a queue and its function: the template's figures, in seconds."""

    name: str
    batch: int
    window: float
    visibility: float
    timeout: float
    workers: int = 2


SOURCES = (
    Source("scans", 10, 5, 1085, 180),
    Source("findings", 1000, 60, 1140, 180),
    Source("actions", 1, 0, 360, 60),
    Source("alerts", 1, 0, 360, 60),
    Source("sweeps", 10, 0, 1800, 300),
)


class Queue:
    """`random` None: every message is delivered once, in the order in which they became visible."""

    def __init__(self, source: Source, now: Callable[[], float], random: Random | None) -> None:
        self.source, self._now, self._random = source, now, random
        self._messages: dict[str, Message] = {}
        self._ready_at: float | None = None
        self._changed = False
        self.dead: list[Message] = []
        self.sent = self.delivered = self.again = 0
        self._numbers = itertools.count(1)

    def put(self, body: str, delay: float = 0) -> Message:
        now = self._now()
        message = Message(f"{self.source.name}-{next(self._numbers)}", body, now, now + delay)
        self._messages[message.id] = message
        self._changed = True
        self.sent += 1
        return message

    @property
    def messages(self) -> Collection[Message]:
        """All that are waiting, hidden or not."""
        return self._messages.values()

    def is_ready(self) -> bool:
        """A batch is full, or its window is over."""
        return (at := self.ready_at()) is not None and at <= self._now()

    def ready_at(self) -> float | None:
        """When the next batch would be taken; None: there is nothing."""
        if self._changed:
            times = sorted(message.visible_at for message in self.messages)
            full, window = times[self.source.batch - 1 :][:1], [at + self.source.window for at in times[:1]]
            self._ready_at, self._changed = min(full + window, default=None), False
        return self._ready_at

    def take(self) -> list[Message]:
        now = self._now()
        seen = [message for message in self.messages if message.visible_at <= now]
        for message in [m for m in seen if m.receives >= MOST_RECEIVES]:
            self.dead.append(self._messages.pop(message.id))
            seen.remove(message)
        if self._random is None:
            taken = sorted(seen, key=lambda message: message.visible_at)[: self.source.batch]
        else:
            taken = self._random.sample(seen, min(len(seen), self.source.batch))
        for message in taken:
            message.receives += 1
            self.again += message.receives > 1
            if not self._is_shown_on(message):
                message.visible_at = now + self.source.visibility
        self.delivered += len(taken)
        self._changed = True
        return taken

    def _is_shown_on(self, message: Message) -> bool:
        return self._random is not None and message.receives < 3 and self._random.random() < SHOWN_TWICE

    def _is_kept(self, message: Message) -> bool:
        return self._random is not None and message.receives < 3 and self._random.random() < DELETED_IN_VAIN

    def settle(self, taken: Sequence[Message], failed: frozenset[str]) -> None:
        """What did not fail is deleted; what failed is shown again when it is not hidden any more."""
        for message in taken:
            if message.id not in failed and not self._is_kept(message):
                self._messages.pop(message.id, None)
        self._changed = True
