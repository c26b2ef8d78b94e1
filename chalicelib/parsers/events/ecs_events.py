"""ECS Task State Change: which images run, which could not be pulled; and the same task as DescribeTasks answers it.

Source: Amazon ECS developer guide, events; API reference, Task: the detail of an event is the task.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from chalicelib.domain.events.event import TaskChanged, TaskContainer
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire.answer import Envelope
from chalicelib.parsers.wire.dates import required_instant
from chalicelib.parsers.wire.wire import Count, Wire, decode, json_bytes

_FAILED_TO_START = "TaskFailedToStart"
# CannotPullContainerError, CannotPullECRContainerError, CannotPullImageManifestError
_CANNOT_PULL = "CannotPull"
_REGISTRY_AUTH = "pull secrets or registry auth"


class _Container(Wire):
    name: str
    image: str | None = None
    image_digest: str | None = None
    reason: str | None = None


class _Task(Wire):
    task_arn: str
    cluster_arn: str
    task_definition_arn: str
    last_status: str
    desired_status: str
    version: Count
    containers: list[_Container] | None = None
    group: str | None = None
    stop_code: str | None = None
    stopped_reason: str | None = None
    stopped_at: Any = None
    stopping_at: Any = None
    created_at: Any = None


_TASK = msgspec.json.Decoder(_Task)


def read_task_state_change(envelope: Envelope) -> TaskChanged:
    return _changed(envelope.read_detail(_TASK), envelope.happened_at(), envelope.event_id, "$.detail")


def parse_described_task(payload: bytes | str | dict[str, Any]) -> TaskChanged:
    """One task of DescribeTasks, as of when it stopped, or was made where it has not. Raises RefusedPayloadError."""
    wire = decode(_TASK, json_bytes(payload))
    at = required_instant(wire.stopped_at or wire.stopping_at or wire.created_at, "$.createdAt")
    return _changed(wire, at, "", "$")


def _changed(wire: _Task, at: datetime, event_id: str, path: str) -> TaskChanged:
    for key, arn in (("taskArn", wire.task_arn), ("clusterArn", wire.cluster_arn)):
        if not arn.startswith("arn:"):
            raise RefusedPayloadError(f"{path}.{key}", f"not an ARN: {arn[:100]!r}")
    containers = tuple(TaskContainer(c.name, c.image, c.image_digest, c.reason) for c in wire.containers or ())
    return TaskChanged(
        wire.task_arn,
        wire.cluster_arn,
        wire.task_definition_arn,
        wire.last_status,
        wire.desired_status,
        wire.version,
        wire.group,
        wire.stop_code,
        wire.stopped_reason,
        containers,
        _pull_failed(wire, containers),
        at,
        event_id,
    )


def _pull_failed(wire: _Task, containers: tuple[TaskContainer, ...]) -> bool:
    """A task fails to start for many reasons: only the text tells that an image could not be had."""
    reasons = [wire.stopped_reason or "", *(c.reason or "" for c in containers)]
    if any(_CANNOT_PULL in reason for reason in reasons):
        return True
    return wire.stop_code == _FAILED_TO_START and any(_REGISTRY_AUTH in reason for reason in reasons)
