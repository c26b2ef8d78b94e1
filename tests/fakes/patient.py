"""An installation that is sound, in an account in memory: what moto has is moto's, the rest is answered from here.

A test makes something of it ill: `answers` by `service.Operation` take the call's parameters and return what AWS would,
or raise. What nobody answers is moto's, and fails where moto cannot do it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.cli.deploy.spoke import spoke_template
from tests.fakes.iam import listed
from tests.fakes.moto_aws import mock_aws

CHALICE = Path(__file__).parents[2] / ".chalice"
TEMPLATE = json.loads((CHALICE / "resources.json").read_text())
ACCOUNT, REGION, STAGE = "123456789012", "eu-west-1", "prod"
NAME = f"lazaretto-{STAGE}"
FUNCTIONS = {
    "OnScans": "on_scans",
    "OnFindings": "on_findings",
    "OnActions": "on_actions",
    "OnSweeps": "on_sweeps",
    "Clock": "clock",
    "APIHandler": "api_handler",
}
ROLES = {"APIHandler": "ApiHandlerRole"}
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:{NAME}-alerts"
STACK = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{NAME}/1"
SPOKE_NAME = f"{NAME}-spoke"
SPOKE_STACK = f"arn:aws:cloudformation:eu-central-1:{ACCOUNT}:stack/{SPOKE_NAME}/1"
KEYS = "dynamodb:LeadingKeys"
UNNAMED = ("AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")
KINDS = {"AWS::Serverless::Function": "AWS::Lambda::Function"}
Answer = Callable[[dict[str, Any]], dict[str, Any]]


def template() -> dict[str, Any]:
    """What CloudFormation has processed: with a role for each function, made with its policy."""
    resources = {n: dict(r) for n, r in TEMPLATE["Resources"].items()}
    for logical, function in FUNCTIONS.items():
        resources[logical] = {"Type": "AWS::Lambda::Function", "Properties": {}}
        document = json.loads((CHALICE / f"policy-{function}.json").read_text())
        policy = {"PolicyName": "own", "PolicyDocument": document}
        resources[role_of(logical)] = {"Type": "AWS::IAM::Role", "Properties": {"Policies": [policy]}}
    resources["ClockClockEvent"] = {"Type": "AWS::Events::Rule", "Properties": {}}
    resources["RestAPI"] = {"Type": "AWS::ApiGateway::RestApi", "Properties": {}}
    return {**TEMPLATE, "Resources": resources}


def role_of(logical: str) -> str:
    return ROLES.get(logical, f"{logical}Role")


def physical(logical: str, kind: str) -> str:
    match kind:
        case "AWS::SQS::Queue":
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{queue_of(logical)}"
        case "AWS::CloudWatch::Alarm":
            return str(TEMPLATE["Resources"][logical]["Properties"]["AlarmName"]["Fn::Sub"]).replace("${Stage}", STAGE)
        case "AWS::SNS::Topic":
            return TOPIC if logical == "AlertTopic" else f"arn:aws:sns:{REGION}:{ACCOUNT}:{NAME}-alarms"
        case "AWS::DynamoDB::Table":
            return NAME
        case "AWS::SecretsManager::Secret":
            return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:cursor-a1B2c3"
        case "AWS::IAM::ManagedPolicy":
            return f"arn:aws:iam::{ACCOUNT}:policy/{logical}"
    return f"{NAME}-{logical}"


def queue_of(logical: str) -> str:
    return str(TEMPLATE["Resources"][logical]["Properties"]["QueueName"]["Fn::Sub"]).replace("${Stage}", STAGE)


def resource(name: str) -> str:
    """The ARN of a queue."""
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{NAME}-{name}"


def environment() -> dict[str, str]:
    """Of the functions, as the template sets it."""
    queue = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{NAME}"
    return {
        "LAZARETTO_STAGE": STAGE,
        "LAZARETTO_TABLE": NAME,
        "LAZARETTO_QUEUE_SCANS": f"{queue}-scans",
        "LAZARETTO_QUEUE_ACTIONS": f"{queue}-actions",
        "LAZARETTO_QUEUE_SWEEPS": f"{queue}-sweeps",
        "LAZARETTO_TOPIC_ARN": TOPIC,
        "LAZARETTO_CURSOR_SECRET": "ssm:cursor",
        "LAZARETTO_ROLE_ARNS": f"arn:aws:iam::{ACCOUNT}:role/{NAME}-OnScansRole",
    }


def refused(operation: str, code: str = "AccessDenied", status: int = 403) -> ClientError:
    said = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(said, operation)  # type: ignore[arg-type]


@cache
def sessions() -> Sessions:
    """The same for all: to make the clients of fifteen services takes seconds."""
    return Sessions(session=boto3.Session("x", "x", region_name=REGION))


class Patient:
    """`sessions` reach it. `stack` None: there is none; `silent`: rules that have heard nothing."""

    def __init__(self) -> None:
        self.sessions = sessions()
        self.now = datetime.now(UTC)
        self.stack: dict[str, Any] | None = {"StackStatus": "UPDATE_COMPLETE", "EnableTerminationProtection": True}
        self.parameters: dict[str, str] = {n: str(p["Default"]) for n, p in TEMPLATE["Parameters"].items()}
        self.environment = environment()
        self.silent: set[str] = set()
        self.spoke: dict[str, Any] = {}
        self.spoke_names: dict[str, str] = {}
        self.spoke_outputs: dict[str, str] = {}
        self.subscribed = 1
        self.calls: list[str] = []
        template_ = self.template = template()
        self.names = {
            n: physical(n, r["Type"])
            for n, r in template_["Resources"].items()
            if "Condition" not in r and r["Type"] not in UNNAMED
        }
        self.answers: dict[str, Answer] = {
            "sts.GetCallerIdentity": self._caller,
            "cloudformation.DescribeStacks": self._stacks,
            "cloudformation.ListStackResources": self._resources,
            "cloudformation.GetTemplate": self._template,
            "lambda.GetFunctionConfiguration": self._function,
            "lambda.GetFunctionConcurrency": lambda asked: {},
            "lambda.ListEventSourceMappings": self._mappings,
            "lambda.GetAccountSettings": lambda asked: {
                "AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}
            },
            "iam.SimulatePrincipalPolicy": self._simulated,
            "iam.GetRole": lambda asked: {"Role": {"Arn": f"arn:aws:iam::{ACCOUNT}:role/{asked['RoleName']}"}},
            "cloudwatch.DescribeAlarms": lambda asked: {
                "MetricAlarms": [self.alarm(name) for n, name in self.names.items() if n.endswith("Alarm")]
            },
            "cloudwatch.GetMetricData": self._metrics,
            "cloudtrail.DescribeTrails": lambda asked: {"trailList": [{"Name": "all", "TrailARN": "arn:trail"}]},
            "cloudtrail.GetTrailStatus": lambda asked: {"IsLogging": True},
            "cloudtrail.GetEventSelectors": lambda asked: {
                "EventSelectors": [{"IncludeManagementEvents": True, "ReadWriteType": "All"}]
            },
            "sns.GetTopicAttributes": lambda asked: {
                "Attributes": {"SubscriptionsConfirmed": str(self.subscribed), "SubscriptionsPending": "0"}
            },
            "ecr.GetAccountSetting": lambda asked: {"name": asked["name"], "value": "AWS_NATIVE"},
            "ecr.GetRegistryScanningConfiguration": lambda asked: scanning("BASIC"),
            "ecr.ListPullTimeUpdateExclusions": lambda asked: {
                "pullTimeUpdateExclusions": [self.environment["LAZARETTO_ROLE_ARNS"]]
            },
            "inspector2.BatchGetAccountStatus": lambda asked: inspected("ENABLED"),
        }

    def build(self) -> None:
        """What moto holds."""
        dynamodb, sqs = self.sessions.client("dynamodb"), self.sessions.client("sqs")
        create_table(dynamodb, NAME)
        ttl = TEMPLATE["Resources"]["Table"]["Properties"]["TimeToLiveSpecification"]
        dynamodb.update_time_to_live(TableName=NAME, TimeToLiveSpecification=ttl)
        recovery = {"PointInTimeRecoveryEnabled": True}
        dynamodb.update_continuous_backups(TableName=NAME, PointInTimeRecoverySpecification=recovery)
        dynamodb.update_table(TableName=NAME, DeletionProtectionEnabled=True)
        for name in ("scans", "findings", "actions", "sweeps", "clock"):
            sqs.create_queue(QueueName=f"{NAME}-{name}-dead")
        for name in ("scans", "findings", "actions", "sweeps"):
            redrive = json.dumps({"deadLetterTargetArn": resource(f"{name}-dead"), "maxReceiveCount": 5})
            statement = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}}
            policy = json.dumps({"Statement": [statement | {"Action": "sqs:SendMessage", "Resource": resource(name)}]})
            sqs.create_queue(QueueName=f"{NAME}-{name}", Attributes={"RedrivePolicy": redrive, "Policy": policy})
        sns = self.sessions.client("sns")
        sns.create_topic(Name=f"{NAME}-alerts")
        sns.subscribe(TopicArn=TOPIC, Protocol="sqs", Endpoint=resource("clock-dead"))
        self._build_rules()

    def _build_rules(self) -> None:
        events = self.sessions.client("events")
        for logical, made in self.template["Resources"].items():
            if made["Type"] != "AWS::Events::Rule":
                continue
            name = self.names[logical]
            queue = "findings" if logical == "FindingRule" else "scans"
            target = {"Id": "1", "Arn": resource(queue), "DeadLetterConfig": {"Arn": resource(f"{queue}-dead")}}
            if logical == "ClockClockEvent":
                arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{NAME}-Clock"
                target |= {"Arn": arn, "DeadLetterConfig": {"Arn": resource("clock-dead")}}
            heard = made["Properties"].get("EventPattern")
            when = {"EventPattern": json.dumps(heard)} if heard else {"ScheduleExpression": "rate(5 minutes)"}
            events.put_rule(Name=name, **when)
            events.put_targets(Rule=name, Targets=[target])

    def add_spoke(self, region: str) -> None:
        """In our own account, as it is deployed."""
        bus = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"
        events, sqs = self.sessions.client("events", region), self.sessions.client("sqs", region)
        url = sqs.create_queue(QueueName=f"{SPOKE_NAME}-dead")["QueueUrl"]
        target = {"Id": "hub", "Arn": bus, "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/forward"}
        target |= {"DeadLetterConfig": {"Arn": f"arn:aws:sqs:{region}:{ACCOUNT}:{SPOKE_NAME}-dead"}}
        self.spoke = spoke_template(STAGE)
        self.spoke_names = {"DeadQueue": url}
        for logical, made in self.spoke["Resources"].items():
            if made["Type"] == "AWS::Events::Rule":
                name = self.spoke_names[logical] = f"{SPOKE_NAME}-{logical}"
                events.put_rule(Name=name, EventPattern=json.dumps(made["Properties"]["EventPattern"]))
                events.put_targets(Rule=name, Targets=[target])
        self.spoke_outputs = {"HubBusArn": bus}

    def alarm(self, name: str, state: str = "OK") -> dict[str, Any]:
        return {"AlarmName": name, "StateValue": state, "StateUpdatedTimestamp": self.now}

    def function(self, name: str, **more: Any) -> dict[str, Any]:
        return {
            "FunctionName": name,
            "FunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}",
            "Role": f"arn:aws:iam::{ACCOUNT}:role/{name}Role",
            "Runtime": "python3.13",
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "CodeSha256": "c0de",
            "Environment": {"Variables": self.environment},
            **more,
        }

    def _caller(self, asked: dict[str, Any]) -> dict[str, Any]:
        arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/ana"
        headers = {"date": f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S GMT}"}
        return {"Account": ACCOUNT, "Arn": arn, "UserId": "u", "ResponseMetadata": {"HTTPHeaders": headers}}

    def _stacks(self, asked: dict[str, Any]) -> dict[str, Any]:
        if SPOKE_NAME in asked["StackName"]:
            outputs = [{"OutputKey": k, "OutputValue": v} for k, v in self.spoke_outputs.items()]
            named = {"StackId": SPOKE_STACK, "StackName": SPOKE_NAME, "Outputs": outputs}
            return {"Stacks": [{**named, "StackStatus": "CREATE_COMPLETE"}]} if self.spoke else _no_stack(asked)
        if self.stack is None:
            return _no_stack(asked)
        parameters = [{"ParameterKey": k, "ParameterValue": v} for k, v in self.parameters.items()]
        outputs = [{"OutputKey": "EndpointURL", "OutputValue": "https://a.execute-api.eu-west-1.amazonaws.com/api/"}]
        named = {"StackId": STACK, "StackName": NAME, "Parameters": parameters, "Outputs": outputs}
        return {"Stacks": [{**named, **self.stack}]}

    def _resources(self, asked: dict[str, Any]) -> dict[str, Any]:
        of_spoke = SPOKE_NAME in asked["StackName"]
        template, names = (self.spoke, self.spoke_names) if of_spoke else (self.template, self.names)
        kinds = {n: r["Type"] for n, r in template["Resources"].items()}
        return {
            "StackResourceSummaries": [
                {
                    "LogicalResourceId": logical,
                    "PhysicalResourceId": name,
                    "ResourceType": KINDS.get(kinds[logical], kinds[logical]),
                    "ResourceStatus": "CREATE_COMPLETE",
                }
                for logical, name in names.items()
            ]
        }

    def _template(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"TemplateBody": self.spoke if SPOKE_NAME in asked["StackName"] else self.template}

    def _function(self, asked: dict[str, Any]) -> dict[str, Any]:
        return self.function(asked["FunctionName"])

    def _mappings(self, asked: dict[str, Any]) -> dict[str, Any]:
        _, _, logical = asked["FunctionName"].rpartition("-")
        if not logical.startswith("On"):
            return {"EventSourceMappings": []}
        return {"EventSourceMappings": [mapping(logical.removeprefix("On").lower())]}

    def _simulated(self, asked: dict[str, Any]) -> dict[str, Any]:
        """As IAM: with one resource the action's own line says it, with several those beneath it."""
        results = []
        for action in asked["ActionNames"]:
            lines = [
                {"EvalResourceName": arn, "EvalResourceDecision": decided(action, arn, asked)}
                for arn in asked["ResourceArns"]
            ]
            first = {"EvalActionName": action, "EvalResourceName": asked["ResourceArns"][0]}
            first["EvalDecision"] = lines[0]["EvalResourceDecision"]
            results.append(first if len(lines) == 1 else first | {"ResourceSpecificResults": lines})
        return {"EvaluationResults": results, "IsTruncated": False}

    def _metrics(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Each rule has sent on one event an hour ago; of queues there is nothing to be told."""
        results = []
        for query in asked["MetricDataQueries"]:
            metric = query["MetricStat"]["Metric"]
            heard = metric["MetricName"] == "Invocations" and metric["Dimensions"][0]["Value"] not in self.silent
            at = [self.now - timedelta(hours=1)] if heard else []
            results.append({"Id": query["Id"], "Timestamps": at, "Values": [1.0] * len(at)})
        return {"MetricDataResults": results}


def _no_stack(asked: dict[str, Any]) -> dict[str, Any]:
    said = {"Error": {"Code": "ValidationError", "Message": f"Stack with id {asked['StackName']} does not exist"}}
    raise ClientError(said, "DescribeStacks")  # type: ignore[arg-type]


def decided(action: str, arn: str, asked: dict[str, Any]) -> str:
    """Our own Denies hold: no item is written that a role must leave alone."""
    given = [v for k in asked["ContextEntries"] if k["ContextKeyName"] == KEYS for v in k["ContextKeyValues"]]
    forbidden = kept_from(asked["PolicySourceArn"].rpartition("-")[2]).get(action, frozenset())
    return "explicitDeny" if not forbidden.isdisjoint(given) else "allowed"


@cache
def kept_from(role: str) -> dict[str, frozenset[str]]:
    """Keys of items by the actions that the policy of a function's role denies for them."""
    names = [function for logical, function in FUNCTIONS.items() if role_of(logical) == role]
    found: dict[str, frozenset[str]] = {}
    for name in names:
        for statement in json.loads((CHALICE / f"policy-{name}.json").read_text())["Statement"]:
            keys = [compared.get(KEYS, []) for compared in statement.get("Condition", {}).values()]
            if statement.get("Effect") == "Deny":
                found |= dict.fromkeys(listed(statement["Action"]), frozenset(key for some in keys for key in some))
    return found


def mapping(queue: str, **more: Any) -> dict[str, Any]:
    said = {"EventSourceArn": resource(queue), "State": "Enabled", "FunctionResponseTypes": ["ReportBatchItemFailures"]}
    return {**said, "ScalingConfig": {"MaximumConcurrency": 5}, **more}


def scanning(kind: str, frequency: str = "SCAN_ON_PUSH", name: str = "*") -> dict[str, Any]:
    rule = {"scanFrequency": frequency, "repositoryFilters": [{"filter": name, "filterType": "WILDCARD"}]}
    return {"registryId": ACCOUNT, "scanningConfiguration": {"scanType": kind, "rules": [rule]}}


def inspected(status: str) -> dict[str, Any]:
    return {"accounts": [{"accountId": ACCOUNT, "resourceState": {"ecr": {"status": status}}}], "failedAccounts": []}


def check_shape(where: str, said: Any, shape: Any) -> None:
    """What is answered here has the names that AWS's model gives it."""
    if shape.type_name == "structure":
        strange = said.keys() - shape.members.keys() - {"ResponseMetadata"}
        assert not strange, f"{where}: {strange}"
        for name in said.keys() & shape.members.keys():
            check_shape(f"{where}.{name}", said[name], shape.members[name])
    elif shape.type_name == "list":
        for one in said:
            check_shape(where, one, shape.member)


@contextmanager
def patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    """Its answers go before moto's in every client."""
    real = BaseClient._make_api_call  # type: ignore[attr-defined]

    def answered(client: Any, operation: str, asked: dict[str, Any]) -> Any:
        key = f"{client.meta.service_model.service_name}.{operation}"
        made.calls.append(key)
        if key not in made.answers:
            return real(client, operation, asked)
        model = client.meta.service_model.operation_model(operation)
        if asked or model.input_shape:
            report = ParamValidator().validate(asked, model.input_shape)
            assert not report.has_errors(), f"{key}: {report.generate_report()}"
        said = made.answers[key](asked)
        check_shape(key, said, model.output_shape)
        return said

    monkeypatch.setattr(BaseClient, "_make_api_call", answered)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "LAZARETTO_STAGE", "LAZARETTO_REGISTRIES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        made = Patient()
        made.build()
        yield made
