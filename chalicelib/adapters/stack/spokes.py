"""The spokes of other registries: their stacks, rules, and the queue of what did not reach the hub.

Calls: DescribeStacks, ListStackResources and GetTemplate for each, and those of `InstalledRules` and `InstalledQueues`.
The role that a spoke gives the hub may make none of them but ListTargetsByRule, and lets in functions alone: whoever
looks does it with credentials of that account, or by a role of their own.

SNS topics: who listens. Calls: GetTopicAttributes.

The stack of an installation as CloudFormation has it: what its resources are called, its template, its parameters.

Calls: DescribeStacks, ListStackResources, GetTemplate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.adapters.aws.calls import asked, code_of
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.cloudformation import Stacks
from chalicelib.adapters.stack.queues import InstalledQueues, InstalledRules
from chalicelib.domain.doctor.installed import QUEUE, RULE, Installed, Spoke, Topic
from chalicelib.domain.doctor.parameters import TemplateValues
from chalicelib.domain.doctor.stack import Stack, StackState, standing
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import UpstreamError

NO_TOPIC = ("NotFound", "NotFoundException")


class InstalledTopics:
    """Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions) -> None:
        self._client = sessions.client("sns")

    def find(self, arn: str) -> Topic | None:
        """None: there is no such topic."""
        try:
            answer = asked(f"read the topic {arn}", self._client.get_topic_attributes, TopicArn=arn)
        except UpstreamError as error:
            if code_of(error) in NO_TOPIC:
                return None
            raise
        said = answer["Attributes"]
        return Topic(arn, int(said.get("SubscriptionsConfirmed", 0)), int(said.get("SubscriptionsPending", 0)))


class InstalledStack:
    """Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions) -> None:
        self._client, self._stacks = sessions.client("cloudformation"), Stacks(sessions)

    def find(self, stage: str, region: str, account: str) -> Installed:
        """Without a stack it has no `status` and no `names`."""
        there = Installed(stage, region, account)
        stack: Stack | None = self._stacks.find(there.name)
        if stack is None or standing(stack) is StackState.ABSENT:
            return there
        resources = [resource for resource in self._stacks.resources(stack.id) if resource.physical]
        return Installed(
            stage,
            region,
            account,
            stack.status,
            {resource.name: resource.physical for resource in resources},
            {resource.name: resource.kind for resource in resources},
            dict(stack.outputs),
            stack.protected,
        )

    def policies(self, there: Installed) -> Mapping[str, Mapping[str, Any]]:
        """The policy that each role of the stack was made with, by the role's name: several are one document. Raises
        ValueError where a value in it cannot be told."""
        call = self._client.get_template
        what = f"read the template of {there.name}"
        body = asked(what, call, StackName=there.name, TemplateStage="Processed")["TemplateBody"]
        template: Mapping[str, Any] = json.loads(body) if isinstance(body, str) else body
        told = asked(f"read the stack {there.name}", self._client.describe_stacks, StackName=there.name)["Stacks"][0]
        parameters = {p["ParameterKey"]: str(p["ParameterValue"]) for p in told.get("Parameters", ())}
        values = TemplateValues(template, there.names, parameters, told["StackId"])
        return {
            there.names[logical]: {"Statement": _statements(resource, values)}
            for logical, resource in template["Resources"].items()
            if resource["Type"] == "AWS::IAM::Role" and logical in there.names
        }


def _statements(role: Mapping[str, Any], values: TemplateValues) -> list[Any]:
    found: list[Any] = []
    for policy in role["Properties"].get("Policies", ()):
        said = values.of(policy["PolicyDocument"])["Statement"]
        found += said if isinstance(said, list) else [said]
    return found


BUS = "HubBusArn"


class InstalledSpokes:
    """`sessions_in` gives those by which an account is looked at (None: our own). Raises as it and `aws_call` do."""

    def __init__(self, sessions_in: Callable[[str | None], Sessions]) -> None:
        self._sessions_in = sessions_in

    def is_there(self, stage: str, place: RegistryPlace) -> bool:
        return self._stack(stage, Stacks(self._sessions_in(place.account), place.region)) is not None

    def find(self, stage: str, place: RegistryPlace) -> Spoke | None:
        """None: there is none of that stage."""
        sessions = self._sessions_in(place.account)
        stacks = Stacks(sessions, place.region)
        stack = self._stack(stage, stacks)
        if stack is None:
            return None
        resources = stacks.resources(stack.id)
        rules, queues = InstalledRules(sessions, place.region), InstalledQueues(sessions, place.region)
        # CloudFormation calls a queue by its URL.
        dead = [queues.find(r.physical.rpartition("/")[2]) for r in resources if r.kind == QUEUE]
        return Spoke(
            stack.status,
            stack.outputs.get(BUS),
            stacks.template(stack.id),
            {r.name: rules.find(r.physical) for r in resources if r.kind == RULE and r.physical},
            dead[0] if dead else None,
        )

    def _stack(self, stage: str, stacks: Stacks) -> Stack | None:
        stack = stacks.find(f"lazaretto-{stage}-spoke")
        return None if stack is None or standing(stack) is StackState.ABSENT else stack
