"""The fuse is asked before an image is taken away: what passes is counted, what does not is told of once."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.enforcement.fuse import WINDOW, Fuse, FuseSlot
from chalicelib.domain.policy.section import Route
from chalicelib.errors import TransientError
from chalicelib.services.enforcement.acquire_quota import acquire_quota
from tests.services.fused import NOW, FusedContext, key

SLACK, SNS = Route(channel="slack"), Route(channel="sns", word="block")


@pytest.fixture
def context() -> Any:
    return FusedContext(SLACK, SNS)


def blown(context: Any, **fields: Any) -> None:
    context.table.fuse = Fuse((FuseSlot(key(1), NOW),), blown_at=NOW, **fields)


def test_what_passes_is_counted_and_nobody_is_told(context: Any) -> None:
    assert [acquire_quota(key(n), 2, context) for n in (1, 2)] == [None, None]
    assert [taken.key for taken in context.table.fuse.taken] == [key(1), key(2)]
    assert (context.table.fuse.blown_at, context.announced) == (None, [])


def test_one_too_many_is_told_when_it_may_be_done_and_waits(context: Any) -> None:
    acquire_quota(key(1), 1, context)
    context.wait(minutes=10)
    until = context.moment + WINDOW
    assert acquire_quota(key(2), 1, context, "https://api.example.com") == until
    assert (context.table.fuse.waiting, context.table.fuse.announced) == ((key(2),), True)
    assert [message.channel for message in context.announced] == ["slack", "sns"]
    (alert,) = {message.alert for message in context.announced}
    assert alert.event == "fuse"
    assert alert.title == "Fuse blown: more than 1 images in an hour"
    assert f"before {until:%Y-%m-%d %H:%M:%S} UTC" in alert.notes[1]
    assert alert.api_url == "https://api.example.com"


def test_people_are_told_once_however_many_wait(context: Any) -> None:
    for number in range(1, 9):
        acquire_quota(key(number), 1, context)
    assert (len(context.announced), len(context.table.fuse.waiting)) == (2, 7)


def test_an_act_that_passed_passes_again_through_a_blown_fuse_and_is_not_counted_twice(context: Any) -> None:
    blown(context, announced=True, waiting=(key(2),))
    context.wait(minutes=5)
    assert acquire_quota(key(1), 1, context) is None
    assert context.table.fuse.taken == (FuseSlot(key(1), context.moment),)


def test_an_hour_later_it_lets_acts_pass_and_its_next_blow_is_told_anew(context: Any) -> None:
    for number in (1, 2):
        acquire_quota(key(number), 1, context)
    context.moment = context.table.fuse.until(NOW)
    assert [acquire_quota(key(n), 1, context) is None for n in (2, 3)] == [True, False]
    assert len(context.announced) == 4


def test_a_worker_that_dies_before_it_is_remembered_announces_again_under_the_same_key(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blown(context)
    change, calls = context.table.change_fuse, []

    def dies_after_sending(changed: Any) -> Fuse:
        calls.append(changed)
        if len(calls) == 2:
            raise TransientError("throttled")
        return change(changed)  # type: ignore[no-any-return]

    with monkeypatch.context() as cut:
        cut.setattr(context.table, "change_fuse", dies_after_sending)
        with pytest.raises(TransientError):
            acquire_quota(key(2), 1, context)
    assert (context.table.fuse.announced, len(context.announced)) == (False, 2)
    assert acquire_quota(key(2), 1, context) == NOW + WINDOW
    assert (context.table.fuse.announced, len(context.announced)) == (True, 4)
    assert {(message.key, message.channel) for message in context.announced} == {
        (AlertKey("ALERT#FUSE", NOW, subject="fuse"), name) for name in ("slack", "sns")
    }
