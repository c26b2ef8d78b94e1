"""One ECS task as ECS describes it, for a person who asks why it did not start. Workloads are `runtime`'s business."""

from __future__ import annotations

import re
from typing import Any

from chalicelib.adapters.aws.answers import readable
from chalicelib.adapters.aws.errors import aws_call, code_of
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.events.event import TaskChanged
from chalicelib.errors import InputError, NotFoundError, UpstreamError
from chalicelib.parsers.events.ecs_events import parse_described_task

TASK_ARN = re.compile(
    r"arn:aws[a-z-]*:ecs:(?P<region>[a-z0-9-]+):[0-9]{12}:task/(?:(?P<cluster>[A-Za-z0-9_-]{1,255})/)?[A-Za-z0-9-]{1,64}"
)
_GONE = "ECS does not know the task (any more): it shows stopped tasks for about an hour"


def read_stopped_task(task_arn: str, cluster: str | None, sessions: Sessions) -> TaskChanged:
    """`cluster` None: the one in the ARN, else the default one. The task's Region counts, not the environment's.

    Raises InputError for what is no ARN of a task, NotFoundError, TransientError, DeniedError, UpstreamError.
    """
    named = TASK_ARN.fullmatch(task_arn)
    if named is None:
        raise InputError(f"not the ARN of an ECS task: {task_arn[:200]!r}")
    request = {"tasks": [task_arn], "cluster": cluster or named["cluster"] or "default"}
    try:
        with aws_call(f"describe {task_arn}"):
            answer: dict[str, Any] = sessions.client("ecs", named["region"]).describe_tasks(**request)
    except UpstreamError as error:
        if code_of(error) == "ClusterNotFoundException":
            raise NotFoundError(f"ECS knows no cluster {request['cluster']}") from error
        raise
    if not answer.get("tasks"):
        raise NotFoundError(f"{_GONE}: {task_arn}")
    with readable(f"describe {task_arn}"):
        return parse_described_task(answer["tasks"][0])
