"""What people read when an image could not be pulled. Nothing is sent here."""

from __future__ import annotations

import shlex
from datetime import datetime

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.events.event import PulledThrough
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


def compose_cache_alert(failed: PulledThrough, now: datetime, *, cached: bool) -> Alert:
    """ECR's pull-through cache could not fetch an image. `cached`: one of that tag is there from before."""
    home, upstream = failed.repository, sanitize(failed.upstream or "its upstream registry", 200)
    name = sanitize(f"{home.name}:{failed.tag}" if failed.tag else home.name, 100)
    why = ": ".join(text for text in (failed.failure_code or failed.status, failed.failure_reason) if text)
    there = "What it has from before can be pulled and is judged as before; the tag does not move on."
    known = there if cached else "Lazaretto knows of no image of that tag there: it cannot be pulled."
    return Alert(
        event=PULL_FAILED,
        title=f"Pull-through cache failed: {name}",
        at=now,
        repository=home.name,
        tags=(failed.tag,) if failed.tag else (),
        notes=(
            f"ECR could not fetch {name} from {upstream} at {failed.time:%Y-%m-%d %H:%M:%S} UTC.",
            f"What was said: {sanitize(why, MAX_SHOWN)}",
            *([] if failed.tag is None else [known]),
        ),
        what_to_do=(
            *([] if failed.prefix is None else [f"See whether the rule works: {_validate_command(failed)}"]),
            "Look at the rule's credentials in Secrets Manager, at its upstream, and whether tags are immutable here.",
        ),
    )


def _validate_command(failed: PulledThrough) -> str:
    home, prefix = failed.repository, sanitize(failed.prefix or "", 100)
    words = ("aws", "ecr", "validate-pull-through-cache-rule", "--ecr-repository-prefix", prefix)
    return shlex.join((*words, "--registry-id", home.registry, "--region", home.region))


def _who(failed: FailedPull) -> str:
    who = sanitize(failed.where, 200) or "A task"
    return f"{who[0].upper()}{who[1:]} could not pull {failed.pulled} at {failed.at:%Y-%m-%d %H:%M:%S} UTC."
