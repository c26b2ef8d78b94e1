"""EventBridge rules with where they send to. Calls: DescribeRule and ListTargetsByRule for each.

Queues as SQS shows them. Calls: GetQueueUrl and GetQueueAttributes for each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from chalicelib.adapters.aws.calls import asked, aws_call, code_of, readable
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.doctor.installed import EventRule, Queue, RuleTarget
from chalicelib.errors import UpstreamError
from chalicelib.parsers.wire.wire import Upper, decode, read

NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
RULES = "events.amazonaws.com"


class InstalledQueues:
    """`region` None: that of the sessions. Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions, region: str | None = None) -> None:
        self._client = sessions.client("sqs", region)

    def find(self, name: str) -> Queue | None:
        """None: there is no queue of that name."""
        try:
            url = asked(f"find the queue {name}", self._client.get_queue_url, QueueName=name)["QueueUrl"]
            call = self._client.get_queue_attributes
            answer = asked(f"read the queue {name}", call, QueueUrl=url, AttributeNames=["All"])
        except UpstreamError as error:
            if code_of(error) in NO_QUEUE:
                return None
            raise
        return _queue(name, answer["Attributes"])


def _queue(name: str, said: Mapping[str, str]) -> Queue:
    redrive: Mapping[str, Any] = json.loads(said.get("RedrivePolicy") or "{}")
    numbers = ("", "NotVisible", "Delayed")
    waiting, hidden, delayed = (int(said.get(f"ApproximateNumberOfMessages{one}", 0)) for one in numbers)
    return Queue(
        name,
        said["QueueArn"],
        waiting,
        hidden,
        delayed,
        redrive.get("deadLetterTargetArn"),
        int(redrive["maxReceiveCount"]) if "maxReceiveCount" in redrive else None,
        RULES in said.get("Policy", ""),
    )


class _Dead(Upper):
    arn: str | None = None


class _Target(Upper):
    arn: str
    dead_letter_config: _Dead = msgspec.field(default_factory=_Dead)


class _Targets(Upper):
    targets: list[_Target] = []


class _Rule(Upper):
    state: str
    event_pattern: str | None = None


_PATTERN = msgspec.json.Decoder(dict[str, Any])


class InstalledRules:
    """`region` None: that of the sessions. Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions, region: str | None = None) -> None:
        self._client = sessions.client("events", region)

    def find(self, name: str) -> EventRule | None:
        """None: there is no rule of that name on the default bus."""
        what = f"read the rule {name}"
        try:
            answer = asked(what, self._client.describe_rule, Name=name)
        except UpstreamError as error:
            if code_of(error) == "ResourceNotFoundException":
                return None
            raise
        with readable(what):
            said = read(_Rule, answer)
            pattern = decode(_PATTERN, said.event_pattern.encode(), "$.EventPattern") if said.event_pattern else None
        return EventRule(name, said.state, self._targets(name), pattern)

    def _targets(self, name: str) -> tuple[RuleTarget, ...]:
        what = f"read where the rule {name} sends to"
        pages = self._client.get_paginator("list_targets_by_rule").paginate(Rule=name)
        with aws_call(what), readable(what):
            found = [target for page in pages for target in read(_Targets, page).targets]
        return tuple(RuleTarget(target.arn, target.dead_letter_config.arn) for target in found)
