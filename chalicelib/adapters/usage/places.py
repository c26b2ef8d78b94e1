"""The places where images run, as they are found: who runs what, and what could not be looked at. No AWS call is made
here; how each kind of place is looked at is its own module's business (`ecs_use.py`, `lambda_use.py`, …).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Lock
from typing import TypeVar, cast

import msgspec

from chalicelib.adapters.aws.errors import code_of
from chalicelib.adapters.usage.asking import why
from chalicelib.domain.images.image_name import ImageName
from chalicelib.errors import LazarettoError

KEPT_FOR = timedelta(seconds=60)
FAILED_KEPT_FOR = timedelta(seconds=10)
MOST_USES = 20_000
MOST_KEPT = 200


class Use(msgspec.Struct, frozen=True):
    """`who` runs `image`, or may start it. `running`: units now, None where nobody says; `note`: why it counts although
    nothing runs."""

    image: ImageName
    who: str
    running: int | None = None
    note: str = ""


class PlaceAnswer(msgspec.Struct):
    """What one place was found to hold. `blind`: sentences; `failed`: some of it could not be looked at this time;
    `seen_at`: when the look began."""

    uses: list[Use] = []
    blind: list[str] = []
    failed: bool = False
    seen_at: datetime | None = None

    def add(self, use: Use) -> None:
        """Beyond what is kept in memory nothing is known, and that is said."""
        if len(self.uses) < MOST_USES:
            self.uses.append(use)
        elif (full := f"not all workloads could be kept in memory: there are more than {MOST_USES}") not in self.blind:
            self.fail(full)

    def join(self, parts: Iterable[PlaceAnswer]) -> None:
        for part in parts:
            self.blind += part.blind
            self.failed |= part.failed
            for use in part.uses:
                self.add(use)

    def fail(self, sentence: str) -> None:
        self.blind.append(sentence)
        self.failed = True

    @contextmanager
    def at(self, place: str, gone: Collection[str] = ()) -> Iterator[None]:
        """Whatever fails inside makes `place` one that could not be looked at; what was found before stays. `gone`:
        AWS's codes for something that ceased to be meanwhile, and runs nothing."""
        try:
            yield
        except LazarettoError as error:
            if code_of(error) not in gone:
                self.fail(f"{place} cannot be looked at: {why(error)}")


L = TypeVar("L", bound=PlaceAnswer)


class CachedPlace:
    """What was looked at within the last minute, by place, so that one look serves many images. Failed looks serve for
    ten seconds after their end, long as they took: a service that throttles is not asked again at once, but soon."""

    def __init__(self, now: Callable[[], datetime], most: int = MOST_KEPT) -> None:
        self._now, self._most, self._lock = now, most, Lock()
        self._kept: OrderedDict[Hashable, tuple[datetime, PlaceAnswer]] = OrderedDict()

    def get(self, place: Hashable, look: Callable[[], L]) -> L:
        """`look` is not called again for the same place while its last result is kept."""
        with self._lock:
            kept = self._kept.get(place)
        at = self._now()
        if kept is not None and at < kept[0]:
            return cast("L", kept[1])
        looked = look()
        looked.seen_at = at
        until = self._now() + FAILED_KEPT_FOR if looked.failed else at + KEPT_FOR
        with self._lock:
            self._kept[place] = (until, looked)
            self._kept.move_to_end(place)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return looked
