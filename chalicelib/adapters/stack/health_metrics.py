"""What CloudWatch has measured of an installation: events by rule, alarms.

Calls: GetMetricData for up to 500 series in a page, DescribeAlarms by the hundred. Metrics are named by AWS:
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from chalicelib.adapters.aws.calls import aws_call, readable
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.doctor.installed import Alarm, Fired
from chalicelib.errors import DeniedError, TransientError
from chalicelib.parsers.wire.wire import Upper, read

HOUR = timedelta(hours=1)
_SENT, _FAILED = "Invocations", "FailedInvocations"
Point = tuple[datetime, float]


class _Alarm(Upper):
    alarm_name: str
    state_value: str
    state_updated_timestamp: datetime
    actions_enabled: bool = True


class _Alarms(Upper):
    metric_alarms: list[_Alarm] = []
    composite_alarms: list[_Alarm] = []


class HealthMetrics:
    """Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions) -> None:
        self._client = sessions.client("cloudwatch")

    def fired(self, rules: Collection[str], since: datetime, now: datetime) -> dict[str, Fired]:
        """By the rule's name, hour by hour."""
        points = self._points([(name, word) for name in rules for word in (_SENT, _FAILED)], since, now)
        found: dict[str, Fired] = {}
        for name, sent, failed in zip(rules, points[::2], points[1::2], strict=True):
            counted = [(at, number) for at, number in sent if number > 0]
            last = max(counted)[0] if counted else None
            found[name] = Fired(int(sum(n for _, n in counted)), last, int(sum(n for _, n in failed)))
        return found

    def alarms(self, prefix: str) -> tuple[Alarm, ...]:
        what = f"read the alarms {prefix}…"
        found: list[Alarm] = []
        with aws_call(what), readable(what):
            for page in self._client.get_paginator("describe_alarms").paginate(AlarmNamePrefix=prefix):
                said = read(_Alarms, page)
                found += [
                    Alarm(one.alarm_name, one.state_value, one.state_updated_timestamp, one.actions_enabled)
                    for one in (*said.metric_alarms, *said.composite_alarms)
                ]
        return tuple(found)

    def _points(self, series: Sequence[tuple[str, str]], start: datetime, end: datetime) -> list[list[Point]]:
        """Sums by the hour of each rule's metric in turn."""
        found: list[list[Point]] = [[] for _ in series]
        if not series:
            return found
        metrics = [_metric(name, word) for name, word in series]
        queries = [
            {"Id": f"m{n}", "MetricStat": {"Metric": metric, "Period": int(HOUR.total_seconds()), "Stat": "Sum"}}
            for n, metric in enumerate(metrics)
        ]
        wanted = {"MetricDataQueries": queries, "StartTime": start, "EndTime": end}
        with aws_call("read metrics"):
            for page in self._client.get_paginator("get_metric_data").paginate(**wanted):
                for one in page["MetricDataResults"]:
                    _refuse_unread(one)
                    found[int(one["Id"][1:])] += zip(one["Timestamps"], one["Values"], strict=True)
        return found


def _refuse_unread(said: Mapping[str, Any]) -> None:
    """One series that CloudWatch could not read comes empty in an answer that is well otherwise. Raises DeniedError,
    TransientError."""
    code = said.get("StatusCode")
    if code == "Forbidden":
        raise DeniedError("read metrics: GetMetricData: a series must not be read (Forbidden)")
    if code == "InternalError":
        raise TransientError("read metrics: GetMetricData: a series could not be read (InternalError)")


def _metric(rule: str, name: str) -> dict[str, Any]:
    return {"Namespace": "AWS/Events", "MetricName": name, "Dimensions": [{"Name": "RuleName", "Value": rule}]}
