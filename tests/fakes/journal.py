"""A journal that keeps what it is told (services.ports.Journal)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from chalicelib.domain.events.message import Delivery, Metric, Outcome
from chalicelib.domain.images.image import ImageRef


class FakeJournal:
    """`counted` and `measured` by metric and value of its dimension; `ended`: what became of each message that came to
    an end."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[Metric, str | None]] = Counter()
        self.measured: dict[tuple[Metric, str | None], float] = {}
        self.ended: dict[str, tuple[Outcome, object]] = {}
        self.verdicts: dict[ImageRef, int] = {}

    def count(self, metric: Metric, number: float = 1, by: str | None = None) -> None:
        assert (metric.dimension is None) is (by is None), metric
        self.counted[metric, by] += number  # type: ignore[assignment]

    def measure(self, metric: Metric, value: float, by: str | None = None) -> None:
        assert (metric.dimension is None) is (by is None), metric
        self.measured[metric, by] = max(value, self.measured.get((metric, by), value))

    @contextmanager
    def handling(self, *deliveries: Delivery) -> Iterator[None]:
        for delivery in deliveries:
            self.ended.pop(delivery.message_id, None)
        yield
        for delivery in deliveries:
            self.ended.setdefault(delivery.message_id, (Outcome.HANDLED, None))

    def note(self, delivery: Delivery, outcome: Outcome, why: object = None) -> None:
        self.ended[delivery.message_id] = outcome, why

    def decided(self, ref: ImageRef, number: int) -> None:
        self.verdicts[ref] = number

    def outcomes(self) -> Counter[Outcome]:
        return Counter(outcome for outcome, _ in self.ended.values())
