"""A world for single stories: the fake table, one image, every message handled when the test says so."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.domain.events.message import Delivery, Refresh
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import FindingsDocument
from chalicelib.domain.images.image import Source
from chalicelib.services.assessment.re_decide import re_decide
from chalicelib.services.handlers.receive_batch import receive_batch
from tests.fakes.table import FakeTable
from tests.services.aws_model import Image
from tests.services.world import START, World, new_ref


class Story(World):
    """`image` was pushed and scanned with finding 1 open an hour ago, listed and settled, unless `known` is False.

    `mode` of the policy: `observe` for stories about what is known, which an archive would change.
    """

    def __init__(self, *, known: bool = True, source: Source = Source.ENHANCED, mode: str = "enforce") -> None:
        super().__init__(FakeTable)
        if mode != "enforce":
            self.change_policy(mode=mode)
        self.ref = new_ref()
        self.one: Image = self.add(self.ref)
        self.one.change(scanner=source)
        if not known:
            return
        self.receive(self.one.action("PUSH", tag="v1"))
        if source is Source.ENHANCED:
            self.one.scanned()
            self.one.flaw(1)
            self.receive(self.one.scanned())
        else:
            self.receive(self.one.basic_scanned(1))
        self.drain()
        self.moment = START + timedelta(hours=1)
        re_decide(shard_of(self.ref), self)  # type: ignore[arg-type]
        self.forget()

    def forget(self) -> None:
        """Counts begin anew."""
        self.stored.writes.clear()
        self.alerts.clear()
        self.wanted_alerts.clear()
        self.met.clear()

    @property
    def writes(self) -> dict[str, int]:
        return {name: n for name, n in self.stored.writes.items() if n}

    @property
    def head(self) -> Header:
        return self.header(self.ref)

    @property
    def doc(self) -> FindingsDocument:
        return self.document(self.ref)

    @property
    def status(self) -> dict[int, str]:
        return {int(f.vulnerability_id[-4:]): f.status.value for f in self.doc.findings}

    def receive(self, *bodies: Any, receives: int = 1, attempt: int = 0) -> dict[str, BaseException]:
        """One batch, now."""
        deliveries = [self.delivery(b, receives=receives, attempt=attempt) for b in bodies]
        failures = receive_batch(deliveries, self)  # type: ignore[arg-type]
        assert not failures, failures
        return failures

    def delivery(self, body: Any, receives: int = 1, attempt: int = 0) -> Delivery:
        self.counted += 1
        return Delivery(str(self.counted), body, receives, attempt or getattr(body, "attempt", 0), raw=self.raw(body))

    def after(self, seconds: float) -> Story:
        self.moment += timedelta(seconds=seconds)
        return self

    @property
    def looks_sent(self) -> list[int]:
        """When the looks that are under way are due, in seconds from now."""
        looks = [e.body for e in self.envelopes if isinstance(e.body, Refresh)]
        return [int((look.due_at - self.moment).total_seconds()) for look in looks]

    def sent(self, kind: type) -> list[Any]:
        return [e.body for e in self.envelopes if isinstance(e.body, kind)]
