"""Check with IAM's policy simulator what the functions may do, and what you may do to deploy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from chalicelib.domain.doctor.health import NO_STACK, CheckResult, judged, skipped, unknown, warn
from chalicelib.domain.doctor.installed import Caller
from chalicelib.domain.pulls.role_rights import (
    SAMPLE,
    SimulatedAction,
    SimulationRequest,
    questions_of,
    unanswered,
    wrong_answers,
)

Ask = Callable[[str, SimulationRequest], Sequence[SimulatedAction]]
"""The simulator's answers for a principal."""
Documents = Mapping[str, Mapping[str, Any]]
"""Policy documents by the name of their role."""
NOT_SIMULATED = skipped("not simulated", "leave out --quick")
_DEPLOY_CALLS = {
    "arn:{partition}:cloudformation:{region}:{account}:stack/lazaretto-{sample}/{sample}": (
        "DescribeStacks DescribeStackEvents ListStackResources GetTemplate CreateChangeSet DescribeChangeSet "
        "ExecuteChangeSet DeleteChangeSet DeleteStack UpdateTerminationProtection"
    ),
    "arn:{partition}:cloudformation:{region}:aws:transform/Serverless-2016-10-31": "CreateChangeSet",
    "arn:{partition}:s3:::lazaretto-artefacts-{account}-{region}": (
        "CreateBucket ListBucket GetBucketVersioning PutBucketVersioning PutBucketPublicAccessBlock "
        "PutEncryptionConfiguration PutBucketPolicy"
    ),
    "arn:{partition}:s3:::lazaretto-artefacts-{account}-{region}/{sample}": "GetObject PutObject",
    "arn:{partition}:dynamodb:{region}:{account}:table/lazaretto-{sample}": (
        "DescribeTable DescribeTimeToLive DescribeContinuousBackups CreateTable UpdateTable UpdateTimeToLive "
        "UpdateContinuousBackups TagResource"
    ),
    "arn:{partition}:sqs:{region}:{account}:lazaretto-{sample}": "CreateQueue SetQueueAttributes TagQueue",
    "arn:{partition}:events:{region}:{account}:rule/lazaretto-{sample}": "PutRule PutTargets",
    "arn:{partition}:sns:{region}:{account}:lazaretto-{sample}": "CreateTopic SetTopicAttributes Subscribe",
    "arn:{partition}:lambda:{region}:{account}:function:lazaretto-{sample}": (
        "CreateFunction UpdateFunctionCode UpdateFunctionConfiguration AddPermission TagResource "
        "PutFunctionEventInvokeConfig"
    ),
    "arn:{partition}:lambda:{region}:{account}:event-source-mapping:{sample}": "CreateEventSourceMapping",
    "arn:{partition}:iam::{account}:role/lazaretto-{sample}": "CreateRole PutRolePolicy PassRole TagRole",
    "arn:{partition}:iam::{account}:policy/lazaretto-{sample}": "CreatePolicy",
    "arn:{partition}:logs:{region}:{account}:log-group:/aws/lambda/lazaretto-{sample}": (
        "CreateLogGroup PutRetentionPolicy"
    ),
    "arn:{partition}:cloudwatch:{region}:{account}:alarm:lazaretto-{sample}": "PutMetricAlarm",
    "arn:{partition}:cloudwatch::{account}:dashboard/lazaretto-{sample}": "PutDashboard",
    "arn:{partition}:secretsmanager:{region}:{account}:secret:{sample}": "CreateSecret TagResource",
    "arn:{partition}:apigateway:{region}::/restapis": "POST",
}
"""By the resource: the calls of `lazaretto deploy`, and those that CloudFormation makes in the deployer's name."""


def check_rights(
    region: str, documents: Callable[[], Documents] | None, role_arn: Callable[[str], str], ask: Ask | None
) -> CheckResult:
    """Of the functions, by the policies that their roles were made with. `documents` None: there is no stack; raises
    ValueError for a template it cannot read. `ask` None: `--quick`."""
    if ask is None:
        return NOT_SIMULATED
    if documents is None:
        return unknown(NO_STACK)
    try:
        requests = {role: tuple(questions_of(document, region)) for role, document in documents().items()}
    except (ValueError, KeyError) as error:
        advice = "use the version of this command that deployed it"
        return unknown(f"the template cannot be understood: {error}", advice)
    asked = {role: _simulate(role_arn(role), own, ask) for role, own in requests.items()}
    calls = sum(map(_calls, requests.values()))
    if not calls:
        return unknown("the template gives no role a right")
    wrong = [f"{role}: {line}" for role, (lines, _) in asked.items() for line in lines]
    return judged(
        wrong,
        f"{calls} calls of {len(asked)} roles simulated, as meant (policies of keys, queues and secrets are not part)",
        f"{len(wrong)} of {calls} calls are not as meant",
        "ask who keeps your service control policies and boundaries; take back by hand what was edited in a role",
        [f"{role}: {line}" for role, (_, lines) in asked.items() for line in lines],
    )


def check_deploy_rights(
    caller: Caller, region: str, principal_of: Callable[[str], str | None], ask: Ask | None
) -> CheckResult:
    """`principal_of`: the principal whose policies hold for an ARN; None: the root's. `ask` None: `--quick`."""
    if ask is None:
        return NOT_SIMULATED
    principal = principal_of(caller.arn)
    if principal is None:
        return warn("you are the account's root", "do it as a role: the root has no policies, and no limits")
    requests = deploy_questions(caller.arn.split(":")[1], region, caller.account)
    calls, (wrong, not_answered) = _calls(requests), _simulate(principal, requests, ask)
    return judged(
        wrong,
        f"{calls} calls simulated for {principal}, all allowed",
        f"{len(wrong)} of {calls} calls are not allowed to {principal}",
        "give the deployer these rights (docs/deploy.md)",
        not_answered,
    )


def deploy_questions(partition: str, region: str, account: str) -> tuple[SimulationRequest, ...]:
    """One for each kind of resource."""
    found: list[SimulationRequest] = []
    for resource, calls in _DEPLOY_CALLS.items():
        named = resource.format(partition=partition, region=region, account=account, sample=SAMPLE)
        service = named.split(":")[2]
        found.append(SimulationRequest(tuple(f"{service}:{call}" for call in calls.split()), (named,)))
    return tuple(found)


def _calls(requests: Iterable[SimulationRequest]) -> int:
    return sum(len(request.actions) * len(request.resources) for request in requests)


def _simulate(principal: str, requests: Iterable[SimulationRequest], ask: Ask) -> tuple[list[str], list[str]]:
    """A line for each call that is answered otherwise than it must be, and for each that is not answered."""
    asked = [(request, ask(principal, request)) for request in requests]
    return [line for one in asked for line in wrong_answers(*one)], [line for one in asked for line in unanswered(*one)]
