"""An AWS account in one Region as doctor checks it: identity, scanner, trails, and what its credentials may do.

Calls: GetCallerIdentity; BatchGetAccountStatus (Inspector); GetAccountSetting (ECR); DescribeTrails, and for each trail
GetTrailStatus and GetEventSelectors (CloudTrail); SimulatePrincipalPolicy and GetRole (IAM).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from chalicelib.adapters.aws.calls import answered_at, asked, readable
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.doctor.installed import Caller, Trail
from chalicelib.domain.pulls.role_rights import SimulatedAction, SimulationRequest
from chalicelib.errors import UpstreamError
from chalicelib.parsers.wire.wire import Lower, Upper, read

ENGINE = "BASIC_SCAN_TYPE_VERSION"


class _Caller(Upper):
    account: str
    arn: str


class _State(Lower):
    status: str


class _Resources(Lower):
    ecr: _State


class _Inspected(Lower):
    account_id: str
    resource_state: _Resources


class _Statuses(Lower):
    accounts: list[_Inspected] = []


class _Setting(Lower):
    value: str


class _Trail(Upper, rename={"trail_arn": "TrailARN", "name": "Name"}):
    name: str
    trail_arn: str


class _Trails(Lower):
    trail_list: list[_Trail] = []


class _Logging(Upper):
    is_logging: bool = False


class _Selector(Upper):
    include_management_events: bool = False
    read_write_type: str = "All"


class _Field(Upper):
    field: str
    equals: list[str] = []


class _Advanced(Upper):
    field_selectors: list[_Field] = []


class _Selectors(Upper):
    event_selectors: list[_Selector] = []
    advanced_event_selectors: list[_Advanced] = []


class AccountFacts:
    """Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def caller(self) -> Caller:
        what = "ask who we are"
        answer = asked(what, self._sessions.quick_client("sts").get_caller_identity)
        with readable(what):
            said = read(_Caller, answer)
        return Caller(said.account, said.arn, answered_at(answer))

    def inspector(self) -> str | None:
        """Inspector's word for the scanning of ECR (ENABLED, DISABLED, SUSPENDED, …); None: it did not say."""
        what = "ask Inspector about this account"
        answer = asked(what, self._sessions.client("inspector2").batch_get_account_status)
        with readable(what):
            accounts = read(_Statuses, answer).accounts
        return accounts[0].resource_state.ecr.status if accounts else None

    def scan_engine(self) -> str:
        """AWS_NATIVE or CLAIR."""
        what = "read the engine of basic scans"
        answer = asked(what, self._sessions.client("ecr").get_account_setting, name=ENGINE)
        with readable(what):
            return read(_Setting, answer).value

    def trails(self) -> tuple[Trail, ...]:
        """Those that record in this Region, of other Regions and of the organisation as well."""
        client: Any = self._sessions.client("cloudtrail")
        what = "list the trails"
        answer = asked(what, client.describe_trails, includeShadowTrails=True)
        with readable(what):
            trails = read(_Trails, answer).trail_list
        return tuple(self._trail(client, trail) for trail in trails)

    def _trail(self, client: Any, trail: _Trail) -> Trail:
        what = f"read the trail {trail.name}"
        status = asked(what, client.get_trail_status, Name=trail.trail_arn)
        selectors = asked(what, client.get_event_selectors, TrailName=trail.trail_arn)
        with readable(what):
            return Trail(trail.name, read(_Logging, status).is_logging, _records_writes(read(_Selectors, selectors)))


def _records_writes(said: _Selectors) -> bool:
    """A trail of which nothing else is said records all management events."""
    if not (said.event_selectors or said.advanced_event_selectors):
        return True
    simple = any(s.include_management_events and s.read_write_type != "ReadOnly" for s in said.event_selectors)
    return simple or any(_is_about_writes(s.field_selectors) for s in said.advanced_event_selectors)


def _is_about_writes(fields: list[_Field]) -> bool:
    equal = {field.field: field.equals for field in fields}
    return "Management" in equal.get("eventCategory", []) and "true" not in equal.get("readOnly", [])


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
