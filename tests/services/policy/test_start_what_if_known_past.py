"""How far back the past is known, by the policies that were in force since."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import pytest

from chalicelib.adapters.stores.policy_file import read_policy
from chalicelib.services.policy.start_what_if import POLICIES_READ, find_known_past, start_what_if
from tests.services.judged import DAY, NOW, STRICT, JudgedContext

SINCE = NOW - 80 * DAY


def house_of(*policies: tuple[int, timedelta]) -> JudgedContext:
    """`history_days` of each, and how long ago it was put."""
    context = JudgedContext()
    for days, ago in policies:
        context.rules.put_policy(f"version: 1\nhistory_days: {days}\n", "oncall")
        context.rules.stored[-1] = msgspec.structs.replace(context.rules.stored[-1], put_at=NOW - ago)
    return context


def known(context: JudgedContext) -> datetime | None:
    return find_known_past(SINCE, len(context.rules.stored), context)


def test_all_of_it_is_known_while_nothing_but_the_policy_of_the_bundle_was_in_force() -> None:
    assert known(house_of()) is None
    assert known(house_of((90, 5 * DAY))) is None


def test_a_history_that_was_raised_lately_does_not_bring_back_what_the_shorter_one_let_go() -> None:
    assert known(house_of((20, 70 * DAY), (90, 5 * DAY))) == NOW - 25 * DAY


def test_a_shorter_one_that_ended_long_ago_has_let_go_nothing_that_is_asked_for() -> None:
    assert known(house_of((20, 200 * DAY), (90, 65 * DAY))) is None
    assert known(house_of((20, 200 * DAY), (90, 100 * DAY), (90, 5 * DAY))) is None


def test_of_several_the_one_that_let_go_most_counts() -> None:
    assert known(house_of((5, 60 * DAY), (40, 40 * DAY), (60, 3 * DAY), (90, 1 * DAY))) == NOW - 43 * DAY


def test_of_one_that_does_not_load_any_more_nothing_before_its_end_is_known() -> None:
    context = house_of((90, 60 * DAY), (90, 5 * DAY))
    context.rules.stored[0] = msgspec.structs.replace(context.rules.stored[0], text="version: 1\nformer_key: 1\n")
    assert known(context) == NOW - 5 * DAY


def test_of_very_many_policies_only_the_last_are_read() -> None:
    context = house_of(*((90, (79 * DAY) - n * timedelta(hours=1)) for n in range(POLICIES_READ + 5)))
    assert known(context) == NOW - 79 * DAY + timedelta(hours=4)


@pytest.mark.parametrize(("days", "since"), [(30, NOW - 25 * DAY), (20, None), (0, None)])
def test_a_what_if_keeps_it_where_it_asks_for_more(days: int, since: datetime | None) -> None:
    context = house_of((20, 70 * DAY), (90, 5 * DAY))
    job = start_what_if(read_policy(STRICT), days, "oncall", context)
    assert context.what_ifs.read_job(job.id) == job
    assert job.known_since == since
