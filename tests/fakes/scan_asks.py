"""Scans that were asked for, in memory (`services.ports.ScanAsks`), and an ECR that is asked, as scripted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime

from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.reconcile.scan_budget import Asked, ScanBudget, ScanRefusal
from chalicelib.domain.reconcile.scan_rule import AppliedScanRule, RegistryScanning


class FakeScanAsks:
    def __init__(self) -> None:
        self.asks: dict[ImageRef, Asked] = {}
        self.budgets: dict[tuple[str, str], ScanBudget] = {}

    def asked(self, refs: Iterable[ImageRef]) -> Mapping[ImageRef, Asked]:
        return {ref: self.asks[ref] for ref in refs if ref in self.asks}

    def claim(self, ref: ImageRef, at: datetime, former: Asked | None) -> bool:
        stored = self.asks.get(ref)
        if (stored.at if stored else None) != (former.at if former else None):
            return False
        self.asks[ref] = Asked(at)
        return True

    def end_claim(self, ref: ImageRef, at: datetime, asked: Asked | None) -> None:
        if self.asks[ref].at == at:
            self.asks[ref] = asked or Asked(datetime.fromtimestamp(0, at.tzinfo))

    def change_budget(self, registry: Repository, change: Callable[[ScanBudget], ScanBudget]) -> ScanBudget:
        where = registry.registry, registry.region
        self.budgets[where] = change(self.budgets.get(where, ScanBudget()))
        return self.budgets[where]


class FakeScans:
    """`started` keeps what was scanned, in order. `answer` decides what an ask is answered with; it may raise."""

    def __init__(self, answer: Callable[[ImageRef], ScanRefusal | None] = lambda ref: None) -> None:
        self.answer = answer
        self.started: list[ImageRef] = []

    def configuration(self, registry: Repository) -> tuple[str, RegistryScanning]:
        raise NotImplementedError

    def applied(self, registry: Repository, names: Collection[str]) -> Mapping[str, AppliedScanRule]:
        raise NotImplementedError

    def start(self, ref: ImageRef) -> ScanRefusal | None:
        if (refusal := self.answer(ref)) is None:
            self.started.append(ref)
        return refusal
