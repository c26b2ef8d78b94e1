"""The account of the run, from outside: its clients, the packaged stack in it, and what can be seen of queues."""

from __future__ import annotations

import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from chalicelib.build.package import write_sums
from tests.e2e.places import ACCOUNT, REGION, ROOT_KEY, ROOT_SECRET, STAGE

STACK = f"lazaretto-{STAGE}"
VISIBILITY_SECONDS = 10
QUEUE_DEPTH = "ApproximateNumberOfMessagesVisible"
QUEUES = ("scans", "findings", "actions", "alerts", "sweeps")
UNKNOWN = ("AWS::Events::EventBusPolicy",)
PATIENCE_SECONDS = 60.0


def alter_package(package: Path, folder: Path) -> list[str]:
    """Lays into `folder` what is deployed: the zip as it is, and the template as ministack can make it. In words, what
    is different."""
    folder.mkdir()
    shutil.copyfile(package / "deployment.zip", folder / "deployment.zip")
    template = json.loads((package / "sam.json").read_text())
    told = altered(template)
    (folder / "sam.json").write_text(json.dumps(template))
    write_sums(folder)
    return told


def altered(template: dict[str, Any]) -> list[str]:
    """Makes of the packaged template the one of the run. Every difference is here; returns them in words."""
    told = []
    for name, resource in list(template["Resources"].items()):
        if resource["Type"] in UNKNOWN or _is_of_metric_math(resource):
            del template["Resources"][name]
            told.append(f"{name}: left out, ministack knows no {resource['Type']} like it")
    return told


def _is_of_metric_math(resource: dict[str, Any]) -> bool:
    return resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]


class Account:
    """`url`: ministack. Everything here is done as the account's root, by AWS's own API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = boto3.Session(ROOT_KEY, ROOT_SECRET, region_name=REGION)
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            config = Config(retries={"mode": "standard", "total_max_attempts": 2}, read_timeout=60)
            self._clients[service] = self._session.client(service, endpoint_url=self.url, config=config)
        return self._clients[service]

    # ---- the stack

    def hide_failed_messages(self, seconds: int, *queues: str) -> None:
        """A message that failed is tried again after so long, not after the minutes of the template."""
        for name in queues:
            changed = {"VisibilityTimeout": str(seconds)}
            self.client("sqs").set_queue_attributes(QueueUrl=self.queue_url(name), Attributes=changed)

    def stack(self) -> dict[str, Any]:
        """Empty: there is none."""
        found = self.client("cloudformation").list_stacks()["StackSummaries"]
        if not any(s["StackName"] == STACK and s["StackStatus"] not in _GONE for s in found):
            return {}
        stack: dict[str, Any] = self.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
        return stack

    def outputs(self) -> dict[str, str]:
        return {output["OutputKey"]: output["OutputValue"] for output in self.stack()["Outputs"]}

    def functions(self) -> dict[str, dict[str, Any]]:
        """The configuration of each function, by the name of its handler (`app.on_scans` is `on_scans`)."""
        found = self.client("lambda").list_functions()["Functions"]
        named = {f["Handler"].removeprefix("app."): f for f in found if f["FunctionName"].startswith(STACK)}
        return {"api_handler" if handler == "app" else handler: f for handler, f in named.items()}

    def callers(self) -> dict[str, str]:
        """The access keys that ministack gives the functions' processes, with whose they are."""
        return {credentials_of(f)["AWS_ACCESS_KEY_ID"]: name for name, f in self.functions().items()}

    # ---- queues

    def queue_url(self, name: str) -> str:
        """The same for every stack of the stage. There or not."""
        return f"{self.url}/{ACCOUNT}/{STACK}-{name}"

    def waiting(self, name: str) -> dict[str, int]:
        """Messages that can be received, and that are being handled."""
        words = ("", "NotVisible")
        names = [f"ApproximateNumberOfMessages{word}" for word in words]
        answer = self.client("sqs").get_queue_attributes(QueueUrl=self.queue_url(name), AttributeNames=names)
        counts = [int(answer["Attributes"][name]) for name in names]
        return dict(zip(("visible", "handled"), counts, strict=True))

    def busy(self) -> dict[str, dict[str, int]]:
        """Queues that hold messages that can be received or are being handled."""
        found = {name: self.waiting(name) for name in QUEUES}
        return {name: queue for name, queue in found.items() if queue["visible"] or queue["handled"]}

    def received(self, queue_url: str) -> list[dict[str, Any]]:
        """What lies there, taken away."""
        client, found = self.client("sqs"), []
        while messages := client.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=0, AttributeNames=["All"]
        ).get("Messages", []):
            for message in messages:
                client.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            found += messages
        return found

    def watch_queues(self) -> list[str]:
        """What CloudWatch does and ministack does not: alarms of the depth of a queue see how deep it is, and go off.
        Returns those that did, by name."""
        cloudwatch, raised = self.client("cloudwatch"), []
        for alarm in cloudwatch.describe_alarms(AlarmTypes=["MetricAlarm"])["MetricAlarms"]:
            if (alarm.get("Namespace"), alarm.get("MetricName")) != ("AWS/SQS", QUEUE_DEPTH):
                continue
            (name,) = [d["Value"] for d in alarm["Dimensions"] if d["Name"] == "QueueName"]
            depth = self.waiting(name.removeprefix(f"{STACK}-"))["visible"]
            if _crosses(depth, alarm["ComparisonOperator"], alarm["Threshold"]):
                self._raise(alarm, f"{QUEUE_DEPTH} of {name} is {depth}")
                raised.append(alarm["AlarmName"])
        return raised

    def watch_logs(self, function: str, since_ms: int) -> list[str]:
        """What CloudWatch does and ministack does not: makes metrics of lines in the embedded format. Alarms of sums
        see those of the function since then, all in one period, and go off. Returns those that did, by name."""
        cloudwatch, raised, sums = self.client("cloudwatch"), [], _sums(self.logs(function, since_ms))
        for alarm in cloudwatch.describe_alarms(AlarmTypes=["MetricAlarm"])["MetricAlarms"]:
            dimensions = frozenset((d["Name"], d["Value"]) for d in alarm.get("Dimensions", ()))
            value = sums.get((alarm.get("Namespace", ""), alarm.get("MetricName", ""), dimensions))
            if value is None or alarm.get("Statistic") != "Sum" or alarm["EvaluationPeriods"] > 1:
                continue
            if _crosses(value, alarm["ComparisonOperator"], alarm["Threshold"]):
                self._raise(alarm, f"{alarm['MetricName']} is {value:g}")
                raised.append(alarm["AlarmName"])
        return raised

    def _raise(self, alarm: dict[str, Any], why: str) -> None:
        self.client("cloudwatch").set_alarm_state(AlarmName=alarm["AlarmName"], StateValue="ALARM", StateReason=why)

    # ---- functions

    @contextmanager
    def without_right(self, function: str, action: str) -> Iterator[None]:
        """Within, the policies of the function's role do not name the action; afterwards they are as they were."""
        iam, role = self.client("iam"), self.functions()[function]["Role"].rpartition("/")[2]
        names = iam.list_role_policies(RoleName=role)["PolicyNames"]
        before = {n: iam.get_role_policy(RoleName=role, PolicyName=n)["PolicyDocument"] for n in names}
        assert any(action in _actions(s) for document in before.values() for s in document["Statement"])
        try:
            for name, document in before.items():
                _put(iam, role, name, _without(document, action))
            yield
        finally:
            for name, document in before.items():
                _put(iam, role, name, document)

    def invoke(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """`function` by its handler. Raises AssertionError where it raises."""
        name = self.functions()[function]["FunctionName"]
        answer = self.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())
        said: dict[str, Any] = json.loads(answer["Payload"].read() or b"null")
        assert "FunctionError" not in answer, said
        return said

    def logs(self, function: str, since_ms: int = 0) -> list[str]:
        """`since_ms`: of the epoch."""
        group = self.functions()[function]["LoggingConfig"]["LogGroup"]
        pages = self.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since_ms)
        return [event["message"] for page in pages for event in page["events"]]


