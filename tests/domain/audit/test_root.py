"""One root stands for everything that was copied of the audit log up to a day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.audit.chain import START, Chain, Head
from chalicelib.domain.audit.root import (
    Copied,
    DayRoot,
    can_be_sealed,
    compose_daily_summary,
    copied_order,
    first_unlike,
    next_roots,
    takes_copies,
)
from tests.fakes.images import ref

DAY = date(2026, 3, 9)
NOW = datetime(2026, 3, 10, 6, tzinfo=UTC)
CHAINS: list[Chain] = [ref(1), ref(2), "policy", "waiver/w-1", "fuse"]
COPIES = st.dictionaries(
    st.tuples(st.integers(0, 3), st.sampled_from(CHAINS)),
    st.builds(Head, st.integers(1, 9), st.binary(min_size=32, max_size=32)),
    min_size=1,
)


def copied(of: dict[tuple[int, Chain], Head]) -> list[Copied]:
    return sorted((Copied(DAY + timedelta(days=n), c, h) for (n, c), h in of.items()), key=copied_order)


@given(COPIES)
def test_roots_made_day_by_day_are_those_made_at_once(of: dict[tuple[int, Chain], Head]) -> None:
    at_once = list(next_roots(DayRoot(), copied(of)))
    one_by_one, last = [], DayRoot()
    for n in range(4):
        for made in next_roots(last, [c for c in copied(of) if c.day == DAY + timedelta(days=n)]):
            one_by_one.append(last := made)
    assert at_once == one_by_one
    assert [made.day for made in at_once] == sorted({c.day for c in copied(of)})


@given(COPIES, st.data())
def test_a_copy_that_is_changed_or_taken_out_or_put_in_changes_the_last_root(
    of: dict[tuple[int, Chain], Head], data: st.DataObject
) -> None:
    place = data.draw(st.sampled_from(sorted(of, key=str)))
    head = of[place]
    changed = data.draw(
        st.sampled_from([None, msgspec.structs.replace(head, count=head.count + 1), Head(head.count, bytes(31) + b"!")])
    )
    others = {k: v for k, v in of.items() if k != place} | ({} if changed is None else {place: changed})
    roots = [made.root for made in next_roots(DayRoot(), copied(others))]
    assert (roots[-1] if roots else START) != list(next_roots(DayRoot(), copied(of)))[-1].root


def test_the_first_day_whose_copies_were_changed_is_named() -> None:
    stored = [DayRoot(bytes([n]) * 32, DAY + timedelta(days=n)) for n in range(3)]
    assert first_unlike(stored, stored) is None
    made = [stored[0], DayRoot(b"x" * 32, stored[1].day), DayRoot(b"y" * 32, stored[2].day)]
    assert first_unlike(made, stored) == stored[1].day
    assert first_unlike(stored[:2], stored) == stored[2].day


def test_a_day_takes_no_copies_any_more_for_a_while_before_its_root_is_made() -> None:
    """Longer than a function may live: what it began to copy is in the root."""
    moments = [NOW - timedelta(hours=6) + timedelta(minutes=n) for n in range(24 * 60)]
    open_until = max(at for at in moments if takes_copies(DAY, at))
    sealed_from = min(at for at in moments if can_be_sealed(DAY, at))
    assert sealed_from - open_until > timedelta(minutes=15)
    assert sealed_from < NOW


def test_the_daily_summary_says_the_root_and_the_command_that_proves_it() -> None:
    alert = compose_daily_summary(["Images: 3"], DayRoot(b"\xab" * 32, DAY), NOW)
    assert (alert.event, alert.decision) == ("summary", None)
    assert alert.notes == ("Images: 3", f"Root of the audit log up to 2026-03-09: {'ab' * 32}")
    assert f"lazaretto audit verify --root {'ab' * 32}" in alert.what_to_do[-1]
    assert "no root yet" in compose_daily_summary([], DayRoot(), NOW).notes[0]
