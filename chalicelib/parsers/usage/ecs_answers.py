"""What Amazon ECS answers about clusters, tasks, services and their revisions, where it is asked for. Not judged here.

What an answer is about has no default: one without it says nothing, and "nothing" would be read as "none".

Source: ECS API reference; names are AWS's own, in our spelling.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.parsers.wire.answer import Lower


class Clusters(Lower):
    cluster_arns: list[str]


class TaskArns(Lower):
    task_arns: list[str]


class ServiceArns(Lower):
    service_arns: list[str]


class Failure(Lower):
    """`reason` MISSING: it is gone, or never was."""

    arn: str | None = None
    reason: str | None = None


class EcsContainer(Lower):
    """Of a task. What AWS itself puts beside its containers may name no image."""

    image: str | None = None
    image_digest: str | None = None


class Task(Lower, kw_only=True):
    task_arn: str
    last_status: str | None = None
    group: str | None = None
    task_definition_arn: str | None = None
    containers: list[EcsContainer]


class Tasks(Lower):
    tasks: list[Task]
    failures: list[Failure] = []


class Deployment(Lower):
    """Of a service, as DescribeServices shows it; a task set has the same task definition."""

    id: str | None = None
    status: str | None = None
    rollout_state: str | None = None
    task_definition: str | None = None


class RevisionSummary(Lower):
    arn: str


class Controller(Lower):
    type: str = "ECS"


class Service(Lower):
    service_arn: str
    service_name: str
    desired_count: int = 0
    task_definition: str | None = None
    deployments: list[Deployment] = []
    task_sets: list[Deployment] = []
    deployment_controller: Controller = msgspec.field(default_factory=Controller)
    current_service_deployment: str | None = None
    current_service_revisions: list[RevisionSummary] = []


class Services(Lower):
    services: list[Service]
    failures: list[Failure] = []


class ServiceDeployment(Lower):
    status: str | None = None
    created_at: datetime | None = None
    target_service_revision_arn: str | None = None


class ServiceDeployments(Lower):
    service_deployments: list[ServiceDeployment]


class Revision(Lower):
    """Without `container_images` while ECS has not resolved them."""

    task_definition: str | None = None
    container_images: list[EcsContainer] = []


class Revisions(Lower):
    service_revisions: list[Revision]
    failures: list[Failure] = []


class DefinedContainer(Lower):
    image: str


class Definition(Lower):
    container_definitions: list[DefinedContainer]


class DefinitionAnswer(Lower):
    task_definition: Definition


class DefinitionArns(Lower):
    task_definition_arns: list[str]


# ---- who pulls the images of a task


class Overrides(Lower):
    execution_role_arn: str | None = None


class PullingTask(Lower):
    task_definition_arn: str | None = None
    container_instance_arn: str | None = None
    overrides: Overrides = msgspec.field(default_factory=Overrides)


class PullingTasks(Lower):
    tasks: list[PullingTask] = []


class RoleOfDefinition(Lower):
    execution_role_arn: str | None = None


class RoleAnswer(Lower):
    task_definition: RoleOfDefinition


class Instance(Lower):
    ec2_instance_id: str | None = None


class Instances(Lower):
    container_instances: list[Instance] = []
