"""What travels in our queues beside AWS's own events, and how one delivery of a message is described.

The queue `scans` carries EventBridge events as they come, and `Look`, `Decide`, `Age` and `Again` of our own; `actions`
carries `Act`; `sweeps` carries `Due`, `CatchUp` and `Snapshot`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from chalicelib.domain.event import Event
from chalicelib.domain.image import ImageRef, Source


class Look(msgspec.Struct, frozen=True, tag="look"):
    """Pull the image's findings at or after `due_at`. `source` None: ask ECR which scanner it is.

    `quiet`: part of a first fill, announced by its summary.
    """

    ref: ImageRef
    due_at: datetime
    source: Source | None = None
    attempt: int = 0
    quiet: bool = False


class Decide(msgspec.Struct, frozen=True, tag="decide"):
    """Decide again what is stored: the clock came to it, a child or a tag changed, policy or waivers did."""

    ref: ImageRef
    why: str
    attempt: int = 0
    quiet: bool = False


class Age(msgspec.Struct, frozen=True, tag="age"):
    """Take over earlier first sights from `elder`, the next older image of the line."""

    ref: ImageRef
    elder: ImageRef
    attempt: int = 0


class Again(msgspec.Struct, frozen=True, tag="again"):
    """An AWS event put back by us, as it came, for the `attempt`-th time. `redriven`: from the dead-letter queue."""

    event: dict[str, Any]
    attempt: int = 0
    redriven: bool = False


class Act(msgspec.Struct, frozen=True, tag="act"):
    """One effect of one image: `effect` is its key, `ALERT#7`."""

    ref: ImageRef
    effect: str
    attempt: int = 0


class Due(msgspec.Struct, frozen=True, tag="due"):
    """The clock for one shard of the index of what is due."""

    shard: int
    attempt: int = 0


class CatchUp(msgspec.Struct, frozen=True, tag="catch-up"):
    """The clock for the policy: images that a new one has not decided yet, and then its summary."""

    attempt: int = 0


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """The clock for the summary of all images."""

    attempt: int = 0


Message = Look | Decide | Age | Again | Act | Due | CatchUp | Snapshot


class Delivery(msgspec.Struct, frozen=True):
    """One receive of one message. `attempt` counts our own re-sends, `receives` the queue's deliveries of this copy."""

    message_id: str
    body: Event | Look | Decide | Age | Act | Due | CatchUp | Snapshot
    receives: int = 1
    attempt: int = 0
    redriven: bool = False
    raw: dict[str, Any] | None = None

    @property
    def fresh(self) -> bool:
        """The first receive of a message nobody put back: only such a one may be covered."""
        return self.receives == 1 and self.attempt == 0 and not self.redriven
