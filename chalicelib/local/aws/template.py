"""What the deployment template says of queues and rules: the local stack makes and obeys the very same ones.

The template (`.chalice/resources.json`) lies beside app.py in a checkout; it is not part of the installed package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.errors import SettingsError

QUEUE = "AWS::SQS::Queue"
TEMPLATE = Path(__file__).parents[3] / ".chalice" / "resources.json"


class QueuePlan(msgspec.Struct, frozen=True):
    """`dead` is the queue a message ends in after `receives` receives."""

    name: str
    dead: str
    receives: int


class RulePlan(msgspec.Struct, frozen=True):
    """An EventBridge rule: events that fit `pattern` go to `queues`."""

    name: str
    pattern: dict[str, Any]
    queues: tuple[str, ...]


class Template:
    """Raises SettingsError where the template is not there or not readable."""

    def __init__(self, stage: str, path: Path = TEMPLATE) -> None:
        try:
            self._resources: dict[str, dict[str, Any]] = json.loads(path.read_text())["Resources"]
        except (OSError, ValueError, KeyError) as error:
            raise SettingsError([f"the local stack needs {path.name} beside app.py: {type(error).__name__}"]) from error
        self._stage = stage
        self.folder = path.parents[1]

    @property
    def table(self) -> str:
        return next(self._names("AWS::DynamoDB::Table", "TableName"))

    @property
    def topic(self) -> str:
        return self._text(self._resources["AlertTopic"]["Properties"]["TopicName"])

    def dead_queues(self) -> list[str]:
        """Where messages end: queues that nothing is moved on from."""
        return [self._text(queue["QueueName"]) for queue in self._of(QUEUE) if "RedrivePolicy" not in queue]

    def queues(self) -> list[QueuePlan]:
        """Those that are read."""
        plans = []
        for resource in self._of(QUEUE):
            if (redrive := resource.get("RedrivePolicy")) is not None:
                dead = self._resource(redrive["deadLetterTargetArn"])
                plans.append(QueuePlan(self._text(resource["QueueName"]), dead, int(redrive["maxReceiveCount"])))
        return plans

    def rules(self) -> list[RulePlan]:
        return [
            RulePlan(name, rule["EventPattern"], tuple(self._resource(t["Arn"]) for t in rule["Targets"]))
            for name, rule in self._named("AWS::Events::Rule")
        ]

    def _names(self, kind: str, key: str) -> Iterator[str]:
        return (self._text(resource[key]) for resource in self._of(kind))

    def _of(self, kind: str) -> Iterator[dict[str, Any]]:
        return (properties for _, properties in self._named(kind))

    def _named(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, resource in self._resources.items():
            if resource.get("Type") == kind:
                yield name, resource["Properties"]

    def _resource(self, arn: dict[str, list[str]]) -> str:
        """The queue name behind `Fn::GetAtt`."""
        return self._text(self._resources[arn["Fn::GetAtt"][0]]["Properties"]["QueueName"])

    def _text(self, value: str | dict[str, str]) -> str:
        text = value if isinstance(value, str) else value["Fn::Sub"]
        return text.replace("${Stage}", self._stage)
