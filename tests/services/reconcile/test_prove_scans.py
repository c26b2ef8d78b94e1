"""A repository's images are counted by whether they have a usable, recent scan; what is missing is asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageDetail, Scan, ScanState, Source
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.domain.reconcile.registry_listing import ImagesListed
from chalicelib.domain.reconcile.repository_view import Covered, Inspected, RepositoryView
from chalicelib.domain.reconcile.scan_budget import StartedScans
from chalicelib.domain.reconcile.scan_proof import ScanProofCause, ScanProofs
from chalicelib.domain.reconcile.scan_rule import Frequency, ScanRule, Uncovered
from chalicelib.services.reconcile.prove_scans import ProvenScans, prove_scans
from tests.fakes.images import digest, home, ref
from tests.fakes.queries import NOW
from tests.services.reconcile.test_prove_scans_start import FakeContext

DAY = timedelta(days=1)
POLICY = parse_policy({"version": 1})
BASIC = ScanRule(Source.BASIC, Frequency.SCAN_ON_PUSH, ("*",))
ENHANCED = ScanRule(Source.ENHANCED, Frequency.CONTINUOUS_SCAN, ("*",))
INDEX = "application/vnd.oci.image.index.v1+json"


def detail(number: int, **more: Any) -> ImageDetail:
    return ImageDetail(ref(number), **{"pushed_at": NOW - 3 * DAY, **more})


def header(number: int, scan: Scan, **more: Any) -> Header:
    return Header(**{"ref": ref(number), "exists": True, "pushed_at": NOW - 3 * DAY, "scan": scan, **more})


def scanned(number: int, days: float = 1, source: Source = Source.BASIC) -> Header:
    return header(number, Scan(ScanState.COMPLETE, None, source, NOW - days * DAY), refreshed_at=NOW)


def view(*headers: Header, listed: tuple[int, ...] | None = None, inspected: Inspected | None = None) -> RepositoryView:
    numbers = listed if listed is not None else tuple(int(h.ref.digest[-4:], 16) for h in headers)
    images = {digest(n): detail(n) for n in numbers}
    known = {h.ref.digest: h for h in headers}
    return RepositoryView(home(), ImagesListed(NOW, images), known, timedelta(seconds=60), inspected or Inspected())


def prove(
    it: RepositoryView, rule: ScanRule | None = BASIC, context: FakeContext | None = None, **more: Any
) -> ProvenScans:
    return prove_scans(it, rule, POLICY, context or FakeContext(), **more)  # type: ignore[arg-type]


def test_images_are_counted_by_proof_and_cause_and_those_that_are_missing_are_asked_for() -> None:
    context = FakeContext()
    proven = prove(view(scanned(1), header(2, Scan()), header(3, Scan(ScanState.FAILED))), context=context)
    assert proven.proofs == ScanProofs(1, {ScanProofCause.FAILED: 1, ScanProofCause.NOT_STARTED: 1})
    assert proven.started == StartedScans(started=2)
    assert context.scans.started == [ref(2), ref(3)]


def test_a_dry_run_counts_and_asks_for_nothing() -> None:
    context = FakeContext()
    proven = prove(view(header(1, Scan())), context=context, dry_run=True)
    assert (proven.proofs.unproven, proven.started) == ({ScanProofCause.NOT_STARTED: 1}, StartedScans())
    assert context.scans.started == []


def test_what_is_looked_at_for_something_else_is_not_asked_for() -> None:
    context = FakeContext()
    prove(view(header(1, Scan()), header(2, Scan())), context=context, refreshed={ref(1)})
    assert context.scans.started == [ref(2)]


def test_an_image_that_is_there_and_believed_gone_is_a_push_that_nobody_heard_of() -> None:
    gone = msgspec.structs.replace(scanned(1), exists=False)
    assert prove(view(gone)).proofs == ScanProofs(0, {ScanProofCause.EVENT_LOST: 1})


def test_an_image_whose_push_nobody_heard_of_is_a_lost_event_and_what_is_young_is_its_events_to_tell() -> None:
    it = view(listed=(1, 2, 3))
    images = {
        **it.listed.images,
        digest(2): detail(2, pushed_at=NOW),
        digest(3): detail(3, media_type=INDEX),
    }
    it = msgspec.structs.replace(it, listed=ImagesListed(NOW, images))
    assert prove(it).proofs == ScanProofs(0, {ScanProofCause.EVENT_LOST: 1})


def test_what_is_gone_needs_no_scan() -> None:
    context = FakeContext()
    proven = prove(view(header(1, Scan()), listed=()), context=context)
    assert (proven.proofs, context.scans.started) == (ScanProofs(), [])


def test_what_inspector_has_scanned_and_nobody_told_of_is_a_lost_event() -> None:
    told = Scan(ScanState.COMPLETE, "SUCCESSFUL", Source.ENHANCED, NOW - DAY)
    it = view(header(1, Scan()), header(2, Scan()), inspected=Inspected(Covered(NOW, {digest(1): told})))
    assert prove(it, ENHANCED).proofs.unproven == {ScanProofCause.EVENT_LOST: 1, ScanProofCause.NOT_STARTED: 1}


def test_under_enhanced_scanning_nothing_is_asked_for() -> None:
    context = FakeContext()
    off = ScanRule(Source.ENHANCED, Frequency.MANUAL, (), Uncovered.NO_FILTER_MATCHES)
    assert prove(view(header(1, Scan())), off, context).proofs.unproven == {ScanProofCause.NO_FILTER_MATCHES: 1}
    assert context.scans.started == []
