"""Workloads of the local AWS, seen by the adapter that looks for them in the real one."""

from __future__ import annotations

import functools
import os
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.usage.runtime import AwsRuntime
from chalicelib.domain.events.pull_failure import PullFailureCause, classify
from chalicelib.domain.images.image import InUseState
from chalicelib.local.ecr.ecr import ARCHIVED, LocalEcr, ecr_of
from chalicelib.local.inspector import inspector_of
from chalicelib.local.story.world import DEFAULT_CLUSTER, run_service, stop_service
from chalicelib.parsers.events.events import parse_event
from chalicelib.services.ports.registry import Subject
from tests.local import samples
from tests.local.running import local_aws

IMAGE, OTHER = samples.ref(), samples.ref(digit="b")
BY_TAG = str(IMAGE).replace(f"@{IMAGE.digest}", ":v1")


@pytest.fixture
def ecs():
    with local_aws():
        samples.hold(IMAGE, "v1")
        samples.hold(OTHER, "v2")
        yield boto3.client("ecs", region_name=samples.REGION)


@functools.cache
def sessions(address):
    """Of one local AWS: to make seven clients for each look takes longer than the look."""
    return Sessions(samples.REGION)


def use(image=IMAGE, *tags):
    held = sessions(os.environ["AWS_ENDPOINT_URL"])
    look = AwsRuntime(lambda service, _, region: held.client(service, region), lambda: datetime.now(UTC))
    return look.in_use(Subject(image, frozenset({image.digest}), frozenset(tags)))


def move_tag():
    """`v1` points at the other image."""
    ecr_of(IMAGE.home).tag_image(ecr_of(IMAGE.home).get(OTHER.repository, {"imageDigest": OTHER.digest}), "v1")


def scale(client, tasks):
    client.update_service(cluster=DEFAULT_CLUSTER, service="web", desiredCount=tasks)


def heard():
    events = []
    LocalEcr.publish = staticmethod(events.append)
    return events


@pytest.mark.parametrize("image", [IMAGE, BY_TAG])
def test_a_service_runs_the_image_until_it_is_stopped(ecs, image):
    assert use().state is InUseState.NO
    run_service(ecs, image, tasks=2)
    assert (use().state, use().count, use().by) == (InUseState.YES, 2, ("ECS service web in cluster main (2 tasks)",))
    assert use(OTHER).state is InUseState.NO
    stop_service(ecs)
    assert use().state is InUseState.NO


def test_a_task_keeps_the_digest_its_tag_had_when_it_was_started(ecs):
    run_service(ecs, BY_TAG)
    move_tag()
    assert use(IMAGE).count == 1
    assert use(OTHER, "v1").by == ("ECS service web in cluster main (1 task wanted)",)


def test_a_task_runs_on_however_often_it_is_looked_at(ecs):
    run_service(ecs, IMAGE)
    assert [use().count for _ in range(5)] == [1] * 5


def test_a_service_at_zero_still_means_to_run_its_image(ecs):
    run_service(ecs, IMAGE)
    scale(ecs, 0)
    assert (use().state, use().count) == (InUseState.YES, 0)
    scale(ecs, 3)
    assert use().count == 3


def test_the_revision_before_the_one_in_force_is_kept_for_a_rollback(ecs):
    run_service(ecs, IMAGE)
    run_service(ecs, OTHER)
    assert use(IMAGE).by == ("ECS service web in cluster main (kept for a rollback)",)
    assert use(OTHER).count == 1
    run_service(ecs, OTHER)
    assert use(IMAGE).state is InUseState.NO


def test_a_new_deployment_pulls_what_the_tag_points_at_now(ecs):
    run_service(ecs, BY_TAG)
    move_tag()
    run_service(ecs, BY_TAG)
    assert use(OTHER).count == 1


@pytest.mark.parametrize("away", ["archived", "deleted"])
def test_an_image_that_is_away_cannot_be_pulled_and_ecs_tells(ecs, away):
    held = ecr_of(IMAGE.home).get(IMAGE.repository, {"imageDigest": IMAGE.digest})
    if away == "archived":
        held.status = ARCHIVED
    else:
        ecr_of(IMAGE.home).repositories[IMAGE.repository].images.remove(held)
    events = heard()
    run_service(ecs, IMAGE)
    assert use().count != 1
    (told,) = events
    failed = parse_event(told)
    assert classify(failed.stopped_reason) is PullFailureCause.NOT_FOUND
    (stopped,) = ecs.list_tasks(cluster="main", desiredStatus="STOPPED")["taskArns"]
    (task,) = ecs.describe_tasks(cluster="main", tasks=[stopped])["tasks"]
    assert (task["taskArn"], task["stopCode"]) == (failed.task_arn, "TaskFailedToStart")


def test_a_pod_that_inspector_knows_of_runs_the_image(ecs):
    roles = {"roleArn": "arn:aws:iam::123456789012:role/eks", "resourcesVpcConfig": {}}
    cluster = boto3.client("eks", region_name=samples.REGION).create_cluster(name="apps", **roles)["cluster"]["arn"]
    assert use().state is InUseState.UNKNOWN
    samples.scanned(IMAGE)
    assert use().state is InUseState.NO
    pod = {"namespace": "shop", "workloadInfoList": [{"name": "cart", "type": "DEPLOYMENT"}]}
    detail = {
        "lastInUse": (datetime.now(UTC) - timedelta(minutes=1)).timestamp(),
        "runningUnitCount": 2,
        "stoppedUnitCount": 0,
        "clusterMetadata": {"awsEksMetadataDetails": pod},
    }
    inspector_of(samples.REGION).clusters[IMAGE.arn] = [{"clusterArn": cluster, "clusterDetails": [detail]}]
    assert use().by == ("EKS deployment cart of namespace shop in cluster apps (2 pods)",)
