"""What a verdict or a person asks to be done, and what was done to the image itself. Pure; how, is for services.

Acts (QUARANTINE, RELEASE, BLOCK, UNBLOCK) change the registry; ALERT and REPORT tell people. What is wanted is
`enforcement.py`'s business.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from chalicelib.domain.images.verdict import Decision, VerdictSummary

LOST_AFTER = timedelta(minutes=5)
RETRY_AFTER = timedelta(hours=1)
SUMMED_WITHIN = timedelta(hours=2)
"""How long an alert is left to a summary that may have to be tried again an hour later. Then it is sent by itself."""


class ActionType(StrEnum):
    """ALERT tells of a verdict, REPORT of an act. BLOCK denies pulls by the repository's policy, UNBLOCK ends that."""

    ALERT = "ALERT"
    BLOCK = "BLOCK"
    QUARANTINE = "QUARANTINE"
    RELEASE = "RELEASE"
    UNBLOCK = "UNBLOCK"
    REPORT = "REPORT"

    @property
    def acts(self) -> bool:
        """Whether it changes something in the registry."""
        return self not in (ActionType.ALERT, ActionType.REPORT)

    @property
    def takes_away(self) -> bool:
        """Whether it makes an image impossible to pull: only such acts ask who runs it, and count for the fuse."""
        return self in (ActionType.QUARANTINE, ActionType.BLOCK)


def queue_of(key: str) -> str:
    """The queue whose function does what the effect of this key (`QUARANTINE#3`, `ALERT#7`) asks for."""
    return "actions" if ActionType(key.partition("#")[0]).acts else "alerts"


class Holding(StrEnum):
    """Why an act that is wanted is not done now."""

    OBSERVE = "OBSERVE"
    RUNNING = "RUNNING"
    FUSE = "FUSE"
    FAILED = "FAILED"
    RESTORING = "RESTORING"


class Deferred(msgspec.Struct, frozen=True):
    """An act that waits: `detail` is a sentence for people; the clock tries again at `until` (None: only a change
    of policy or order does). RUNNING: it runs, or that cannot be told; RESTORING: ECR has not finished a restore."""

    why: Holding
    detail: str
    since: datetime
    until: datetime | None = None


class EndedWaivers(msgspec.Struct, frozen=True):
    """A verdict was turned by the end of these waivers alone; `standing` is how the image stood with them."""

    waivers: tuple[str, ...]
    standing: VerdictSummary


class PendingAction(msgspec.Struct, frozen=True):
    """Something still to be done. `number` is the verdict's for alerts, the enforcement number for acts and reports.

    `decision` and `former` are the verdict announced and the one announced before it (None: nothing was).
    `told`: the channels that have this alert already, although another one failed. `begun_at`: a worker has taken the
    alert over then; another one waits until that one must be dead. `tried_at`: a channel failed then, and the worker
    gave the alert back. Of acts: `told`, what people know of it (that it failed, that a restore is slow); `method` of a
    quarantine; `held`: why it is not done now; and once begun, `by` whom it was wanted (`rule:<id>`, `person:<name>`,
    `system`), `why` in a sentence, and the state found `before` it.
    `quiet`: one of many, told of by a summary. Of reports: `said`, and the `event` of `notify` it belongs to.
    Of alerts: `ended`, where the summary of those waivers' end is to tell it.
    """

    kind: ActionType
    number: int
    wanted_at: datetime
    decision: Decision | None = None
    former: Decision | None = None
    told: tuple[str, ...] = ()
    begun_at: datetime | None = None
    tried_at: datetime | None = None
    method: str | None = None
    held: Deferred | None = None
    said: str = ""
    by: str = ""
    why: str = ""
    before: str = ""
    event: str = ""
    quiet: bool = False
    ended: EndedWaivers | None = None

    @property
    def key(self) -> str:
        return f"{self.kind}#{self.number}"

    @property
    def queue(self) -> str:
        return queue_of(self.key)

    @property
    def left_to_summary(self) -> bool:
        """Whether no worker has begun to send it by itself."""
        return self.ended is not None and self.begun_at is None and self.tried_at is None

    @property
    def sent_at_once(self) -> bool:
        """An alert or a report that no summary is to tell."""
        return not self.kind.acts and not self.left_to_summary

    @property
    def due_at(self) -> datetime | None:
        """When the clock sends it again: by then it was lost on its way; a channel that fails is tried each hour."""
        if self.held is not None:
            return self.held.until
        if self.left_to_summary:
            return self.wanted_at + SUMMED_WITHIN
        return self.wanted_at + LOST_AFTER if self.tried_at is None else self.tried_at + RETRY_AFTER


class Stage(StrEnum):
    """FAILED: AWS refused, and the image was read as it had been before."""

    BEGUN = "BEGUN"
    DONE = "DONE"
    FAILED = "FAILED"


class Enforcement(msgspec.Struct, frozen=True):
    """What was last done to the image itself: begun is put before the call, done after the real state was read."""

    kind: ActionType
    number: int
    stage: Stage
    at: datetime
    method: str | None = None

    @property
    def key(self) -> str:
        return f"{self.kind}#{self.number}"


class Hold(msgspec.Struct, frozen=True):
    """A quarantine of ours in force. `number` and `at` of the act; `method`: `archive`, the only one."""

    method: str
    number: int
    at: datetime
    # Taken positions of the stored list, which other methods used: a new field goes behind them.
    reserved_tags: tuple[str, ...] = ()
    reserved_place: str | None = None


SYSTEM = "system"
"""Whose order it is (`Order.by`) that a copy is quarantined because its source is."""


class Order(msgspec.Struct, frozen=True):
    """A person's word (or the system's), which stands until another one or, for a release, until the verdict gets worse
    than `standing`, the one released. `kind` is QUARANTINE or RELEASE; `by` is who gave it, `action` the audit record
    it undoes."""

    kind: ActionType
    by: str
    reason: str
    at: datetime
    standing: VerdictSummary | None = None
    action: str | None = None

    @property
    def actor(self) -> str:
        """As the audit log has it."""
        return SYSTEM if self.by == SYSTEM else f"person:{self.by}"
