"""Send dead letters to their queue again, each with a mark, by which it is never taken for covered.

SQS's own redrive (StartMessageMoveTask) is not used: it carries no mark, so that what is moved would look like a first
receive; it moves all or none; and what EventBridge put into a dead-letter queue has no source to be moved to.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import closing

from chalicelib.domain.events.dead_letter import DeadLetter
from chalicelib.services.doctor.read_dead_letters import read_dead_letters
from chalicelib.services.ports.context import Clock, DeadLetters


def redrive_dead_letters(wanted: Container[str] | None, letters: DeadLetters, clock: Clock) -> Iterator[DeadLetter]:
    """Those that were sent, each when it was. `wanted`: by message id; None: all, but those that die anew meanwhile.

    A letter is deleted only after it was sent: cut off in between, it is sent twice, which harms nothing. Raises what
    AWS says; what was not sent by then stays.
    """
    began = clock.now()

    def is_wanted(letter: DeadLetter) -> bool:
        return letter.message_id in wanted if wanted is not None else not letter.redriven_since(began)

    with closing(read_dead_letters(is_wanted, letters)) as taken:
        for letter in taken:
            letters.send_again(letter, letter.next_mark(clock.now()))
            letters.delete(letter)
            yield letter
