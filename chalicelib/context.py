"""Builds settings, adapters and channels, each once and when first asked for. It decides nothing.

Every function imports this module at its cold start. So what not all of them use is imported where it is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.queues import Queues
from chalicelib.adapters.aws.sessions import Sessions, count_refused_calls
from chalicelib.adapters.channels.registry import channel_makers
from chalicelib.adapters.channels.sns import CountedChannel
from chalicelib.adapters.dynamodb.dynamo import Dynamo, count_write_units
from chalicelib.adapters.stores.rule_store import PolicyStore, WaiverStore
from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.adapters.table.findings_table import FindingsTable
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import SettingsError
from chalicelib.observability import journal
from chalicelib.services.ports.context import Channel, Clock, Journal, Meter
from chalicelib.settings import InspectorMode, Settings

if TYPE_CHECKING:
    from chalicelib.adapters.aws.sessions import AssumedRoles
    from chalicelib.adapters.channels.secrets import Secret
    from chalicelib.adapters.ecr.keeper import EcrKeeper, EcrLifecycles, EcrPullTimes
    from chalicelib.adapters.ecr.listing import EcrListing, EcrPublicListing
    from chalicelib.adapters.ecr.registry import EcrActs, EcrRegistry
    from chalicelib.adapters.ecr.settings import EcrReplication, EcrScanning
    from chalicelib.adapters.inspector.inspector import EitherScanner
    from chalicelib.adapters.inspector.listing import InspectorListing
    from chalicelib.adapters.stores.admission_items import AdmissionItems
    from chalicelib.adapters.stores.legal_hold_items import LegalHoldItems
    from chalicelib.adapters.stores.retirement_items import RetirementItems
    from chalicelib.adapters.stores.sweep_items import ReplicaItems, ScanAskItems, SettingsItems
    from chalicelib.adapters.stores.what_if_items import WhatIfItems
    from chalicelib.adapters.usage.runtime import AwsRuntime


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Channels(Mapping[str, Channel]):
    """Each is made when first used: one that is set up wrongly fails its own alerts and nothing else."""

    def __init__(self, makers: Mapping[str, Callable[[], Channel]], meter: Meter) -> None:
        self._makers, self._made, self._meter = makers, dict[str, Channel](), meter

    def __getitem__(self, name: str) -> Channel:
        if name not in self._made:
            self._made[name] = CountedChannel(self._makers[name](), self._meter)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


class AppContext:
    """Everything the use cases and the API may ask for (services.ports.context.Context)."""

    def __init__(self, settings: Settings, sessions: Sessions | None = None) -> None:
        self.settings = settings
        self.sessions = sessions or Sessions()
        self.clock: Clock = SystemClock()
        self.journal: Journal = journal

    @property
    def registries(self) -> tuple[RegistryPlace, ...]:
        """Those that sweeps list, our own first: the one where the functions run."""
        return RegistryPlace(str(self.sessions.session.region_name)), *self.settings.registries

    def own_account(self) -> str:
        """Asked of STS once, when first needed."""
        return self._accounts.own_account()

    @property
    def admission_token_hashes(self) -> tuple[str, ...]:
        return self.settings.admission_token_hashes

    @property
    def consistency_delay(self) -> timedelta:
        return self.settings.consistency_delay

    @cached_property
    def table(self) -> FindingsTable:
        return FindingsTable(self._dynamo, self.clock.now)

    @cached_property
    def queries(self) -> FindingsQueries:
        return FindingsQueries(self._dynamo)

    @cached_property
    def rules(self) -> PolicyStore:
        from chalicelib.adapters.stores.policy_file import default_policy, read_policy

        return PolicyStore(self._dynamo, default_policy(), self.clock.now, read_policy, self.settings.account)

    @cached_property
    def waivers(self) -> WaiverStore:
        return WaiverStore(self._dynamo)

    @cached_property
    def what_ifs(self) -> WhatIfItems:
        from chalicelib.adapters.stores.what_if_items import WhatIfItems

        return WhatIfItems(self._dynamo, self.clock.now)

    @cached_property
    def scanner(self) -> EitherScanner:
        from chalicelib.adapters.inspector.inspector import EitherScanner, Inspector

        return EitherScanner(Inspector(self._inspectors()), self.registry)

    @cached_property
    def registry(self) -> EcrRegistry:
        from chalicelib.adapters.ecr.registry import EcrRegistry

        return EcrRegistry(self._clients("ecr"), lambda region: self.sessions.client("ecr-public", region))

    @cached_property
    def acts(self) -> EcrActs:
        from chalicelib.adapters.ecr.registry import EcrActs

        return EcrActs(self._clients("ecr"))

    @cached_property
    def replication(self) -> EcrReplication:
        from chalicelib.adapters.ecr.settings import EcrReplication

        def swept(account: str | None, region: str) -> Any:
            return self._accounts.client(account or self._accounts.own_account(), "ecr", region, swept=True)

        return EcrReplication(swept, lambda: self.clock.now())

    @cached_property
    def replicas(self) -> ReplicaItems:
        from chalicelib.adapters.stores.sweep_items import ReplicaItems

        return ReplicaItems(self._dynamo, self.clock.now)

    @cached_property
    def inventory(self) -> EcrListing:
        from chalicelib.adapters.ecr.listing import EcrListing

        return EcrListing(self._clients("ecr", swept=True))

    @cached_property
    def inspection(self) -> InspectorListing:
        from chalicelib.adapters.inspector.listing import InspectorListing

        return InspectorListing(self._inspectors(swept=True))

    @cached_property
    def keeper(self) -> EcrKeeper:
        from chalicelib.adapters.ecr.keeper import EcrKeeper

        return EcrKeeper(self._clients("ecr"))

    @cached_property
    def pull_times(self) -> EcrPullTimes:
        from chalicelib.adapters.ecr.keeper import EcrPullTimes

        def client_of(account: str | None, region: str) -> Any:
            """The calls name no registry, so an account is asked about only by a role in it."""
            return self._accounts.client(account or self._accounts.own_account(), "ecr", region)

        return EcrPullTimes(client_of)

    @cached_property
    def lifecycles(self) -> EcrLifecycles:
        from chalicelib.adapters.ecr.keeper import EcrLifecycles

        return EcrLifecycles(self._clients("ecr"))

    @cached_property
    def scans(self) -> EcrScanning:
        from chalicelib.adapters.ecr.settings import EcrScanning

        return EcrScanning(self._clients("ecr", swept=True))

    @cached_property
    def scan_asks(self) -> ScanAskItems:
        from chalicelib.adapters.stores.sweep_items import ScanAskItems

        return ScanAskItems(self._dynamo)

    @cached_property
    def public(self) -> EcrPublicListing:
        from chalicelib.adapters.ecr.listing import EcrPublicListing

        return EcrPublicListing(lambda region: self.sessions.client("ecr-public", region, swept=True))

    @cached_property
    def posture(self) -> SettingsItems:
        from chalicelib.adapters.stores.sweep_items import SettingsItems

        return SettingsItems(self._dynamo)

    @cached_property
    def legal_holds(self) -> LegalHoldItems:
        from chalicelib.adapters.stores.legal_hold_items import LegalHoldItems

        return LegalHoldItems(self._dynamo)

    @cached_property
    def retirements(self) -> RetirementItems:
        from chalicelib.adapters.stores.retirement_items import RetirementItems

        return RetirementItems(self._dynamo, lambda: self.clock.now())

    @cached_property
    def admissions(self) -> AdmissionItems:
        from chalicelib.adapters.stores.admission_items import AdmissionItems

        return AdmissionItems(self._dynamo)

    @property
    def own_roles(self) -> tuple[str, ...]:
        """Those of the functions, and those by which they act in other accounts."""
        return *self.settings.role_arns, *self.settings.account_roles.values()

    @cached_property
    def runtime(self) -> AwsRuntime:
        from chalicelib.adapters.usage.runtime import AwsRuntime

        def quick(service: str, account: str, region: str) -> Any:
            return self._accounts.client(account, service, region, quick=True)

        return AwsRuntime(
            quick,
            lambda: self.clock.now(),
            switched_on=lambda: self.rules.current().policy.in_use.places,
            registries=lambda: [(p.account or self.own_account(), p.region) for p in self.registries],
        )

    @cached_property
    def outbox(self) -> Queues:
        urls = {
            "scans": self.settings.queue_scans,
            "actions": self.settings.queue_actions,
            "alerts": self.settings.queue_alerts,
            "sweeps": self.settings.queue_sweeps,
        }
        return Queues(self.sessions.client("sqs"), urls)

    @cached_property
    def channels(self) -> Mapping[str, Channel]:
        """The channels that are set up, by the name a policy's `notify` calls them."""
        return Channels(channel_makers(self.settings, self.sessions), self.journal)

    @property
    def cursor_secrets(self) -> tuple[str, ...]:
        """The first signs, all are accepted. At most five minutes old, so that one can be rotated."""
        if self.settings.cursor_secrets:
            return self.settings.cursor_secrets
        secrets = tuple(s for s in self._cursor_secret.read().split(",") if s)
        if not secrets:
            raise SettingsError(["the secret that signs cursors is empty"])
        return secrets

    @cached_property
    def _cursor_secret(self) -> Secret:
        from chalicelib.adapters.channels.secrets import Secret

        return Secret(self.settings.cursor_secret or "", self.sessions)

    def sessions_in(self, account: str | None) -> Sessions:
        """By which an account is looked at (None: our own). Raises DeniedError where no role lets us, TransientError,
        UpstreamError."""
        return self.sessions if account is None else self._accounts.sessions(account)

    def _clients(self, service: str, *, swept: bool = False) -> Callable[[str | None, str], Any]:
        """The clients of a service by account (None: our own) and Region, for calls that name the registry they mean,
        or are checked to be about it: by the role of an account that has one. Others are asked as ourselves, and do
        what their own policies let us. Our own account's id is not looked up where there is no other."""

        def client_of(account: str | None, region: str) -> Any:
            if account is None or account not in self.settings.account_roles:
                return self.sessions.client(service, region, swept=swept)
            return self._accounts.client(account, service, region, swept=swept)

        return client_of

    def _inspectors(self, *, swept: bool = False) -> Callable[[str, str], Any]:
        """An organisation's delegated administrator is answered about all its members; every call names the account."""
        if self.settings.inspector is InspectorMode.DELEGATED:
            return lambda account, region: self.sessions.client("inspector2", region, swept=swept)
        return self._clients("inspector2", swept=swept)

    @cached_property
    def _accounts(self) -> AssumedRoles:
        from chalicelib.adapters.aws.sessions import AssumedRoles

        roles, name = self.settings.account_roles, self.settings.function
        return AssumedRoles(self.sessions, roles, lambda: self.clock.now(), name)

    @cached_property
    def _dynamo(self) -> Dynamo:
        client = self.sessions.client("dynamodb", validate=False)
        count_write_units(client, self.journal)
        return Dynamo(client, self.settings.table)


@cache
def app_context() -> AppContext:
    """The one of this process, from its environment. Raises SettingsError."""
    watched = Sessions(watch=lambda session: count_refused_calls(session, journal))
    return AppContext(Settings.from_env(os.environ), watched)
