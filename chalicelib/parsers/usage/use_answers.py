"""What AWS answers about who runs images, or may: ECS, Lambda, EventBridge, Batch, App Runner, SageMaker, CodeBuild,
Inspector, ECR's policies, EC2 (Regions), STS. Not judged here.

What an answer is about has no default: an answer without it is refused, because "nothing" would be read as "none".
Sources: the API references of the services; names are AWS's own, in our spelling.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.parsers.wire.wire import Lower, Upper

# ---- Amazon EventBridge, its rules and its scheduler


class Bus(Upper):
    name: str


class EcsParameters(Upper):
    task_definition_arn: str


class TargetAnswer(Upper):
    arn: str
    ecs_parameters: EcsParameters | None = None
    input: str | None = None


class ScheduleSummary(Upper):
    name: str
    group_name: str
    target: TargetAnswer


class Schedule(Upper):
    target: TargetAnswer


# ---- AWS Lambda


class FunctionConfiguration(Upper):
    function_name: str
    version: str
    function_arn: str | None = None
    package_type: str | None = None
    code_sha256: str | None = msgspec.field(default=None, name="CodeSha256")
    last_modified: str | None = None


class Code(Upper):
    image_uri: str | None = None
    resolved_image_uri: str | None = None


class FunctionAnswer(Upper):
    code: Code


# ---- Amazon EKS, and Inspector about clusters


class EcsUseAnswer(Lower):
    details_group: str | None = None
    task_definition_arn: str | None = None


class Workload(Lower):
    name: str
    type: str


class EksUseAnswer(Lower):
    namespace: str | None = None
    workload_info_list: list[Workload] = []


class ClusterMetadata(Lower):
    aws_ecs_metadata_details: EcsUseAnswer | None = None
    aws_eks_metadata_details: EksUseAnswer | None = None


class ClusterDetail(Lower):
    """`stopped_unit_count`: within the last 24 hours."""

    last_in_use: datetime | None = None
    running_unit_count: int | None = None
    stopped_unit_count: int | None = None
    cluster_metadata: ClusterMetadata = msgspec.field(default_factory=ClusterMetadata)


class ClusterUse(Lower):
    cluster_arn: str
    cluster_details: list[ClusterDetail] = []


# ---- AWS STS: who we are


class CallerIdentityAnswer(Upper):
    account: str


# ---- Amazon EC2 and IAM: the role of an instance


class RoleOrProfile(Upper):
    arn: str


class Ec2Instance(Upper):
    iam_instance_profile: RoleOrProfile | None = None


class Reservation(Upper):
    instances: list[Ec2Instance] = []


class Reservations(Upper):
    reservations: list[Reservation] = []


class RolesOfProfile(Upper):
    roles: list[RoleOrProfile] = []


class ProfileAnswer(Upper):
    instance_profile: RolesOfProfile


# ---- Amazon ECR: who may pull


class PolicyTextAnswer(Lower):
    policy_text: str


class TaggedImage(Lower):
    image_tags: list[str] = []


class TaggedImages(Lower):
    image_details: list[TaggedImage]


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


class DaemonSummary(Lower):
    daemon_arn: str


class Daemon(Lower):
    """Without revisions while its first deployment has not begun."""

    current_revisions: list[RevisionSummary] = []


class DaemonAnswer(Lower):
    daemon: Daemon


class DaemonRevision(Lower):
    container_images: list[EcsContainer]


class DaemonRevisions(Lower):
    daemon_revisions: list[DaemonRevision]
    failures: list[Failure] = []


# ---- AWS Batch


class BatchTask(Lower):
    containers: list[EcsContainer]


class BatchTasks(Lower):
    task_properties: list[BatchTask]


class BatchPod(Lower):
    containers: list[EcsContainer] = []
    init_containers: list[EcsContainer] = []


class BatchPods(Lower):
    pod_properties: BatchPod


class BatchContainers(Lower):
    """What starts containers, in one of three forms."""

    container: EcsContainer | None = None
    container_properties: EcsContainer | None = None
    ecs_properties: BatchTasks | None = None
    eks_properties: BatchPods | None = None

    @property
    def all(self) -> list[EcsContainer]:
        plain = [one for one in (self.container, self.container_properties) if one is not None]
        tasks = self.ecs_properties.task_properties if self.ecs_properties is not None else []
        pods = [self.eks_properties.pod_properties] if self.eks_properties is not None else []
        of_tasks = [one for task in tasks for one in task.containers]
        return plain + of_tasks + [one for pod in pods for one in (*pod.init_containers, *pod.containers)]


class BatchNodes(Lower):
    node_range_properties: list[BatchContainers]


class JobDefinition(BatchContainers, kw_only=True):
    job_definition_name: str
    revision: int
    node_properties: BatchNodes | None = None

    @property
    def images(self) -> list[str | None]:
        nodes = self.node_properties.node_range_properties if self.node_properties is not None else []
        return [one.image for part in (self, *nodes) for one in part.all]


# ---- AWS App Runner, Amazon SageMaker, AWS CodeBuild


class AppRunnerSummary(Upper):
    service_name: str
    service_arn: str


class ImageRepository(Upper):
    image_identifier: str


class AppRunnerSource(Upper):
    """Without `image_repository` where it is built from source code."""

    image_repository: ImageRepository | None = None


class AppRunnerService(Upper):
    source_configuration: AppRunnerSource


class AppRunnerAnswer(Upper):
    service: AppRunnerService


class ModelSummary(Upper):
    model_name: str


class ModelContainer(Upper):
    image: str | None = None


class Model(Upper):
    primary_container: ModelContainer | None = None
    containers: list[ModelContainer] = []


class BuildEnvironment(Lower):
    image: str


class Project(Lower):
    name: str
    environment: BuildEnvironment


class Projects(Lower):
    projects: list[Project]


# ---- Amazon EC2: the Regions of an account


class RegionAnswer(Upper):
    region_name: str
    opt_in_status: str


class RegionsAnswer(Upper):
    regions: list[RegionAnswer]


# ---- who pulls the images of a task


class ExecutionRole(Lower):
    execution_role_arn: str | None = None


class PullingTask(Lower):
    task_definition_arn: str | None = None
    container_instance_arn: str | None = None
    overrides: ExecutionRole = msgspec.field(default_factory=ExecutionRole)


class PullingTasks(Lower):
    tasks: list[PullingTask] = []


class RoleAnswer(Lower):
    task_definition: ExecutionRole


class Instance(Lower):
    ec2_instance_id: str | None = None


class Instances(Lower):
    container_instances: list[Instance] = []
