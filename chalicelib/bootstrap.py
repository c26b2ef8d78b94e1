"""Builds settings, adapters and channels, each once and when first asked for. It decides nothing.

Every function imports this module at its cold start. So what not all of them use is imported where it is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.findings_queries import FindingsQueries
from chalicelib.adapters.findings_table import FindingsTable
from chalicelib.adapters.policy_store import PolicyStore
from chalicelib.adapters.queues import Queues
from chalicelib.adapters.sessions import Sessions
from chalicelib.adapters.waiver_store import WaiverStore
from chalicelib.services.ports import Channel, Clock
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from chalicelib.adapters.accounts import AccountActs, AccountRegistry
    from chalicelib.adapters.assumed_roles import AssumedRoles
    from chalicelib.adapters.ecr_keeper import EcrKeeper
    from chalicelib.adapters.ecr_lifecycle import EcrLifecycles
    from chalicelib.adapters.ecr_listing import EcrListing
    from chalicelib.adapters.ecr_mover import EcrMover
    from chalicelib.adapters.ecr_public import EcrPublicListing
    from chalicelib.adapters.ecr_replication import EcrReplication
    from chalicelib.adapters.ecr_scanning import EcrScanning
    from chalicelib.adapters.inspector_listing import InspectorListing
    from chalicelib.adapters.replica_items import ReplicaItems
    from chalicelib.adapters.runtime import AwsRuntime
    from chalicelib.adapters.scan_asks import ScanAsks
    from chalicelib.adapters.scanner import Scanner
    from chalicelib.adapters.settings_items import SettingsItems
    from chalicelib.adapters.what_if_items import WhatIfItems

COPY_SECONDS = 25.0
"""Of one call that moves an image. What surrounds it (does it run, is it all there) needs its share of the function's
time as well."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Channels(Mapping[str, Channel]):
    """Each is made when first used: one that is set up wrongly fails its own alerts and nothing else."""

    def __init__(self, makers: Mapping[str, Callable[[], Channel]]) -> None:
        self._makers, self._made = makers, dict[str, Channel]()

    def __getitem__(self, name: str) -> Channel:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


