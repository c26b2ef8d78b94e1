"""What people read when an image could not be pulled. Nothing is sent here."""

from __future__ import annotations

from datetime import datetime

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.events.failed_pull import FailedPull
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.names import console_url
from chalicelib.domain.images.text import sanitize
from chalicelib.domain.pulls.explanation import Explanation

PULL_FAILED = "pull-failed"
MAX_SHOWN = 500


def compose_pull_failure_alert(
    failed: FailedPull, explanation: Explanation, header: Header | None, now: datetime
) -> Alert:
    """`header`: of the image, where it is known here."""
    cause, pulled = explanation.cause, failed.pulled
    said = cause.lower().replace("_", " ") + (" by Lazaretto" if cause.ours else "")
    return Alert(
        event=PULL_FAILED,
        title=f"Pull failed ({said}): {sanitize(pulled.short, 100)}",
        at=now,
        ref=header.ref if header is not None else None,
        repository=pulled.home.name,
        tags=header.tags if header is not None else (),
        notes=(
            _who(failed),
            explanation.text,
            *explanation.notes,
            f"What was said: {sanitize(failed.said, MAX_SHOWN)}",
        ),
        what_to_do=explanation.what_to_do,
        console_url=console_url(header.ref, header.scan.source) if header is not None else None,
    )


def _who(failed: FailedPull) -> str:
    who = sanitize(failed.where, 200) or "A task"
    return f"{who[0].upper()}{who[1:]} could not pull {failed.pulled} at {failed.at:%Y-%m-%d %H:%M:%S} UTC."
