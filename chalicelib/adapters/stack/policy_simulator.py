"""IAM's policy simulator, and whose rights credentials are. Calls: SimulatePrincipalPolicy, GetRole."""

from __future__ import annotations

import re

import msgspec

from chalicelib.adapters.aws.calls import asked, readable
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.pulls.role_rights import SimulatedAction, SimulationRequest
from chalicelib.errors import UpstreamError
from chalicelib.parsers.wire.wire import Upper, read

PAGES = 100
"""Far more than the calls of one statement fill: an answer that names the same next page for ever must end."""
_ASSUMED = re.compile(r"arn:[a-z-]+:sts::\d{12}:assumed-role/(?P<role>[^/]+)/.+")


class _ByOrganisation(Upper):
    allowed_by_organizations: bool = True


class _ByBoundary(Upper):
    allowed_by_permissions_boundary: bool = True


class _OfResource(Upper):
    eval_resource_name: str
    eval_resource_decision: str
    permissions_boundary_decision_detail: _ByBoundary = msgspec.field(default_factory=_ByBoundary)


class _Result(Upper):
    eval_action_name: str
    eval_decision: str
    eval_resource_name: str = "*"
    organizations_decision_detail: _ByOrganisation = msgspec.field(default_factory=_ByOrganisation)
    permissions_boundary_decision_detail: _ByBoundary = msgspec.field(default_factory=_ByBoundary)
    resource_specific_results: list[_OfResource] = []


class _Results(Upper):
    evaluation_results: list[_Result] = []
    is_truncated: bool = False
    marker: str | None = None


class _Role(Upper):
    arn: str


class _RoleAnswer(Upper):
    role: _Role


class PolicySimulator:
    """Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions) -> None:
        self._client = sessions.client("iam")

    def role_arn(self, name: str) -> str:
        """With its path."""
        what = f"read the role {name}"
        answer = asked(what, self._client.get_role, RoleName=name)
        with readable(what):
            return read(_RoleAnswer, answer).role.arn

    def principal_of(self, arn: str) -> str | None:
        """The user or role whose policies hold for a caller; None: the account's root, which has none."""
        if match := _ASSUMED.fullmatch(arn):
            return self.role_arn(match["role"])
        return None if arn.endswith(":root") else arn

    def ask(self, principal: str, question: SimulationRequest) -> tuple[SimulatedAction, ...]:
        what = f"simulate the policies of {principal}"
        wanted = {
            "PolicySourceArn": principal,
            "ActionNames": list(question.actions),
            "ResourceArns": list(question.resources),
            "ContextEntries": [
                {
                    "ContextKeyName": key.name,
                    "ContextKeyType": "stringList" if key.many else "string",
                    "ContextKeyValues": [key.value],
                }
                for key in question.keys
            ],
        }
        found: list[SimulatedAction] = []
        more: dict[str, str] = {}
        for _ in range(PAGES):
            answer = asked(what, self._client.simulate_principal_policy, **wanted, **more)
            with readable(what):
                page = read(_Results, answer)
            for result in page.evaluation_results:
                found += _answers(result)
            if not (page.is_truncated and page.marker):
                return tuple(found)
            more = {"Marker": page.marker}
        raise UpstreamError(f"{what}: more than {PAGES} pages")


def _answers(result: _Result) -> list[SimulatedAction]:
    """With several resources, what holds for each stands beneath the action's own line."""
    organisation = result.organizations_decision_detail.allowed_by_organizations
    whole = SimulatedAction(
        result.eval_action_name,
        result.eval_resource_name,
        result.eval_decision,
        organisation,
        result.permissions_boundary_decision_detail.allowed_by_permissions_boundary,
    )
    return [
        msgspec.structs.replace(
            whole,
            resource=one.eval_resource_name,
            decision=one.eval_resource_decision,
            by_boundary=one.permissions_boundary_decision_detail.allowed_by_permissions_boundary,
        )
        for one in result.resource_specific_results
    ] or [whole]
