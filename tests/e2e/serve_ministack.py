"""ministack in this process, with six things set right that AWS does otherwise. Run by build/e2e-venv's interpreter.

- EventBridge takes events of `aws.*` sources from AWS's own services alone, and so does ministack's PutEvents. The
  registry of the run is such a service, but in another process: PutEvents is told here what ministack tells itself for
  its own services. So the patterns of the packaged template stay as they are.
- No permission is called sqs:SendMessageBatch or sqs:DeleteMessageBatch: those calls need sqs:SendMessage and
  sqs:DeleteMessage. https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
- `Ref` of a secret is its ARN, here its name.
  https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-secretsmanager-secret.html
- A table that CloudFormation makes has the time to live and the backups that the template says, and tells that its
  indexes are ready.
  https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html
- CloudFormation knows ECR's exclusions from pull times. Here none is registered: the registry of the run is elsewhere.
  https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ecr-pulltimeupdateexclusion.html
- IAM's simulator answers for each resource that is asked about, here for the first one, and knows the context keys it
  is given. https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

import ctypes
import signal
from functools import partial
from itertools import product
from typing import Any

from ministack.app import main
from ministack.core import iam_actions
from ministack.core.iam_evaluator import EvalContext, evaluate
from ministack.services import dynamodb, eventbridge, iam
from ministack.services.cloudformation import provisioners

_PR_SET_PDEATHSIG = 1
"""Ends with who started it, however that one ends. prctl(2)."""

_action_of = iam_actions.extract_iam_action
_simulated = iam._extract_simulate_params
_DECISIONS = {"Allow": "allowed", "Deny": "explicitDeny"}
_SECRETS = dict(provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"])
_TABLES = dict(provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"])


def _permission_of(service: str, *request: Any) -> str | None:
    action = _action_of(service, *request)
    return action.removesuffix("Batch") if action and service == "sqs" else action


def _listed(asked: dict[str, list[str]], name: str) -> list[str]:
    """The values of `name.1`, `name.2` and so on, as AWS's Query protocol has lists."""
    found: list[str] = []
    while value := asked.get(f"{name}.{len(found) + 1}"):
        found += value[:1] if isinstance(value, list) else [value]
    return found


def _simulation(asked: dict[str, list[str]]) -> tuple[list[str], Any]:
    resources, keys = _listed(asked, "ResourceArns.member") or ["*"], dict[str, Any]()
    while name := asked.get(f"ContextEntries.member.{len(keys) + 1}.ContextKeyName"):
        values = _listed(asked, f"ContextEntries.member.{len(keys) + 1}.ContextKeyValues.member")
        keys[name[0].lower()] = values if len(values) > 1 else values[0]
    return _simulated(asked)[0], (resources, keys)


def _simulated_answers(actions: list[str], about: Any, principal: str, account: str, policies: list[Any]) -> str:
    resources, keys = about
    region, said = keys.get("aws:requestedregion", ""), []
    for action, resource in product(actions, resources):
        context = EvalContext(principal, "User", account, action, resource, region, service_context=keys)
        decision = _DECISIONS.get(evaluate(context, policies).decision, "implicitDeny")
        said.append(f"<member><EvalActionName>{action}</EvalActionName><EvalResourceName>{resource}</EvalResourceName>")
        said.append(f"<EvalDecision>{decision}</EvalDecision></member>")
    return "".join(said)


def _name_of(arn: str) -> str:
    """ARNs of secrets end in a hyphen and six characters more."""
    return arn.rpartition(":secret:")[2][:-7]


def _make_secret(*given: Any) -> tuple[str, dict[str, str]]:
    _, attributes = _SECRETS["create"](*given)
    return attributes["Arn"], attributes


def _change_secret(arn: str, *given: Any, **named: Any) -> tuple[str, dict[str, str]]:
    _, attributes = _SECRETS["update"](_name_of(arn), *given, **named)
    return attributes["Arn"], attributes


def _delete_secret(arn: str, *given: Any) -> None:
    _SECRETS["delete"](_name_of(arn), *given)


def _make_exclusion(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, str]]:
    return str(properties["PrincipalArn"]), {}


def _make_table(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, str]]:
    name, attributes = _TABLES["create"](logical_id, properties, stack)
    table = dynamodb._tables[name]
    table["GlobalSecondaryIndexes"] = [{**i, "IndexStatus": "ACTIVE"} for i in table["GlobalSecondaryIndexes"]]
    if ends := properties.get("TimeToLiveSpecification"):
        status = "ENABLED" if ends["Enabled"] else "DISABLED"
        dynamodb._ttl_settings[name] = {"TimeToLiveStatus": status, "AttributeName": ends["AttributeName"]}
    recovery = properties.get("PointInTimeRecoverySpecification", {})
    dynamodb._pitr_settings[name] = bool(recovery.get("PointInTimeRecoveryEnabled"))
    return name, attributes


ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
eventbridge._put_events = partial(eventbridge._put_events, allow_aws_source=True)
iam_actions.extract_iam_action = _permission_of
iam._extract_simulate_params, iam._build_simulate_results_real = _simulation, _simulated_answers
provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"] |= {
    "create": _make_secret,
    "update": _change_secret,
    "delete": _delete_secret,
}
provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]["create"] = _make_table
provisioners._RESOURCE_HANDLERS["AWS::ECR::PullTimeUpdateExclusion"] = {
    "create": _make_exclusion,
    "delete": lambda *given: None,
}
main()
