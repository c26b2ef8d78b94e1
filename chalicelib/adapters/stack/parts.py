"""The parts of an installation as AWS shows them: queues, rules, functions, topics, alarms, and what rules have sent.

Calls: GetQueueUrl, GetQueueAttributes, DescribeRule, ListTargetsByRule, GetFunctionConfiguration,
GetFunctionConcurrency, ListEventSourceMappings, GetAccountSettings, GetTopicAttributes, DescribeAlarms, GetMetricData.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from chalicelib.adapters.aws.calls import asked, code_of
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.doctor.installed import (
    Alarm,
    DeployedFunction,
    EventRule,
    EventSource,
    Fired,
    Queue,
    RuleTarget,
    Topic,
)
from chalicelib.errors import DeniedError, TransientError, UpstreamError

ABSENT = "ResourceNotFoundException"
NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
RULES = "events.amazonaws.com"
HOUR = timedelta(hours=1)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def reading(what: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """For a method that reads from AWS: it raises as `asked` does. `{}` in `what` is the method's first argument."""

    def decorate(method: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(method)
        def read(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            found: _T = asked(what.format(*args[1:]), partial(method, *args, **kwargs))
            return found

        return read

    return decorate


def reading_if_there(what: str, *absent: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T | None]]:
    """As `reading`; None where AWS answers with one of the codes `absent`."""

    def decorate(method: Callable[_P, _T]) -> Callable[_P, _T | None]:
        read = reading(what)(method)

        @wraps(method)
        def read_if_there(*args: _P.args, **kwargs: _P.kwargs) -> _T | None:
            try:
                return read(*args, **kwargs)
            except UpstreamError as error:
                if code_of(error) in absent:
                    return None
                raise

        return read_if_there

    return decorate


class InstalledParts:
    """`region` None: that of the sessions. What does not exist is None."""

    def __init__(self, sessions: Sessions, region: str | None = None) -> None:
        self._client = partial(sessions.client, region=region)

    @reading_if_there("read the queue {}", *NO_QUEUE)
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

    @reading_if_there("read the rule {}", ABSENT)
    def rule(self, name: str) -> EventRule:
        """On the default bus."""
        client = self._client("events")
        said = client.describe_rule(Name=name)
        pages = client.get_paginator("list_targets_by_rule").paginate(Rule=name)
        targets = [target for page in pages for target in page.get("Targets", ())]
        return EventRule(
            said["State"],
            tuple(RuleTarget(target["Arn"], target.get("DeadLetterConfig", {}).get("Arn")) for target in targets),
            json.loads(said["EventPattern"]) if said.get("EventPattern") else None,
        )

    @reading_if_there("read the function {}", ABSENT)
    def function(self, name: str) -> DeployedFunction:
        client = self._client("lambda")
        said = client.get_function_configuration(FunctionName=name)
        return DeployedFunction(
            said.get("Runtime", ""),
            said.get("State", ""),
            said.get("LastUpdateStatus", ""),
            said.get("StateReason") or said.get("LastUpdateStatusReason", ""),
            said.get("CodeSha256", ""),
            said.get("Environment", {}).get("Variables", {}),
            client.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions"),
        )

    @reading("read what wakes the function {}")
    def sources(self, function: str) -> tuple[EventSource, ...]:
        pages = self._client("lambda").get_paginator("list_event_source_mappings").paginate(FunctionName=function)
        return tuple(
            EventSource(
                one.get("EventSourceArn", ""),
                one["State"],
                "ReportBatchItemFailures" in one.get("FunctionResponseTypes", ()),
            )
            for page in pages
            for one in page.get("EventSourceMappings", ())
        )

    @reading("read the account's limits of Lambda")
    def concurrency(self) -> tuple[int, int]:
        """Concurrent executions of the account in this Region: all, and those that no function has reserved."""
        limit = self._client("lambda").get_account_settings()["AccountLimit"]
        return limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]

    @reading_if_there("read the topic {}", "NotFound", "NotFoundException")
    def topic(self, arn: str) -> Topic:
        said = self._client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]
        return Topic(int(said.get("SubscriptionsConfirmed", 0)), int(said.get("SubscriptionsPending", 0)))

    @reading("read the alarms {}…")
    def alarms(self, prefix: str) -> tuple[Alarm, ...]:
        pages = self._client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=prefix)
        return tuple(
            Alarm(
                one["AlarmName"], one["StateValue"], one["StateUpdatedTimestamp"], acts=one.get("ActionsEnabled", True)
            )
            for page in pages
            for one in (*page.get("MetricAlarms", ()), *page.get("CompositeAlarms", ()))
        )

    @reading("read metrics")
    def fired(self, rules: Collection[str], since: datetime, now: datetime) -> dict[str, Fired]:
        """By the rule's name, counted by the hour.

        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
        """
        series = [(rule, metric) for rule in rules for metric in ("Invocations", "FailedInvocations")]
        counts: dict[tuple[str, str], dict[datetime, float]] = {one: {} for one in series}
        queries = [_sums(f"m{n}", rule, metric) for n, (rule, metric) in enumerate(series)]
        pages = self._client("cloudwatch").get_paginator("get_metric_data")
        for page in pages.paginate(MetricDataQueries=queries, StartTime=since, EndTime=now) if queries else ():
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
