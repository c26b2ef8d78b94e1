from contextlib import closing
from functools import partial

import pytest

from chalicelib.services.doctor.redrive_dead_letters import read_dead_letters
from tests.fakes.dead_letters import FakeDeadLetters, LongQueue, letter

show_dead_letters = partial(read_dead_letters, leave=True)


def test_every_letter_is_seen_once_and_those_left_are_shown_again():
    queue = FakeDeadLetters(*map(letter, range(25)))
    taken = [one.message_id for one in read_dead_letters(lambda one: one.message_id.endswith("3"), queue)]
    assert taken == ["m3", "m13", "m23"]
    assert queue.hidden == {"m3", "m13", "m23"}


def test_no_more_are_taken_than_asked_for():
    queue = FakeDeadLetters(*map(letter, range(25)))
    assert len(list(read_dead_letters(lambda _: True, queue, 12))) == 12
    assert len(queue.hidden) == 12


def test_a_queue_that_shows_again_what_it_has_shown_comes_to_an_end():
    class Forgetful(FakeDeadLetters):
        def take(self):
            self.hidden.clear()
            return super().take()

    queue = Forgetful(*map(letter, range(5)))
    assert len(list(read_dead_letters(lambda _: True, queue))) == 5


def test_whoever_breaks_off_leaves_all_to_be_seen():
    queue = FakeDeadLetters(*map(letter, range(5)))
    taking = read_dead_letters(lambda _: True, queue)
    next(taking)
    taking.close()
    assert queue.hidden == set()


def test_what_is_only_seen_is_shown_again_all_of_it():
    queue = FakeDeadLetters(*map(letter, range(25)))
    assert len(list(show_dead_letters(lambda _: True, queue))) == 25
    assert queue.hidden == set()


def test_what_is_only_seen_is_shown_again_by_whoever_breaks_off():
    queue = FakeDeadLetters(*map(letter, range(25)))
    with closing(show_dead_letters(lambda _: True, queue)) as seeing:
        for _ in range(12):
            next(seeing)
    assert queue.hidden == set()


@pytest.mark.parametrize("walk", [read_dead_letters, show_dead_letters])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_queue_larger_than_memory_is_gone_through(walk, wanted):
    queue = LongQueue(500)
    assert sum(1 for _ in walk(lambda _: wanted, queue)) == (500 if wanted else 0)
    assert queue.most_held <= 20
    assert len(set(queue.shown)) == (0 if walk is read_dead_letters and wanted else 500)
