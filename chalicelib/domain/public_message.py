"""What travels in the queue `sweeps` for public images beside the sweep of their repositories."""

from __future__ import annotations

import msgspec


class MatchTwins(msgspec.Struct, frozen=True, tag="match-twins"):
    """Find, in one shard of the index, public images whose digest lies in a private repository as well: all images of a
    digest are in one shard."""

    shard: int
    attempt: int = 0
