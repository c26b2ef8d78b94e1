"""IAM's policy simulator, and whose policies hold for credentials. Calls: SimulatePrincipalPolicy, GetRole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.parts import reading
from chalicelib.domain.pulls.role_rights import SimulatedAction, SimulationRequest

_ASSUMED = re.compile(r"arn:[a-z-]+:sts::\d{12}:assumed-role/(?P<role>[^/]+)/.+")


class PolicySimulator:
    def __init__(self, sessions: Sessions) -> None:
        self._client = sessions.client("iam")

    @reading("read the role {}")
    def role_arn(self, name: str) -> str:
        """With its path."""
        return str(self._client.get_role(RoleName=name)["Role"]["Arn"])

    def principal_of(self, arn: str) -> str | None:
        """The user or role whose policies hold for a caller; None: the account's root, which has none."""
        if match := _ASSUMED.fullmatch(arn):
            return self.role_arn(match["role"])
        return None if arn.endswith(":root") else arn

    @reading("simulate the policies of {}")
    def ask(self, principal: str, question: SimulationRequest) -> tuple[SimulatedAction, ...]:
        pages = self._client.get_paginator("simulate_principal_policy").paginate(
            PolicySourceArn=principal,
            ActionNames=list(question.actions),
            ResourceArns=list(question.resources),
            ContextEntries=[
                {
                    "ContextKeyName": key.name,
                    "ContextKeyType": "stringList" if key.many else "string",
                    "ContextKeyValues": [key.value],
                }
                for key in question.keys
            ],
        )
        return tuple(answer for page in pages for said in page["EvaluationResults"] for answer in _answers(said))


def _answers(said: Mapping[str, Any]) -> Iterator[SimulatedAction]:
    """With several resources, what holds for each stands beneath the action's own line."""
    by_organisation = said.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations", True)
    for one in said.get("ResourceSpecificResults") or (said,):
        boundary = one.get("PermissionsBoundaryDecisionDetail", {}).get("AllowedByPermissionsBoundary", True)
        resource = one.get("EvalResourceName", "*")
        decision = one["EvalResourceDecision" if one is not said else "EvalDecision"]
        yield SimulatedAction(said["EvalActionName"], resource, decision, by_organisation, boundary)
