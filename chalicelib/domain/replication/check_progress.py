"""How far the check of one repository's replication has got, as its messages carry it. Pure.

A check of many images takes several messages. What they list is put aside, so that none lists an end once more; each
names where. A chain of messages is bounded: Lambda stops a function that sends to itself 16 times. What is left then is
said, and the next sweep goes on with it.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.domain.images.fact import Fact
from chalicelib.domain.replication.rules import Destination

MOST_BEGUN_ANEW = 2
"""How often one end is listed from its beginning because AWS does not go on with the listing."""


class ListedEnd(msgspec.Struct, frozen=True, omit_defaults=True):
    """One end. `destination` None: the source. `at`: AWS's time of the first page. `names`: of the parts that were put
    aside; `after`: what gets the next page; `pages`: how many were read. `absent`: there is no such repository.
    `unread`, `down`: as `Copies` has them, and then `names` says nothing. `anew`: how often it was begun anew."""

    destination: Destination | None = None
    at: datetime | None = None
    names: tuple[str, ...] = ()
    after: str | None = None
    pages: int = 0
    whole: bool = False
    absent: bool = False
    unread: str | None = None
    down: bool = False
    anew: int = 0

    def begun_anew(self) -> ListedEnd:
        return ListedEnd(self.destination, anew=self.anew + 1)


class CheckProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """`digest`: all up to it are judged. `ends`: those that are listed, or begun. `parts`: messages of this chain
    before this one. `since`: when the first of the images were listed, where a former sweep has left these; None: by
    this chain."""

    digest: str = ""
    ends: tuple[ListedEnd, ...] = ()
    parts: int = 0
    since: datetime | None = None

    @classmethod
    def read(cls, after: str) -> CheckProgress:
        """Of a message's `after`. One of a former version is the digest alone."""
        return msgspec.json.decode(after, type=cls) if after.startswith("{") else cls(after)

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()


class Unfinished(Fact, frozen=True):
    """What a sweep has left; it is kept for the next one, and as a fact of the repository. `digest`: all up to it were
    judged; `left` images of `images` were not (None: they could not even be listed). `since`: when the first of them
    were listed."""

    since: datetime
    digest: str = ""
    left: int | None = None
    images: int | None = None

    @property
    def words(self) -> str:
        since = f"{self.since:%Y-%m-%d %H:%M} UTC"
        if self.left is None or self.images is None:
            return f"its images could not be listed at all ends in the time of one sweep, since {since}"
        left = f"{self.left:,} of {self.images:,} images were not looked at"
        return f"{left} in the time of one sweep; the check began {since}"


UNFINISHED = "replication_unfinished"
"""The fact of a repository."""
