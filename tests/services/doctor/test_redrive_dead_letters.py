from datetime import timedelta
from types import SimpleNamespace

import pytest

from chalicelib.services.doctor.redrive_dead_letters import redrive_dead_letters
from tests.fakes.dead_letters import NOW, FakeDeadLetters, letter

CLOCK = SimpleNamespace(now=lambda: NOW)


def test_a_letter_is_sent_with_its_mark_and_only_then_deleted():
    queue = FakeDeadLetters(letter(1), letter(2, "2026-02-01T00:00:00Z 2"))
    assert [one.message_id for one in redrive_dead_letters(None, queue, CLOCK)] == ["m1", "m2"]
    assert queue.log == ["send m1", "delete m1", "send m2", "delete m2"]
    assert queue.sent == [("m1", "2026-03-01T12:00:00Z 1"), ("m2", "2026-03-01T12:00:00Z 3")]
    assert queue.ids == []


def test_only_those_that_are_named_are_sent_and_the_others_stay_to_be_seen():
    queue = FakeDeadLetters(letter(1), letter(2), letter(3))
    list(redrive_dead_letters({"m2"}, queue, CLOCK))
    assert (queue.ids, queue.hidden) == (["m1", "m3"], {"m2"})


@pytest.mark.parametrize(("fails_at", "sent"), [("send m2", ["m1"]), ("delete m2", ["m1", "m2"])])
def test_what_could_not_be_sent_or_deleted_stays(fails_at, sent):
    queue = FakeDeadLetters(letter(1), letter(2), letter(3))
    queue.fails_at = fails_at
    with pytest.raises(RuntimeError):
        list(redrive_dead_letters(None, queue, CLOCK))
    assert [message_id for message_id, _ in queue.sent] == sent
    assert queue.ids == ["m2", "m3"]
    assert queue.hidden == {"m1"}


def test_what_dies_anew_meanwhile_is_not_sent_for_ever():
    queue = FakeDeadLetters(letter(1))
    moments = iter(NOW + timedelta(seconds=n) for n in range(100))

    def die(one, mark):
        queue.there.append(letter(len(queue.sent) + 100, mark))
        queue.sent.append((one.message_id, mark))

    queue.send_again = die
    list(redrive_dead_letters(None, queue, SimpleNamespace(now=lambda: next(moments))))
    assert [message_id for message_id, _ in queue.sent] == ["m1"]
    assert queue.ids == ["m100"]
