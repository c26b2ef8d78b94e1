"""Read, send again and delete dead letters, one at a time. Messages that were not taken are visible again at the end.

SQS's own redrive (StartMessageMoveTask) is not used: it sets no mark, so a moved message looks like a first receive; it
moves all messages or none; and a message that EventBridge put into a dead-letter queue has no source queue.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterator
from contextlib import closing

from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.dead_letter import DeadLetter
from chalicelib.services.ports.context import Clock, Context, DeadLetters


def read_dead_letters(
    is_wanted: Callable[[DeadLetter], bool], letters: DeadLetters, most: int | None = None, *, leave: bool = False
) -> Generator[DeadLetter, None, None]:
    """Those that are wanted, `most` at the most. The caller deletes each before it asks for the next, or it stays
    hidden for two minutes; with `leave` none is deleted, and all are visible again at the end.

    It ends when the queue shows no new message. Bodies are not kept: a queue may exceed memory.
    """
    seen, kept = set[str](), dict[str, str]()
    try:
        while batch := letters.take():
            kept |= {letter.message_id: letter.handle for letter in batch}
            new = [letter for letter in batch if letter.message_id not in seen]
            seen.update(letter.message_id for letter in new)
            for letter in filter(is_wanted, new):
                yield letter
                if not leave:
                    del kept[letter.message_id]
                if most is not None:
                    most -= 1
                    if most == 0:
                        return
            if not new:
                return
    finally:
        letters.show_again(kept.values())


def redrive_dead_letters(wanted: Container[str] | None, letters: DeadLetters, clock: Clock) -> Iterator[DeadLetter]:
    """Sends letters to their queue again, each with a mark, and yields each. `wanted`: message ids; None: all but those
    that were redriven since this began.

    A letter is deleted after it was sent: a crash in between only sends it twice. Letters that could not be sent stay.
    """
    began = clock.now()

    def is_wanted(letter: DeadLetter) -> bool:
        return letter.message_id in wanted if wanted is not None else not letter.redriven_since(began)

    with closing(read_dead_letters(is_wanted, letters)) as taken:
        for letter in taken:
            letters.send_again(letter, letter.next_mark(clock.now()))
            letters.delete(letter)
            yield letter


def drop_dead_letters(
    queue: str, wanted: Container[str], letters: DeadLetters, by: str, reason: str, context: Context
) -> Iterator[DeadLetter]:
    """Deletes letters by a person's decision, and yields each. `queue`: the dead queue's name. `wanted`: message ids.

    The audit record is written first: after a crash in between the letter is still there and can be dropped again.
    """
    with closing(read_dead_letters(lambda letter: letter.message_id in wanted, letters)) as taken:
        for letter in taken:
            context.table.record_action(_record(queue, letter, by, reason, context))
            letters.delete(letter)
            yield letter


def _record(queue: str, letter: DeadLetter, by: str, reason: str, context: Context) -> ActionRecord:
    what = f"{letter.about}; {letter.digest}"
    return ActionRecord(
        ref=None,
        subject=f"queue/{queue}",
        effect=f"{ActionKind.DROP_MESSAGE}#{letter.message_id}",
        wanted_at=letter.sent_at,
        kind=ActionKind.DROP_MESSAGE,
        actor=f"person:{by}",
        reason=f"{reason}: {what}" if reason else what,
        at=context.clock.now(),
        before=f"given up by the {letter.origin}",
        after="deleted",
    )
