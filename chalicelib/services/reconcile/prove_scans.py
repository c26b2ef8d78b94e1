"""Prove for one repository that each push has led to a usable, recent scan, and start what basic scanning owes.

Each image is asked for once in 24 hours by all workers: a claim comes first, and a worker that dies between claim and
call leaves the image to the next day. What was granted of the day's budget and not used is given back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, InUseState, Kind, Repository, Source
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.section import Scanning
from chalicelib.domain.reconcile.repository_view import RepositoryView
from chalicelib.domain.reconcile.scan_budget import Asked, ScanBudget, ScanRefusal, StartedScans, in_turn, to_rescan
from chalicelib.domain.reconcile.scan_proof import ScanProof, ScanProofCause, ScanProofs, count_proofs, prove_scan
from chalicelib.domain.reconcile.scan_rule import ScanRule
from chalicelib.errors import DeniedError, TransientError, UpstreamError
from chalicelib.services.ports.context import Context

PATIENCE = timedelta(seconds=10)
LIMITS_IN_A_ROW = 5
"""So many refusals mean that the registry's quota of the day is used up, not those of single images."""


def start_scans(
    home: Repository,
    rule: ScanRule | None,
    headers: Sequence[Header],
    scanning: Scanning,
    unscanned: timedelta,
    context: Context,
    but: Collection[ImageRef] = (),
) -> StartedScans:
    """Of one repository; none where it is not known that ECR's own scanner is in force. `but`: images that are
    refreshed anyway. Raises TransientError: requeue it."""
    if rule is None or rule.scanner is not Source.BASIC:
        return StartedScans()
    began = context.clock.now()
    due = to_rescan(headers, scanning, unscanned, began, but)
    asked = context.scan_asks.asked([header.ref for header in due]) if due else {}
    due = in_turn((h for h in due if (known := asked.get(h.ref)) is None or not known.bars(began)), asked)
    granted = _granted(home, due, scanning.daily_budget, began, context) if due else []
    if not granted:
        return StartedScans(left=len(due))
    asking = _Asking(asked, context)
    try:
        asking.run([header.ref for header in granted], began)
    finally:
        if unused := len(granted) - asking.asked_for:
            context.scan_asks.change_budget(home, lambda budget: budget.give_back(unused, began))
    return StartedScans(asking.started, dict(asking.refused), len(due) - asking.asked_for, asking.error)


def _granted(home: Repository, due: list[Header], daily: int, now: datetime, context: Context) -> list[Header]:
    running = [h for h in due if h.in_use.state is InUseState.YES]
    others = [h for h in due if h.in_use.state is not InUseState.YES]
    first = more = 0

    def grant(budget: ScanBudget) -> ScanBudget:
        nonlocal first, more
        after, first, more = budget.grant(len(running), len(others), daily, now)
        return after

    context.scan_asks.change_budget(home, grant)
    return [*running[:first], *others[:more]]


class _Asking:
    """`asked_for`: how many of the granted scans were used."""

    def __init__(self, asked: Mapping[ImageRef, Asked], context: Context) -> None:
        self.known, self.context = asked, context
        self.started = self.asked_for = self.limits = 0
        self.refused = Counter[ScanRefusal]()
        self.error: str | None = None

    def run(self, refs: Sequence[ImageRef], began: datetime) -> None:
        for ref in refs:
            self._ask(ref)
            late = self.context.clock.now() - began > PATIENCE
            if self.error is not None or late:
                return
            if self.limits >= LIMITS_IN_A_ROW:
                self.error = "ECR scans no more images of this registry today"
                return

    def _ask(self, ref: ImageRef) -> None:
        now, former = self.context.clock.now(), self.known.get(ref)
        if not self.context.scan_asks.claim(ref, now, former):
            return
        try:
            refusal = self.context.scans.start(ref)
        except TransientError:
            self.context.scan_asks.end_claim(ref, now, former)
            raise
        except DeniedError as error:
            self.context.scan_asks.end_claim(ref, now, former)
            self.error = str(error)[:500]
            return
        except UpstreamError as error:
            # It counts as asked, so that the other images come before its next try.
            self.asked_for += 1
            self.error = str(error)[:500]
            return
        self.asked_for += 1
        if refusal is None:
            self.started, self.limits = self.started + 1, 0
            return
        self.refused[refusal] += 1
        self.limits = self.limits + 1 if refusal is ScanRefusal.LIMIT else 0
        self.context.scan_asks.end_claim(ref, now, Asked(now, refusal))


UNKNOWN_PUSH = ScanProof(ScanProofCause.EVENT_LOST, "its push was not heard of")
NEW = ScanProof(ScanProofCause.NEW, "not checked yet: this sweep is the first, and refreshes it")


class ProvenScans(msgspec.Struct, frozen=True):
    """`started`: the scans that were asked for."""

    proofs: ScanProofs = ScanProofs()
    started: StartedScans = StartedScans()


def prove_scans(
    view: RepositoryView,
    rule: ScanRule | None,
    policy: Policy,
    context: Context,
    refreshed: Collection[ImageRef] = (),
    *,
    filling: bool = False,
    dry_run: bool = False,
) -> ProvenScans:
    """`refreshed`: images that a message refreshes. `filling`: nothing was compared before, so no event was lost.
    `dry_run`: nothing is asked for. Raises TransientError: requeue it."""
    found = _proofs(view, rule, policy)
    proofs = count_proofs(
        NEW if filling and p is not None and p.cause is ScanProofCause.EVENT_LOST else p for p in found
    )
    if dry_run:
        return ProvenScans(proofs)
    unscanned = timedelta(minutes=policy.unscanned.after_minutes)
    there = [h for digest, h in view.headers.items() if digest in view.listed.images]
    started = start_scans(view.repository, rule, there, policy.scanning, unscanned, context, refreshed)
    return ProvenScans(proofs, started)


def _proofs(view: RepositoryView, rule: ScanRule | None, policy: Policy) -> Iterator[ScanProof | None]:
    """Of the images that are listed."""
    covered = view.inspected.covered
    scans = covered.scans if covered is not None else {}
    for digest, detail in view.listed.images.items():
        header = view.headers.get(digest)
        if header is not None and header.exists:
            yield prove_scan(header, rule, policy, view.listed.listed_at, scans.get(digest))
        elif Kind.by_media_type(detail.media_type) is Kind.IMAGE and not view.is_recent(detail.pushed_at):
            yield UNKNOWN_PUSH
