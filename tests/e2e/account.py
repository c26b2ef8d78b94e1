"""The account of the run, from outside: its clients, the packaged stack in it, and what can be seen of queues."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.e2e.places import PACKAGE, REGION, ROOT_KEY, ROOT_SECRET

STACK = "lazaretto-e2e"
BUCKET = "artefacts"
VISIBILITY_SECONDS = 10
QUEUE_DEPTH = "ApproximateNumberOfMessagesVisible"
QUEUES = ("scans", "findings", "actions", "sweeps")
UNKNOWN = ("AWS::Events::EventBusPolicy",)
PATIENCE_SECONDS = 60.0
CAPABILITIES = ("CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND")


def altered(template: dict[str, Any]) -> list[str]:
    """Makes of the packaged template the one of the run. Every difference is here; returns them in words."""
    told = []
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            properties["CodeUri"] = f"s3://{BUCKET}/deployment.zip"
            told.append(f"{name}: CodeUri is where the zip was uploaded, as `aws cloudformation package` writes it")
        if resource["Type"] == "AWS::SQS::Queue" and "RedrivePolicy" in properties:
            told.append(f"{name}: VisibilityTimeout {properties['VisibilityTimeout']} s is {VISIBILITY_SECONDS} s")
            properties["VisibilityTimeout"] = VISIBILITY_SECONDS
    for name, resource in list(template["Resources"].items()):
        if resource["Type"] in UNKNOWN or _is_of_metric_math(resource):
            del template["Resources"][name]
            told.append(f"{name}: left out, ministack knows no {resource['Type']} like it")
    secrets = {n for n, r in template["Resources"].items() if r["Type"] == "AWS::SecretsManager::Secret"}
    template.update(_by_arn(template, secrets))
    told += [f"{n}: by Ref AWS gives its ARN, ministack its name: asked for with Fn::GetAtt" for n in sorted(secrets)]
    return told


def _is_of_metric_math(resource: dict[str, Any]) -> bool:
    return resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]


def _by_arn(node: Any, secrets: set[str]) -> Any:
    if isinstance(node, dict):
        if len(node) == 1 and node.get("Ref") in secrets:
            return {"Fn::GetAtt": [node["Ref"], "Id"]}
        return {key: _by_arn(value, secrets) for key, value in node.items()}
    return [_by_arn(one, secrets) for one in node] if isinstance(node, list) else node


class Account:
    """`url`: ministack. Everything here is done as the account's root, by AWS's own API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = boto3.Session(ROOT_KEY, ROOT_SECRET, region_name=REGION)
        self.parameters: dict[str, str] = {}
        self.differences: list[str] = []
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            config = Config(retries={"mode": "standard", "total_max_attempts": 2}, read_timeout=60)
            self._clients[service] = self._session.client(service, endpoint_url=self.url, config=config)
        return self._clients[service]

    # ---- the stack

    def upload(self, package: Path = PACKAGE) -> None:
        s3 = self.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket=BUCKET, Key="deployment.zip", Body=(package / "deployment.zip").read_bytes())
        template = json.loads((package / "sam.json").read_text())
        self.differences = altered(template)
        s3.put_object(Bucket=BUCKET, Key="template.json", Body=json.dumps(template).encode())

    def deploy(self, **parameters: str) -> dict[str, Any]:
        """By a change set of the uploaded template, as `aws cloudformation deploy` does. The stack as it then is.

        Raises AssertionError with the events where it fails; LookupError where the change set holds no change.
        """
        formation = self.client("cloudformation")
        self.parameters |= parameters
        named = f"change-{time.monotonic_ns()}"
        formation.create_change_set(
            StackName=STACK,
            ChangeSetName=named,
            ChangeSetType="UPDATE" if self.stack() else "CREATE",
            TemplateURL=f"{self.url}/{BUCKET}/template.json",
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in self.parameters.items()],
            Capabilities=list(CAPABILITIES),
        )
        made = eventually(
            lambda: formation.describe_change_set(StackName=STACK, ChangeSetName=named),
            lambda change: change["Status"] in ("CREATE_COMPLETE", "FAILED"),
        )
        if made["Status"] == "FAILED":
            raise LookupError(made["StatusReason"])
        formation.execute_change_set(StackName=STACK, ChangeSetName=named)
        stack = eventually(self.stack, lambda stack: "PROGRESS" not in stack["StackStatus"])
        if stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            pages = formation.get_paginator("describe_stack_events").paginate(StackName=STACK)
            events = [event for page in pages for event in page["StackEvents"]]
            failed = [(e["LogicalResourceId"], e.get("ResourceStatusReason")) for e in events if _failed(e)]
            raise AssertionError(f"{stack['StackStatus']}: {failed}")
        return stack

    def delete(self) -> None:
        self.client("cloudformation").delete_stack(StackName=STACK)
        eventually(self.stack, lambda stack: not stack)

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

    @cache  # noqa: B019 - as long as the run
    def queue_url(self, name: str) -> str:
        return str(self.client("sqs").get_queue_url(QueueName=f"lazaretto-dev-{name}")["QueueUrl"])

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
            depth = self.waiting(name.removeprefix("lazaretto-dev-"))["visible"]
            if _crosses(depth, alarm["ComparisonOperator"], alarm["Threshold"]):
                reason = f"{QUEUE_DEPTH} of {name} is {depth}"
                cloudwatch.set_alarm_state(AlarmName=alarm["AlarmName"], StateValue="ALARM", StateReason=reason)
                raised.append(alarm["AlarmName"])
        return raised

    def invoke(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """`function` by its handler. Raises AssertionError where it raises."""
        name = self.functions()[function]["FunctionName"]
        answer = self.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())
        said: dict[str, Any] = json.loads(answer["Payload"].read() or b"null")
        assert "FunctionError" not in answer, said
        return said

    def logs(self, function: str) -> list[str]:
        group = self.functions()[function]["LoggingConfig"]["LogGroup"]
        pages = self.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
        return [event["message"] for page in pages for event in page["events"]]


def _failed(event: dict[str, Any]) -> bool:
    return "FAILED" in event["ResourceStatus"] or "ROLLBACK" in event["ResourceStatus"]


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
