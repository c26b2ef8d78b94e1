"""The parts of an installation as AWS shows them: queues, rules, functions, topics, alarms, and what rules sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, overload

import msgspec

from chalicelib.adapters.aws.calls import asked, unless
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.doctor.installed import EventRule, Queue, RuleTarget
from chalicelib.errors import DeniedError, TransientError

ABSENT = "ResourceNotFoundException"
NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
RULES = "events.amazonaws.com"
HOUR = timedelta(hours=1)
_P = ParamSpec("_P")
_T = TypeVar("_T")


@overload
def reading(what: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]: ...
@overload
def reading(what: str, absent: str, /, *more: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T | None]]: ...
def reading(what: str, *absent: str) -> Callable[[Callable[_P, Any]], Callable[_P, Any]]:
    """For a method that asks AWS: it raises as `asked` does, and returns None where AWS answers with one of the codes
    `absent`. `{}` in `what` is the method's first argument."""

    def decorate(method: Callable[_P, Any]) -> Callable[_P, Any]:
        @wraps(method)
        def read(*args: _P.args, **kwargs: _P.kwargs) -> Any:
            return unless(absent, lambda: asked(what.format(*args[1:]), partial(method, *args, **kwargs)))

        return read

    return decorate


class AwsPart(msgspec.Struct, frozen=True, rename="pascal"):
    """A part as AWS answers it: the fields have its names."""


class DeployedFunction(AwsPart, frozen=True):
    """`code_sha256`: the hash of its bundle. `reserved_concurrent_executions` None: it shares the account's."""

    runtime: str = ""
    state: str = ""
    state_reason: str = ""
    last_update_status: str = ""
    last_update_status_reason: str = ""
    code_sha256: str = ""
    environment: Mapping[str, Any] = {}
    reserved_concurrent_executions: int | None = None


class EventSource(AwsPart, frozen=True):
    """An event source mapping of a function."""

    state: str
    event_source_arn: str = ""
    function_response_types: tuple[str, ...] = ()


class Topic(AwsPart, frozen=True):
    """Numbers of subscriptions."""

    subscriptions_confirmed: int = 0
    subscriptions_pending: int = 0


class Alarm(AwsPart, frozen=True):
    """`state_value`: OK, ALARM or INSUFFICIENT_DATA."""

    alarm_name: str
    state_value: str
    state_updated_timestamp: datetime
    actions_enabled: bool = True


class ConcurrencyLimit(AwsPart, frozen=True):
    """Of the account in a Region: all, and those that no function has reserved."""

    concurrent_executions: int
    unreserved_concurrent_executions: int


class Fired(msgspec.Struct, frozen=True):
    """How often a rule has sent an event on, the last hour it did (None: never), and how often it failed to."""

    times: int = 0
    last_at: datetime | None = None
    failed: int = 0


class InstalledParts:
    """`region` None: that of the sessions. What does not exist is None."""

    def __init__(self, sessions: Sessions, region: str | None = None) -> None:
        self._client = partial(sessions.client, region=region)

    @reading("read the queue {}", *NO_QUEUE)
    def queue(self, name: str) -> Queue:
        client = self._client("sqs")
        url = client.get_queue_url(QueueName=name)["QueueUrl"]
        said = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        redrive = json.loads(said.get("RedrivePolicy") or "{}")
        counts = (said.get(f"ApproximateNumberOfMessages{state}", 0) for state in ("", "NotVisible", "Delayed"))
        return Queue(
            sum(map(int, counts)),
            redrive.get("deadLetterTargetArn"),
            int(redrive.get("maxReceiveCount", 0)),
            RULES in said.get("Policy", ""),
        )

    @reading("read the rule {}", ABSENT)
    def rule(self, name: str) -> EventRule:
        """On the default bus."""
        client = self._client("events")
        said = client.describe_rule(Name=name)
        pages = client.get_paginator("list_targets_by_rule").paginate(Rule=name)
        targets = [
            RuleTarget(target["Arn"], target.get("DeadLetterConfig", {}).get("Arn"))
            for page in pages
            for target in page.get("Targets", ())
        ]
        return EventRule(said["State"], tuple(targets), json.loads(said.get("EventPattern") or "null"))

    @reading("read the function {}", ABSENT)
    def function(self, name: str) -> DeployedFunction:
        client = self._client("lambda")
        said = client.get_function_configuration(FunctionName=name)
        return msgspec.convert({**said, **client.get_function_concurrency(FunctionName=name)}, DeployedFunction)

    @reading("read what wakes the function {}")
    def sources(self, function: str) -> tuple[EventSource, ...]:
        pages = self._client("lambda").get_paginator("list_event_source_mappings").paginate(FunctionName=function)
        return msgspec.convert(pages.build_full_result().get("EventSourceMappings", ()), tuple[EventSource, ...])

    @reading("read the account's limits of Lambda")
    def concurrency(self) -> ConcurrencyLimit:
        return msgspec.convert(self._client("lambda").get_account_settings()["AccountLimit"], ConcurrencyLimit)

    @reading("read the topic {}", "NotFound", "NotFoundException")
    def topic(self, arn: str) -> Topic:
        return msgspec.convert(
            self._client("sns").get_topic_attributes(TopicArn=arn)["Attributes"], Topic, strict=False
        )

    @reading("read the alarms {}…")
    def alarms(self, prefix: str) -> tuple[Alarm, ...]:
        pages = self._client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=prefix)
        said = pages.build_full_result()
        return msgspec.convert([*said.get("MetricAlarms", ()), *said.get("CompositeAlarms", ())], tuple[Alarm, ...])

    @reading("read metrics")
    def fired(self, rules: Collection[str], since: datetime, now: datetime) -> dict[str, Fired]:
        """By the rule's name, counted by the hour.

        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
        """
        series = [(rule, metric) for rule in rules for metric in ("Invocations", "FailedInvocations")]
        counts: dict[tuple[str, str], dict[datetime, float]] = {one: {} for one in series}
        queries = [_sums(f"m{n}", rule, metric) for n, (rule, metric) in enumerate(series)]
        pages = self._client("cloudwatch").get_paginator("get_metric_data")
        for page in pages.paginate(MetricDataQueries=queries, StartTime=since, EndTime=now):
            for one in page["MetricDataResults"]:
                _refuse_unread(one.get("StatusCode"))
                counts[series[int(one["Id"][1:])]] |= zip(one["Timestamps"], one["Values"], strict=True)
        return {rule: _fired(counts[rule, "Invocations"], counts[rule, "FailedInvocations"]) for rule in rules}


def _sums(id_: str, rule: str, metric: str) -> dict[str, Any]:
    named = {"Namespace": "AWS/Events", "MetricName": metric, "Dimensions": [{"Name": "RuleName", "Value": rule}]}
    return {"Id": id_, "MetricStat": {"Metric": named, "Period": int(HOUR.total_seconds()), "Stat": "Sum"}}


def _fired(sent: dict[datetime, float], failed: dict[datetime, float]) -> Fired:
    last_at = max((at for at, number in sent.items() if number > 0), default=None)
    return Fired(int(sum(sent.values())), last_at, int(sum(failed.values())))


def _refuse_unread(code: str | None) -> None:
    """CloudWatch answers a series that it cannot read as an empty one, within an answer that succeeds."""
    if code == "Forbidden":
        raise DeniedError("read metrics: GetMetricData: a series must not be read (Forbidden)")
    if code == "InternalError":
        raise TransientError("read metrics: GetMetricData: a series could not be read (InternalError)")
