"""A dead-letter queue in memory (services.ports.DeadLetters)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from chalicelib.domain.dead_letter import DeadLetter, Origin

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def letter(n: int, mark: str | None = None) -> DeadLetter:
    return DeadLetter(f"m{n}", f'{{"n": {n}}}', Origin.QUEUE, NOW, 6, f"h{n}", mark=mark)


class FakeDeadLetters:
    """`there`: what lies in the queue, `hidden`: ids of what nobody sees; `log`: what was done, in order."""

    def __init__(self, *there: DeadLetter) -> None:
        self.there = list(there)
        self.hidden: set[str] = set()
        self.sent: list[tuple[str, str]] = []
        self.log: list[str] = []
        self.fails_at: str | None = None

    def take(self) -> Sequence[DeadLetter]:
        taken = [one for one in self.there if one.message_id not in self.hidden][:10]
        self.hidden |= {one.message_id for one in taken}
        return taken

    def show_again(self, letters: Iterable[DeadLetter]) -> None:
        self.hidden -= {one.message_id for one in letters}

    def send_again(self, letter: DeadLetter, mark: str) -> None:
        self._do("send", letter)
        self.sent.append((letter.message_id, mark))

    def delete(self, letter: DeadLetter) -> None:
        self._do("delete", letter)
        self.there.remove(letter)

    def _do(self, what: str, letter: DeadLetter) -> None:
        done = f"{what} {letter.message_id}"
        if done == self.fails_at:
            raise RuntimeError(done)
        self.log.append(done)

    @property
    def ids(self) -> list[str]:
        return [one.message_id for one in self.there]
