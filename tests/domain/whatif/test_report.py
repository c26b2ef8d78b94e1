"""What a candidate would change, added up: rows, exact counts, worst first, parts put together."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.images.image import InUse, InUseState
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.whatif.past import PastNote
from chalicelib.domain.whatif.report import (
    ROWS_OF_REPORT,
    RUNS_KEPT,
    UNREADABLE_NAMED,
    Impact,
    Job,
    ShardPart,
    Tally,
    added,
    report_of,
    row_of,
    tally_of,
    worst_rows,
)
from chalicelib.domain.whatif.what_if import Day, Ruling, Weighed
from tests.fakes.images import image, ref
from tests.fakes.queries import NOW

A, W, P, B, Q = (Ruling(d, None if d is Decision.ALLOW else f"by-{d.lower()}") for d in Decision)
JOB = Job("j", "oncall", NOW, 30, 3, {"version": 1}, {"version": 1})
NOTES = (PastNote.TAGS, PastNote.IN_USE)


def past(*pairs: tuple[Ruling, Ruling], notes: tuple[PastNote, ...] = NOTES) -> tuple[Day, ...]:
    """(today's, candidate's), the last one yesterday."""
    first = NOW.date() - timedelta(days=len(pairs))
    return tuple(Day(first + timedelta(days=n), t, c, notes) for n, (t, c) in enumerate(pairs))


def before(days: int) -> Any:
    return NOW.date() - timedelta(days=days)


@pytest.mark.parametrize(
    ("today", "candidate", "days", "impact"),
    [
        (W, B, (), Impact.CLOSES),
        (A, Q, (), Impact.CLOSES),
        (Q, W, (), Impact.OPENS),
        (A, W, (), Impact.CHANGES),
        (B, Q, (), Impact.CHANGES),
        (A, A, ((A, B), (A, A)), Impact.PAST),
        (A, A, ((B, A), (A, A)), Impact.PAST),
        (B, B, ((A, A),), Impact.STAYS),
        (A, A, ((B, B),), Impact.STAYS),
    ],
)
def test_a_row_says_what_applying_it_would_do(today: Any, candidate: Any, days: Any, impact: Impact) -> None:
    row = row_of(image(1), Weighed(today, candidate, past(*days)))
    assert row is not None
    assert row.impact is impact


@pytest.mark.parametrize("days", [(), ((A, W), (W, A))])
def test_an_image_that_nothing_ever_closes_and_that_stays_as_it_is_makes_no_row(days: Any) -> None:
    assert row_of(image(1), Weighed(W, W, past(*days))) is None


def test_days_of_equal_answers_are_one_run_and_quiet_days_none() -> None:
    days = past((A, A), (A, B), (A, B), (A, A), (B, B), (A, W), (A, Q))
    row = row_of(image(1), Weighed(A, Q, days))
    assert row is not None
    assert [(r.first, r.last, r.today.decision, r.candidate.decision) for r in row.runs] == [
        (before(1), before(1), "ALLOW", "QUARANTINE"),
        (before(2), before(2), "ALLOW", "WARN"),
        (before(3), before(3), "BLOCK", "BLOCK"),
        (before(6), before(5), "ALLOW", "BLOCK"),
    ]
    assert all(run.notes == NOTES for run in row.runs)
    assert (row.days_closed, row.days_closed_today) == (4, 1)
    assert (row.first_closed, row.closed_since) == (before(6), before(1))


def test_since_when_goes_back_as_far_as_it_was_closed_without_a_break() -> None:
    def since(*days: Any, now: Ruling = B) -> Any:
        row = row_of(image(1), Weighed(A, now, past(*days)))
        return None if row is None else row.closed_since

    assert since((A, B), (A, A), (A, B), (A, Q)) == before(2)
    assert since((A, B), (A, A)) is None
    assert since((A, B), now=W) is None


def test_runs_that_do_not_fit_are_counted() -> None:
    days = past(*[(A, B if n % 2 else Q) for n in range(RUNS_KEPT + 3)])
    row = row_of(image(1), Weighed(A, B, days))
    assert row is not None
    assert (len(row.runs), row.runs_left_out) == (RUNS_KEPT, 3)
    assert row.runs[0].last == before(1)


@pytest.mark.parametrize(
    ("state", "running", "maybe"), [(InUseState.YES, 1, 0), (InUseState.UNKNOWN, 0, 1), (InUseState.NO, 0, 0)]
)
def test_what_is_newly_closed_is_counted_with_whether_it_runs(state: InUseState, running: int, maybe: int) -> None:
    tally = tally_of(image(1, in_use=InUse(state)), Weighed(W, B, past((A, B), (B, A)), kev_open=True))
    assert tally == Tally(
        images=1,
        today={Decision.WARN: 1},
        candidate={Decision.BLOCK: 1},
        moves={"WARN>BLOCK": 1},
        closes=1,
        closes_running=running,
        closes_maybe_running=maybe,
        past_closed=1,
        past_closed_today=1,
        kev_open=1,
    )


def test_what_stays_is_no_move() -> None:
    tally = tally_of(image(1), Weighed(B, B))
    assert (tally.moves, tally.closes, tally.opens) == ({}, 0, 0)


@given(st.lists(st.tuples(st.sampled_from([A, W, P, B, Q]), st.sampled_from([A, W, P, B, Q]))), st.integers(1, 4))
def test_counts_of_parts_add_up_however_they_are_cut(pairs: list, shards: int) -> None:
    tallies = [tally_of(image(1), Weighed(*pair)) for pair in pairs]
    whole = added(tallies)
    assert added(added(tallies[n::shards]) for n in range(shards)) == whole
    assert whole.images == len(pairs) == sum(whole.today.values()) == sum(whole.candidate.values())
    assert sum(whole.moves.values()) == sum(t is not c for t, c in pairs)
    assert Tally() == Tally(today={}, candidate={}, moves={}), "a sum must not leak into what is empty"


def rows(count: int, first: int = 1) -> tuple[Any, ...]:
    made = (row_of(image(n), Weighed(A, B)) for n in range(first, first + count))
    return tuple(row for row in made if row is not None)


def test_the_worst_come_first_and_what_runs_before_what_does_not() -> None:
    def row(number: int, weighed: Weighed, state: InUseState = InUseState.NO) -> Any:
        return row_of(image(number, in_use=InUse(state)), weighed)

    many = msgspec.structs.replace(B, count=9)
    made = [
        row(1, Weighed(B, B)),
        row(2, Weighed(A, A, past((A, B)))),
        row(3, Weighed(A, W)),
        row(4, Weighed(B, A)),
        row(5, Weighed(A, B)),
        row(6, Weighed(A, many)),
        row(7, Weighed(A, B), InUseState.UNKNOWN),
        row(8, Weighed(A, B), InUseState.YES),
        row(9, Weighed(A, Q)),
    ]
    assert [int(r.ref.digest[-1]) for r in worst_rows(made, 99)] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert len(worst_rows(made, 2)) == 2


def test_a_report_says_how_far_it_is_and_what_it_left_out() -> None:
    done = ShardPart(0, done=True, size=500, tally=Tally(images=500), rows=rows(400), rows_left_out=100)
    begun = ShardPart(1, after="x", size=300, tally=Tally(images=200), rows=rows(150, 1000))
    report = report_of(JOB, [done, begun], 8)
    assert (report.done, report.shards, report.of_shards, report.size) == (False, 1, 8, 800)
    assert report.tally.images == 700
    assert (len(report.rows), report.rows_left_out) == (ROWS_OF_REPORT, 150)
    assert report_of(JOB, [], 8).size is None
    assert report_of(JOB, [ShardPart(n, done=True) for n in range(8)], 8).done


def test_only_the_first_unreadable_images_are_named() -> None:
    parts = [ShardPart(n, unreadable=tuple(ref(10 * n + m) for m in range(7))) for n in range(2)]
    assert len(report_of(JOB, parts, 2).unreadable) == UNREADABLE_NAMED


def test_a_part_comes_back_from_json_as_it_was() -> None:
    row = row_of(image(1), Weighed(A, B, past((A, B))))
    assert row is not None
    part = ShardPart(3, 2, "path", True, 9, tally_of(image(1), Weighed(A, B)), (row,), 4, (ref(2),))
    assert msgspec.json.decode(msgspec.json.encode(part), type=ShardPart) == part
