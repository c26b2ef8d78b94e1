"""A journal that keeps nothing: what it costs to write one is no part of what is measured here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from chalicelib.domain.events.message import Delivery, Metric, Outcome
from chalicelib.domain.images.image import ImageRef


class SilentJournal:
    """services.ports.Journal."""

    def count(self, metric: Metric, number: float = 1, by: str | None = None) -> None:
        pass

    def measure(self, metric: Metric, value: float, by: str | None = None) -> None:
        pass

    @contextmanager
    def handling(self, *deliveries: Delivery) -> Iterator[None]:
        yield

    def note(self, delivery: Delivery, outcome: Outcome, why: object = None) -> None:
        pass

    def decided(self, ref: ImageRef, number: int) -> None:
        pass
