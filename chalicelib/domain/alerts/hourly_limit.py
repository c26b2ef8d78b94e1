"""How many alerts a channel gets within an hour: which are sent whatever their number, and the summary of the rest.
Pure.

An hour is one by the clock, in UTC. What is counted is the audit log: each alert for each channel is one record.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.alerts.verdict_alert import SUMMARY
from chalicelib.domain.images.text import sanitize, some_of
from chalicelib.domain.images.verdict import Decision

HOUR = timedelta(hours=1)
ALWAYS_TOLD = frozenset({"tampering", "fuse", "restore", SUMMARY})
NAMED = 20
_LEFT = "left to the summary of its hour: "
_RANKS = {str(decision): decision.rank for decision in Decision}


class AnnouncedAlert(msgspec.Struct, frozen=True):
    """An alert for one channel, as the index of the audit log shows it; `reason` is cut at 200 characters."""

    channel: str
    reason: str

    @property
    def left_title(self) -> str | None:
        """The alert's title where it was left to the summary; None: it was sent."""
        return self.reason.removeprefix(_LEFT) if self.reason.startswith(_LEFT) else None


def is_always_told(alert: Alert) -> bool:
    """Tampering, acts and what holds them, flaws that are known to be exploited, and summaries. What a person's order
    has led to is told as an act."""
    return alert.act or alert.kev or alert.event in ALWAYS_TOLD


def left_reason(alert: Alert) -> str:
    """Of its audit record."""
    return f"{_LEFT}{sanitize(alert.title, 150)}"


def hour_of(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def compose_limit_summary(titles: Iterable[str], hour: datetime, now: datetime) -> Alert:
    """`titles`: of the alerts that a channel did not get in that hour."""
    worst_first = sorted(titles, key=lambda title: -_RANKS.get(title.partition(":")[0], len(_RANKS)))
    end = hour + HOUR
    return Alert(
        event=SUMMARY,
        title=f"Summary: {len(worst_first)} more alerts from {hour:%H:%M} to {end:%H:%M} UTC",
        at=now,
        notes=(
            "There were more alerts than alerts.max_per_hour of the policy lets through. These were not sent:",
            *some_of(worst_first, NAMED),
        ),
        what_to_do=(f"All of them: lazaretto audit --kind ALERT --since {hour:%Y-%m-%dT%H:%M:%SZ} --all",),
    )
