"""What is counted of the work itself, by name. A metric has at most one dimension, of few values: each value is one
more metric to pay for, so none is an image, a repository or an account.
"""

from __future__ import annotations

from enum import StrEnum


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
