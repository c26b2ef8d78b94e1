"""What retention sends to the queue `actions`: only there is anything taken from the registry. Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.domain.images.image import Repository


class TakeImages(msgspec.Struct, frozen=True, tag="take-images"):
    """Plan a repository once more and take what may go. `started_at` and `after` as of the `SweepRepository` behind
    it."""

    repository: Repository
    started_at: datetime
    after: str | None = None
    attempt: int = 0
