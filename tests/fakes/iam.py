"""IAM as far as our policies use it: which permission a call needs, and whether a rendered policy gives it.

The recorder hears calls from botocore; nothing is sent from here. What is not understood fails the test that asks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION

TEMPLATE = json.loads((Path(__file__).parents[2] / ".chalice/resources.json").read_text())
REPLICA_ACCOUNT = "210987654321"
ACCOUNT_ROLES = {REPLICA_ACCOUNT: f"arn:aws:iam::{REPLICA_ACCOUNT}:role/lazaretto-spoke"}
"""By account: where copies lie in another one."""
REPLICA_REGION = "eu-central-1"
ANY = "*"
"""The resource of a call that knows none."""
PERMISSION = {"ListImageReferrers": "BatchGetImage", "SendMessageBatch": "SendMessage"}
IN_TRANSACTIONS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}


class Call(msgspec.Struct, frozen=True, order=True):
    """A permission that a call needs. `keys`: the partition keys it names; `slack`: SlackSecretArn as it was then."""

    function: str
    action: str
    resource: str
    keys: tuple[str, ...] = ()
    slack: str = ""


# ---- what is called


class Recorder:
    """`function` None: whoever calls now is the test, not a handler. `forget` makes a function start cold: what another
    one has read is not in its memory."""

    def __init__(self, forget: Callable[[], None]) -> None:
        self.function: str | None = None
        self.forget = forget
        self.slack = ""
        self.calls: set[Call] = set()

    def hear(self, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        if self.function is None:
            return
        service = model.service_model.service_name
        for operation, resource, keys in needed(service, model.name, params, context["client_region"]):
            self.calls.add(Call(self.function, f"{service}:{operation}", resource, keys, self.slack))

    def under(self, name: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            self.forget()
            self.function = name
            try:
                return handler(*arguments)
            finally:
                self.function = None

        return called


def needed(
    service: str, operation: str, params: dict[str, Any], region: str
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The permissions a call needs, as the service authorization reference names their resources."""
    match service:
        case "dynamodb":
            yield from needed_of_dynamodb(operation, params, region)
        case "sqs":
            yield PERMISSION.get(operation, operation), arn("sqs", region, params["QueueUrl"].rpartition("/")[2]), ()
        case "sns":
            yield operation, params["TopicArn"], ()
        case "ecr":
            yield from needed_of_ecr(operation, params, region)
        case "ecr-public":
            name = params.get("repositoryName", "")
            of = f"registry/{ACCOUNT}" if operation == "DescribeRegistries" else f"repository/{name}"
            yield operation, f"arn:aws:ecr-public::{ACCOUNT}:{of}", ()
        case "secretsmanager":
            yield operation, params["SecretId"], ()
        case "ssm":
            yield operation, params["Name"], ()
        case "sts":
            if operation != "GetCallerIdentity":  # the one call that needs no permission
                yield operation, params["RoleArn"], ()
        case "inspector2" | "eks" | "ec2" | "batch":
            yield operation, ANY, ()
        case "ecs":
            for resource in of_ecs(operation, params):
                yield operation, resource, ()
        case "apprunner" | "sagemaker" | "codebuild":
            for resource in of_what_may_start(service, operation, params, region):
                yield operation, resource, ()
        case "events" | "scheduler" | "lambda" | "iam":
            yield operation, of_the_named(service, operation, params, region), ()
        case _:
            raise AssertionError(f"{service}:{operation}: what permission does that need?")


