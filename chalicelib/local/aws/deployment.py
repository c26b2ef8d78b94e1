"""What the local stack deploys: queues and rules of the deployment template, and the environment of the functions.

The template (`.chalice/resources.json`) lies beside app.py in a checkout; it is not part of the installed package.
Credentials are invented, profiles and files are disabled, and every endpoint is the local AWS: a run must never reach
the real AWS that its user has configured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.domain.channels.channel import WITH_SECRET
from chalicelib.errors import SettingsError

ACCOUNT = "123456789012"
QUEUE = "AWS::SQS::Queue"
TEMPLATE = Path(__file__).parents[3] / ".chalice" / "resources.json"
STAGE = "dev"
TOKEN_HASHES = "LAZARETTO_ADMISSION_TOKEN_HASHES"  # noqa: S105 - a name
"""The one setting that is passed on, so that the rotation of a token can be tried."""
_REMOVED = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_ROLE_ARN")
_REMOVED_PREFIXES = ("AWS_ENDPOINT_URL", "AWS_IGNORE_CONFIGURED_ENDPOINT", "AWS_CONTAINER_CREDENTIALS", "LAZARETTO_")


class QueuePlan(msgspec.Struct, frozen=True):
    """`dead`: the queue that takes a message after `receives` receives."""

    name: str
    dead: str
    receives: int


class RulePlan(msgspec.Struct, frozen=True):
    """An EventBridge rule: events that match `pattern` go to `queues`."""

    name: str
    pattern: dict[str, Any]
    queues: tuple[str, ...]


class Template:
    """Raises SettingsError for a missing or unreadable template."""

    def __init__(self, stage: str, path: Path = TEMPLATE) -> None:
        try:
            self._resources: dict[str, dict[str, Any]] = json.loads(path.read_text())["Resources"]
        except (OSError, ValueError, KeyError) as error:
            raise SettingsError([f"the local stack needs {path.name} beside app.py: {type(error).__name__}"]) from error
        self._stage = stage
        self.folder = path.parents[1]

    @property
    def table(self) -> str:
        return self._text(next(self._of("AWS::DynamoDB::Table"))["TableName"])

    @property
    def topic(self) -> str:
        return self._text(self._resources["AlertTopic"]["Properties"]["TopicName"])

    def dead_queues(self) -> list[str]:
        """The queues without a redrive policy of their own."""
        return [self._text(queue["QueueName"]) for queue in self._of(QUEUE) if "RedrivePolicy" not in queue]

    def queues(self) -> list[QueuePlan]:
        """The queues that functions read."""
        redriven = ((self._text(q["QueueName"]), q["RedrivePolicy"]) for q in self._of(QUEUE) if "RedrivePolicy" in q)
        return [
            QueuePlan(name, self._resource(redrive["deadLetterTargetArn"]), int(redrive["maxReceiveCount"]))
            for name, redrive in redriven
        ]

    def rules(self) -> list[RulePlan]:
        return [
            RulePlan(name, rule["EventPattern"], tuple(self._resource(t["Arn"]) for t in rule["Targets"]))
            for name, rule in self._named("AWS::Events::Rule")
        ]

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


def secret_name(channel: str) -> str:
    return f"lazaretto/{channel}"


def aws_variables(url: str, region: str) -> dict[str, str]:
    """What a program needs to call the local AWS; `lazaretto run` prints them as exports."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
    }


def app_variables(template: Template, url: str, region: str, settle_seconds: float, api_url: str) -> dict[str, str]:
    """What a deployment sets for the functions."""

    def queue(name: str) -> str:
        return f"{url}/{ACCOUNT}/lazaretto-{STAGE}-{name}"

    return {
        "LAZARETTO_STAGE": STAGE,
        "LAZARETTO_TABLE": template.table,
        "LAZARETTO_QUEUE_SCANS": queue("scans"),
        "LAZARETTO_QUEUE_ACTIONS": queue("actions"),
        "LAZARETTO_QUEUE_ALERTS": queue("alerts"),
        "LAZARETTO_QUEUE_SWEEPS": queue("sweeps"),
        "LAZARETTO_SETTLE_SECONDS": f"{settle_seconds:g}",
        "LAZARETTO_TOPIC_ARN": f"arn:aws:sns:{region}:{ACCOUNT}:{template.topic}",
        **{f"LAZARETTO_{kind.setting}": f"secretsmanager:{secret_name(kind.name)}" for kind in WITH_SECRET},
        **{f"LAZARETTO_{kind.local_setting}": "1" for kind in WITH_SECRET},
        "LAZARETTO_CURSOR_SECRETS": "local-stack-only",
        "LAZARETTO_API_URL": api_url,
        "LAZARETTO_ROLE_ARNS": f"arn:aws:iam::{ACCOUNT}:role/lazaretto-{STAGE}-*",
        TOKEN_HASHES: os.environ.get(TOKEN_HASHES, ""),
        "POWERTOOLS_METRICS_DISABLED": "true",
        "POWERTOOLS_LOG_LEVEL": os.environ.get("POWERTOOLS_LOG_LEVEL", "ERROR"),
    }


@contextmanager
def replaced_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets `variables` and removes what could lead to the real AWS; restores the environment afterwards."""
    before = dict(os.environ)
    for name in before:
        if name in _REMOVED or name.startswith(_REMOVED_PREFIXES):
            del os.environ[name]
    local = {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "MOTO_ALLOW_NONEXISTENT_REGION": "true",
    }
    os.environ.update({**local, **variables})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
