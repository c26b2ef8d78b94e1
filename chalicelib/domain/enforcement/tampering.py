"""What people are told when others change what Lazaretto relies on. Nothing is looked up or sent here. Pure."""

from __future__ import annotations

from datetime import datetime

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.audit.chain import TAMPERING
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.text import sanitize

MAX_SHOWN = 500


def compose_deny_alert(repository: Repository, found: str, what: str, now: datetime) -> Alert:
    """`found`: what is wrong with the Deny; `what`: what Lazaretto did about it, or why it did nothing."""
    return Alert(
        event=TAMPERING,
        title=f"Denied pulls: {sanitize(repository.name, 100)} is not as Lazaretto left it",
        at=now,
        repository=repository.name,
        notes=(
            f"In the policy of {repository.uri} {sanitize(found, MAX_SHOWN)}.",
            f"What was done: {sanitize(what, MAX_SHOWN)}.",
        ),
        what_to_do=(
            "Find who changed it: SetRepositoryPolicy and DeleteRepositoryPolicy of this repository in CloudTrail.",
            "Where it is to be gone, release its images: lazaretto release IMAGE --reason WHY.",
        ),
    )
