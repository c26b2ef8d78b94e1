"""What whoever deploys must be allowed to do, as questions to IAM's policy simulator. Pure.

The calls that `lazaretto deploy` makes itself are told in docs/deploy.md. The others are CloudFormation's in the
deployer's name: of each kind of resource in the template the calls that make it.
"""

from __future__ import annotations

from chalicelib.domain.pulls.role_rights import SAMPLE, SimulationRequest

_CALLS: dict[str, tuple[str, ...]] = {
    "arn:{partition}:cloudformation:{region}:{account}:stack/lazaretto-{sample}/{sample}": (
        *("DescribeStacks", "DescribeStackEvents", "ListStackResources", "GetTemplate", "CreateChangeSet"),
        *("DescribeChangeSet", "ExecuteChangeSet", "DeleteChangeSet", "DeleteStack", "UpdateTerminationProtection"),
    ),
    "arn:{partition}:cloudformation:{region}:aws:transform/Serverless-2016-10-31": ("CreateChangeSet",),
    "arn:{partition}:s3:::lazaretto-artefacts-{account}-{region}": (
        *("CreateBucket", "ListBucket", "GetBucketVersioning", "PutBucketVersioning", "PutBucketPublicAccessBlock"),
        *("PutEncryptionConfiguration", "PutBucketPolicy"),
    ),
    "arn:{partition}:s3:::lazaretto-artefacts-{account}-{region}/{sample}": ("GetObject", "PutObject"),
    "arn:{partition}:dynamodb:{region}:{account}:table/lazaretto-{sample}": (
        *("DescribeTable", "DescribeTimeToLive", "DescribeContinuousBackups", "CreateTable", "UpdateTable"),
        *("UpdateTimeToLive", "UpdateContinuousBackups", "TagResource"),
    ),
    "arn:{partition}:sqs:{region}:{account}:lazaretto-{sample}": ("CreateQueue", "SetQueueAttributes", "TagQueue"),
    "arn:{partition}:events:{region}:{account}:rule/lazaretto-{sample}": ("PutRule", "PutTargets"),
    "arn:{partition}:sns:{region}:{account}:lazaretto-{sample}": ("CreateTopic", "SetTopicAttributes", "Subscribe"),
    "arn:{partition}:lambda:{region}:{account}:function:lazaretto-{sample}": (
        *("CreateFunction", "UpdateFunctionCode", "UpdateFunctionConfiguration", "AddPermission", "TagResource"),
        "PutFunctionEventInvokeConfig",
    ),
    "arn:{partition}:lambda:{region}:{account}:event-source-mapping:{sample}": ("CreateEventSourceMapping",),
    "arn:{partition}:iam::{account}:role/lazaretto-{sample}": ("CreateRole", "PutRolePolicy", "PassRole", "TagRole"),
    "arn:{partition}:iam::{account}:policy/lazaretto-{sample}": ("CreatePolicy",),
    "arn:{partition}:logs:{region}:{account}:log-group:/aws/lambda/lazaretto-{sample}": (
        *("CreateLogGroup", "PutRetentionPolicy"),
    ),
    "arn:{partition}:cloudwatch:{region}:{account}:alarm:lazaretto-{sample}": ("PutMetricAlarm",),
    "arn:{partition}:cloudwatch::{account}:dashboard/lazaretto-{sample}": ("PutDashboard",),
    "arn:{partition}:secretsmanager:{region}:{account}:secret:{sample}": ("CreateSecret", "TagResource"),
    "arn:{partition}:apigateway:{region}::/restapis": ("POST",),
}


def deploy_questions(partition: str, region: str, account: str) -> tuple[SimulationRequest, ...]:
    """One for each kind of resource."""
    found: list[SimulationRequest] = []
    for resource, calls in _CALLS.items():
        named = resource.format(partition=partition, region=region, account=account, sample=SAMPLE)
        service = named.split(":")[2]
        found.append(SimulationRequest(tuple(f"{service}:{call}" for call in calls), (named,)))
    return tuple(found)
