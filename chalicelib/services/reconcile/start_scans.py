"""Have images scanned (again) that ECR's own scanner has not scanned, not finished, or scanned too long ago.

Each is asked for once in 24 hours, whoever asks: it is claimed first, and a worker that dies between claim and call
leaves it to the next day. What is granted of the day's budget and then not asked for is given back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, InUseState, Repository, Source
from chalicelib.domain.policy.section import Scanning
from chalicelib.domain.reconcile.scan_budget import Asked, Refusal, ScanBudget, StartedScans, in_turn, to_rescan
from chalicelib.domain.reconcile.scan_rule import ScanRule
from chalicelib.errors import DeniedError, TransientError, UpstreamError
from chalicelib.services.ports.sweep_ports import ScanHouse

PATIENCE = timedelta(seconds=10)
LIMITS_IN_A_ROW = 5
"""So many, and it is the day's quota of the registry that is used up rather than those of the images."""


def start_scans(
    home: Repository,
    rule: ScanRule | None,
    headers: Sequence[Header],
    scanning: Scanning,
    unscanned: timedelta,
    house: ScanHouse,
    but: Collection[ImageRef] = (),
) -> StartedScans:
    """Of one repository; nothing where it is not known that ECR's own scanner is in force. `but`: images that are
    looked at anyway. Raises TransientError: put it back."""
    if rule is None or rule.scanner is not Source.BASIC:
        return StartedScans()
    began = house.clock.now()
    due = to_rescan(headers, scanning, unscanned, began, but)
    asked = house.scan_asks.asked([header.ref for header in due]) if due else {}
    due = in_turn((h for h in due if (known := asked.get(h.ref)) is None or not known.bars(began)), asked)
    granted = _granted(home, due, scanning.daily_budget, began, house) if due else []
    if not granted:
        return StartedScans(left=len(due))
    asking = _Asking(asked, house)
    try:
        asking.run([header.ref for header in granted], began)
    finally:
        if unused := len(granted) - asking.asked_for:
            house.scan_asks.change_budget(home, lambda budget: budget.give_back(unused, began))
    return StartedScans(asking.started, dict(asking.refused), len(due) - asking.asked_for, asking.error)


def _granted(home: Repository, due: list[Header], daily: int, now: datetime, house: ScanHouse) -> list[Header]:
    running = [h for h in due if h.in_use.state is InUseState.YES]
    others = [h for h in due if h.in_use.state is not InUseState.YES]
    first = more = 0

    def grant(budget: ScanBudget) -> ScanBudget:
        nonlocal first, more
        after, first, more = budget.grant(len(running), len(others), daily, now)
        return after

    house.scan_asks.change_budget(home, grant)
    return [*running[:first], *others[:more]]


class _Asking:
    """`asked_for`: of how many something became of: they were scanned, refused, or asked for by somebody else."""

    def __init__(self, asked: Mapping[ImageRef, Asked], house: ScanHouse) -> None:
        self.known, self.house = asked, house
        self.started = self.asked_for = self.limits = 0
        self.refused = Counter[Refusal]()
        self.error: str | None = None

    def run(self, refs: Sequence[ImageRef], began: datetime) -> None:
        for ref in refs:
            self._ask(ref)
            late = self.house.clock.now() - began > PATIENCE
            if self.error is not None or late:
                return
            if self.limits >= LIMITS_IN_A_ROW:
                self.error = "ECR scans no more images of this registry today"
                return

    def _ask(self, ref: ImageRef) -> None:
        now, former = self.house.clock.now(), self.known.get(ref)
        if not self.house.scan_asks.claim(ref, now, former):
            return
        try:
            refusal = self.house.scans.start(ref)
        except TransientError:
            self.house.scan_asks.end_claim(ref, now, former)
            raise
        except DeniedError as error:
            self.house.scan_asks.end_claim(ref, now, former)
            self.error = str(error)[:500]
            return
        except UpstreamError as error:
            # Perhaps this image alone: it counts as asked, so that the others have their turn before it has its next.
            self.asked_for += 1
            self.error = str(error)[:500]
            return
        self.asked_for += 1
        if refusal is None:
            self.started, self.limits = self.started + 1, 0
            return
        self.refused[refusal] += 1
        self.limits = self.limits + 1 if refusal is Refusal.LIMIT else 0
        self.house.scan_asks.end_claim(ref, now, Asked(now, refusal))