Metric = tuple[str, str, frozenset[tuple[str, str]]]
"""Namespace, name, dimensions."""


def _sums(lines: list[str]) -> dict[Metric, float]:
    """Of each metric that the lines have in the embedded format of CloudWatch."""
    sums: dict[Metric, float] = defaultdict(float)
    for line in lines:
        if not line.startswith('{"_aws":'):
            continue
        said = json.loads(line)
        for directive in said["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = frozenset((name, said[name]) for name in names)
                for metric in directive["Metrics"]:
                    sums[directive["Namespace"], metric["Name"], dimensions] += sum(said[metric["Name"]])
    return sums


def _actions(statement: dict[str, Any]) -> list[str]:
    actions = statement["Action"]
    return actions if isinstance(actions, list) else [actions]


def _without(document: dict[str, Any], action: str) -> dict[str, Any]:
    left = [{**s, "Action": [a for a in _actions(s) if a != action]} for s in document["Statement"]]
    return {**document, "Statement": [s for s in left if s["Action"]]}


def _put(iam: Any, role: str, name: str, document: dict[str, Any]) -> None:
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))


def _crosses(value: float, operator: str, threshold: float) -> bool:
    compare = {"GreaterThanOrEqualToThreshold": value >= threshold, "GreaterThanThreshold": value > threshold}
    return compare[operator]


def eventually(look: Callable[[], Any], holds: Callable[[Any], object], seconds: float = PATIENCE_SECONDS) -> Any:
    """What was seen when it held. Raises AssertionError with what was seen last."""
    end = time.monotonic() + seconds
    while not holds(seen := look()):
        assert time.monotonic() < end, f"not within {seconds:g} s; seen last: {seen}"
        time.sleep(0.2)
    return seen


_GONE = ("DELETE_COMPLETE",)


def credentials_of(function: dict[str, Any]) -> dict[str, str]:
    """As ministack makes them for the processes of a function (core/lambda_runtime.py): one for each function and role.
    They are known to it once it has started such a process."""
    digest = sha256(f"{function['FunctionArn']}:{function['Role']}".encode()).hexdigest()
    return {
        "AWS_ACCESS_KEY_ID": f"ASIA{digest[:16].upper()}",
        "AWS_SECRET_ACCESS_KEY": sha256(f"secret:{digest}".encode()).hexdigest(),
        "AWS_SESSION_TOKEN": sha256(f"token:{digest}".encode()).hexdigest(),
    }
