"""Merging observations into the findings of an image: who wins, what is spared, what a merge never does."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.assessment.merge import ABSENT, CLOSED, SOURCE_CHANGED, age, learn, merge_listing, merge_rows
from chalicelib.domain.images.finding import FindingsDocument, FindingStatus, Listing, Package, Severity, prune
from chalicelib.domain.images.image import Scan, ScanState, Source
from tests.fakes.images import finding, ref
from tests.fakes.queries import NOW

SETTLE = timedelta(seconds=60)
REF = ref(1)
OPEN, SUPPRESSED, RESOLVED = FindingStatus.OPEN, FindingStatus.SUPPRESSED, FindingStatus.RESOLVED
HIGH, LOW, CRITICAL = Severity.HIGH, Severity.LOW, Severity.CRITICAL


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def row(number, updated, status=OPEN, severity=HIGH, **changes):
    return finding(number, severity, status=status, updated_at=at(updated), **changes)


def listing(look, *rows, complete=True, source=Source.ENHANCED, scanned=0, state=None):
    state = state or (ScanState.COMPLETE if complete else ScanState.EXPIRED)
    return Listing(source, rows, at(look), Scan(state, None, source, at(scanned)), complete)


def document(*rows, source=Source.ENHANCED, **fields):
    return FindingsDocument(REF, 1, rows, source, NOW - timedelta(days=9), **fields)


def merge(stored, seen, *, archive=False, **more):
    return merge_listing(stored, seen, consistency_delay=SETTLE, archive=archive, **more)


def states(result):
    return {int(f.vulnerability_id[-4:]): f.status for f in result.document.findings}


# ---- Inspector's listings


def test_the_first_listing_makes_the_document_even_when_it_is_empty():
    result = merge(FindingsDocument(REF), listing(0))
    assert result.changed
    assert result.document.source is Source.ENHANCED


def test_the_newer_update_wins_and_an_older_one_changes_nothing():
    stored = document(row(1, 10))
    assert merge(stored, listing(200, row(1, 20, severity=LOW))).document.findings[0].severity is LOW
    assert not merge(stored, listing(200, row(1, 5, severity=LOW))).changed


def test_at_a_tie_a_listing_wins_and_an_event_never_does():
    stored = document(row(1, 10))
    assert merge(stored, listing(200, row(1, 10, severity=LOW))).document.findings[0].severity is LOW
    assert not merge_rows(stored, [row(1, 10, severity=LOW)]).changed


def test_times_are_compared_in_whole_seconds():
    stored = document(row(1, 10))
    assert not merge_rows(stored, [row(1, 10.9, severity=LOW)]).changed


def test_an_old_closing_is_believed():
    result = merge(document(row(1, 0)), listing(200, row(1, 100, RESOLVED)))
    closed = result.document.findings[0]
    assert (closed.status, closed.resolved_reason, closed.resolved_at) == (RESOLVED, CLOSED, at(100))


def test_a_closing_younger_than_settle_is_spared_and_at_settle_it_is_believed():
    young = merge(document(row(1, 0)), listing(159, row(1, 100, RESOLVED)))
    assert (young.changed, young.spared) == (False, True)
    assert merge(document(row(1, 0)), listing(160, row(1, 100, RESOLVED))).changed


def test_a_finding_that_a_listing_lacks_is_resolved_unless_it_is_younger_than_settle():
    gone = merge(document(row(1, 0)), listing(200))
    assert gone.document.findings[0].resolved_reason == ABSENT
    young = merge(document(row(1, 150)), listing(200))
    assert (young.changed, young.spared) == (False, True)


def test_a_suppressed_finding_that_a_listing_lacks_is_resolved_too():
    assert states(merge(document(row(1, 0, SUPPRESSED)), listing(200))) == {1: RESOLVED}


@pytest.mark.parametrize("rows", [(), (row(1, 0, RESOLVED),)])
def test_closings_prove_nothing_while_an_archive_is_wanted_or_the_image_is_not_scanned(rows):
    stored = document(row(1, 0))
    for result in (
        merge(stored, listing(200, *rows), archive=True),
        merge(stored, listing(200, *rows, complete=False)),
    ):
        assert (result.changed, result.spared) == (False, False)


def test_what_an_incomplete_listing_adds_is_believed():
    assert states(merge(document(row(1, 0)), listing(200, row(2, 5), complete=False))) == {1: OPEN, 2: OPEN}


@pytest.mark.parametrize("rows", [(), (row(1, 0, RESOLVED),)])
def test_every_closing_of_an_image_that_has_just_come_back_is_spared(rows):
    stored = document(row(1, 0))
    young = merge(stored, listing(259, *rows), revived_at=at(200))
    assert (young.changed, young.spared) == (False, True)
    assert states(merge(stored, listing(260, *rows), revived_at=at(200))) == {1: RESOLVED}


def test_a_closed_finding_comes_back_when_it_is_updated():
    stored = document(row(1, 10, RESOLVED, resolved_at=at(10), resolved_reason=CLOSED))
    again = merge_rows(stored, [row(1, 20)]).document.findings[0]
    assert (again.status, again.resolved_at, again.resolved_reason) == (OPEN, None, None)


def test_an_event_that_closes_is_left_to_a_look():
    for stored in (document(row(1, 0)), document()):
        result = merge_rows(stored, [row(1, 10, RESOLVED)])
        assert (result.changed, result.spared) == (False, True)


def test_an_event_that_closes_what_is_closed_needs_no_look():
    assert not merge_rows(document(row(1, 0, RESOLVED)), [row(1, 10, RESOLVED)]).spared


@pytest.mark.parametrize(
    "change", [{"title": "new"}, {"updated_at": at(50)}, {"last_seen": at(50)}, {"url": "https://x"}, {"epss": 0.104}]
)
def test_what_is_not_material_is_not_written(change):
    stored = document(row(1, 0))
    seen = msgspec.structs.replace(row(1, 50), **change)
    assert not merge(stored, listing(200, seen)).changed


@pytest.mark.parametrize(
    "change",
    [
        {"severity": CRITICAL},
        {"score": 9.8},
        {"epss": 0.9},
        {"exploit_available": True},
        {"packages": (Package("zlib"),)},
        {"status": SUPPRESSED},
        {"first_seen": NOW - timedelta(days=99)},
    ],
)
def test_what_is_material_is_written_and_former_values_are_logged(change):
    stored = document(row(1, 0))
    result = merge(stored, listing(200, row(1, 50, **change)))
    assert result.changed
    assert [c.field for c in result.document.log] == [n for n in change if n not in ("packages", "first_seen")]


def test_a_later_first_sight_does_not_make_a_finding_younger():
    stored = document(row(1, 0, first_seen=NOW - timedelta(days=5)))
    assert not merge(stored, listing(200, row(1, 50, first_seen=NOW))).changed


def test_kev_is_kept_when_the_source_does_not_say_it_again():
    assert not merge(document(row(1, 0, kev=True)), listing(200, row(1, 50))).changed


# ---- ECR's own scanner and the switch between the two


def basic(number, **changes):
    return finding(number, source=Source.BASIC, source_finding_id=f"basic:{number:032x}", **changes)


def test_the_newer_basic_scan_wins_as_a_whole():
    first = merge(FindingsDocument(REF), listing(10, basic(1), basic(2), source=Source.BASIC, scanned=5))
    second = merge(first.document, listing(300, basic(2), source=Source.BASIC, scanned=250))
    assert states(second) == {1: RESOLVED, 2: OPEN}
    assert second.document.scanned_at == at(250)
    assert not merge(second.document, listing(400, basic(1), source=Source.BASIC, scanned=5)).changed


def test_a_basic_answer_older_than_the_scan_the_header_knows_of_changes_nothing():
    stored = document(basic(1), source=Source.BASIC, scanned_at=at(5))
    assert not merge(stored, listing(400, source=Source.BASIC, scanned=5), scanned_at=at(250)).changed


def test_while_an_archive_is_wanted_a_basic_scan_only_adds():
    stored = document(basic(1), source=Source.BASIC, scanned_at=at(5))
    new = listing(400, basic(2), source=Source.BASIC, scanned=250)
    held = merge(stored, new, archive=True)
    assert states(held) == {1: OPEN, 2: OPEN}
    assert states(merge(held.document, new)) == {1: RESOLVED, 2: OPEN}


def test_a_basic_scan_that_is_not_complete_changes_nothing():
    assert not merge(document(basic(1), source=Source.BASIC), listing(9, source=Source.BASIC, complete=False)).changed


@pytest.mark.parametrize(("old", "new"), [(Source.BASIC, Source.ENHANCED), (Source.ENHANCED, Source.BASIC)])
def test_the_first_complete_listing_of_the_other_scanner_resolves_what_the_former_left_open(old, new):
    stored = document(basic(1) if old is Source.BASIC else row(1, 199), source=old)
    seen = listing(200, basic(2) if new is Source.BASIC else row(2, 199), source=new, scanned=199)
    result = merge(stored, seen)
    assert states(result) == {1: RESOLVED, 2: OPEN}
    assert result.document.findings[0].resolved_reason == SOURCE_CHANGED
    assert (result.document.source, result.document.source_since) == (new, at(200))
    assert not merge(stored, msgspec.structs.replace(seen, complete=False)).changed


def test_a_slow_answer_of_the_former_scanner_does_not_switch_back():
    stored = msgspec.structs.replace(document(row(2, 0)), source_since=at(200))
    assert not merge(stored, listing(199, basic(1), source=Source.BASIC, scanned=100)).changed
    assert merge(stored, listing(200, basic(1), source=Source.BASIC, scanned=100)).changed, "a later look finds out"


# ---- first sight in the line, KEV, the end of history


def test_an_earlier_first_sight_in_the_line_is_taken_over_for_the_same_package_only():
    elder = row(1, 0, first_seen=NOW - timedelta(days=50))
    mine = document(row(1, 0, first_seen=NOW))
    assert age(mine, [elder]).document.findings[0].first_seen_in_line == NOW - timedelta(days=50)
    assert not age(mine, [msgspec.structs.replace(elder, packages=(Package("zlib"),))]).changed
    assert not age(mine, [msgspec.structs.replace(elder, first_seen=NOW + timedelta(days=1))]).changed


def test_no_answer_about_kev_is_not_a_no():
    stored = document(row(1, 0), row(2, 0, kev=False))
    known = learn(stored, {stored.findings[1].source_finding_id: True}).document
    assert [f.kev for f in known.findings] == [None, True]
    assert not learn(known, {}).changed


def test_what_ended_before_the_history_is_dropped_and_open_findings_never_are():
    old = row(1, 0, RESOLVED, resolved_at=NOW - timedelta(days=91))
    kept = prune(document(old, row(2, 0), row(3, 0, RESOLVED, resolved_at=NOW)), NOW - timedelta(days=90))
    assert [int(f.vulnerability_id[-4:]) for f in kept.findings] == [2, 3]


# ---- orders

UPDATES = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 9), st.sampled_from([OPEN, SUPPRESSED]), st.sampled_from([HIGH, LOW])),
    max_size=12,
    unique_by=lambda u: u[:2],
)


@given(UPDATES, st.randoms(use_true_random=False))
def test_events_in_any_order_and_twice_end_as_the_look_after_them_says(updates, random):
    """A newer update that says nothing new leaves no trace, so an older one may win until the look."""
    rows = [row(n, t, status, severity) for n, t, status, severity in updates]
    shuffled = [*rows, *rows]
    random.shuffle(shuffled)
    newest = {r.source_finding_id: r for r in sorted(rows, key=lambda r: r.updated_at)}
    stored = FindingsDocument(REF)
    for one in shuffled:
        stored = merge_rows(stored, [one]).document
    stored = merge(stored, listing(300, *newest.values())).document
    assert {f.source_finding_id: (f.status, f.severity) for f in stored.findings} == {
        k: (r.status, r.severity) for k, r in newest.items()
    }


@given(UPDATES)
def test_merging_what_was_merged_changes_nothing(updates):
    rows = {u[0]: row(*u) for u in sorted(updates, key=lambda u: u[1])}
    seen = listing(300, *rows.values())
    once = merge(FindingsDocument(REF), seen).document
    assert not merge(once, seen).changed
