"""By which role a task pulls, as ECS, EC2 and IAM tell it; botocore checks what is asked and what is answered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from chalicelib.adapters.usage.runtime import AwsRuntime

REGION = "eu-west-1"
ECS = f"arn:aws:ecs:{REGION}:111122223333"
TASK = f"{ECS}:task/prod/0123456789abcdef0123456789abcdef"
DEFINITION = f"{ECS}:task-definition/api:7"
INSTANCE = f"{ECS}:container-instance/prod/11111111111111111111111111111111"
EXECUTION = "arn:aws:iam::111122223333:role/service/api-execution"
NODE = "arn:aws:iam::111122223333:role/ecs-instance"
PROFILE = "arn:aws:iam::111122223333:instance-profile/fleet/ecs-instance"
NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)


class Aws:
    """Clients that answer what was put into them, in that order, and nothing else."""

    def __init__(self) -> None:
        names = ("ecs", "ec2", "iam")
        self.clients = {n: boto3.client(n, REGION, aws_access_key_id="a", aws_secret_access_key="b") for n in names}
        self.stubs = {name: Stubber(client) for name, client in self.clients.items()}
        for stub in self.stubs.values():
            stub.activate()

    def task(self, **fields: Any) -> Aws:
        task = {"taskArn": TASK, "taskDefinitionArn": DEFINITION, **fields}
        self.stubs["ecs"].add_response("describe_tasks", {"tasks": [task]}, {"cluster": "prod", "tasks": [TASK]})
        return self

    def definition(self, role: str | None = None) -> Aws:
        answer = {"taskDefinition": {"taskDefinitionArn": DEFINITION, **({"executionRoleArn": role} if role else {})}}
        self.stubs["ecs"].add_response("describe_task_definition", answer, {"taskDefinition": DEFINITION})
        return self

    def instance(self, ec2_id: str) -> Aws:
        answer = {"containerInstances": [{"containerInstanceArn": INSTANCE, "ec2InstanceId": ec2_id}]}
        asked = {"cluster": "prod", "containerInstances": [INSTANCE]}
        self.stubs["ecs"].add_response("describe_container_instances", answer, asked)
        return self

    def machine(self, profile: str | None = PROFILE) -> Aws:
        machine = {"InstanceId": "i-1", **({"IamInstanceProfile": {"Arn": profile, "Id": "x"}} if profile else {})}
        answer = {"Reservations": [{"Instances": [machine]}]}
        self.stubs["ec2"].add_response("describe_instances", answer, {"InstanceIds": ["i-1"]})
        return self

    def profile(self, *roles: str) -> Aws:
        said = {"Path": "/", "CreateDate": NOW, "AssumeRolePolicyDocument": "{}"}
        found = [{**said, "RoleName": "ecs-instance", "RoleId": "AROA0123456789012", "Arn": role} for role in roles]
        named = {"InstanceProfileName": "ecs-instance", "InstanceProfileId": "AIPA0123456789012", "Arn": PROFILE}
        answer = {"InstanceProfile": {**named, "Path": "/fleet/", "CreateDate": NOW, "Roles": found}}
        self.stubs["iam"].add_response("get_instance_profile", answer, {"InstanceProfileName": "ecs-instance"})
        return self

    def role(self, task_arn: str = TASK, patience: timedelta = timedelta(seconds=5)) -> str | None:
        def client_of(service: str, account: str, region: str) -> Any:
            assert (account, region) == ("111122223333", REGION)
            return self.clients[service]

        return AwsRuntime(client_of, lambda: NOW, patience).pull_role(task_arn)

    def all_asked(self) -> None:
        for stub in self.stubs.values():
            stub.assert_no_pending_responses()


@pytest.fixture
def aws() -> Iterator[Aws]:
    built = Aws()
    yield built
    built.all_asked()


def test_what_the_task_was_started_with_comes_first(aws: Aws) -> None:
    assert aws.task(overrides={"executionRoleArn": EXECUTION}).role() == EXECUTION


def test_else_the_execution_role_of_its_definition(aws: Aws) -> None:
    assert aws.task(containerInstanceArn=INSTANCE).definition(EXECUTION).role() == EXECUTION


def test_else_the_role_of_the_instance_it_runs_on(aws: Aws) -> None:
    aws.task(containerInstanceArn=INSTANCE).definition().instance("i-1").machine().profile(NODE)
    assert aws.role() == NODE


def test_on_fargate_without_an_execution_role_there_is_none(aws: Aws) -> None:
    assert aws.task(launchType="FARGATE").definition().role() is None


def test_a_machine_outside_of_ec2_has_a_role_that_nobody_tells(aws: Aws) -> None:
    assert aws.task(containerInstanceArn=INSTANCE).definition().instance("mi-0123").role() is None


def test_an_instance_may_have_no_profile_and_a_profile_no_role(aws: Aws) -> None:
    aws.task(containerInstanceArn=INSTANCE).definition().instance("i-1").machine(None)
    assert aws.role() is None
    aws.task(containerInstanceArn=INSTANCE).definition().instance("i-1").machine().profile()
    assert aws.role() is None


def test_a_task_that_is_gone_tells_nothing(aws: Aws) -> None:
    aws.stubs["ecs"].add_response("describe_tasks", {"tasks": [], "failures": [{"arn": TASK, "reason": "MISSING"}]})
    assert aws.role() is None


@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException", "InternalServerError"])
def test_a_call_that_fails_means_that_it_cannot_be_told(aws: Aws, code: str) -> None:
    aws.task()
    aws.stubs["ecs"].add_client_error("describe_task_definition", code)
    assert aws.role() is None


def test_nothing_is_asked_once_the_time_is_up(aws: Aws) -> None:
    assert aws.role(patience=timedelta()) is None


@pytest.mark.parametrize("arn", ["", TASK.replace(":task/", ":service/"), f"{TASK} or so"])
def test_only_the_arn_of_a_task_is_asked_for(aws: Aws, arn: str) -> None:
    assert aws.role(arn) is None


def test_the_short_arn_of_a_task_means_the_default_cluster(aws: Aws) -> None:
    short = TASK.replace("/prod/", "/")
    task = {"taskArn": short, "overrides": {"executionRoleArn": EXECUTION}}
    aws.stubs["ecs"].add_response("describe_tasks", {"tasks": [task]}, {"cluster": "default", "tasks": [short]})
    assert aws.role(short) == EXECUTION
