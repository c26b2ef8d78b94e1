"""The clock of the local stack: the real time, and as far ahead of it as somebody has moved it.

The local AWS and the app read the same one, as in the world: what is a week away is not waited for.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class LocalClock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def move(self, by: timedelta) -> None:
        """Never back."""
        self.ahead += max(by, timedelta())

    def move_to(self, at: datetime) -> None:
        self.move(at - self.now())
