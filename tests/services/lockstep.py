"""Workers that advance one call to the outside at a time, in the order a test wants, and die where it wants.

Each worker is a thread, but only one of all threads ever runs: whoever calls `turn` stops until the test says `step`.
Threads are used again by later workers: thousands are needed, one after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Crash(BaseException):
    """The worker's process died; nothing of it runs on, no handler may catch it."""


class Worker:
    """`calls` counts the turns it took, `last` is the one it stands before; `error` is what its job raised."""

    def __init__(self, job: Callable[[], None]) -> None:
        self._job, self._dies, self._hand = job, False, _IDLE.pop() if _IDLE else _Hand()
        self.calls, self.last, self.done = 0, "", False
        self.error: Exception | None = None
        self._hand.worker = self

    def run(self) -> None:
        try:
            if not self._dies:
                self._job()
        except Crash:
            pass
        except Exception as error:  # noqa: BLE001 - handed to the test, which raises it in its own thread
            self.error = error
        self.done = True

    def step(self) -> None:
        """On to its next call, or to its end. Raises what the job raised."""
        self._hand.go_on()
        if self.done:
            _IDLE.append(self._hand)
            if self.error is not None:
                raise self.error

    def kill(self) -> None:
        """It dies where it stands: the call it is about to make is not made."""
        self._dies = True
        self.step()

    def pause(self, name: str) -> None:
        self.calls, self.last = self.calls + 1, name
        self._hand.pause()
        if self._dies:
            raise Crash(name)


class _Hand:
    """A thread that does the work of one worker after the other."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self._mine, self._theirs = threading.Lock(), threading.Lock()
        self._mine.acquire()
        self._theirs.acquire()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            self._mine.acquire()
            assert self.worker is not None
            _current.worker = self.worker
            self.worker.run()
            self._theirs.release()

    def go_on(self) -> None:
        self._mine.release()
        self._theirs.acquire()

    def pause(self) -> None:
        self._theirs.release()
        self._mine.acquire()


_IDLE: list[_Hand] = []
_current = threading.local()


def current() -> Worker | None:
    """The worker whose thread this is."""
    worker: Worker | None = getattr(_current, "worker", None)
    return worker


def turn(name: str) -> None:
    """Called before every call to the outside. Outside of workers it does nothing."""
    worker = current()
    if worker is not None:
        worker.pause(name)
