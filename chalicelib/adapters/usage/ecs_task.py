"""One ECS task: its description, and the role by which it pulls its images.

The role is the task's execution role, else the one of the instance it runs on. Calls: DescribeTasks, then
DescribeTaskDefinition, or DescribeContainerInstances, DescribeInstances and GetInstanceProfile. Source: ECS developer
guide (task execution role, container instance role).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from chalicelib.adapters.aws.calls import aws_call, code_of, readable
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.usage.asking import Asker
from chalicelib.domain.events.event import TaskChanged
from chalicelib.errors import InputError, LazarettoError, NotFoundError, UpstreamError
from chalicelib.parsers.events.events import parse_described_task
from chalicelib.parsers.usage import use_answers as wire

# With the cluster's name, or in the short form that some accounts still use for the cluster `default`.
_TASK = re.compile(
    r"arn:aws[a-z-]*:ecs:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{12}):"
    r"task/(?:(?P<cluster>[A-Za-z0-9_-]{1,255})/)?[A-Za-z0-9-]{1,64}"
)
_DEFAULT = "default"
_OF_EC2 = "i-"

ClientOf = Callable[[str], Any]
"""The client of a service, where the task runs."""


def find_pull_role(task_arn: str, client_of: Callable[[str, str, str], Any], asker: Asker) -> str | None:
    """Its ARN. None: it cannot be told, be it that the task is gone, that it runs elsewhere, or that a call failed.

    `client_of` gives the client of a service in an account and a Region.
    """
    if not (match := _TASK.fullmatch(task_arn)):
        return None
    account, region = match["account"], match["region"]
    try:
        return _role_of(
            task_arn, match["cluster"] or _DEFAULT, lambda service: client_of(service, account, region), asker
        )
    except LazarettoError:
        return None


def _role_of(task_arn: str, cluster: str, client_of: ClientOf, asker: Asker) -> str | None:
    client = client_of("ecs")
    tasks = asker.ask(client, "describe_tasks", wire.PullingTasks, cluster=cluster, tasks=[task_arn]).tasks
    if not tasks:
        return None
    task = tasks[0]
    if task.overrides.execution_role_arn:
        return task.overrides.execution_role_arn
    if task.task_definition_arn:
        answer = asker.ask(client, "describe_task_definition", wire.RoleAnswer, taskDefinition=task.task_definition_arn)
        if answer.task_definition.execution_role_arn:
            return answer.task_definition.execution_role_arn
    if not task.container_instance_arn:
        return None
    return _instance_role(task.container_instance_arn, cluster, client_of, asker)


def _instance_role(instance: str, cluster: str, client_of: ClientOf, asker: Asker) -> str | None:
    """None for a machine outside of EC2: it has a role of its own that no call tells."""
    found = asker.ask(
        client_of("ecs"), "describe_container_instances", wire.Instances, cluster=cluster, containerInstances=[instance]
    ).container_instances
    ec2_id = found[0].ec2_instance_id if found else None
    if not ec2_id or not ec2_id.startswith(_OF_EC2):
        return None
    reservations = asker.ask(
        client_of("ec2"), "describe_instances", wire.Reservations, InstanceIds=[ec2_id]
    ).reservations
    profiles = [one.iam_instance_profile for r in reservations for one in r.instances if one.iam_instance_profile]
    if not profiles:
        return None
    name = profiles[0].arn.rpartition("/")[2]
    answer = asker.ask(client_of("iam"), "get_instance_profile", wire.ProfileAnswer, InstanceProfileName=name)
    return answer.instance_profile.roles[0].arn if answer.instance_profile.roles else None


_GONE = "ECS does not know the task (any more): it shows stopped tasks for about an hour"


def read_stopped_task(task_arn: str, cluster: str | None, sessions: Sessions) -> TaskChanged:
    """`cluster` None: the one in the ARN, else the default one. The task's Region counts, not the environment's.

    Raises InputError for what is no ARN of a task, NotFoundError, TransientError, DeniedError, UpstreamError.
    """
    named = _TASK.fullmatch(task_arn)
    if named is None:
        raise InputError(f"not the ARN of an ECS task: {task_arn[:200]!r}")
    request = {"tasks": [task_arn], "cluster": cluster or named["cluster"] or _DEFAULT}
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
