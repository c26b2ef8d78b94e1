"""How a message is named wherever somebody may look for it, and what can become of it. Pure.

Only names: of what a message says (findings, texts, parameters of calls) nothing goes into a log.

What is counted of the work itself, by name. A metric has at most one dimension, of few values: each value is one
more metric to pay for, so none is an image, a repository or an account.
"""

from __future__ import annotations

from enum import StrEnum

from chalicelib.domain.events.event import CoverageChanged, FindingChanged
from chalicelib.domain.events.message import Delivery
from chalicelib.domain.images.image import ImageRef, Repository


class Metric(StrEnum):
    """The names CloudWatch has. docs/operations.md says what each one means."""

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
    """What the message is told by: `message_id` and `kind`; `event_id` (EventBridge's) of an AWS event; `image`, or
    `repository`; `sweep` and `effect` where it has one."""
    body = delivery.body
    place = _place(body)
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


def _place(body: object) -> ImageRef | Repository | None:
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
