"""What `doctor` asks about an account in one Region: the caller, Inspector, the engine of basic scans, the trails.

Calls: GetCallerIdentity; BatchGetAccountStatus (Inspector); GetAccountSetting (ECR); DescribeTrails, and for each trail
GetTrailStatus and GetEventSelectors (CloudTrail).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.adapters.aws.answers import answered_at
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.parts import reading
from chalicelib.domain.doctor.installed import Caller, Trail

ENGINE = "BASIC_SCAN_TYPE_VERSION"


class AccountFacts:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    @reading("ask who we are")
    def caller(self) -> Caller:
        answer = self._sessions.quick_client("sts").get_caller_identity()
        return Caller(answer["Account"], answer["Arn"], answered_at(answer))

    @reading("ask Inspector about this account")
    def inspector(self) -> str | None:
        """How Inspector scans ECR (ENABLED, DISABLED, SUSPENDED, …); None: it did not say."""
        accounts = self._sessions.client("inspector2").batch_get_account_status()["accounts"]
        return str(accounts[0]["resourceState"]["ecr"]["status"]) if accounts else None

    @reading("read the engine of basic scans")
    def scan_engine(self) -> str:
        """AWS_NATIVE or CLAIR."""
        return str(self._sessions.client("ecr").get_account_setting(name=ENGINE)["value"])

    @reading("list the trails")
    def trails(self) -> tuple[Trail, ...]:
        """Those that record in this Region, of other Regions and of the organisation as well."""
        client = self._sessions.client("cloudtrail")
        return tuple(
            Trail(
                trail["Name"],
                bool(client.get_trail_status(Name=trail["TrailARN"]).get("IsLogging")),
                _records_writes(client.get_event_selectors(TrailName=trail["TrailARN"])),
            )
            for trail in client.describe_trails(includeShadowTrails=True)["trailList"]
        )


def _records_writes(said: Mapping[str, Any]) -> bool:
    """A trail without selectors records all management events."""
    simple, advanced = said.get("EventSelectors", ()), said.get("AdvancedEventSelectors", ())
    if not (simple or advanced):
        return True
    return any(
        one.get("IncludeManagementEvents") and one.get("ReadWriteType", "All") != "ReadOnly" for one in simple
    ) or any(_is_about_writes(one["FieldSelectors"]) for one in advanced)


def _is_about_writes(fields: list[dict[str, Any]]) -> bool:
    equal = {field["Field"]: field.get("Equals", ()) for field in fields}
    return "Management" in equal.get("eventCategory", ()) and "true" not in equal.get("readOnly", ())
