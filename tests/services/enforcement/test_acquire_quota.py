"""The fuse is asked before an image is taken away: what passes is counted, what does not is told of once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.enforcement.fuse import WINDOW, Fuse, FuseSlot
from chalicelib.domain.policy.section import Route
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.enforcement.acquire_quota import acquire_quota
from tests.services.fused import NOW, Ear, FusedContext, key

SLACK, SNS = Route(channel="slack"), Route(channel="sns", word="block")


@pytest.fixture
def context() -> Any:
    return FusedContext(SLACK, SNS)


def ears(*ears: Ear) -> dict[str, Any]:
    return {ear.name: ear for ear in ears}


def blown(context: Any, **fields: Any) -> None:
    context.table.fuse = Fuse((FuseSlot(key(1), NOW),), blown_at=NOW, **fields)


def test_what_passes_is_counted_and_nobody_is_told(context: Any) -> None:
    slack = Ear("slack")
    assert [acquire_quota(key(n), 2, context, ears(slack)) for n in (1, 2)] == [None, None]
    assert [taken.key for taken in context.table.fuse.taken] == [key(1), key(2)]
    assert (context.table.fuse.blown_at, slack.alerts) == (None, [])


def test_one_too_many_is_told_when_it_may_be_done_and_waits(context: Any) -> None:
    slack, sns = Ear("slack"), Ear("sns")
    acquire_quota(key(1), 1, context, ears(slack, sns))
    context.wait(minutes=10)
    until = context.moment + WINDOW
    assert acquire_quota(key(2), 1, context, ears(slack, sns), "https://api.example.com") == until
    assert (context.table.fuse.waiting, context.table.fuse.told) == ((key(2),), True)
    (alert,) = slack.alerts
    assert (alert.event, sns.alerts) == ("fuse", [alert])
    assert alert.title == "Fuse blown: more than 1 images in an hour"
    assert f"before {until:%Y-%m-%d %H:%M:%S} UTC" in alert.notes[1]
    assert alert.api_url == "https://api.example.com"


def test_people_are_told_once_however_many_wait(context: Any) -> None:
    slack = Ear("slack")
    for number in range(1, 9):
        acquire_quota(key(number), 1, context, ears(slack))
    assert (len(slack.alerts), len(context.table.fuse.waiting)) == (1, 7)


def test_a_fuse_that_people_know_of_asks_no_channel(context: Any) -> None:
    slack = Ear("slack", TransientError("throttled"))
    blown(context, told=True)
    assert acquire_quota(key(2), 1, context, ears(slack)) == NOW + WINDOW
    assert (slack.alerts, len(slack.failing)) == ([], 1)


def test_an_act_that_passed_passes_again_through_a_blown_fuse_and_is_not_counted_twice(context: Any) -> None:
    blown(context, told=True, waiting=(key(2),))
    context.wait(minutes=5)
    assert acquire_quota(key(1), 1, context, {}) is None
    assert context.table.fuse.taken == (FuseSlot(key(1), context.moment),)


def test_an_hour_later_it_lets_acts_pass_and_its_next_blow_is_told_anew(context: Any) -> None:
    slack = Ear("slack")
    for number in (1, 2):
        acquire_quota(key(number), 1, context, ears(slack))
    context.moment = context.table.fuse.until(NOW)
    assert [acquire_quota(key(n), 1, context, ears(slack)) is None for n in (2, 3)] == [True, False]
    assert len(slack.alerts) == 2


def test_who_is_cut_off_before_it_is_remembered_tells_again(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slack, sns = Ear("slack"), Ear("sns")
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
            acquire_quota(key(2), 1, context, ears(slack, sns))
    assert (context.table.fuse.told, len(slack.alerts), len(sns.alerts)) == (False, 1, 0)
    assert acquire_quota(key(2), 1, context, ears(slack, sns)) == NOW + WINDOW
    assert (context.table.fuse.told, len(slack.alerts), len(sns.alerts)) == (True, 2, 1)


def test_a_channel_that_needs_time_is_waited_for_and_the_others_are_told_once(context: Any) -> None:
    slack, sns = Ear("slack", TransientError("429", 3.0)), Ear("sns")
    blown(context)
    with pytest.raises(TransientError):
        acquire_quota(key(2), 1, context, ears(slack, sns))
    assert (context.table.fuse.told, context.table.fuse.heard, context.table.fuse.waiting) == (
        False,
        ("sns",),
        (key(2),),
    )
    acquire_quota(key(2), 1, context, ears(slack, sns))
    assert (context.table.fuse.told, len(slack.alerts), len(sns.alerts)) == (True, 1, 1)


def test_a_channel_that_refuses_keeps_no_act_from_being_held_and_is_tried_with_the_next(context: Any) -> None:
    slack, sns = Ear("slack", UpstreamError("token revoked"), UpstreamError("token revoked")), Ear("sns")
    blown(context)
    for number in (2, 3, 4):
        assert acquire_quota(key(number), 1, context, ears(slack, sns)) == NOW + WINDOW
        assert context.table.fuse.told is (number == 4)
    assert (len(slack.alerts), len(sns.alerts)) == (1, 1)


def test_what_others_take_meanwhile_counts_and_is_not_taken_twice(context: Any) -> None:
    context.table.others = lambda fuse: fuse.take(key(1), 1, NOW)[0]
    assert acquire_quota(key(2), 1, context, {}) == NOW + WINDOW
    assert [taken.key for taken in context.table.fuse.taken] == [key(1)]


def test_a_fuse_that_has_blown_anew_meanwhile_is_not_taken_for_told(context: Any) -> None:
    """Reset by a person and blown again while its first alert was being sent: that is news."""
    later = NOW + timedelta(minutes=5)
    again = Fuse((FuseSlot(key(7), later),), blown_at=later, waiting=(key(8),), reset_at=later, reset_by="ann")

    class Slow(Ear):
        def send(self, alert: Any) -> None:
            super().send(alert)
            context.table.fuse = again

    blown(context)
    acquire_quota(key(2), 1, context, ears(Slow("slack")))
    assert context.table.fuse == again


def test_a_policy_that_names_no_channel_tells_nobody_and_asks_no_more() -> None:
    context: Any = FusedContext()
    blown(context)
    assert acquire_quota(key(2), 1, context, ears(Ear("slack"))) == NOW + WINDOW
    assert context.table.fuse.told


def test_a_route_that_hears_other_events_is_not_told(context: Any) -> None:
    quiet: Any = FusedContext(msgspec.structs.replace(SLACK, events=("verdict",)), SNS)
    slack, sns = Ear("slack"), Ear("sns")
    blown(quiet)
    acquire_quota(key(2), 1, quiet, ears(slack, sns))
    assert (len(slack.alerts), len(sns.alerts), quiet.table.fuse.told) == (0, 1, True)
