"""The time one call may spend on copying, and what it got done in it. A function that is stopped is no error: a call
ends in time, and the next one goes on where this one ended.
"""

from __future__ import annotations

from collections.abc import Callable

MEASURED_FROM_BYTES = 1024 * 1024
"""Of smaller blobs the time is that of the calls, not of the bytes."""


class CopyTime:
    """`clock` in seconds, going forward. `steps`: blobs and manifests that were put since."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.seconds, self._clock = seconds, clock
        self._end = clock() + seconds
        self._bytes_per_second: float | None = None
        self.steps = 0

    def is_over(self) -> bool:
        return self._clock() >= self._end

    def suffices_for(self, size_bytes: int) -> bool:
        """As far as it was measured here. A call that has not done anything yet always tries."""
        if not self.steps:
            return True
        left = self._end - self._clock()
        return left > 0 and (self._bytes_per_second is None or size_bytes <= left * self._bytes_per_second)

    def took(self, size_bytes: int, since: float) -> None:
        """One blob was copied; `since` as `now` was before it."""
        self.steps += 1
        if size_bytes >= MEASURED_FROM_BYTES and (seconds := self._clock() - since) > 0:
            self._bytes_per_second = max(self._bytes_per_second or 0, size_bytes / seconds)

    def now(self) -> float:
        return self._clock()
