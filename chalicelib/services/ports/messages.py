"""Messages out: queues, dead letters, channels, and the journal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.events.dead_letter import DeadLetter
from chalicelib.domain.events.handling import Metric, Outcome
from chalicelib.domain.events.message import Delivery, Message
from chalicelib.domain.images.image import ImageRef


class Outbox(Protocol):
    def send(self, queue: str, message: Message, delay_seconds: float = 0) -> None:
        """`queue` is `scans`, `actions`, `alerts` or `sweeps`. Delays are cut at SQS's 900 s: the receiver sends the
        message again where it comes too early."""

    def send_all(self, queue: str, messages: Iterable[Message]) -> None:
        """Ten in a call. Where it raises, some may have been sent: whoever sends them again sends all."""


class DeadLetters(Protocol):
    """One dead-letter queue, for people. What is taken is hidden from others for two minutes."""

    def take(self) -> Sequence[DeadLetter]:
        """Ten at most; none: there are none left that can be seen."""

    def show_again(self, handles: Iterable[str]) -> None: ...

    def send_again(self, letter: DeadLetter, mark: str) -> None:
        """Into the queue it came from. It stays here as well."""

    def delete(self, letter: DeadLetter) -> None: ...


class Channel(Protocol):
    """Where people are told. `name` is what the policy's `notify` calls it."""

    @property
    def name(self) -> str: ...

    def send(self, alert: Alert) -> None:
        """Once per call. Raises TransientError (with `retry_after_seconds`), UpstreamError."""


class Meter(Protocol):
    def count(self, metric: Metric, number: float = 1, by: str | None = None) -> None:
        """Adds to what is counted. `by`: the value of the metric's dimension, where it has one."""


class Journal(Meter, Protocol):
    """What the work says of itself: numbers, and one line of the log for each message."""

    def handling(self, *deliveries: Delivery) -> AbstractContextManager[None]:
        """Around the handling of messages that go together. At its end each has its line, `handled` where nothing else
        was noted."""

    def note(self, delivery: Delivery, outcome: Outcome, why: object = None) -> None:
        """What has become of one of them; the last word counts."""

    def decided(self, ref: ImageRef, number: int) -> None:
        """The number of the verdict that the image has by now, for the lines about it."""
