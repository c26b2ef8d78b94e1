"""What travels in our queues beside AWS's own events, one delivery of a message, and what is logged and counted of it.

The queue `scans` carries EventBridge events as they come, and `Refresh`, `Decide`, `InheritFirstSeen`, `SyntheticEvent`
and `RetriedEvent` of our own; `actions` carries `Act`, `CheckDeny`, `PullFailed` and `TakeImages`; `alerts` carries
`Act` for alerts and reports, and `SendAlert`; `sweeps` carries what the clock and people start: `Due`, `PolicyRollout`,
`TakeSnapshot`, `WaiversChanged`, `WatchDenies`, `WatchWaivers`, `WhatIf`, `StoreCheckpoints`, `SendDailySummary`,
`SummarizeAlerts`, and the parts of sweeps (`sweep_message`).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from chalicelib.domain.alerts.alert import Alert, AlertKey
from chalicelib.domain.events.event import CoverageChanged, Event, FindingChanged
from chalicelib.domain.events.failed_pull import FailedPull
from chalicelib.domain.events.sweep_message import OwnMessage, SweepMessage
from chalicelib.domain.images.image import ImageRef, Repository, Source
from chalicelib.domain.images.verdict import Decision


class Refresh(OwnMessage, frozen=True, tag="look"):
    """Pull the image's findings at or after `due_at`. `source` None: ask ECR which scanner it is.

    `quiet`: part of a first fill, announced by its summary. `doubted`: of a repository that could not be compared for
    half a day, so that no answer to this either is one.
    """

    ref: ImageRef
    due_at: datetime
    source: Source | None = None
    quiet: bool = False
    doubted: bool = False


class Decide(OwnMessage, frozen=True, tag="decide"):
    """Decide again what is stored: the clock came to it, a child or a tag changed, policy or waivers did. `twin`: the
    path of the one image that is news for a public one; None: any may be."""

    ref: ImageRef
    why: str
    quiet: bool = False
    twin: str | None = None


class InheritFirstSeen(OwnMessage, frozen=True, tag="age"):
    """Take over earlier times of `first_seen` from `elder`, the next older image of the line."""

    ref: ImageRef
    elder: ImageRef


class RetriedEvent(msgspec.Struct, frozen=True, tag="again"):
    """An AWS event put back by us, as it came, for the `attempt`-th time. `redriven`: from the dead-letter queue."""

    event: dict[str, Any]
    attempt: int = 0
    redriven: bool = False


class Act(OwnMessage, frozen=True, tag="act"):
    """One effect of one image: `effect` is its key, `ALERT#7`."""

    ref: ImageRef
    effect: str


class SendAlert(OwnMessage, frozen=True, tag="alert"):
    """Give `alert` to one channel. `claims`: how often its record was claimed when this worker's try failed."""

    alert: Alert
    key: AlertKey
    channel: str
    claims: int = 0

    @property
    def ref(self) -> ImageRef | None:
        return self.key.ref

    @property
    def effect(self) -> str:
        """Of the record that says whether the channel has it."""
        return f"{self.key.effect}#{self.channel}"


class CheckDeny(OwnMessage, frozen=True, tag="check-deny"):
    """See whether the image's repository still denies pulls because of it: its policy may have been changed.

    `others`: where it does not, the same is to be seen for the repository's other images that are denied."""

    ref: ImageRef
    others: bool = False


class PullFailed(OwnMessage, frozen=True, tag="pull-failed"):
    """Tell people why an image could not be pulled."""

    failed: FailedPull


class WaiversChanged(OwnMessage, frozen=True, tag="touched"):
    """Waivers were given, changed or ended: decide again, quietly, the images they may excuse or may have excused.

    `changes`: the versions of the changes that one sweep carries together; none: begin one with all that wait. `after`
    goes on where another message ended; the last of `round` 1 sends round 2 after a moment, for images that were being
    decided by the waivers of before. `before` and `found` count images by decision, as of round 1 and of this round.
    """

    changes: tuple[int, ...] = ()
    round: int = 1
    after: str | None = None
    before: dict[Decision, int] = {}
    found: dict[Decision, int] = {}


class WatchWaivers(OwnMessage, frozen=True, tag="watch-waivers"):
    """The clock for waivers: people are warned of those that end, and what a dead worker left of a sweep goes on."""


class WatchDenies(OwnMessage, frozen=True, tag="watch-denies"):
    """The clock for repositories whose pulls are denied."""


class WhatIf(OwnMessage, frozen=True, tag="what-if"):
    """One shard of a what-if job; `after` goes on where another message ended."""

    job: str
    shard: int
    after: str | None = None


class StoreCheckpoints(OwnMessage, frozen=True, tag="heads"):
    """Copy the audit heads of the day `day` (`yyyy-mm-dd`), so that a chain that is cut later shows."""

    day: str


class SendDailySummary(OwnMessage, frozen=True, tag="daily"):
    """Tell people once a day what all images look like, with the root of the audit log up to the day `day`
    (`yyyy-mm-dd`)."""

    day: str


