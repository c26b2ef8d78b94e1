"""Hear of a task that failed to start: each image of ECR that it could not pull is to be explained to people.

Only the queue `actions` sends alerts, so that is where it goes: what is behind it is found out there, once an hour for
each service and image, however many of its tasks fail.
"""

from __future__ import annotations

from chalicelib.domain.events.event import TaskChanged
from chalicelib.domain.events.failed_pull import failed_pulls
from chalicelib.domain.events.message import PullFailed
from chalicelib.services.ports.ports import House


def hear_pull_failure(event: TaskChanged, house: House) -> None:
    """Other tasks, and images that do not lie in ECR, are none of ours."""
    for failed in failed_pulls(event):
        house.outbox.send("actions", PullFailed(failed))
