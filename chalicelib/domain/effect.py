"""What a verdict asks to be done, and what was done to the image itself. Pure; how, is for services."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from chalicelib.domain.verdict import Decision

LOST_AFTER = timedelta(minutes=5)
RETRY_AFTER = timedelta(hours=1)


class EffectKind(StrEnum):
    ALERT = "ALERT"
    BLOCK = "BLOCK"
    QUARANTINE = "QUARANTINE"
    RELEASE = "RELEASE"


class Effect(msgspec.Struct, frozen=True):
    """Something still to be done. `number` is the verdict's for alerts, the enforcement number for acts.

    `decision` and `former` are the verdict announced and the one announced before it (None: nothing was).
    `told`: the channels that have this alert already, although another one failed. `begun_at`: a worker has taken the
    alert over then; another one waits until that one must be dead. `tried_at`: a channel failed then, and the worker
    gave the alert back.
    """

    kind: EffectKind
    number: int
    wanted_at: datetime
    decision: Decision | None = None
    former: Decision | None = None
    told: tuple[str, ...] = ()
    begun_at: datetime | None = None
    tried_at: datetime | None = None

    @property
    def key(self) -> str:
        return f"{self.kind}#{self.number}"

    @property
    def due_at(self) -> datetime:
        """When the clock sends it again: by then it was lost on its way; a channel that fails is tried each hour."""
        return self.wanted_at + LOST_AFTER if self.tried_at is None else self.tried_at + RETRY_AFTER


class Stage(StrEnum):
    BEGUN = "BEGUN"
    DONE = "DONE"


class Enforcement(msgspec.Struct, frozen=True):
    """What was last done to the image itself: begun is put before the call, done after the real state was read."""

    kind: EffectKind
    number: int
    stage: Stage
    at: datetime
    method: str | None = None
