"""One of everything that may run images, in the local AWS: whoever looks for them there makes every call there is."""

from __future__ import annotations

import json
from typing import Any

import boto3
from moto.ecs.models import ecs_backends

from chalicelib.domain.images.image import ImageRef
from chalicelib.local.aws.ecs import LocalEcs
from chalicelib.local.aws.server import LocalAws
from chalicelib.local.story.world import DEFAULT_CLUSTER, run_service

ROLE = "arn:aws:iam::123456789012:role/anything"


def fill_every_place(image: ImageRef, region: str, aws: LocalAws) -> None:
    """`image` is run by all of them but by AWS Lambda, where moto knows no digest. Its repository is there."""

    def client(service: str) -> Any:
        named: Any = service
        return boto3.client(named, region_name=region)

    ecs = client("ecs")
    run_service(ecs, image)
    run_service(ecs, image, "twice")
    cluster = ecs.describe_clusters(clusters=[DEFAULT_CLUSTER])["clusters"][0]["clusterArn"]
    starts = {"Arn": cluster, "RoleArn": ROLE}
    starts["EcsParameters"] = {"TaskDefinitionArn": ecs.list_task_definitions()["taskDefinitionArns"][0]}
    account = ecs_backends[image.registry][region]
    assert isinstance(account, LocalEcs)
    account.hold_daemon("agent", DEFAULT_CLUSTER, str(image))
    container = {"image": str(image), "vcpus": 1, "memory": 128}
    client("batch").register_job_definition(jobDefinitionName="train", type="container", containerProperties=container)
    arn = f"arn:aws:apprunner:{region}:{image.registry}:service/site/1"
    source = {"ImageRepository": {"ImageIdentifier": str(image), "ImageRepositoryType": "ECR"}}
    aws.app_runner.services[arn] = {"ServiceName": "site", "ServiceArn": arn, "SourceConfiguration": source}
    client("sagemaker").create_model(ModelName="fraud", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": str(image)})
    client("codebuild").create_project(
        name="build",
        source={"type": "GITHUB", "location": "https://example.invalid/build"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": str(image), "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole=ROLE,
    )
    events = client("events")
    events.put_rule(Name="nightly", ScheduleExpression="rate(1 day)")
    events.put_targets(Rule="nightly", Targets=[{"Id": "1", **starts}])
    client("scheduler").create_schedule(
        Name="weekly", ScheduleExpression="rate(7 days)", FlexibleTimeWindow={"Mode": "OFF"}, Target=starts
    )
    role = client("iam").create_role(RoleName=f"function-{region}", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    tagged = f"{str(image).partition('@')[0]}:v1"
    client("lambda").create_function(FunctionName="thumbs", Role=role, PackageType="Image", Code={"ImageUri": tagged})
    client("eks").create_cluster(name="apps", roleArn=ROLE, resourcesVpcConfig={})
    ours = {"Sid": "Own", "Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": ["ecr:BatchGetImage"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [ours]})
    client("ecr").set_repository_policy(repositoryName=image.repository, policyText=policy)
