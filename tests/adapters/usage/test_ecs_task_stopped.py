"""A task as DescribeTasks answers it, for a person who asks why it did not start."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.usage.ecs_task import read_stopped_task
from chalicelib.domain.events.event import TaskContainer
from chalicelib.errors import DeniedError, InputError, NotFoundError, TransientError, UpstreamError
from tests.fakes.moto_aws import mock_aws

REGION = "eu-west-1"
TASK = f"arn:aws:ecs:{REGION}:111122223333:task/prod/0123456789abcdef0123456789abcdef"
IMAGE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/api:1.4.2"
SAID = f"CannotPullContainerError: {IMAGE}: not found"
STOPPED = datetime(2026, 3, 2, 8, 5, 30, tzinfo=UTC)
ANSWER = {
    "taskArn": TASK,
    "clusterArn": f"arn:aws:ecs:{REGION}:111122223333:cluster/prod",
    "taskDefinitionArn": f"arn:aws:ecs:{REGION}:111122223333:task-definition/api:7",
    "lastStatus": "STOPPED",
    "desiredStatus": "STOPPED",
    "version": 3,
    "group": "service:api",
    "stopCode": "TaskFailedToStart",
    "stoppedReason": SAID,
    "createdAt": datetime(2026, 3, 2, 8, 5, tzinfo=UTC),
    "stoppedAt": STOPPED,
    "containers": [{"name": "api", "image": IMAGE, "reason": SAID}],
}


class Ecs(Sessions):
    """Answers DescribeTasks with one thing, or raises it; `asked` keeps how."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, list[Any]()

    def client(self, service: str, region: str | None = None, *, validate: bool = True) -> Any:
        self.asked.append((service, region))
        return self

    def describe_tasks(self, **request: Any) -> Any:
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeTasks")


def test_a_task_is_read_as_its_event_would_tell_it() -> None:
    ecs = Ecs({"tasks": [ANSWER]})
    task = read_stopped_task(TASK, None, ecs)
    assert (task.pull_failed, task.time, task.group, task.stopped_reason) == (True, STOPPED, "service:api", SAID)
    assert task.containers == (TaskContainer("api", IMAGE, None, SAID),)
    assert ecs.asked == [("ecs", REGION), {"tasks": [TASK], "cluster": "prod"}]


@pytest.mark.parametrize(
    ("arn", "given", "cluster"),
    [(TASK.replace("/prod", ""), None, "default"), (TASK.replace("/prod", ""), "batch", "batch"), (TASK, "x", "x")],
)
def test_the_cluster_is_that_of_the_arn_unless_it_is_given(arn: str, given: str | None, cluster: str) -> None:
    ecs = Ecs({"tasks": [ANSWER]})
    read_stopped_task(arn, given, ecs)
    assert ecs.asked[1]["cluster"] == cluster


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"tasks": [], "failures": [{"arn": TASK, "reason": "MISSING"}]}, NotFoundError),
        (refused("ClusterNotFoundException"), NotFoundError),
        (refused("AccessDeniedException"), DeniedError),
        (refused("ThrottlingException"), TransientError),
        ({"tasks": [{"taskArn": TASK}]}, UpstreamError),
    ],
)
def test_what_ecs_does_not_tell_is_an_error_of_its_kind(answer: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_stopped_task(TASK, None, Ecs(answer))


@pytest.mark.parametrize("text", ["", "arn:aws:ecs:eu-west-1:111122223333:service/prod/api", TASK + "/x"])
def test_only_the_arn_of_a_task_is_one(text: str) -> None:
    with pytest.raises(InputError):
        read_stopped_task(text, None, Ecs({}))


def test_botocore_takes_the_request_and_moto_does_not_know_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        boto3.client("ecs", REGION).create_cluster(clusterName="prod")
        with pytest.raises(NotFoundError, match="does not know the task"):
            read_stopped_task(TASK, None, Sessions(REGION))
        with pytest.raises(NotFoundError, match="no cluster other"):
            read_stopped_task(TASK, "other", Sessions(REGION))
