"""What AWS beside ECS answers about who runs images, or may: as far as it is asked for. Not judged here.

What an answer is about has no default: one without it says nothing, and "nothing" would be read as "none".

Sources: the API references of the services; names are AWS's own, in our spelling.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.parsers.wire.answer import Lower, Upper

# ---- Amazon EventBridge, its rules and its scheduler


class Bus(Upper):
    name: str


class Buses(Upper):
    event_buses: list[Bus]


class RuleNames(Upper):
    rule_names: list[str]


class EcsParameters(Upper):
    task_definition_arn: str


class TargetAnswer(Upper):
    arn: str
    ecs_parameters: EcsParameters | None = None
    input: str | None = None


class Targets(Upper):
    targets: list[TargetAnswer]


class ScheduleSummary(Upper):
    name: str
    group_name: str
    target: TargetAnswer


class Schedules(Upper):
    schedules: list[ScheduleSummary]


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


class FunctionsPage(Upper):
    functions: list[FunctionConfiguration]


class Versions(Upper):
    versions: list[FunctionConfiguration]


class Code(Upper):
    image_uri: str | None = None
    resolved_image_uri: str | None = None


class FunctionAnswer(Upper):
    code: Code


# ---- Amazon EKS, and Inspector about clusters


class ClusterNames(Lower):
    clusters: list[str]


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


class ClusterUses(Lower):
    cluster: list[ClusterUse]


# ---- AWS STS: who we are


class CallerIdentityAnswer(Upper):
    account: str


# ---- Amazon EC2 and IAM: the role of an instance


class Profile(Upper):
    arn: str


class Ec2Instance(Upper):
    iam_instance_profile: Profile | None = None


class Reservation(Upper):
    instances: list[Ec2Instance] = []


class Reservations(Upper):
    reservations: list[Reservation] = []


class Role(Upper):
    arn: str


class RolesOfProfile(Upper):
    roles: list[Role] = []


class ProfileAnswer(Upper):
    instance_profile: RolesOfProfile


# ---- Amazon ECR: where images are copied to


class Filter(Lower):
    filter: str
    filter_type: str | None = None


class CopyDestination(Lower):
    region: str
    registry_id: str


class CopyRule(Lower):
    destinations: list[CopyDestination]
    repository_filters: list[Filter] = []


class CopyRules(Lower):
    rules: list[CopyRule]


class RegistryAnswer(Lower):
    replication_configuration: CopyRules


class PolicyTextAnswer(Lower):
    policy_text: str