class SummarizeAlerts(OwnMessage, frozen=True, tag="alerts-left"):
    """Tell each channel of the alerts that were more than it gets in the hour that began at `hour`."""

    hour: datetime


class Due(OwnMessage, frozen=True, tag="due"):
    """The clock for one shard of the index of what is due."""

    shard: int


class PolicyRollout(OwnMessage, frozen=True, tag="catch-up"):
    """The clock for the policy: images that a new one has not decided yet, and then its summary."""


class TakeSnapshot(OwnMessage, frozen=True, tag="snapshot"):
    """The clock for the summary of all images."""


Ours = (
    Refresh
    | Decide
    | InheritFirstSeen
    | Act
    | SendAlert
    | CheckDeny
    | PullFailed
    | Due
    | PolicyRollout
    | TakeSnapshot
    | WaiversChanged
    | WatchDenies
    | WatchWaivers
    | WhatIf
    | StoreCheckpoints
    | SendDailySummary
    | SummarizeAlerts
    | SweepMessage
)
"""What is handled as it is; `RetriedEvent` is opened first."""
Message = Ours | RetriedEvent


class Delivery(msgspec.Struct, frozen=True):
    """One receive of one message. `attempt` counts our own re-sends, `receives` the queue's deliveries of this copy (of
    one that is `redriven` all those before it lay dead as one).
    """

    message_id: str
    body: Event | Ours
    receives: int = 1
    attempt: int = 0
    redriven: bool = False
    raw: dict[str, Any] | None = None

    @property
    def fresh(self) -> bool:
        """The first receive of a message that was never requeued: only such a message may be covered."""
        return self.receives == 1 and self.attempt == 0 and not self.redriven


class Metric(StrEnum):
    """The names CloudWatch has; docs/operations.md says what each one means. Each has at most one dimension, of few
    values, because each value is one more metric to pay for."""

    MESSAGES_RECEIVED = "MessagesReceived"
    MESSAGES_IGNORED = "MessagesIgnored"
    MESSAGES_FAILED = "MessagesFailed"
    MESSAGES_COVERED = "MessagesCovered"
    OLDEST_MESSAGE_SECONDS = "OldestMessageSeconds"
    LAST_EVENT_SECONDS = "LastEventSeconds"
    LOOKS = "Looks"
    DOCUMENTS_WRITTEN = "DocumentsWritten"
    FINDINGS_WRITTEN = "FindingsWritten"
    WRITE_UNITS = "WriteUnits"
    VERDICTS = "Verdicts"
    ACTIONS = "Actions"
    FUSE_BLOWN = "FuseBlown"
    CHANNEL_FAILURES = "ChannelFailures"
    LOST_EVENTS = "LostEvents"
    CALLS_REFUSED = "CallsRefused"
    ADMISSIONS = "Admissions"
    REPLICATION_LAG_SECONDS = "ReplicationLagSeconds"

    @property
    def unit(self) -> str:
        """As CloudWatch calls it."""
        return "Seconds" if self.endswith("Seconds") else "Count"

    @property
    def dimension(self) -> str | None:
        """Beside `service`, which all have."""
        return _DIMENSIONS.get(self)


_DIMENSIONS = {
    Metric.OLDEST_MESSAGE_SECONDS: "queue",
    Metric.VERDICTS: "decision",
    Metric.ACTIONS: "kind",
    Metric.CHANNEL_FAILURES: "channel",
    Metric.ADMISSIONS: "decision",
}


class Outcome(StrEnum):
    """COVERED: a complete listing had seen what it announces. LEFT: there was no time for it; it is asked for anew."""

    HANDLED = "handled"
    COVERED = "covered"
    IGNORED = "ignored"
    PUT_BACK = "put back"
    LEFT = "left"
    FAILED = "failed"
    REFUSED = "refused"


def named(delivery: Delivery) -> dict[str, str]:
    """What a log line says of a message, never findings, texts or parameters of calls: `message_id` and `kind`;
    `event_id` (EventBridge's) of an AWS event; `image`, or `repository`; `sweep` and `effect` where it has one."""
    body = delivery.body
    place = place_of(body)
    names = {
        "message_id": delivery.message_id,
        "kind": type(body).__name__,
        "event_id": getattr(body, "event_id", None),
        "image": str(place) if isinstance(place, ImageRef) else None,
        "repository": place.path if isinstance(place, Repository) else None,
        "sweep": getattr(body, "sweep", None),
        "effect": getattr(body, "effect", None),
    }
    return {name: str(value) for name, value in names.items() if value is not None}


def place_of(body: object) -> ImageRef | Repository | None:
    """The image it is about, else the repository."""
    match body:
        case FindingChanged(row=row):
            return row.image.ref
        case CoverageChanged(coverage=coverage):
            return coverage.ref
    for name in ("ref", "repository"):
        if isinstance(found := getattr(body, name, None), ImageRef | Repository):
            return found
    return None
