"""How AWS is asked where images run, and what the answers are made of. Nothing is judged here.

`Asker` calls by name, page by page, many at once, within the time one look-up may take. A look-up of a large account is
many calls; one that would take longer than `patience` ends with what it has, as a failure of the place it was at. A
method that the runtime's boto3 does not know yet is such a failure too. AWS throttles by account and Region, so a
throttled call waits and is made again while there is time.

`Use` and `PlaceAnswer` say who runs what and what could not be asked; `ecs_use.py`, `lambda_use.py` and the others ask.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from threading import Lock
from time import sleep
from typing import Any, TypeVar, cast

import msgspec
from cachetools import LRUCache

from chalicelib.adapters.aws.calls import PAGES, asked, code_of, readable
from chalicelib.domain.images.image import NO_ANSWER, NO_TIME, THROTTLED
from chalicelib.domain.images.names import ImageName
from chalicelib.errors import DeniedError, LazarettoError, TransientError, UpstreamError
from chalicelib.parsers.wire.wire import read

T = TypeVar("T")
V = TypeVar("V")
PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before a call that AWS throttled is made again."""


class Asker:
    """`until`: when the look-up must be over, by the clock `now`. `pool`: makes calls that need not wait for each other
    at once; None: one after the other. `pause` waits for so many seconds. `since`: a look that was begun before does
    not serve."""

    def __init__(
        self,
        now: Callable[[], datetime],
        until: datetime,
        pool: Executor | None = None,
        pause: Callable[[float], None] = sleep,
        since: datetime | None = None,
    ) -> None:
        self.now, self.since, self._until, self._pool, self._pause = now, since, until, pool, pause

    def each(self, work: Callable[[V], T], items: Iterable[V]) -> list[T]:
        """What `work` makes of each item, in their order. `work` itself must not call `each`: it would wait for a
        thread that waits for it."""
        return each(self._pool, work, items)

    def ask(self, client: Any, method: str, into: type[T], **params: Any) -> T:
        """The answer to one call. Raises UpstreamError and what comes from it; each message starts with the call."""
        return self._ask(client, method, into, params)[0]

    def pages(
        self,
        client: Any,
        method: str,
        key: str,
        of: type[T],
        next_is: str = "nextToken",
        said: str | None = None,
        **params: Any,
    ) -> Iterator[list[T]]:
        """The list of `of` that each answer has under `key`. `next_is` is what the next page is asked for by, `said`
        what the answer calls it where that differs."""
        for _ in range(PAGES):
            answer, raw = self._ask(client, method, _page(key, of), params)  # type: ignore[arg-type]
            yield answer.rows
            if not (following := raw.get(said or next_is)):
                return
            params = {**params, next_is: following}
        raise UpstreamError(f"{method}: more than {PAGES} pages")

    def _ask(self, client: Any, method: str, into: type[T], params: dict[str, Any]) -> tuple[T, dict[str, Any]]:
        operation = client.meta.method_to_api_mapping.get(method, method)
        what = f"{client.meta.service_model.service_name}:{operation}"
        call = getattr(client, method, None)
        if call is None:
            raise UpstreamError(f"{what}: this boto3 does not know it")
        raw = self._called(what, call, params)
        with readable(what):
            return read(into, raw), raw

    def _called(self, what: str, call: Callable[..., Any], params: dict[str, Any]) -> dict[str, Any]:
        pauses = iter(PAUSES)
        while True:
            if self.now() >= self._until:
                raise TransientError(f"{what}: the time is up")
            try:
                return cast("dict[str, Any]", asked(what, call, **params))
            except TransientError as error:
                pause = next(pauses, None) if code_of(error) else None
                if pause is None or self.now() + timedelta(seconds=pause) >= self._until:
                    raise
            self._pause(pause)


@cache
def _page(key: str, of: type) -> type[Any]:
    return msgspec.defstruct("Page", [("rows", list[of], msgspec.field(name=key))])  # type: ignore[valid-type]


def each(pool: Executor | None, work: Callable[[V], T], items: Iterable[V]) -> list[T]:
    """What `work` makes of each item, in their order."""
    return [*map(work, items)] if pool is None else [*pool.map(work, items)]


def why(error: LazarettoError) -> str:
    """In plain words, without what AWS's own message may name."""
    what, code = str(error).partition(": ")[0], code_of(error)
    if isinstance(error, DeniedError):
        return f"access denied ({what})"
    if isinstance(error, TransientError) and code is None:
        return f"{NO_TIME} ({what})" if error.__cause__ is None else f"{NO_ANSWER} ({what})"
    if isinstance(error, TransientError):
        return f"{THROTTLED}, or failing on AWS's side ({what}: {code})"
    return f"AWS did not answer as needed ({what}{f': {code}' if code else ''})"


KEPT_FOR = timedelta(seconds=60)
FAILED_KEPT_FOR = timedelta(seconds=10)
MOST_USES = 20_000
MOST_KEPT = 200


class Use(msgspec.Struct, frozen=True):
    """`who` runs `image`, or may start it. `running`: units now (None: not said); `note`: why it counts although
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
        self._now, self._lock = now, Lock()
        self._kept = LRUCache[Hashable, tuple[datetime, PlaceAnswer]](most)

    def get(self, place: Hashable, look: Callable[[], L], since: datetime | None = None) -> L:
        """`look` is not called again for the same place while its last result is kept and was begun at or after
        `since`."""
        with self._lock:
            kept = self._kept.get(place)
        at = self._now()
        if kept is not None and at < kept[0] and not _is_older(kept[1], since):
            return cast("L", kept[1])
        looked = look()
        looked.seen_at = at
        until = self._now() + FAILED_KEPT_FOR if looked.failed else at + KEPT_FOR
        with self._lock:
            self._kept[place] = (until, looked)
        return looked


def _is_older(answer: PlaceAnswer, since: datetime | None) -> bool:
    return since is not None and (answer.seen_at is None or answer.seen_at < since)
