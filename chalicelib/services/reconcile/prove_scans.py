"""Prove for one repository that each push has led to a usable, recent scan; ask for those that are missing where ECR's
own scanner is in force. What a scanner has and nobody told of is looked at by whoever compared the repository.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta

import msgspec

from chalicelib.domain.images.image import ImageRef, Kind
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.reconcile.repository_view import View, kind_of
from chalicelib.domain.reconcile.scan_budget import StartedScans
from chalicelib.domain.reconcile.scan_proof import Cause, ScanProof, ScanProofs, count_proofs, prove_scan
from chalicelib.domain.reconcile.scan_rule import ScanRule
from chalicelib.services.ports.sweep_ports import ScanHouse
from chalicelib.services.reconcile.start_scans import start_scans

UNHEARD = ScanProof(Cause.EVENT_LOST, "its push was not heard of")
NEW = ScanProof(Cause.NEW, "nobody has looked yet: this sweep is the first, and has it looked at")


class ProvenScans(msgspec.Struct, frozen=True):
    """`started`: what was done about those that are missing."""

    proofs: ScanProofs = ScanProofs()
    started: StartedScans = StartedScans()


def prove_scans(
    view: View,
    rule: ScanRule | None,
    policy: Policy,
    house: ScanHouse,
    looked_at: Collection[ImageRef] = (),
    *,
    filling: bool = False,
    dry_run: bool = False,
) -> ProvenScans:
    """`looked_at`: images that a message was sent for. `filling`: nothing was ever compared, so no event was lost.
    `dry_run`: nothing is asked for. Raises TransientError: put it back."""
    found = _proofs(view, rule, policy)
    proofs = count_proofs(NEW if filling and p is not None and p.cause is Cause.EVENT_LOST else p for p in found)
    if dry_run:
        return ProvenScans(proofs)
    unscanned = timedelta(minutes=policy.unscanned.after_minutes)
    there = [h for digest, h in view.headers.items() if digest in view.listed.images]
    started = start_scans(view.repository, rule, there, policy.scanning, unscanned, house, looked_at)
    return ProvenScans(proofs, started)


def _proofs(view: View, rule: ScanRule | None, policy: Policy) -> Iterator[ScanProof | None]:
    """Of what is listed: what is gone needs no scan."""
    covered = view.inspected.covered
    told = covered.scans if covered is not None else {}
    for digest, detail in view.listed.images.items():
        header = view.headers.get(digest)
        if header is not None and header.exists:
            yield prove_scan(header, rule, policy, view.listed.listed_at, told.get(digest))
        elif kind_of(detail) is Kind.IMAGE and not view.is_recent(detail.pushed_at):
            yield UNHEARD
