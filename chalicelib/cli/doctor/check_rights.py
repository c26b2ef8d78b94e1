"""Check with IAM's policy simulator what the functions may do, and what you may do to deploy."""

from __future__ import annotations

from collections.abc import Iterable

from chalicelib.cli.doctor.doctor_context import DoctorContext
from chalicelib.domain.doctor.health import NO_STACK, CheckResult, judged, skipped, unknown, warn
from chalicelib.domain.doctor.role_rights import SAMPLE, SimulationRequest, role_requests, unanswered, wrong_answers

NOT_SIMULATED = skipped("not simulated", "run it without --quick")
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
"""By the resource: the calls of `lazaretto deploy`, and those that CloudFormation makes with the deployer's rights."""


def roles(context: DoctorContext) -> CheckResult:
    """Of the functions, by the policies that their roles were made with."""
    stack = context.stack
    if context.options.quick:
        return NOT_SIMULATED
    if stack is None:
        return unknown(NO_STACK)
    try:
        template = context.stacks.template(stack.id, "Processed")
        requests = role_requests(template, stack, context.names, context.region)
    except (ValueError, KeyError) as error:
        advice = "use the version of this command that deployed it"
        return unknown(f"the template cannot be understood: {error}", advice)
    calls = sum(map(_calls, requests.values()))
    if not calls:
        return unknown("the template gives no role a permission")
    wrong, not_answered = list[str](), list[str]()
    for role, asked in requests.items():
        lines, missing = _simulate(context, context.facts.role_arn(role), asked)
        wrong += [f"{role}: {line}" for line in lines]
        not_answered += [f"{role}: {line}" for line in missing]
    return judged(
        wrong,
        f"{calls} calls of {len(requests)} roles simulated, as meant (policies of keys, queues and secrets are not "
        "part)",
        "ask the owner of your service control policies and boundaries; revert by hand what was edited in a role",
        f"{len(wrong)} of {calls} calls are not as meant",
        not_answered,
    )


def deploy_rights(context: DoctorContext) -> CheckResult:
    if context.has_spoke:
        return skipped("a spoke is here, and no hub")
    if context.options.quick:
        return NOT_SIMULATED
    principal = context.facts.principal_of(context.caller.arn)
    if principal is None:
        return warn("you are the account's root", "deploy as a role: the root has no policies, and no limits")
    requests = deploy_requests(context.partition, context.region, context.account)
    calls, (wrong, not_answered) = _calls(requests), _simulate(context, principal, requests)
    return judged(
        wrong,
        f"{calls} calls simulated for {principal}, all allowed",
        "give the deployer these rights (docs/deploy.md)",
        f"{len(wrong)} of {calls} calls are not allowed to {principal}",
        not_answered,
    )


def deploy_requests(partition: str, region: str, account: str) -> list[SimulationRequest]:
    """One for each kind of resource."""
    place = {"partition": partition, "region": region, "account": account, "sample": SAMPLE}
    return [
        SimulationRequest(
            tuple(f"{resource.split(':')[2]}:{call}" for call in calls.split()), (resource.format(**place),)
        )
        for resource, calls in _DEPLOY_CALLS.items()
    ]


def _calls(requests: Iterable[SimulationRequest]) -> int:
    return sum(len(request.calls) for request in requests)


def _simulate(
    context: DoctorContext, principal: str, requests: Iterable[SimulationRequest]
) -> tuple[list[str], list[str]]:
    """A line for each call that is answered otherwise than it must be, and for each that is not answered."""
    asked = [(request, context.facts.simulate(principal, request)) for request in requests]
    return [line for one in asked for line in wrong_answers(*one)], [line for one in asked for line in unanswered(*one)]
