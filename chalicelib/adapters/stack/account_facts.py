"""What commands ask about an account in one Region: caller, Inspector, scan engine, trails, IAM's simulator."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from chalicelib.adapters.aws.calls import answered_at
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.parts import reading
from chalicelib.domain.doctor.role_rights import SimulatedAction, SimulationRequest

ENGINE = "BASIC_SCAN_TYPE_VERSION"
_ASSUMED = re.compile(r"arn:[a-z-]+:sts::\d{12}:assumed-role/(?P<role>[^/]+)/.+")


class Caller(msgspec.Struct, frozen=True):
    """`at`: AWS's time."""

    account: str
    arn: str
    at: datetime


class Trail(msgspec.Struct, frozen=True):
    """`writes`: it is on and records management events that write."""

    name: str
    writes: bool


class AccountFacts:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    @reading("ask who we are")
    def caller(self) -> Caller:
        answer = self._sessions.client("sts", quick=True).get_caller_identity()
        return Caller(answer["Account"], answer["Arn"], answered_at(answer))

    @reading("ask Inspector about this account")
    def inspector(self) -> str | None:
        """How Inspector scans ECR (ENABLED, DISABLED, SUSPENDED, …); None: it did not say."""
        accounts = self._sessions.client("inspector2").batch_get_account_status().get("accounts")
        return str(accounts[0]["resourceState"]["ecr"]["status"]) if accounts else None

    @reading("read the engine of basic scans")
    def scan_engine(self) -> str:
        """AWS_NATIVE or CLAIR."""
        return str(self._sessions.client("ecr").get_account_setting(name=ENGINE)["value"])

    @reading("list the trails")
    def trails(self) -> tuple[Trail, ...]:
        """Those that record in this Region, of other Regions and of the organisation as well."""
        client = self._sessions.client("cloudtrail")
        trails = client.describe_trails(includeShadowTrails=True).get("trailList", ())
        return tuple(Trail(trail["Name"], _records_writes(client, trail["TrailARN"])) for trail in trails)

    @reading("read the role {}")
    def role_arn(self, name: str) -> str:
        """With its path."""
        return str(self._sessions.client("iam").get_role(RoleName=name)["Role"]["Arn"])

    def principal_of(self, arn: str) -> str | None:
        """The user or role whose policies hold for a caller; None: the account's root, which has none."""
        if match := _ASSUMED.fullmatch(arn):
            return self.role_arn(match["role"])
        return None if arn.endswith(":root") else arn

    @reading("simulate the policies of {}")
    def simulate(self, principal: str, request: SimulationRequest) -> tuple[SimulatedAction, ...]:
        keys = [
            {
                "ContextKeyName": key.name,
                "ContextKeyType": "stringList" if key.many else "string",
                "ContextKeyValues": [key.value],
            }
            for key in request.keys
        ]
        pages = self._sessions.client("iam").get_paginator("simulate_principal_policy")
        result = pages.paginate(
            PolicySourceArn=principal,
            ActionNames=list(request.actions),
            ResourceArns=list(request.resources),
            ContextEntries=keys,
        ).build_full_result()
        return tuple(answer for said in result.get("EvaluationResults", ()) for answer in _answers(said))


def _records_writes(client: Any, arn: str) -> bool:
    """A trail without selectors records all management events."""
    if not client.get_trail_status(Name=arn).get("IsLogging"):
        return False
    said = client.get_event_selectors(TrailName=arn)
    simple, advanced = said.get("EventSelectors", ()), said.get("AdvancedEventSelectors", ())
    if not (simple or advanced):
        return True
    return any(
        one.get("IncludeManagementEvents") and one.get("ReadWriteType", "All") != "ReadOnly" for one in simple
    ) or any(_is_about_writes(one.get("FieldSelectors", [])) for one in advanced)


def _is_about_writes(fields: list[dict[str, Any]]) -> bool:
    equal = {field["Field"]: field.get("Equals", ()) for field in fields}
    return "Management" in equal.get("eventCategory", ()) and "true" not in equal.get("readOnly", ())


def _answers(said: Mapping[str, Any]) -> Iterator[SimulatedAction]:
    """With several resources, what holds for each stands beneath the action's own line."""
    by_organisation = said.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations", True)
    for one in said.get("ResourceSpecificResults") or (said,):
        boundary = one.get("PermissionsBoundaryDecisionDetail", {}).get("AllowedByPermissionsBoundary", True)
        resource = one.get("EvalResourceName", "*")
        decision = one["EvalResourceDecision" if one is not said else "EvalDecision"]
        yield SimulatedAction(said["EvalActionName"], resource, decision, by_organisation, boundary)
