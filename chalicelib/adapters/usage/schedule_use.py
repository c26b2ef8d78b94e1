"""ECS tasks that a schedule or an event starts: EventBridge rules and EventBridge Scheduler in one Region.

Calls: ListEventBuses; per bus and ECS cluster ListRuleNamesByTarget, so that rules about other things are not read;
per rule found ListTargetsByRule. ListSchedules; per schedule that starts ECS tasks GetSchedule. One that is disabled
counts as well: it may be enabled.
"""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.adapters.usage.asking import Asker, PlaceAnswer, Use
from chalicelib.adapters.usage.ecs_use import EcsUse, definition_name
from chalicelib.errors import UpstreamError
from chalicelib.parsers.usage import use_answers as use

PAGE = 100
_GONE = frozenset({"ResourceNotFoundException"})
_CLUSTER = ":cluster/"
_BY_CALL = (":aws-sdk:ecs:runTask", ":aws-sdk:ecs:startTask")


class _RunTask(msgspec.Struct, rename="pascal"):
    """The input of a schedule that calls ECS itself."""

    task_definition: str


_RUN_TASK = msgspec.json.Decoder(_RunTask)
"""Made here: no two threads may be the first to use a type (`parsers.wire.wire`)."""


class _Named(PlaceAnswer):
    """Rules of one bus that start tasks in one cluster."""

    bus: str = ""
    rules: list[str] = []


class ScheduleUse:
    """`ecs` knows the images of task definitions."""

    def __init__(self, ecs: EcsUse) -> None:
        self._ecs = ecs

    def look_at_rules(self, events: Any, ecs_client: Any, asker: Asker) -> PlaceAnswer:
        looked = PlaceAnswer()
        with looked.at("the rules of EventBridge"):
            clusters = self._ecs.clusters(ecs_client, asker)
            buses = _buses(events, asker, looked) if clusters else []
            named = asker.each(
                lambda one: _rules(events, asker, *one), [(bus, cluster) for bus in buses for cluster in clusters]
            )
            rules = dict.fromkeys((one.bus, rule) for one in named for rule in one.rules)
            looked.join(named)
            looked.join(asker.each(lambda one: self._rule(events, ecs_client, asker, *one), rules))
        return looked

    def _rule(self, events: Any, ecs_client: Any, asker: Asker, bus: str, rule: str) -> PlaceAnswer:
        part, who = PlaceAnswer(), f"EventBridge rule {rule}" + ("" if bus == "default" else f" of bus {bus}")
        with part.at(who, _GONE):
            for page in asker.pages(
                events,
                "list_targets_by_rule",
                "Targets",
                use.TargetAnswer,
                "NextToken",
                Rule=rule,
                EventBusName=bus,
                Limit=PAGE,
            ):
                for target in page:
                    if target.ecs_parameters is not None:
                        self._starts(ecs_client, asker, target.ecs_parameters.task_definition_arn, who, part)
        return part

    def look_at_schedules(self, scheduler: Any, ecs_client: Any, asker: Asker) -> PlaceAnswer:
        looked, schedules = PlaceAnswer(), list[use.ScheduleSummary]()
        with looked.at("EventBridge Scheduler"):
            for page in asker.pages(
                scheduler, "list_schedules", "Schedules", use.ScheduleSummary, "NextToken", MaxResults=PAGE
            ):
                schedules += [one for one in page if _starts_tasks(one.target.arn)]
        looked.join(asker.each(lambda one: self._schedule(scheduler, ecs_client, asker, one), schedules))
        return looked

    def _schedule(self, scheduler: Any, ecs_client: Any, asker: Asker, one: use.ScheduleSummary) -> PlaceAnswer:
        part, who = PlaceAnswer(), f"EventBridge schedule {one.group_name}/{one.name}"
        with part.at(who, _GONE):
            answer = asker.ask(scheduler, "get_schedule", use.Schedule, Name=one.name, GroupName=one.group_name)
            self._starts(ecs_client, asker, _definition(answer.target), who, part)
        return part

    def _starts(self, ecs_client: Any, asker: Asker, definition: str, who: str, part: PlaceAnswer) -> None:
        for image in self._ecs.images(ecs_client, asker, definition):
            part.add(Use(image, who, None, f"starts ECS task {definition_name(definition)}"))


def _buses(events: Any, asker: Asker, looked: PlaceAnswer) -> list[str]:
    """Those of the pages that were answered; a page that was not makes `looked` blind."""
    buses: list[str] = []
    with looked.at("the rules of EventBridge"):
        for page in asker.pages(events, "list_event_buses", "EventBuses", use.Bus, "NextToken", Limit=PAGE):
            buses += [bus.name for bus in page]
    return buses


def _rules(events: Any, asker: Asker, bus: str, cluster: str) -> _Named:
    named = _Named(bus=bus)
    with named.at(f"the rules of event bus {bus}", _GONE):
        for page in asker.pages(
            events,
            "list_rule_names_by_target",
            "RuleNames",
            str,
            "NextToken",
            TargetArn=cluster,
            EventBusName=bus,
            Limit=PAGE,
        ):
            named.rules += page
    return named


def _starts_tasks(target: str) -> bool:
    return _CLUSTER in target or target.endswith(_BY_CALL)


def _definition(target: use.TargetAnswer) -> str:
    if target.ecs_parameters is not None:
        return target.ecs_parameters.task_definition_arn
    try:
        return _RUN_TASK.decode(target.input or "").task_definition
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UpstreamError("scheduler:GetSchedule: its input names no task definition") from error
