"""The fuse: within any hour no more acts than it allows, whoever asks in whatever order, until a person resets it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.enforcement.fuse import MOST_WAITING, WINDOW, Fuse, share_of

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def taken(fuse: Fuse, keys: str, limit: int, at: datetime = NOW) -> tuple[Fuse, list[str]]:
    """The fuse afterwards and the keys that passed, one letter each."""
    passed = []
    for key in keys:
        fuse, passes = fuse.take(key, limit, at)
        passed += [key] * passes
    return fuse, passed


def test_as_many_pass_as_are_allowed_and_the_next_one_blows_it() -> None:
    fuse, passed = taken(Fuse(), "ab", 2)
    assert (passed, fuse.blown_at) == (["a", "b"], None)
    fuse, passed = taken(fuse, "cd", 2, NOW + MINUTE)
    assert (passed, fuse.blown_at, fuse.waiting) == ([], NOW + MINUTE, ("c", "d"))


def test_a_limit_of_zero_lets_nothing_pass() -> None:
    assert taken(Fuse(), "a", 0)[1] == []


def test_the_same_act_passes_again_without_being_counted_even_when_it_has_blown() -> None:
    fuse, _ = taken(Fuse(), "aaab", 2)
    assert [t.key for t in fuse.taken] == ["a", "b"]
    fuse, passed = taken(fuse, "cab", 2)
    assert passed == ["a", "b"]
    assert fuse.waiting == ("c",)


def test_what_passed_does_not_pass_again_where_the_limit_was_lowered() -> None:
    fuse, _ = taken(Fuse(), "ab", 2)
    fuse, passed = taken(fuse, "b", 1, NOW + MINUTE)
    assert (passed, fuse.blown_at) == ([], NOW + MINUTE)
    assert [t.key for t in fuse.taken] == ["a", "b"]


def test_a_blown_fuse_lets_nothing_pass_though_acts_are_over_until_its_hour_is() -> None:
    fuse, _ = taken(Fuse(), "a", 1)
    fuse, _ = taken(fuse, "b", 1, NOW + 59 * MINUTE)
    assert taken(fuse, "c", 1, NOW + WINDOW + MINUTE)[1] == []
    assert fuse.until(NOW) == NOW + 59 * MINUTE + WINDOW
    last = fuse.until(NOW)
    assert taken(fuse, "c", 1, last - timedelta(microseconds=1))[1] == []
    fuse, passed = taken(fuse, "c", 1, last)
    assert (passed, fuse.blown_at, fuse.waiting, fuse.announced) == (["c"], None, (), False)


def test_a_reset_counts_from_nothing_and_says_who_did_it() -> None:
    fuse, _ = taken(Fuse(), "abc", 2)
    fuse, passed = taken(fuse.reset("oncall", NOW + MINUTE), "cde", 2, NOW + MINUTE)
    assert passed == ["c", "d"]
    assert (fuse.reset_by, fuse.reset_at) == ("oncall", NOW + MINUTE)


def test_only_so_many_that_wait_are_remembered() -> None:
    fuse = Fuse()
    for number in range(MOST_WAITING + 5):
        fuse, _ = fuse.take(str(number), 0, NOW)
        fuse, _ = fuse.take(str(number), 0, NOW)
    assert fuse.waiting == tuple(str(n) for n in range(MOST_WAITING))


def of(repository: str, number: int, effect: str = "QUARANTINE#1") -> str:
    return f"{repository}@{number} {effect}"


def test_a_repository_has_a_quarter_of_the_limit_and_what_is_more_blows_nothing() -> None:
    fuse = Fuse()
    for number in range(4):
        fuse, passed = fuse.take(of("a", number), 8, NOW + number * MINUTE)
        assert passed is (number < 2)
    assert (fuse.blown_at, [t.key for t in fuse.over_share]) == (None, [of("a", 2), of("a", 3)])
    assert fuse.until(NOW, of("a", 2)) == NOW + WINDOW
    assert fuse.take(of("b", 1), 8, NOW)[1]
    fuse, passed = fuse.take(of("a", 2), 8, NOW + WINDOW)
    assert (passed, [t.key for t in fuse.over_share]) == (True, [of("a", 3)])


@pytest.mark.parametrize(("limit", "share"), [(1, 1), (3, 1), (4, 1), (8, 2), (20, 5), (1000, 250)])
def test_the_share_is_a_quarter_and_at_least_one(limit: int, share: int) -> None:
    assert share_of(limit) == share


def test_for_an_hour_after_a_reset_a_repository_has_all_of_the_limit() -> None:
    fuse = Fuse().reset("oncall", NOW)
    assert [fuse.take(of("a", 1), 8, at, images=8)[1] for at in (NOW, NOW + WINDOW)] == [True, False]


def test_a_deny_counts_for_all_images_that_it_takes_out_of_reach() -> None:
    fuse, passed = Fuse().take(of("a", 1, "BLOCK#1"), 20, NOW, images=5)
    assert (passed, fuse.images) == (True, 5)
    assert fuse.take(of("b", 1, "BLOCK#1"), 20, NOW, images=6)[0].over_share, "more than its share"
    fuse, passed = fuse.take(of("a", 1), 20, NOW)
    assert (passed, fuse.images) == (True, 5), "the same image is in it already"
    for number in range(15):
        fuse, passed = fuse.take(of(str(number), 1), 20, NOW)
        assert passed
    assert fuse.take(of("c", 1), 20, NOW)[0].blown_at == NOW


def test_what_a_person_has_counted_passes_even_where_it_has_blown_for_a_day_and_up_to_the_count() -> None:
    fuse, _ = taken(Fuse(), "ab", 1)
    fuse, passed = taken(fuse.expect(2, "policy", NOW), "bbcd", 1)
    assert (passed, fuse.left, fuse.waiting) == (["b", "b", "c"], 0, ("d",))
    assert fuse.expect(2, "policy", NOW).as_of(NOW + timedelta(days=1)).left == 0
    assert [t.key for t in fuse.reset("oncall", NOW).expect(1, "policy", NOW).uncounted] == []


def test_what_is_refused_its_share_once_more_is_still_shown_as_waiting_and_sent_by_a_reset() -> None:
    again = NOW + timedelta(minutes=61)
    fuse, _ = Fuse().take(of("a", 1), 2, NOW - timedelta(minutes=1))
    fuse, _ = fuse.take(of("a", 2), 2, NOW)
    fuse, passed = fuse.take(of("a", 3), 2, again)
    assert passed
    refused, passed = fuse.take(of("a", 2), 2, again)
    assert not passed
    assert of("a", 2) in refused.as_of(again + timedelta(minutes=45)).waiting_keys
    assert refused.take(of("a", 2), 2, again + timedelta(minutes=1))[0] == refused, "a message that comes twice"


def test_a_plan_has_one_count_at_a_time() -> None:
    fuse = Fuse().expect(2, "policy", NOW).expect(3, "waiver/a", NOW)
    assert fuse.left == 5
    assert fuse.expect(1, "policy", NOW).left == 4, "another policy"
    assert fuse.expect(0, "waiver/a", NOW).left == 2, "the waiver was ended"


def test_an_image_that_a_person_has_ordered_to_be_given_back_passes_and_no_other() -> None:
    fuse, passed = taken(taken(Fuse(), "ab", 1)[0].let("c", NOW), "dc", 1)
    assert (passed, [t.key for t in fuse.taken]) == (["c"], ["a"])


def test_what_one_order_took_along_all_passes_when_it_is_taken_back() -> None:
    ids, fuse = [f"image@{number}" for number in range(101)], Fuse()
    for one in ids:
        fuse = fuse.let(one, NOW)
    assert all(fuse.take(f"{one} RELEASE#2", 1, NOW + MINUTE)[1] for one in ids)


Asked = list[tuple[int, int]]
ASKED = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1500)), max_size=80)


def passes(asked: Asked, limit: int) -> list[tuple[str, datetime]]:
    """Every act that passed for the first time, when asked for in this order: (key, seconds since the one before)."""
    fuse, at, seen = Fuse(), NOW, list[tuple[str, datetime]]()
    for key, seconds in asked:
        at += timedelta(seconds=seconds)
        known = {t.key for t in fuse.as_of(at).taken}
        fuse, passed = fuse.take(str(key), limit, at)
        if passed and str(key) not in known:
            seen.append((str(key), at))
    return seen


@settings(max_examples=400, deadline=None)
@given(ASKED, st.integers(0, 6))
def test_never_more_than_the_limit_within_any_hour(asked: Asked, limit: int) -> None:
    times = [at for _, at in passes(asked, limit)]
    for n, first in enumerate(times):
        assert sum(first <= at < first + WINDOW for at in times[n:]) <= limit


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(1, 6), st.integers(0, 1500)), max_size=60))
def test_never_more_than_the_limit_nor_of_one_repository_than_its_share(asked: list[tuple[int, ...]]) -> None:
    fuse, at, limit = Fuse(), NOW, 12
    for repository, number, images, seconds in asked:
        at += timedelta(seconds=seconds)
        fuse, _ = fuse.take(of(str(repository), number), limit, at, images)
        assert fuse.images <= limit
        for one in range(4):
            assert sum(t.images for t in fuse.taken if t.key.startswith(f"{one}@")) <= share_of(limit)


@settings(max_examples=200, deadline=None)
@given(ASKED, st.integers(1, 6))
def test_who_stays_below_the_limit_is_never_held_up(asked: Asked, limit: int) -> None:
    spread = [(n, WINDOW.seconds // limit + 1) for n, _ in enumerate(asked)]
    assert len(passes(spread, limit)) == len(spread)


@settings(max_examples=200, deadline=None)
@given(ASKED, st.integers(0, 6))
def test_what_waits_is_what_was_refused_since_it_blew(asked: Asked, limit: int) -> None:
    fuse, at, refused = Fuse(), NOW, dict[str, None]()
    for key, seconds in asked:
        at += timedelta(seconds=seconds)
        fuse = fuse.as_of(at)
        if fuse.blown_at is None:
            refused.clear()
        fuse, passed = fuse.take(str(key), limit, at)
        if not passed:
            refused[str(key)] = None
            assert fuse.blown_at is not None
            assert fuse.until(at) > at
        assert fuse.waiting == tuple(refused)
