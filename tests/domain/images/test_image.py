"""What our own look-up of an image's use is worth beside what a scanner tells later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.images.image import LOOKED_UP_FOR, InUse, InUseState

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NO = InUse(InUseState.NO, 0, None, NOW, looked=True)
YES = InUse(InUseState.YES, 1, NOW, NOW, by=("ECS service web in cluster prod (1 task)",), looked=True)


def told(state: InUseState, count: int | None = None, after: timedelta = timedelta(hours=1)) -> InUse:
    return InUse(state, count, None, NOW + after)


def test_a_scanner_that_says_nothing_changes_nothing():
    assert (NO.beside(None), InUse().beside(None)) == (NO, InUse())


def test_a_scanners_zero_does_not_undo_what_we_have_seen_ourselves():
    assert NO.beside(told(InUseState.UNKNOWN, 0)) is NO
    assert YES.beside(told(InUseState.UNKNOWN, 0)) is YES


def test_a_scanner_that_sees_it_running_outweighs_our_no():
    running = told(InUseState.YES, 2)
    assert NO.beside(running) is running


def test_our_look_up_is_worth_a_day():
    assert NO.beside(told(InUseState.UNKNOWN, 0, LOOKED_UP_FOR)) is NO
    later = told(InUseState.UNKNOWN, 0, LOOKED_UP_FOR + timedelta(seconds=1))
    assert NO.beside(later) is later


def test_what_nobody_has_looked_up_is_what_the_scanner_says():
    zero = told(InUseState.UNKNOWN, 0)
    assert InUse().beside(zero) is zero


_uses = st.builds(
    InUse,
    st.sampled_from(InUseState),
    st.none() | st.integers(0, 3),
    st.none(),
    st.none() | st.integers(0, 72).map(lambda h: NOW + timedelta(hours=h)),
    looked=st.booleans(),
)


@given(_uses, st.none() | _uses)
def test_a_scanner_never_makes_it_no(ours: InUse, theirs: InUse | None):
    stands = ours.beside(theirs)
    assert stands in (ours, theirs)
    if theirs is not None and theirs.state is InUseState.YES:
        assert stands.state is InUseState.YES
