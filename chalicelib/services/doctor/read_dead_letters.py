"""Take letters out of a dead-letter queue one by one, or see them; what was not taken is shown again at the end.

A queue may hold more than memory does: of what was left behind only ids and handles are kept, never bodies."""

from __future__ import annotations

from collections.abc import Callable, Generator

from chalicelib.domain.events.dead_letter import DeadLetter
from chalicelib.services.ports.context import DeadLetters


def read_dead_letters(
    is_wanted: Callable[[DeadLetter], bool], letters: DeadLetters, most: int | None = None, *, leave: bool = False
) -> Generator[DeadLetter, None, None]:
    """Those that are wanted, `most` at the most. A caller that asks for the next one must have deleted the one before,
    or that one stays hidden for a while; with `leave` none is taken, and all are shown again at the end.

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
