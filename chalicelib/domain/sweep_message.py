"""What travels in our queues for the sweeps of registries: who plans one, who handles a repository, what was found.

All may be delivered twice, in any order and late; none depends on another one's having been handled.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.domain.image import ImageRef, Repository
from chalicelib.domain.sweep import Sweep
from chalicelib.domain.verdict import Decision


class PlanSweep(msgspec.Struct, frozen=True, tag="plan-sweep"):
    """List the repositories of our registry in `region` and send a `SweepRepository` for each.

    `started_at`: of the sweep, the same in all its messages; `after` goes on where another message ended: what its
    sweep's planner needs to find the next page, opaque to all others. None: begin.
    """

    sweep: Sweep
    region: str
    started_at: datetime
    after: str | None = None
    attempt: int = 0


class SweepRepository(msgspec.Struct, frozen=True, tag="sweep-repository"):
    """Handle one repository. `handed`: what the planner has found out about it once for the whole registry, packed as
    its sweep wants it; None: it found nothing out, so whoever handles it must ask itself. `after` goes on where another
    message ended. `filling`: nothing was ever compared before; people are told of what it finds by a summary."""

    sweep: Sweep
    repository: Repository
    started_at: datetime
    handed: str | None = None
    after: str | None = None
    attempt: int = 0
    filling: bool = False


class Filled(msgspec.Struct, frozen=True, tag="filled"):
    """Tell people of a first fill, when no more decisions follow from it. `found` counts images by decision, as of the
    last time somebody looked; `waits`: how often that was another number than before."""

    found: dict[Decision, int] = {}
    attempt: int = 0
    waits: int = 0


SETTLE_TAG = "SETTLE_TAG"


class Found(msgspec.Struct, frozen=True, tag="found"):
    """What a listing of the registry shows of an image and no event has told, in the queue `scans`.

    `action` is the one of the event that was lost (`domain.event.Action`), or SETTLE_TAG: the image's header says of
    `tag` something else than the tag's own item. `at`: it was so by then, at the latest. `quiet`: part of a first fill,
    or a look that follows at once will tell people more.
    """

    ref: ImageRef
    action: str
    at: datetime
    tag: str | None = None
    quiet: bool = False
    attempt: int = 0