def needed_of_ecr(operation: str, params: dict[str, Any], region: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """ListImageReferrers is no permission: it needs the one for BatchGetImage."""
    if operation in ("DescribeRegistry", "GetRegistryPolicy", "GetRegistryScanningConfiguration"):
        yield operation, ANY, ()
        return
    if operation == "DescribeRepositories" and "repositoryNames" not in params:
        names = ["*"]  # whoever lists them all must be let in to all
    else:
        names = params["repositoryNames"] if "repositoryNames" in params else [params["repositoryName"]]
    owner = params.get("registryId", ACCOUNT)
    for name in names:
        yield PERMISSION.get(operation, operation), f"arn:aws:ecr:{region}:{owner}:repository/{name}", ()


def of_ecs(operation: str, params: dict[str, Any]) -> list[str]:
    """All are asked for by ARN. Of a revision its service is a resource as well. ListTasks knows one, the container
    instance, and none where it lists by cluster."""
    match operation:
        case "DescribeTasks":
            return list(params["tasks"])
        case "DescribeServices":
            return list(params["services"])
        case "DescribeContainerInstances":
            return list(params["containerInstances"])
        case "ListServiceDeployments":
            return [params["service"]]
        case "DescribeServiceRevisions":
            revisions = list(params["serviceRevisionArns"])
            services = [arn.replace(":service-revision/", ":service/").rpartition("/")[0] for arn in revisions]
            return [*revisions, *services]
        case "DescribeDaemon":
            return [params["daemonArn"]]
        case "DescribeDaemonRevisions":
            revisions = list(params["daemonRevisionArns"])
            daemons = [arn.replace(":daemon-revision/", ":daemon/").rpartition("/")[0] for arn in revisions]
            return [*revisions, *daemons]
        case "ListClusters" | "ListTasks" | "ListServices" | "ListTaskDefinitions" | "DescribeTaskDefinition":
            return [ANY]
        case "ListDaemons" | "ListTaskDefinitionFamilies":
            return [ANY]
    raise AssertionError(f"ecs:{operation}: what permission does that need?")


def of_what_may_start(service: str, operation: str, params: dict[str, Any], region: str) -> list[str]:
    match operation:
        case "DescribeService":
            return [params["ServiceArn"]]
        case "DescribeModel":
            return [arn(service, region, f"model/{params['ModelName']}")]
        case "BatchGetProjects":
            return [arn(service, region, f"project/{name}") for name in params["names"]]
        case "ListServices" | "ListModels" | "ListProjects":
            return [ANY]
    raise AssertionError(f"{service}:{operation}: what permission does that need?")


def of_the_named(service: str, operation: str, params: dict[str, Any], region: str) -> str:
    match operation:
        case "ListTargetsByRule":
            bus = "" if params["EventBusName"] == "default" else f"{params['EventBusName']}/"
            return arn(service, region, f"rule/{bus}{params['Rule']}")
        case "GetSchedule":
            return arn(service, region, f"schedule/{params['GroupName']}/{params['Name']}")
        case "GetFunction":
            return arn(service, region, f"function:{params['FunctionName']}:{params['Qualifier']}")
        case "ListVersionsByFunction":
            return arn(service, region, f"function:{params['FunctionName']}")
        case "GetInstanceProfile":
            return arn(service, "", f"instance-profile/{params['InstanceProfileName']}")
        case "ListEventBuses" | "ListRuleNamesByTarget" | "ListSchedules" | "ListFunctions":
            return ANY
    raise AssertionError(f"{service}:{operation}: what permission does that need?")


def needed_of_dynamodb(
    operation: str, params: dict[str, Any], region: str
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    if operation == "TransactWriteItems":
        for item in params["TransactItems"]:
            ((kind, one),) = item.items()
            yield from needed_of_dynamodb(IN_TRANSACTIONS[kind], one, region)
        return
    tables = [params["TableName"]] if "TableName" in params else list(params["RequestItems"])
    index = f"/index/{params['IndexName']}" if "IndexName" in params else ""
    place = params.get("Item") or params.get("Key") or {}
    keys = (place["pk"]["S"],) if "pk" in place else ()
    for table in tables:
        yield operation, arn("dynamodb", region, f"table/{table}{index}"), keys


def arn(service: str, region: str, name: str) -> str:
    return f"arn:aws:{service}:{region}:{ACCOUNT}:{name}"


# ---- what is allowed

WEBHOOK_SECRET = arn("secretsmanager", REGION, "secret:lazaretto/webhook-*")
"""The local stack's, whose ARN ends by chance."""


def refused(calls: list[Call], policy: dict[str, Any], cursor_secret: str) -> list[Call]:
    rendered: dict[str, list[dict[str, Any]]] = {}
    for slack in {call.slack for call in calls}:
        names = {"SlackSecretArn": slack, "WebhookSecretArn": WEBHOOK_SECRET, "CursorSecret": cursor_secret}
        rendered[slack] = [s for s in (render(s, names) for s in policy["Statement"]) if s]
    return [call for call in calls if not permitted(rendered[call.slack], call)]


def permitted(statements: list[dict[str, Any]], call: Call) -> bool:
    """A Deny outweighs whatever allows it."""
    effects = {statement["Effect"] for statement in statements if is_about(statement, call)}
    assert effects <= {"Allow", "Deny"}
    return effects == {"Allow"}


def is_about(statement: dict[str, Any], call: Call) -> bool:
    return (
        call.action in listed(statement["Action"])
        and any(fnmatchcase(call.resource, pattern) for pattern in listed(statement["Resource"]))
        and all(fits(kind, test, call) for kind, test in statement.get("Condition", {}).items())
    )


def fits(kind: str, test: dict[str, list[str]], call: Call) -> bool:
    if (kind, *test) == ("StringEquals", "aws:RequestedRegion"):
        return call.resource.split(":")[3] in test["aws:RequestedRegion"]
    assert [*test] == ["dynamodb:LeadingKeys"], "a condition not understood here"
    quantified = {"ForAllValues:StringLike": all, "ForAnyValue:StringLike": any}[kind]
    keys = test["dynamodb:LeadingKeys"]
    return bool(call.keys) and quantified(any(fnmatchcase(key, pattern) for pattern in keys) for key in call.keys)


def render(value: Any, names: dict[str, str]) -> Any:
    """As CloudFormation does, for stage `dev`. `names`: values of parameters, and of what has a random name."""
    match value:
        case {"Ref": "AWS::NoValue"}:
            return None
        case {"Ref": "AccountRoleArns"}:
            return list(ACCOUNT_ROLES.values())
        case {"Fn::If": ["HasAccountRoles", then, _]}:
            return render(then, names)
        case {"Ref": str(name)}:
            return names[name] if name in names else arn_of(name)
        case {"Fn::GetAtt": [str(name), "Arn"]}:
            return arn_of(name)
        case {"Fn::Sub": str(text)}:
            fixed = {
                "AWS::Partition": "aws",
                "AWS::URLSuffix": "amazonaws.com",
                "AWS::Region": REGION,
                "AWS::AccountId": ACCOUNT,
                "Table.Arn": arn_of("Table"),
                "Registries": names.get("Registries", f"{REPLICA_REGION},{REPLICA_ACCOUNT}/{REPLICA_REGION}"),
            }
            for name, said in fixed.items():
                text = text.replace(f"${{{name}}}", said)
            return text
        case {"Fn::If": ["HasKey", then, otherwise]}:
            return render(then if names.get("KmsKeyArn") else otherwise, names)
        case {"Fn::If": ["HasSlack" | "HasWebhook" as name, then, otherwise]}:
            return render(then if names.get(f"{name.removeprefix('Has')}SecretArn") else otherwise, names)
        case {"Fn::Split": [str(by), {"Fn::Sub": str(text)}]}:
            return render({"Fn::Sub": text}, names).split(by)
        case {"Fn::Select": [int(n), {"Fn::Split": [str(by), source]}]}:
            return render(source, names).split(by)[n]
        case dict():
            return {key: render(one, names) for key, one in value.items()}
        case list():
            return [render(one, names) for one in value]
    return value


def arn_of(name: str) -> str:
    resource = TEMPLATE["Resources"][name]
    service, prefix, key = {
        "AWS::DynamoDB::Table": ("dynamodb", "table/", "TableName"),
        "AWS::SQS::Queue": ("sqs", "", "QueueName"),
        "AWS::SNS::Topic": ("sns", "", "TopicName"),
        "AWS::Logs::LogGroup": ("logs", "log-group:", "LogGroupName"),
    }[resource["Type"]]
    return arn(service, REGION, prefix + resource["Properties"][key]["Fn::Sub"].replace("${Stage}", "dev"))


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
