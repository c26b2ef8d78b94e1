"""Take letters out of a dead-letter queue one by one, or see them; what was not taken is shown again at the end.

A queue may hold more than memory does: of what was left behind only ids and handles are kept, never bodies."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing

from chalicelib.domain.events.dead_letter import DeadLetter
from chalicelib.services.ports.messages import DeadLetters


def read_dead_letters(
    is_wanted: Callable[[DeadLetter], bool], letters: DeadLetters, most: int | None = None
) -> Generator[DeadLetter, None, None]:
    """Those that are wanted, `most` at the most. Whoever goes on to the next one is done with the one before: it is for
    him to delete it, or it stays hidden for a while.

    Each letter is looked at once: where the queue shows again what it has shown, all of it was seen.
    """
    seen, kept = set[str](), dict[str, str]()
    try:
        while batch := letters.take():
            kept |= {letter.message_id: letter.handle for letter in batch}
            new = [letter for letter in batch if letter.message_id not in seen]
            seen.update(letter.message_id for letter in new)
            for letter in filter(is_wanted, new):
                yield letter
                del kept[letter.message_id]
                if most is not None:
                    most -= 1
                    if most == 0:
                        return
            if not new:
                return
    finally:
        letters.show_again(kept.values())


def show_dead_letters(
    is_wanted: Callable[[DeadLetter], bool], letters: DeadLetters, most: int | None = None
) -> Generator[DeadLetter, None, None]:
    """The same ones, and none is taken: all are shown again at the end."""
    seen = list[str]()
    try:
        with closing(read_dead_letters(is_wanted, letters, most)) as taken:
            for letter in taken:
                seen.append(letter.handle)
                yield letter
    finally:
        letters.show_again(seen)
