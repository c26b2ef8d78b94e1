"""The past of an image, rebuilt from its document and compared with copies that were kept while it happened."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.assessment.merge import LOGGED, merge_listing, merge_rows
from chalicelib.domain.images.finding import Finding, FindingChange, FindingsDocument, Listing, Package, Severity, prune
from chalicelib.domain.images.image import Scan, ScanState, Source
from chalicelib.domain.images.verdict import ImageState
from chalicelib.domain.whatif.past import NOTES, Past, PastNote, began, notes_at, state_at
from tests.fakes.history import COMPLETE, OPEN, RESOLVED, SETTLE, STEPS, play
from tests.fakes.images import finding, image, ref
from tests.fakes.queries import NOW
from tests.fakes.table import stored_form

HOUR = timedelta(hours=1)


def gist(findings: tuple[Finding, ...]) -> dict[str, tuple[object, ...]]:
    return {f.source_finding_id: tuple(getattr(f, name) for name in LOGGED) for f in findings}


def unresolved(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """What a policy looks at unless it says otherwise; of what had ended by then, some is pruned."""
    return tuple(f for f in findings if f.status is not RESOLVED)


def same(rebuilt: tuple[Finding, ...], copy: tuple[Finding, ...]) -> bool:
    """The end of a finding that was closed when first heard of and came back since is not known any more."""
    ends = {f.source_finding_id: f.resolved_at for f in copy}
    assert all(f.resolved_at in (None, ends.get(f.source_finding_id)) for f in rebuilt)
    return gist(rebuilt) == gist(copy)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(Source)), STEPS)
def test_every_past_moment_is_rebuilt_as_it_was(kind: Source, steps: list) -> None:
    source = play(kind, steps)
    past = Past(stored_form(source.document))
    last = dict(source.copies)  # of several copies of one moment, the last is what it ended with
    for at, copy in last.items():
        assert same(past.findings(at), copy.findings), at
    for (at, copy), (later, _) in pairwise(last.items()):
        between = [turn for turn in past.turns if at < turn < later]
        if not between:
            assert same(past.findings(later - timedelta(seconds=1)), copy.findings)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(Source)), STEPS, st.integers(1, 400))
def test_what_is_younger_than_the_history_is_rebuilt_from_a_pruned_document(
    kind: Source, steps: list, hours: int
) -> None:
    source = play(kind, steps)
    before = source.now - timedelta(hours=hours)
    past = Past(stored_form(prune(source.document, before)))
    for at, copy in dict(source.copies).items():
        if at >= before:
            assert same(unresolved(past.findings(at)), unresolved(copy.findings)), at


@given(STEPS)
def test_nothing_changes_between_two_turns_and_now_is_what_is_stored(steps: list) -> None:
    document = play(Source.ENHANCED, steps).document
    past, now = Past(document), NOW + timedelta(days=999)
    assert past.findings(now) == document.findings
    for at, later in pairwise([*past.turns, now]):
        assert past.findings(at) == past.findings(later - timedelta(seconds=1))


# ---- single stories


def closed(number: int, at: datetime, **changes: object) -> Finding:
    return finding(number, status=RESOLVED, resolved_at=at, resolved_reason="closed", updated_at=at, **changes)


def test_a_finding_that_was_closed_when_it_was_first_heard_of_had_been_open_before() -> None:
    past = Past(FindingsDocument(ref(1), 1, (closed(9, NOW - HOUR),)))
    (before,) = past.findings(NOW - 2 * HOUR)
    assert (before.status, before.resolved_at, before.resolved_reason) == (OPEN, None, None)
    (after,) = past.findings(NOW - HOUR)
    assert (after.status, after.resolved_at) == (RESOLVED, NOW - HOUR)


def test_a_finding_is_not_there_before_its_first_sight_and_always_where_that_is_not_known() -> None:
    known, unknown = finding(1, first_seen=NOW), finding(2, first_seen=None)
    past = Past(FindingsDocument(ref(1), 1, (known, unknown)))
    assert past.findings(NOW - timedelta(seconds=1)) == (unknown,)
    assert past.findings(NOW) == (known, unknown)


def test_a_change_that_was_told_late_stands_where_it_belongs() -> None:
    """Found gone at a look, and later an event tells that it had come back before that look."""
    opened = finding(1, first_seen=NOW, updated_at=NOW)
    look = Listing(Source.ENHANCED, (), NOW + 3 * HOUR, COMPLETE, complete=True)
    document = FindingsDocument(ref(1), 1, (opened,), Source.ENHANCED, NOW)
    document = merge_listing(document, look, consistency_delay=SETTLE, archive=False).document
    assert document.findings[0].status is RESOLVED
    row = finding(1, first_seen=NOW, updated_at=NOW + 2 * HOUR, severity=Severity.LOW)
    past = Past(merge_rows(document, [row]).document)
    assert [past.findings(NOW + n * HOUR)[0].severity for n in range(4)] == ["HIGH", "HIGH", "LOW", "LOW"]
    assert {past.findings(NOW + n * HOUR)[0].status for n in range(5)} == {OPEN}


def test_a_log_of_findings_that_are_no_longer_kept_is_harmless() -> None:
    log = (FindingChange(NOW, "gone", "severity", "LOW"), FindingChange(NOW, "gone", "a field of tomorrow", None))
    past = Past(FindingsDocument(ref(1), 1, (), log=log))
    assert (past.findings(NOW - HOUR), past.turns) == ((), [])


def test_packages_are_those_of_today() -> None:
    was, is_now = finding(1, updated_at=NOW), finding(1, updated_at=NOW + HOUR, packages=(Package("zlib"),))
    document = merge_rows(FindingsDocument(ref(1), 1, (was,), Source.ENHANCED), [is_now]).document
    assert Past(document).findings(NOW)[0].packages == (Package("zlib"),)


# ---- state and notes


def test_the_age_of_a_past_scan_is_known_since_the_last_one_only() -> None:
    lapsed = Scan(ScanState.EXPIRED, "SCAN_ELIGIBILITY_EXPIRED", Source.ENHANCED, NOW - HOUR)
    state = ImageState(ref(1), listed=True, scan=lapsed)
    assert state_at(state, NOW - HOUR).scan == Scan(ScanState.COMPLETE, None, Source.ENHANCED, NOW - HOUR)
    assert state_at(state, NOW - 2 * HOUR).scan == Scan(ScanState.COMPLETE, None, Source.ENHANCED, None)


def test_an_image_that_was_never_listed_had_never_been_listed() -> None:
    state = ImageState(ref(1), scan=Scan(ScanState.FAILED, "WHY"))
    assert state_at(state, NOW - HOUR) == state


def test_the_past_begins_with_the_push_or_where_that_is_not_known_with_the_first_word() -> None:
    assert began(image(1, pushed_at=NOW, known_at=NOW - HOUR)) == NOW
    assert began(image(1, pushed_at=None, known_at=NOW - HOUR)) == NOW - HOUR


@pytest.mark.parametrize("asks_kev", [False, True])
def test_each_past_state_says_what_of_it_is_not_of_its_time(asks_kev: bool) -> None:
    header = image(1, known_at=NOW - HOUR)
    late = notes_at(header, NOW, asks_kev=asks_kev)
    assert {PastNote.TAGS, PastNote.IN_USE} <= set(late)
    assert (PastNote.KEV in late) is asks_kev
    assert set(notes_at(header, NOW - 2 * HOUR, asks_kev=asks_kev)) - set(late) == {PastNote.BEFORE_KNOWN}


def test_a_day_of_which_a_shorter_history_may_have_forgotten_something_says_so() -> None:
    header = image(1, known_at=NOW - 9 * HOUR)
    notes = notes_at(header, NOW - 2 * HOUR, asks_kev=False, known_since=NOW - HOUR)
    assert set(notes) - set(notes_at(header, NOW - 2 * HOUR, asks_kev=False)) == {PastNote.BEFORE_HISTORY}
    assert PastNote.BEFORE_HISTORY not in notes_at(header, NOW - HOUR, asks_kev=False, known_since=NOW - HOUR)


def test_every_note_has_its_sentence() -> None:
    assert set(NOTES) == set(PastNote)