class House:
    """Everything the use cases and the API may ask for (services.ports.House)."""

    def __init__(self, settings: Settings, sessions: Sessions | None = None) -> None:
        self.settings = settings
        self.sessions = sessions or Sessions()
        self.clock: Clock = SystemClock()

    @property
    def region(self) -> str:
        """Where the functions run, and whose registry sweeps list."""
        return str(self.sessions.session.region_name)

    @property
    def settle(self) -> timedelta:
        return self.settings.settle

    @cached_property
    def table(self) -> FindingsTable:
        return FindingsTable(self._dynamodb, self.settings.table, self.clock.now)

    @cached_property
    def queries(self) -> FindingsQueries:
        return FindingsQueries(self._dynamodb, self.settings.table)

    @cached_property
    def rules(self) -> PolicyStore:
        from chalicelib.adapters.policy_file import default_policy, read_policy

        return PolicyStore(self._dynamodb, self.settings.table, default_policy(), self.clock.now, read_policy)

    @cached_property
    def waivers(self) -> WaiverStore:
        return WaiverStore(self._dynamodb, self.settings.table)

    @cached_property
    def what_ifs(self) -> WhatIfItems:
        from chalicelib.adapters.what_if_items import WhatIfItems

        return WhatIfItems(self._dynamodb, self.settings.table, self.clock.now)

    @cached_property
    def scanner(self) -> Scanner:
        from chalicelib.adapters.inspector import Inspector
        from chalicelib.adapters.scanner import Scanner

        return Scanner(Inspector(lambda region: self.sessions.client("inspector2", region)), self.registry)

    @cached_property
    def registry(self) -> AccountRegistry:
        from chalicelib.adapters.accounts import AccountRegistry, ByAccount
        from chalicelib.adapters.ecr_registry import EcrRegistry

        def make(ecr_of: Callable[[str], Any]) -> EcrRegistry:
            return EcrRegistry(ecr_of, lambda region: self.sessions.client("ecr-public", region))

        own = make(lambda region: self.sessions.client("ecr", region))
        return AccountRegistry(ByAccount(own, self.settings.replica_roles, lambda account: make(self._ecr_of(account))))

    @cached_property
    def acts(self) -> AccountActs:
        from chalicelib.adapters.accounts import AccountActs, ByAccount
        from chalicelib.adapters.ecr_acts import EcrActs

        own = EcrActs(lambda region: self.sessions.client("ecr", region))
        held = ByAccount(own, self.settings.replica_roles, lambda account: EcrActs(self._ecr_of(account)))
        return AccountActs(held)

    @cached_property
    def replication(self) -> EcrReplication:
        from chalicelib.adapters.ecr_replication import EcrReplication

        def swept(account: str, region: str) -> Any:
            return self._accounts.client(account, "ecr", region, swept=True)

        return EcrReplication(swept, lambda: self.clock.now())

    @cached_property
    def replicas(self) -> ReplicaItems:
        from chalicelib.adapters.replica_items import ReplicaItems

        return ReplicaItems(self._dynamodb, self.settings.table)

    def _ecr_of(self, account: str) -> Callable[[str], Any]:
        """The ECR clients of an account by Region: by its role where it is not our own."""
        return lambda region: self._accounts.client(account, "ecr", region)

    @cached_property
    def _accounts(self) -> AssumedRoles:
        from chalicelib.adapters.assumed_roles import AssumedRoles

        return AssumedRoles(self.sessions, self.settings.replica_roles, lambda: self.clock.now())

    @cached_property
    def inventory(self) -> EcrListing:
        from chalicelib.adapters.ecr_listing import EcrListing

        return EcrListing(lambda region: self.sessions.swept_client("ecr", region))

    @cached_property
    def inspection(self) -> InspectorListing:
        from chalicelib.adapters.inspector_listing import InspectorListing

        return InspectorListing(lambda region: self.sessions.swept_client("inspector2", region))

    @cached_property
    def keeper(self) -> EcrKeeper:
        from chalicelib.adapters.ecr_keeper import EcrKeeper

        return EcrKeeper(lambda region: self.sessions.client("ecr", region))

    @cached_property
    def lifecycles(self) -> EcrLifecycles:
        from chalicelib.adapters.ecr_lifecycle import EcrLifecycles

        return EcrLifecycles(lambda region: self.sessions.client("ecr", region))

    @cached_property
    def scans(self) -> EcrScanning:
        from chalicelib.adapters.ecr_scanning import EcrScanning

        return EcrScanning(lambda region: self.sessions.swept_client("ecr", region))

    @cached_property
    def scan_asks(self) -> ScanAsks:
        from chalicelib.adapters.scan_asks import ScanAsks

        return ScanAsks(self._dynamodb, self.settings.table)

    @cached_property
    def public(self) -> EcrPublicListing:
        from chalicelib.adapters.ecr_public import EcrPublicListing

        return EcrPublicListing(lambda region: self.sessions.swept_client("ecr-public", region))

    @cached_property
    def posture(self) -> SettingsItems:
        from chalicelib.adapters.settings_items import SettingsItems

        return SettingsItems(self._dynamodb, self.settings.table)

    @cached_property
    def mover(self) -> EcrMover:
        from chalicelib.adapters.ecr_mover import EcrMover

        return EcrMover(lambda region: self.sessions.client("ecr", region), self.own_roles, COPY_SECONDS)

    @property
    def own_roles(self) -> tuple[str, ...]:
        return self.settings.role_arns

    @cached_property
    def runtime(self) -> AwsRuntime:
        from chalicelib.adapters.runtime import AwsRuntime

        return AwsRuntime(self.sessions.quick_client, lambda: self.clock.now())

    @cached_property
    def outbox(self) -> Queues:
        urls = {
            "scans": self.settings.queue_scans,
            "actions": self.settings.queue_actions,
            "sweeps": self.settings.queue_sweeps,
        }
        return Queues(self.sessions.client("sqs"), urls)

    @cached_property
    def channels(self) -> Mapping[str, Channel]:
        """The channels that are set up, by the name a policy's `notify` calls them."""
        makers: dict[str, Callable[[], Channel]] = {}
        if self.settings.topic_arn:
            makers["sns"] = self._sns
        if self.settings.slack_secret:
            makers["slack"] = self._slack
        return Channels(makers)

    def _sns(self) -> Channel:
        from chalicelib.adapters.sns import SnsTopic

        return SnsTopic(self.settings.topic_arn or "", self.sessions.client("sns"))

    def _slack(self) -> Channel:
        from chalicelib.adapters.secrets import Secret
        from chalicelib.adapters.slack import SlackBot, SlackWebhook

        text, channel = Secret(self.settings.slack_secret or "", self.sessions), self.settings.slack_channel
        return SlackBot(text, channel) if channel else SlackWebhook(text, self.settings.slack_local)

    @cached_property
    def cursor_secrets(self) -> tuple[str, ...]:
        """Newest first: the first signs, all are accepted."""
        if self.settings.cursor_secrets:
            return self.settings.cursor_secrets
        from chalicelib.adapters.secrets import Secret

        secret = Secret(self.settings.cursor_secret or "", self.sessions).read()
        return tuple(s for s in secret.split(",") if s)

    @property
    def _dynamodb(self) -> Any:
        return self.sessions.client("dynamodb", validate=False)


@cache
def house() -> House:
    """The one of this process, from its environment. Raises SettingsError."""
    return House(Settings.from_env(os.environ))
