"""A dead-letter queue in memory (services.ports.DeadLetters)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from weakref import WeakSet

from chalicelib.domain.events.dead_letter import DeadLetter, Origin

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

    def show_again(self, handles: Iterable[str]) -> None:
        given = set(handles)
        self.hidden -= {one.message_id for one in self.there if one.handle in given}

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


class Body(str):
    """One that can be watched: whether anybody still holds it."""

    __slots__ = ("__weakref__",)


class LongQueue(FakeDeadLetters):
    """`length` letters, each made when it is taken. `most_held`: bodies that were in memory at a time, at the most."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length, self.made, self.most_held = length, 0, 0
        self.gone: list[str] = []
        self.shown: list[str] = []
        self._held: WeakSet[Body] = WeakSet()

    def count(self) -> int:
        return self.length

    def take(self) -> Sequence[DeadLetter]:
        batch = [self._make(n) for n in range(self.made, min(self.made + 10, self.length))]
        self.made += len(batch)
        self.most_held = max(self.most_held, len(self._held))
        return batch

    def _make(self, n: int) -> DeadLetter:
        body = Body(f"letter {n} " + "x" * 1000)
        self._held.add(body)
        return DeadLetter(f"m{n}", body, Origin.QUEUE, NOW, 6, f"h{n}")

    def show_again(self, handles: Iterable[str]) -> None:
        self.shown += handles
        self.made = 0

    def delete(self, letter: DeadLetter) -> None:
        self.gone.append(letter.message_id)

    def send_again(self, letter: DeadLetter, mark: str) -> None:
        self.sent.append((letter.message_id, mark))
