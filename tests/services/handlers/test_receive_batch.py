"""A batch of messages: grouped, read together, and whoever fails fails alone."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from chalicelib.domain.events.event import Ignored, LifecycleImage, LifecycleRan
from chalicelib.domain.events.message import Decide, Delivery, InheritFirstSeen, Refresh, RetriedEvent
from chalicelib.errors import ConflictError, TransientError, UpstreamError
from chalicelib.services.assessment.requeue import LONGEST_DELAY_SECONDS, MOST_ATTEMPTS
from chalicelib.services.handlers.receive_batch import receive_batch
from tests.services.context import Story
from tests.services.world import START, new_ref


def failing(*errors):
    left = list(errors)

    def look(*_, **__):
        raise left[0] if len(left) == 1 else left.pop(0)

    return look


def test_headers_of_a_batch_are_read_together():
    story = Story()
    other = story.add(new_ref())
    story.forget()
    story.receive(story.one.flaw(2), story.one.covered(), other.flaw(1))
    assert story.met["read_headers"] == 1


def test_a_message_that_cannot_be_handled_fails_alone(monkeypatch):
    story = Story()
    other = story.add(new_ref())
    monkeypatch.setattr(story, "look", failing(ZeroDivisionError("a defect")))
    good, bad = story.delivery(other.flaw(1)), story.delivery(story.one.covered())
    failures = receive_batch([bad, good], story)
    assert list(failures) == [bad.message_id]
    assert story.header(other.ref).refresh_due_at is not None
    assert story.envelopes[0].body.ref == other.ref


@pytest.mark.parametrize("error", [TransientError("throttled"), ConflictError("too many writers")])
def test_what_only_needs_time_is_put_back_and_does_not_fail(error, monkeypatch):
    story = Story()
    monkeypatch.setattr(story, "look", failing(error))
    story.receive(story.one.covered(), Refresh(story.ref, story.moment), Decide(story.ref, "child", quiet=True))
    again, look, decide = (e.body for e in story.envelopes)
    assert isinstance(again, RetriedEvent)
    assert look == Refresh(story.ref, look.due_at, attempt=1)
    assert decide == Decide(story.ref, "child", True, attempt=1)


def test_the_delay_grows_with_the_attempts_and_has_an_end(monkeypatch):
    story = Story()
    monkeypatch.setattr(story, "look", failing(TransientError("throttled")))
    delays = []
    for attempt in range(12):
        story.receive(Refresh(story.ref, story.moment, attempt=attempt))
        delays.append((story.envelopes.pop().at - story.moment).total_seconds())
    assert delays[:4] == [5, 10, 20, 40]
    assert delays[-1] == LONGEST_DELAY_SECONDS


def test_after_too_many_attempts_a_message_fails_and_goes_the_way_to_the_dead_letter_queue(monkeypatch):
    story = Story()
    monkeypatch.setattr(story, "look", failing(TransientError("throttled")))
    last = story.delivery(Refresh(story.ref, story.moment, attempt=MOST_ATTEMPTS))
    assert list(receive_batch([last], story)) == [last.message_id]
    assert story.envelopes == []


def test_a_queue_that_takes_nothing_leaves_the_message_to_be_delivered_again(monkeypatch):
    story = Story()
    monkeypatch.setattr(story, "look", failing(TransientError("throttled")))
    monkeypatch.setattr(story, "send", failing(TransientError("the queue too")))
    delivery = story.delivery(story.one.covered())
    assert list(receive_batch([delivery], story)) == [delivery.message_id]


def test_headers_that_cannot_be_read_put_the_whole_batch_back(monkeypatch):
    story = Story()
    monkeypatch.setattr(story.stored, "read_headers", failing(TransientError("throttled")))
    story.receive(story.one.covered(), story.one.flaw(2))
    assert [e.body.attempt for e in story.envelopes] == [1, 1]


def test_a_message_put_back_says_again_that_it_came_from_the_dead_letter_queue(monkeypatch):
    story = Story()
    monkeypatch.setattr(story, "look", failing(TransientError("throttled")))
    event = story.one.covered()
    receive_batch([Delivery("1", event, attempt=3, redriven=True, raw=story.raw(event))], story)
    (envelope,) = story.envelopes
    assert (envelope.body.attempt, envelope.body.redriven) == (4, True)


def test_what_is_ignored_is_done():
    story = Story()
    assert story.receive(Ignored("not about an image")) == {}
    assert story.writes == {}


def test_a_lifecycle_run_deletes_what_it_expired_and_a_dry_run_nothing():
    story = Story()
    ran = LifecycleRan(story.ref.home, True, (LifecycleImage(story.ref.digest, ("v1",)),), story.moment, "event")
    story.one.change(exists=False)
    story.receive(ran)
    assert story.head.exists
    story.receive(msgspec.structs.replace(ran, dry_run=False))
    assert not story.head.exists


def test_an_age_waits_for_the_first_listing_and_not_for_ever():
    story = Story()
    elder = new_ref()
    young = story.add(new_ref())
    story.receive(young.action("PUSH"))
    story.forget()
    story.receive(InheritFirstSeen(young.ref, elder))
    assert [a.attempt for a in story.sent(InheritFirstSeen)] == [1]
    story.envelopes.clear()
    story.receive(InheritFirstSeen(young.ref, elder, attempt=3))
    assert story.sent(InheritFirstSeen) == []


def test_an_older_image_of_the_line_that_is_listed_later_gives_its_first_sights_on():
    story = Story()
    pushed = {}
    for name, days in (("old", 3), ("middle", 2), ("new", 1)):
        image = story.add(msgspec.structs.replace(story.ref, digest=f"sha256:{days:064x}"))
        image.pushed_at = START - timedelta(days=days)
        image.scanned()
        image.flaw(7, first_seen=START - timedelta(days=days))
        story.receive(image.action("PUSH", tag=f"v7.{4 - days}"))
        pushed[name] = image
    for name in ("new", "old", "middle"):
        story.receive(pushed[name].scanned())
    story.drain()
    seen = {name: story.document(i.ref).findings[0] for name, i in pushed.items()}
    assert {f.first_seen_in_line or f.first_seen for f in seen.values()} == {START - timedelta(days=3)}


def test_one_image_that_cannot_be_read_fails_alone(monkeypatch):
    story = Story()
    other = story.add(new_ref())
    read = story.stored.read_headers

    def read_headers(refs):
        if other.ref in refs:
            raise ValueError("a header of another format")
        return read(refs)

    monkeypatch.setattr(story.stored, "read_headers", read_headers)
    good, bad = story.delivery(story.one.covered()), story.delivery(other.covered())
    assert list(receive_batch([bad, good], story)) == [bad.message_id]


def test_a_queue_that_takes_no_message_back_fails_that_message_and_no_other(monkeypatch):
    story = Story()
    monkeypatch.setattr(story, "look", failing(TransientError("throttled")))
    monkeypatch.setattr(story, "send", failing(UpstreamError("too long")))
    one, two = story.delivery(story.one.covered()), story.delivery(Ignored("not about an image"))
    assert list(receive_batch([one, two], story)) == [one.message_id]
