"""The stack of an installation as CloudFormation has it: what its resources are called, its template, its parameters.

Calls: DescribeStacks, ListStackResources, GetTemplate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.adapters.aws.errors import asked
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.cloudformation import Stacks
from chalicelib.domain.doctor.installed import Installed
from chalicelib.domain.doctor.stack import Stack, Standing, standing
from chalicelib.domain.doctor.template_values import TemplateValues


class InstalledStack:
    """Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions) -> None:
        self._client, self._stacks = sessions.client("cloudformation"), Stacks(sessions)

    def find(self, stage: str, region: str, account: str) -> Installed:
        """Without a stack it has no `status` and no `names`."""
        there = Installed(stage, region, account)
        stack: Stack | None = self._stacks.find(there.name)
        if stack is None or standing(stack) is Standing.ABSENT:
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
