"""ECS tasks that a rule or a schedule starts: nothing runs now, and it will."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from chalicelib.adapters.usage.asking import Asker
from chalicelib.adapters.usage.ecs_use import EcsUse
from chalicelib.adapters.usage.schedule_use import ScheduleUse
from chalicelib.domain.images.image import InUseState
from tests.adapters.looking import IMAGE, NOW, use_of
from tests.fakes.estate import HOME, Estate, Region
from tests.fakes.moto_aws import mock_aws

CALL = "arn:aws:scheduler:::aws-sdk:ecs:"


@pytest.fixture
def estate() -> Estate:
    return Estate()


@pytest.fixture
def definition(estate: Estate) -> str:
    return estate.home.define("job:3", "busybox", estate.home.image(f"@{IMAGE}"))


def target(region: Region, definition: str) -> dict[str, Any]:
    return {"Arn": region.arn("ecs", "cluster/prod"), "EcsParameters": {"TaskDefinitionArn": definition}}


def test_a_rule_that_starts_a_task_runs_its_image(estate: Estate, definition: str):
    estate.home.rule("nightly", definition)
    use = use_of(estate)
    assert (use.count, use.by) == (None, ("EventBridge rule nightly (starts ECS task job:3)",))


def test_the_rules_of_every_bus_and_for_every_cluster_are_looked_at(estate: Estate, definition: str):
    estate.home.buses = ["default", "orders"]
    estate.home.cluster("empty")
    estate.home.rule("hourly", definition, cluster="batch", bus="orders")
    assert use_of(estate).by == ("EventBridge rule hourly of bus orders (starts ECS task job:3)",)


def test_a_rule_that_starts_two_tasks_is_told_once(estate: Estate, definition: str):
    estate.home.rule("nightly", definition)
    estate.home.rule("nightly", estate.home.define("job:4", estate.home.image(f"@{IMAGE}")))
    assert use_of(estate).by == ("EventBridge rule nightly (starts ECS task job:3, starts ECS task job:4)",)


def test_rules_are_not_read_where_no_cluster_could_run_their_tasks(estate: Estate):
    assert (use_of(estate).state, estate.asked("ListEventBuses")) == (InUseState.NO, 0)


def test_a_definition_without_a_revision_is_its_newest_one(estate: Estate):
    family = estate.home.arn("ecs", "task-definition/job")
    estate.home.definitions[family] = [estate.home.image(f"@{IMAGE}")]
    estate.home.rule("nightly", family)
    assert use_of(estate).by == ("EventBridge rule nightly (starts ECS task job)",)


def test_a_schedule_that_starts_a_task_runs_its_image(estate: Estate, definition: str):
    estate.home.schedule("weekly", target(estate.home, definition))
    assert use_of(estate).by == ("EventBridge schedule default/weekly (starts ECS task job:3)",)


@pytest.mark.parametrize("call", ["runTask", "startTask"])
def test_a_schedule_that_calls_ecs_itself_runs_the_image_of_what_it_names(estate: Estate, definition: str, call: str):
    asked = json.dumps({"Cluster": "prod", "TaskDefinition": definition})
    estate.home.schedule("weekly", {"Arn": CALL + call, "Input": asked})
    assert use_of(estate).state is InUseState.YES


@pytest.mark.parametrize("asked", ["", "{}", "[]", "no json", '{"TaskDefinition": 5}', "[" * 100_000])
def test_a_schedule_that_does_not_say_what_it_starts_is_not_known(estate: Estate, asked: str):
    estate.home.schedule("weekly", {"Arn": CALL + "runTask", "Input": asked})
    use = use_of(estate)
    assert (use.state, len(use.blind)) == (InUseState.UNKNOWN, 1)
    assert use.blind[0].startswith("EventBridge schedule default/weekly cannot be looked at")


def test_a_schedule_about_something_else_is_not_read(estate: Estate):
    estate.home.schedule("mail", {"Arn": "arn:aws:scheduler:::aws-sdk:sns:publish"})
    assert (use_of(estate).state, estate.asked("GetSchedule")) == (InUseState.NO, 0)


def test_what_ceased_to_be_after_it_was_listed_starts_nothing(estate: Estate, definition: str):
    estate.home.schedule("weekly", target(estate.home, definition))
    estate.home.rule("nightly", definition)
    for operation in ("GetSchedule", "ListTargetsByRule"):
        estate.home.refusals[operation] = ("ResourceNotFoundException", "gone")
    assert use_of(estate).by == ("ECS task definition job (its newest revision)",)


def test_what_is_told_of_the_rules_and_schedules_of_moto():
    def client(service: str) -> Any:
        named: Any = service
        return boto3.client(named, HOME, aws_access_key_id="a", aws_secret_access_key="b")

    with mock_aws():
        ecs, events, scheduler = client("ecs"), client("events"), client("scheduler")
        cluster = ecs.create_cluster(clusterName="prod")["cluster"]["clusterArn"]
        image = f"123456789012.dkr.ecr.{HOME}.amazonaws.com/team/api@{IMAGE}"
        containers = [{"name": "x", "image": image, "memory": 128}]
        made = ecs.register_task_definition(family="job", containerDefinitions=containers)["taskDefinition"]
        starts = {"Arn": cluster, "RoleArn": "arn:aws:iam::123456789012:role/x"}
        parameters = {"EcsParameters": {"TaskDefinitionArn": made["taskDefinitionArn"]}}
        events.put_rule(Name="nightly", ScheduleExpression="rate(1 day)", State="DISABLED")
        events.put_targets(Rule="nightly", Targets=[{"Id": "1", **starts, **parameters}])
        scheduler.create_schedule(
            Name="weekly",
            ScheduleExpression="rate(7 days)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={**starts, **parameters},
        )
        use, asker = ScheduleUse(EcsUse()), Asker(lambda: NOW, NOW.replace(year=2027))
        looked = [use.look_at_rules(events, ecs, asker), use.look_at_schedules(scheduler, ecs, asker)]
    assert [(one.who, one.image.digest) for where in looked for one in where.uses] == [
        ("EventBridge rule nightly", IMAGE),
        ("EventBridge schedule default/weekly", IMAGE),
    ]
    assert [where.blind for where in looked] == [[], []]
