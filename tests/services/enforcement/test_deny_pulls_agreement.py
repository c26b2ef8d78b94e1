"""Policy and digests agree in the end: whoever else writes the policy, whoever dies, whichever worker is faster."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.enforcement.repository_policy import SID, with_statement, without_statement
from chalicelib.errors import TransientError
from chalicelib.services.enforcement.deny_pulls import COLLIDED, UNDONE, WRITES, PolicyChange, agree_policy, deny_pulls
from tests.fakes.images import ref
from tests.fakes.policies import statement
from tests.services.lockstep import Crash, Worker
from tests.services.policy_context import FOREIGN, FORMER, HOME, PolicyContext


def agree(context: PolicyContext) -> PolicyChange:
    return agree_policy(HOME, context, adds=True)  # type: ignore[arg-type]


def with_foreign(text: str | None) -> str:
    """The policy with one more statement, as somebody adds it who has read it before."""
    policy = json.loads(text) if text else {"Statement": []}
    held = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    return json.dumps({**policy, "Statement": [*held, statement("late")]})


class TestWithOthersAtTheSameTime:
    @pytest.mark.parametrize("former", [None, FORMER])
    def test_what_is_written_over_our_statement_is_kept_and_said(self, former: str | None) -> None:
        context = PolicyContext(former)
        context.at("write_policy", "after", context.put(FOREIGN))
        change = context.deny()
        context.check(FOREIGN, 1)
        assert (change.before, change.after, change.collided) == (former, context.text, COLLIDED)

    def test_what_is_added_beside_our_statement_is_kept_and_said_and_nothing_written(self) -> None:
        context = PolicyContext()
        context.at("write_policy", "after", lambda: setattr(context, "text", with_foreign(context.text)))
        change = context.deny()
        context.check(with_foreign(FORMER), 1)
        assert (change.collided, context.calls.count("write_policy")) == (COLLIDED, 1)

    def test_a_policy_deleted_over_us_is_said(self) -> None:
        context = PolicyContext()
        context.at("write_policy", "after", context.put(None))
        assert context.deny().collided == COLLIDED
        context.check(None, 1)

    @pytest.mark.parametrize("with_ours", [False, True])
    def test_what_is_written_while_ours_is_taken_out_is_kept_and_said(self, with_ours: bool) -> None:
        context = PolicyContext()
        context.deny()
        put = with_statement(FOREIGN, context.own_roles) if with_ours else FOREIGN
        context.at("write_policy", "after", context.put(put))
        assert context.allow().collided == COLLIDED
        context.check(FOREIGN)

    def test_a_policy_made_while_the_last_of_it_is_deleted_is_kept_and_said(self) -> None:
        context = PolicyContext(None)
        context.deny()
        context.at("delete_policy", "after", context.put(FOREIGN))
        assert context.allow().collided == COLLIDED
        context.check(FOREIGN)

    def test_a_write_that_is_not_seen_at_once_alarms_nobody(self) -> None:
        context = PolicyContext()
        context.at("write_policy", "after", context.put(FORMER))
        change = context.deny()
        context.check(FORMER, 1)
        assert (change.collided, context.calls.count("write_policy")) == (None, 2)

    def test_our_statement_taken_out_again_and_again_is_said(self) -> None:
        context = PolicyContext()
        context.meet = undo(context, FORMER, 2)
        assert context.deny().collided == UNDONE
        context.check(FORMER, 1)

    def test_one_who_never_stops_is_left_for_a_later_try(self) -> None:
        context = PolicyContext()
        context.meet = undo(context, FOREIGN, WRITES)
        with pytest.raises(TransientError, match=rf"written {WRITES} times"):
            context.deny()
        assert (context.digests, context.calls.count("write_policy")) == ({ref(1)}, WRITES)
        context.deny()
        context.check(FOREIGN, 1)


def undo(context: PolicyContext, text: str, times: int) -> Callable[[int, str, str], None]:
    """Somebody puts `text` after each of our first writes."""
    left = [text] * times

    def meet(number: int, name: str, moment: str) -> None:
        if (name, moment) == ("write_policy", "after") and left:
            context.text = left.pop()

    return meet


class TestAfterOthers:
    def test_a_statement_that_somebody_took_out_is_put_back(self) -> None:
        context = PolicyContext()
        context.deny()
        context.text = FOREIGN
        change = agree(context)
        context.check(FOREIGN, 1)
        assert (change.before, change.after) == (FOREIGN, context.text)

    def test_a_statement_that_nobody_needs_is_taken_out(self) -> None:
        context = PolicyContext(with_statement(FOREIGN, []))
        agree(context)
        context.check(FOREIGN)

    @pytest.mark.parametrize("text", [None, FOREIGN, '{"Statement":[]}', '{"Statement": [{"Sid": "a"}, {"Sid": "a"}]}'])
    def test_where_nothing_is_denied_nothing_is_written(self, text: str | None) -> None:
        context = PolicyContext(text)
        assert agree(context) == PolicyChange(text, text)
        assert (context.text, context.calls) == (text, ["read_denied", "read_policy"])


START: dict[str, Callable[[PolicyContext], object]] = {
    "deny the first": lambda context: None,
    "deny the second": lambda context: context.deny(2),
    "allow the last": lambda context: context.deny(1),
    "allow one of two": lambda context: (context.deny(1), context.deny(2)),
}


def cut_off(context: PolicyContext, number: int, moment: str, act: Callable[[], object]) -> bool:
    """Whether the worker died before it was done."""

    def die() -> None:
        raise Crash(str(number))

    context.at(number, moment, die)
    try:
        act()
    except Crash:
        return True
    finally:
        context.undisturbed()
    return False


@pytest.mark.parametrize("former", [None, FORMER])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(9))
@pytest.mark.parametrize("story", START)
def test_cut_off_at_any_call_the_next_try_ends_it(story: str, number: int, moment: str, former: str | None) -> None:
    context = PolicyContext(former)
    START[story](context)
    others = {2} if story in ("deny the second", "allow one of two") else set()
    act, wanted = (context.deny, {1, *others}) if story.startswith("deny") else (context.allow, others)
    died = cut_off(context, number, moment, act)
    assert died == (number < CALLS[story]), "every call is cut off once, and there is no other"
    act()
    context.check(former, *wanted)
    if not wanted:
        assert context.text == former, "to the byte"


CALLS = {"deny the first": 8, "deny the second": 4, "allow the last": 7, "allow one of two": 3}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("first", range(8))
@pytest.mark.parametrize("second", range(8))
def test_cut_off_twice_and_given_up_it_still_comes_back_as_it_was(first: int, second: int, moment: str) -> None:
    """Denied, died, allowed instead, died: the level that is wanted last is what is reached."""
    context = PolicyContext()
    cut_off(context, first, moment, context.deny)
    cut_off(context, second, moment, context.allow)
    context.allow()
    context.check(FORMER)
    assert context.text == FORMER


WRITE_AT = {"deny": 4, "allow": 3}
SEEN = [
    pytest.param(act, number, moment, id=f"{act}-{number}-{moment}")
    for act, write in WRITE_AT.items()
    for number in range(CALLS["deny the first" if act == "deny" else "allow the last"])
    for moment in ("before", "after")
    if (number, moment) not in ((write - 1, "after"), (write, "before"))
]
"""ECR takes a write on no condition: what falls between our reading and our writing is the one thing nobody can see."""


@pytest.mark.parametrize(("act", "number", "moment"), SEEN)
def test_a_change_by_somebody_else_at_any_other_moment_survives(act: str, number: int, moment: str) -> None:
    context = PolicyContext()
    if act == "allow":
        context.deny()
    context.at(number, moment, lambda: setattr(context, "text", with_foreign(context.text)))
    change = getattr(context, act)()
    context.check(with_foreign(FORMER), *([1] if act == "deny" else []))
    found = number >= WRITE_AT[act] and change.after == context.text
    assert change.collided == (COLLIDED if found else None)


Schedule = st.lists(st.integers(0, 2), max_size=60)


def played(context: PolicyContext, jobs: list[Callable[[], object]], schedule: list[int], deaths: list[int]) -> None:
    """Each job by a worker of its own, a call at a time in this order; `deaths` are turns at which the one whose turn
    it is dies, and its message comes back."""
    workers = {n: Worker(job) for n, job in enumerate(jobs)}
    for turn, chosen in enumerate(schedule):
        left = [n for n in workers if not workers[n].done]
        if not left:
            break
        n = left[chosen % len(left)]
        if turn in deaths and workers[n].calls:
            workers[n].kill()
            workers[n] = Worker(jobs[n])
        else:
            workers[n].step()
    for worker in workers.values():
        while not worker.done:
            worker.step()


@settings(max_examples=600, deadline=None)
@given(Schedule, st.sets(st.integers(0, 40), max_size=2), st.sampled_from([None, FORMER]))
def test_one_worker_denies_while_another_allows_the_last(
    schedule: list[int], deaths: set[int], former: str | None
) -> None:
    context, said = PolicyContext(former), list[PolicyChange]()
    context.deny(2)
    jobs = [lambda: said.append(context.deny(1)), lambda: said.append(context.allow(2))]
    played(context, jobs, schedule, sorted(deaths))
    check_denies(context, deaths)
    context.check(former, 1)
    assert [change.collided for change in said] == [None, None], "we do not alarm people because of ourselves"
    context.allow(1)
    assert context.text == former


Ops = st.lists(st.tuples(st.sampled_from(["deny", "allow"]), st.integers(1, 3)), min_size=2, max_size=3)


@settings(max_examples=600, deadline=None)
@given(st.sets(st.integers(1, 3)), Ops, Schedule, st.sets(st.integers(0, 40), max_size=3))
def test_whatever_workers_do_at_the_same_time_policy_and_digests_agree(
    denied: set[int], ops: list[tuple[str, int]], schedule: list[int], deaths: set[int]
) -> None:
    context = PolicyContext()
    for number in denied:
        context.deny(number)
    ops = list({number: (what, number) for what, number in ops}.values())
    jobs: list[Callable[[], Any]] = [lambda op=op: retried(context, *op) for op in ops]
    played(context, jobs, schedule, sorted(deaths))
    wanted = (denied - {n for what, n in ops if what == "allow"}) | {n for what, n in ops if what == "deny"}
    check_denies(context, deaths)
    context.check(FORMER, *wanted)
    for number in wanted:
        context.allow(number)
    assert context.text == FORMER


def check_denies(context: PolicyContext, deaths: set[int]) -> None:
    """As it is done for each digest: a Deny that one took out who died, before he saw that another had been added, is
    put again by an act of that one."""
    for image in context.digests if not context.denies else ():
        assert deaths, "who lives leaves it right"
        deny_pulls(image, context)  # type: ignore[arg-type]


def retried(context: PolicyContext, what: str, number: int) -> None:
    """As its message is, when the others were faster three times."""
    while True:
        try:
            getattr(context, what)(number)
        except TransientError:
            continue
        return


def test_our_statement_is_known_by_its_sid() -> None:
    context = PolicyContext()
    context.deny()
    assert SID in (context.text or "")
    assert SID not in (without_statement(context.text) or "")
