"""What travels in the queue `sweeps` for public images beside the sweep of their repositories."""

from __future__ import annotations

from datetime import datetime

import msgspec


class MatchTwins(msgspec.Struct, frozen=True, tag="match-twins"):
    """Find, in one shard of the index, public images whose digest lies in a private repository as well: all images of a
    digest are in one shard.

    `after`: the digest behind which it goes on. `failure`: what could not be done before it, and did not stop the
    others: to be raised by the last. `filling`: when the sweep began that is the first to list public images; people
    are told by a summary of those that it finds to be bad.
    """

    shard: int
    attempt: int = 0
    after: str | None = None
    failure: str | None = None
    filling: datetime | None = None
