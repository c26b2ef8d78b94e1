"""What an account is like for Lazaretto, in one Region: whose it is, its scanner, its trails.

Calls: GetCallerIdentity; BatchGetAccountStatus (Inspector); GetAccountSetting (ECR); DescribeTrails, and for each trail
GetTrailStatus and GetEventSelectors (CloudTrail).
"""

from __future__ import annotations

from typing import Any

from chalicelib.adapters.aws.calls import answered_at, asked, readable
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.doctor.installed import Caller, Trail
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
