"""The fuse is asked before an image is taken away: what passes is counted, what does not is told of once."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from chalicelib.domain.alerts.alert import Alert, AlertKey
from chalicelib.domain.enforcement.fuse import WINDOW, Fuse, FuseSlot
from chalicelib.domain.events.message import Act, Delivery
from chalicelib.domain.headers.pending_action import Deferred, Holding
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.policy.section import Route
from chalicelib.errors import ParameterError, TransientError
from chalicelib.services.enforcement.acquire_quota import acquire_quota, reset_fuse
from chalicelib.services.handlers.receive_alerts import receive_alerts
from tests.services.fused import NOW, FusedContext, key

SLACK, SNS = Route(channel="slack"), Route(channel="sns", word="block")


@pytest.fixture
def context() -> Any:
    return FusedContext(SLACK, SNS)


def until(held: Deferred | None) -> datetime | None:
    return None if held is None else held.until


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
    assert acquire_quota(key(2), 1, context) == Deferred(Holding.FUSE, "the fuse has blown", context.moment, until)
    assert (context.table.fuse.waiting, context.table.fuse.announced) == ((key(2),), True)
    assert [message.channel for message in context.announced] == ["slack", "sns"]
    (alert,) = {message.alert for message in context.announced}
    assert alert.event == "fuse"
    assert alert.title == "Fuse blown: more than 1 images in an hour"
    assert f"before {until:%Y-%m-%d %H:%M:%S} UTC" in alert.notes[1]
    told: list[Alert] = []
    channels = {name: SimpleNamespace(name=name, send=told.append) for name in ("slack", "sns")}
    deliveries = [Delivery(message.channel, message) for message in context.announced]
    assert receive_alerts(deliveries, context, channels, "https://api.example.com") == {}
    assert [alert.api_url for alert in told] == ["https://api.example.com"] * 2


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

    def dies_after_sending(changed: Any, **_: Any) -> Fuse:
        calls.append(changed)
        if len(calls) == 2:
            raise TransientError("throttled")
        return change(changed)  # type: ignore[no-any-return]

    with monkeypatch.context() as cut:
        cut.setattr(context.table, "change_fuse", dies_after_sending)
        with pytest.raises(TransientError):
            acquire_quota(key(2), 1, context)
    assert (context.table.fuse.announced, len(context.announced)) == (False, 2)
    assert until(acquire_quota(key(2), 1, context)) == NOW + WINDOW
    assert (context.table.fuse.announced, len(context.announced)) == (True, 4)
    assert {(message.key, message.channel) for message in context.announced} == {
        (AlertKey("ALERT#FUSE", NOW, subject="fuse"), name) for name in ("slack", "sns")
    }


# ---- a person makes the fuse whole again

BLOWN = Fuse((FuseSlot(key(1), NOW),), blown_at=NOW, announced=True, waiting=(key(2), key(3)))


def act(number: int) -> tuple[str, Act]:
    ref, _, effect = key(number).partition(" ")
    return "actions", Act(ImageRef.parse(ref), effect, attempt=1)


def test_what_waited_is_sent_in_its_order_and_the_fuse_counts_from_nothing(context: Any) -> None:
    context.table.fuse = BLOWN
    context.wait(minutes=20)
    assert reset_fuse("ann", "looked into", context) == 2
    assert context.table.fuse == Fuse(reset_at=context.moment, reset_by="ann")
    assert context.sent == [act(2), act(3)]


def test_the_record_says_who_why_and_what_the_fuse_was(context: Any) -> None:
    context.table.fuse = BLOWN
    reset_fuse("ann", "  looked into\n", context)
    (record,) = context.table.actions["fuse"]
    assert (record.kind, record.actor, record.reason) == ("FUSE_RESET", "person:ann", "looked into")
    assert record.before == "blown at 2026-03-02 08:00:00 UTC; acts within the hour: 1, waiting: 2"
    assert record.after == "whole"


def test_a_fuse_that_is_whole_is_reset_all_the_same_and_nothing_is_sent(context: Any) -> None:
    context.table.fuse = Fuse((FuseSlot(key(1), NOW),))
    assert reset_fuse("ann", "to be sure", context) == 0
    assert (context.table.fuse.taken, context.sent) == ((), [])
    (record,) = context.table.actions["fuse"]
    assert record.before == "whole; acts within the hour: 1, waiting: 0"


def test_what_a_fuse_refused_an_hour_ago_is_no_more_waiting_for_it(context: Any) -> None:
    context.table.fuse = BLOWN
    context.wait(hours=2)
    assert (reset_fuse("ann", "looked into", context), context.sent) == (0, [])
    assert context.table.actions["fuse"][0].before == "whole; acts within the hour: 0, waiting: 0"


def test_what_is_refused_while_a_person_resets_it_is_sent_too(context: Any) -> None:
    context.table.fuse = BLOWN
    context.table.others = lambda fuse: msgspec.structs.replace(fuse, waiting=(*fuse.waiting, key(4)))
    assert reset_fuse("ann", "looked into", context) == 3
    assert context.sent == [act(2), act(3), act(4)]


def test_two_people_who_reset_it_at_once_have_each_act_sent_once(context: Any) -> None:
    context.table.fuse = BLOWN
    context.table.others = lambda fuse: fuse.reset("ben", NOW)
    assert reset_fuse("ann", "looked into", context) == 0
    assert context.sent == []


@pytest.mark.parametrize("reason", ["", " \n", "x" * 1001])
def test_without_a_reason_that_can_be_kept_it_stays_blown(context: Any, reason: str) -> None:
    context.table.fuse = BLOWN
    with pytest.raises(ParameterError):
        reset_fuse("ann", reason, context)
    assert (context.table.fuse, context.table.actions, context.sent) == (BLOWN, {}, [])


def test_a_reset_that_cannot_be_recorded_is_not_done(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context.table.fuse = BLOWN

    def throttled(_: object) -> bool:
        raise TransientError("throttled")

    monkeypatch.setattr(context.table, "record_action", throttled)
    with pytest.raises(TransientError):
        reset_fuse("ann", "looked into", context)
    assert (context.table.fuse, context.sent) == (BLOWN, [])


def test_after_a_reset_as_many_pass_as_on_a_new_day_and_the_next_blow_is_told_anew(context: Any) -> None:
    context.table.fuse = BLOWN
    reset_fuse("ann", "looked into", context)
    assert acquire_quota(key(2), 1, context) is None
    assert until(acquire_quota(key(3), 1, context)) == NOW + timedelta(hours=1, seconds=90)
    assert context.announced


# ---- the share of a repository, and a Deny of many images


def test_a_repository_that_has_had_its_share_waits_is_told_of_once_and_keeps_no_other_from_its_own(
    context: Any,
) -> None:
    assert [acquire_quota(key(n, 1), 8, context) for n in (1, 2)] == [None, None]
    context.wait(minutes=10)
    held = [acquire_quota(key(n, 1), 8, context) for n in (3, 4)]
    assert [until(one) for one in held] == [NOW + WINDOW] * 2
    assert {one.detail for one in held if one} == {"its repository has had its 2 images of an hour"}
    assert acquire_quota(key(5, 2), 8, context) is None
    assert context.table.fuse.blown_at is None
    (alert,) = {message.alert for message in context.announced}
    assert (alert.title, alert.repository) == ("Fuse: team/api-1 has had its share of an hour", "team/api-1")
    assert reset_fuse("ann", "looked into", context) == 2
    assert [acquire_quota(key(n, 1), 8, context) for n in (3, 4)] == [None, None]


def test_a_deny_of_more_images_than_the_limit_waits_for_an_order_is_told_once_a_day_and_blows_nothing(
    context: Any,
) -> None:
    held = [acquire_quota(key(n, 1, "BLOCK#1"), 8, context, images=9) for n in (1, 2)]
    said = "its Deny takes 9 images out of reach, more than max_per_hour (8): it waits for a person's order"
    assert {one.detail for one in held if one} == {said}
    assert (len({message.key for message in context.announced}), context.table.fuse) == (1, Fuse())
    reset_fuse("ann", "looked into", context)
    assert acquire_quota(key(1, 1, "BLOCK#1"), 8, context, images=9) is not None


# ---- what is given back


def test_releases_count_apart_are_told_apart_and_pass_when_a_person_resets_them(context: Any) -> None:
    blown(context, announced=True)
    keys = [key(n, effect="RELEASE#2") for n in range(1, 6)]
    held = [acquire_quota(one, 2, context, releases=True) for one in keys]
    assert [one is None for one in held] == [True, True, False, False, False]
    assert {one.detail for one in held if one} == {"too many releases in an hour"}
    (alert,) = {message.alert for message in context.announced}
    assert alert.title == "Releases held: more than 2 images in an hour"
    assert reset_fuse("ann", "looked into", context, releases=True) == 3
    assert [acquire_quota(one, 2, context, releases=True) for one in keys[2:]] == [None] * 3
    (record,) = context.table.actions["fuse"]
    assert record.after == "releases go on"
    assert context.table.fuse.blown_at == NOW, "of what is taken away nothing was said"


def test_so_many_as_a_person_has_counted_pass_besides(context: Any) -> None:
    context.table.change_fuse(lambda brake: brake.expect(3, "policy", NOW), releases=True)
    held = [acquire_quota(key(n, effect="RELEASE#2"), 1, context, releases=True) for n in range(1, 6)]
    assert [one is None for one in held] == [True, True, True, True, False]
    assert acquire_quota(key(2, effect="UNBLOCK#3"), 1, context, releases=True) is None, "it is one image"
    assert context.table.brake.left == 0
    assert acquire_quota(key(6), 1, context) is None, "what is taken away is counted by another"
