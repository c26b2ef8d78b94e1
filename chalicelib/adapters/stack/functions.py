"""A deployed installation from outside: its Lambda functions, its API, and what CloudWatch has measured.

Calls: GetFunctionConfiguration, GetFunctionConcurrency and ListEventSourceMappings for each function, one
GetAccountSettings; GetMetricData for up to 500 series a page, DescribeAlarms by the hundred. The API is asked once
without a signature, which it must refuse, and once signed for `execute-api` with the session's credentials; no redirect
is followed. AWS names the metrics: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError

from chalicelib.adapters.aws.calls import asked, aws_call, code_of, readable
from chalicelib.adapters.aws.sessions import USER_AGENT, Sessions
from chalicelib.adapters.channels.secrets import NoRedirect
from chalicelib.domain.doctor.installed import Alarm, DeployedFunction, EventSource, Fired
from chalicelib.errors import DeniedError, TransientError, UpstreamError
from chalicelib.parsers.wire.wire import Upper, read


class _Environment(Upper):
    variables: dict[str, str] = {}


class _Function(Upper):
    function_name: str
    function_arn: str
    role: str
    code_sha256: str = ""
    runtime: str = ""
    state: str = ""
    last_update_status: str = ""
    state_reason: str = ""
    last_update_status_reason: str = ""
    environment: _Environment = msgspec.field(default_factory=_Environment)


class _Concurrency(Upper):
    reserved_concurrent_executions: int | None = None


class _Mapping(Upper):
    state: str
    event_source_arn: str = ""
    function_response_types: list[str] = []


class _Mappings(Upper):
    event_source_mappings: list[_Mapping] = []


class _Limit(Upper):
    concurrent_executions: int
    unreserved_concurrent_executions: int


class _Account(Upper):
    account_limit: _Limit


class InstalledFunctions:
    """Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions) -> None:
        self._client = sessions.client("lambda")

    def find(self, name: str) -> DeployedFunction | None:
        """None: there is no function of that name."""
        what = f"read the function {name}"
        try:
            answer = asked(what, self._client.get_function_configuration, FunctionName=name)
        except UpstreamError as error:
            if code_of(error) == "ResourceNotFoundException":
                return None
            raise
        concurrency = asked(what, self._client.get_function_concurrency, FunctionName=name)
        with readable(what):
            said = read(_Function, answer)
            reserved = read(_Concurrency, concurrency).reserved_concurrent_executions
        return DeployedFunction(
            said.function_name,
            said.function_arn,
            said.role,
            said.runtime,
            said.state,
            said.last_update_status,
            said.state_reason or said.last_update_status_reason,
            said.code_sha256,
            said.environment.variables,
            reserved,
        )

    def sources(self, name: str) -> tuple[EventSource, ...]:
        what = f"read what wakes the function {name}"
        pages = self._client.get_paginator("list_event_source_mappings").paginate(FunctionName=name)
        with aws_call(what), readable(what):
            found = [one for page in pages for one in read(_Mappings, page).event_source_mappings]
        return tuple(
            EventSource(one.event_source_arn, one.state, "ReportBatchItemFailures" in one.function_response_types)
            for one in found
        )

    def room(self) -> tuple[int, int]:
        """Executions at once that the account may have in this Region, and those that no function has reserved."""
        what = "read the account's limits of Lambda"
        answer = asked(what, self._client.get_account_settings)
        with readable(what):
            limit = read(_Account, answer).account_limit
        return limit.concurrent_executions, limit.unreserved_concurrent_executions


TIMEOUT_SECONDS = 20
MOST_BYTES = 64 * 1024
PATH = "healthz"


class ApiProbe:
    """`url` ends in a slash or not. Raises UpstreamError for what is no https address of an API Gateway."""

    def __init__(self, sessions: Sessions, url: str, *, local: bool = False) -> None:
        parts = urlsplit(url)
        if not local and (parts.scheme != "https" or ".execute-api." not in (parts.hostname or "")):
            raise UpstreamError("the address of the API is none of API Gateway")
        self._sessions, self._url = sessions, f"{url.rstrip('/')}/{PATH}"
        self._opener = urllib.request.build_opener(NoRedirect)

    def unsigned(self) -> int:
        """The status. Raises UpstreamError where nothing answers."""
        return self._ask({})[0]

    def signed(self) -> tuple[int, str | None]:
        """The status, and the version that answers; None: it does not say. Raises DeniedError, UpstreamError."""
        status, body = self._ask(self._signature())
        try:
            version = json.loads(body).get("version")
        except (ValueError, AttributeError):
            version = None
        return status, version if isinstance(version, str) else None

    def _signature(self) -> dict[str, str]:
        try:
            credentials = self._sessions.session.get_credentials()
            if credentials is None:
                raise DeniedError("no AWS credentials to sign with")
            request = AWSRequest("GET", self._url)
            region = self._sessions.session.region_name
            SigV4Auth(credentials.get_frozen_credentials(), "execute-api", region).add_auth(request)
        except BotoCoreError as error:
            raise DeniedError(f"cannot sign: {error}") from error
        return dict(request.headers.items())

    def _ask(self, headers: dict[str, str]) -> tuple[int, bytes]:
        said = {"Accept": "application/json", "User-Agent": USER_AGENT, **headers}
        request = urllib.request.Request(self._url, headers=said)  # noqa: S310 - https, or a test's own server
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return answer.status, answer.read(MOST_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(MOST_BYTES)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, OSError) as error:
            raise UpstreamError(f"the API cannot be reached: {getattr(error, 'reason', None) or error}") from error


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
