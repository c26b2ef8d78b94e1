"""Which images of a task could not be pulled, and for which service that is told."""

from __future__ import annotations

from datetime import UTC, datetime

from chalicelib.domain.events.event import TaskChanged, TaskContainer
from chalicelib.domain.events.failed_pull import FailedPull, failed_pulls
from chalicelib.domain.events.pull_failure import MAX_SAID, PullFailureCause
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import ImageName

HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
API, WEB = (Repository("111122223333", "eu-west-1", name) for name in ("team/api", "team/web"))
D, E = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
TASK = "arn:aws:ecs:eu-west-1:111122223333:task/prod/0123"
CLUSTER = "arn:aws:ecs:eu-west-1:111122223333:cluster/prod"
AT = datetime(2026, 3, 2, 8, 5, 30, tzinfo=UTC)
NOT_FOUND = f"CannotPullContainerError: {HOST}/team/api:1: not found"


def task(
    *containers: TaskContainer, said: str | None = NOT_FOUND, group: str | None = "service:api", failed: bool = True
):
    return TaskChanged(
        task_arn=TASK,
        cluster_arn=CLUSTER,
        task_definition_arn="arn:aws:ecs:eu-west-1:111122223333:task-definition/batch:7",
        last_status="STOPPED",
        desired_status="STOPPED",
        version=3,
        group=group,
        stop_code="TaskFailedToStart",
        stopped_reason=said,
        containers=containers,
        pull_failed=failed,
        time=AT,
        event_id="e",
    )


def pulled(*containers: TaskContainer, **more: object) -> list[ImageName]:
    return [failed.pulled for failed in failed_pulls(task(*containers, **more))]


def test_a_container_that_says_so_is_the_one() -> None:
    api = TaskContainer("api", f"{HOST}/team/api:1", None, NOT_FOUND)
    web = TaskContainer("web", f"{HOST}/team/web:1", E, None)
    (failed,) = failed_pulls(task(api, web))
    assert failed == FailedPull(ImageName(API, "1"), NOT_FOUND, AT, TASK, CLUSTER, "service:api")
    assert failed.cause is PullFailureCause.NOT_FOUND


def test_two_containers_that_say_so_are_two() -> None:
    containers = [TaskContainer(name, f"{HOST}/team/{name}:1", None, NOT_FOUND) for name in ("api", "web")]
    assert pulled(*containers) == [ImageName(API, "1"), ImageName(WEB, "1")]
    assert pulled(containers[0], containers[0]) == [ImageName(API, "1")]


def test_else_the_reason_of_the_task_tells_which() -> None:
    containers = [TaskContainer(name, f"{HOST}/team/{name}:1") for name in ("web", "api")]
    assert pulled(*containers) == [ImageName(API, "1")]


def test_else_all_that_have_not_been_pulled_yet_may_be_meant() -> None:
    containers = [TaskContainer("web", f"{HOST}/team/web:1", E), TaskContainer("api", f"{HOST}/team/api")]
    assert pulled(*containers, said="CannotPullContainerError: i/o timeout") == [ImageName(API, "latest")]


def test_the_digest_that_ecs_has_chosen_is_what_was_pulled() -> None:
    said = f"CannotPullContainerError: failed to resolve ref {HOST}/team/api:1@{D}: not found"
    assert pulled(TaskContainer("api", f"{HOST}/team/api:1", None, said)) == [ImageName(API, "1", D)]
    assert pulled(TaskContainer("api", f"{HOST}/team/api@{E}", None, "CannotPull")) == [ImageName(API, None, E)]


def test_a_member_of_an_index_is_not_what_was_asked_for() -> None:
    said = f"CannotPullContainerError: content at https://{HOST}/v2/team/api/manifests/{E} not found"
    assert pulled(TaskContainer("api", f"{HOST}/team/api:1", None, said)) == [ImageName(API, "1")]


def test_images_of_other_registries_and_tasks_that_pulled_are_none_of_ours() -> None:
    assert pulled(TaskContainer("proxy", "docker.io/library/nginx:1", None, "CannotPullContainerError: x")) == []
    assert pulled(TaskContainer("api", f"{HOST}/team/api:1"), failed=False) == []


def test_secrets_that_could_not_be_fetched_are_no_pull() -> None:
    said = (
        "ResourceInitializationError: unable to pull secrets or registry auth: unable to retrieve secret from asm: no"
    )
    assert pulled(TaskContainer("api", f"{HOST}/team/api:1"), said=said) == []


def test_a_task_without_a_group_is_told_by_the_family_of_its_definition() -> None:
    (failed,) = failed_pulls(task(TaskContainer("api", f"{HOST}/team/api:1"), group=None))
    assert (failed.group, failed.where) == ("family:batch", "family batch in cluster prod")


def test_a_service_of_another_cluster_is_another_service() -> None:
    (failed,) = failed_pulls(task(TaskContainer("api", f"{HOST}/team/api:1")))
    assert (failed.service, failed.where) == ("eu-west-1:111122223333/prod/service:api", "service api in cluster prod")
    assert FailedPull(ImageName(API), "", AT).where == ""


def test_the_hour_is_that_of_the_failure() -> None:
    (failed,) = failed_pulls(task(TaskContainer("api", f"{HOST}/team/api:1")))
    assert failed.hour == datetime(2026, 3, 2, 8, tzinfo=UTC)


def test_an_endless_reason_is_cut() -> None:
    (failed,) = failed_pulls(task(TaskContainer("api", f"{HOST}/team/api:1", None, NOT_FOUND + "x" * 10_000)))
    assert len(failed.said) == MAX_SAID
