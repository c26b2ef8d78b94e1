"""When an image must be looked at once more, and what of the promise that a look comes is kept."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.services.assessment.write_header import Refreshed, plan_refresh
from tests.services.world import START

LATER = START + timedelta(seconds=60)


def at(seconds):
    return START + timedelta(seconds=seconds)


def plan(due, seen=0, **did):
    return plan_refresh(due, Refreshed(START, at(seen), **{"looked": True, **did}), LATER)


def test_a_look_at_or_after_its_time_fulfils_the_promise_and_ends_the_chain():
    assert plan(at(0)) == (None, None)
    assert plan(at(-5)) == (None, None)


def test_a_look_before_the_promised_time_leaves_it_to_the_one_under_way():
    assert plan(at(30)) == (at(30), None)


def test_a_look_that_came_early_by_the_clock_of_aws_is_sent_again():
    assert plan(at(30), promised=(at(30),)) == (at(30), at(30))


def test_whoever_wrote_or_spared_looks_again_after_settle():
    assert plan(None, again=True) == (LATER, LATER)
    assert plan(at(90), again=True) == (at(90), LATER)


def test_who_has_not_looked_fulfils_nothing():
    assert plan(at(-5), looked=False) == (at(-5), None)


TIMES = st.none() | st.integers(-100, 200).map(at)


@given(
    TIMES, st.integers(-100, 200), st.booleans(), st.lists(st.integers(-100, 200).map(at), max_size=2), st.booleans()
)
def test_what_is_stored_as_due_is_always_under_way(due, seen, looked, promised, again):
    """Either the look that was promised before is still to come, or the one sent now is due no earlier."""
    stored, sent = plan(due, seen, looked=looked, promised=tuple(promised), again=again)
    if stored is not None and stored != due:
        assert sent == stored
    if due is not None and stored is None:
        assert looked
        assert at(seen) >= due
