"""What the checks of `lazaretto doctor` ask of AWS and of the table. Each answer is read once, when it is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import Any

import msgspec

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.ecr.settings import EcrScanning
from chalicelib.adapters.stack.account_facts import AccountFacts, Caller
from chalicelib.adapters.stack.api_probe import ApiProbe
from chalicelib.adapters.stack.cloudformation import Stacks
from chalicelib.adapters.stack.kept_table import KeptTables
from chalicelib.adapters.stack.parts import DeployedFunction, InstalledParts
from chalicelib.cli.deploy.spoke import BUS, spoke_template
from chalicelib.context import AppContext
from chalicelib.domain.doctor.installed import FUNCTION, QUEUE, RULE, KeptTable, Queue, Spoke, StoredRepositories
from chalicelib.domain.doctor.stack import Resource, Stack
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.reconcile.scan_rule import RegistryScanning
from chalicelib.errors import LazarettoError
from chalicelib.services.ports.answers import repository_rows
from chalicelib.settings import Settings, registry_settings

COMPLETE = "OnAlerts"
"""The function whose settings are read: it has all of them."""
ENDPOINT = "EndpointURL"
"""The output of the stack that is the URL of the API."""
SOURCES = ("scans", "findings", "actions", "alerts", "sweeps")
"""Queues that a function reads, by the last part of their name."""
ASKED = 100


class DoctorOptions(msgspec.Struct, frozen=True):
    """`quick`: IAM's simulator is not asked. `send_test`: an alert goes through each channel. `register`: our roles are
    excluded from pull times."""

    quick: bool = False
    send_test: bool = False
    register: bool = False


class DoctorContext:
    """One stage in the account and Region of the credentials. Attributes raise TransientError, DeniedError and
    UpstreamError, and ask again after that."""

    def __init__(self, stage: str, sessions: Sessions, caller: Caller, options: DoctorOptions) -> None:
        self.stage, self.sessions, self.caller, self.options = stage, sessions, caller, options
        self.region, self.account = str(sessions.session.region_name), caller.account
        self.partition, self.now = caller.arn.split(":")[1], datetime.now(UTC)
        self.facts, self.parts = AccountFacts(sessions), InstalledParts(sessions)
        self.stacks, self.tables = Stacks(sessions), KeptTables(sessions)

    @property
    def name(self) -> str:
        """Of the stack, and of the table."""
        return f"lazaretto-{self.stage}"

    @property
    def deploy(self) -> str:
        return f"`lazaretto deploy --stage {self.stage}`"

    @cached_property
    def stack(self) -> Stack | None:
        return self.stacks.find(self.name)

    @cached_property
    def resources(self) -> tuple[Resource, ...]:
        found = self.stacks.resources(self.stack.id) if self.stack else ()
        return tuple(resource for resource in found if resource.physical)

    @property
    def names(self) -> dict[str, str]:
        """Physical ids by logical id; empty without a stack."""
        return {resource.name: resource.physical for resource in self.resources}

    def of_kind(self, kind: str) -> dict[str, str]:
        """As `names`, of one type."""
        return {resource.name: resource.physical for resource in self.resources if resource.kind == kind}

    @cached_property
    def is_installed(self) -> bool:
        """The local stack has queues and no stack."""
        return self.stack is not None or any(self.queue(source) for source in SOURCES)

    @cache  # noqa: B019 - one context is made in a run
    def queue(self, name: str) -> Queue | None:
        """By the last part of its name."""
        return self.parts.queue(f"{self.name}-{name}")

    @cached_property
    def has_spoke(self) -> bool:
        """Whether a spoke is here and its hub elsewhere."""
        return not self.is_installed and self.stacks.find(f"{self.name}-spoke") is not None

    @cached_property
    def spoke_template(self) -> Mapping[str, Any]:
        """As this command deploys it."""
        return spoke_template(self.stage)

    @property
    def hub_bus(self) -> str | None:
        """Where the spokes of this hub send to; None: the hub is elsewhere."""
        if not self.is_installed:
            return None
        return f"arn:{self.partition}:events:{self.region}:{self.account}:event-bus/default"

    @property
    def spoke_places(self) -> Sequence[RegistryPlace]:
        return self.app.registries[1:] if self.is_installed else (RegistryPlace(self.region),)

    def spoke(self, place: RegistryPlace) -> Spoke | None:
        """None: there is none. The role that a spoke gives the hub may read no stack, so another account is read with
        credentials or a role of the person who asks."""
        sessions = self.app.sessions_in(place.account) if place.account else self.sessions
        stacks, parts = Stacks(sessions, place.region), InstalledParts(sessions, place.region)
        stack = stacks.find(f"{self.name}-spoke")
        if stack is None:
            return None
        resources = [resource for resource in stacks.resources(stack.id) if resource.physical]
        # CloudFormation names a queue by its URL.
        dead = [parts.queue(r.physical.rpartition("/")[2]) for r in resources if r.kind == QUEUE]
        return Spoke(
            stack.status,
            stack.outputs.get(BUS),
            stacks.template(stack.id),
            {r.name: parts.rule(r.physical) for r in resources if r.kind == RULE},
            dead[0] if dead else None,
        )

    @cached_property
    def scanning(self) -> RegistryScanning:
        here = Repository(self.account, self.region, "")
        return EcrScanning(lambda account, region: self.sessions.client("ecr", region)).configuration(here)[1]

    @cached_property
    def functions(self) -> Mapping[str, DeployedFunction]:
        """By logical id; without those that are gone."""
        found = {logical: self.parts.function(name) for logical, name in self.of_kind(FUNCTION).items()}
        return {logical: function for logical, function in found.items() if function}

    def settings_of(self, function: DeployedFunction) -> Settings:
        """Raises SettingsError."""
        return Settings.from_env({**function.environment.get("Variables", {}), "AWS_REGION": self.region})

    @cached_property
    def function_settings(self) -> Settings | None:
        """None: they cannot be read; the checks `functions` and `settings` tell why."""
        try:
            function = self.functions.get(COMPLETE)
            return self.settings_of(function) if function else None
        except LazarettoError:
            return None

    @cached_property
    def app(self) -> AppContext:
        """With the settings of the functions; without them, with the names that the stage gives."""
        return AppContext(self.function_settings or self._named_settings(), self.sessions)

    def _named_settings(self) -> Settings:
        queues: dict[str, Any] = dict.fromkeys(("queue_scans", "queue_actions", "queue_alerts", "queue_sweeps"), "")
        topic = f"arn:{self.partition}:sns:{self.region}:{self.account}:{self.name}-alerts"
        watched = registry_settings(os.environ)
        return Settings(table=self.name, stage=self.stage, channels={"sns": topic}, **queues, **watched)

    @cached_property
    def api(self) -> ApiProbe:
        return ApiProbe(self.sessions, self.stack.outputs.get(ENDPOINT, "") if self.stack else "")

    @cached_property
    def signed(self) -> tuple[int, str | None]:
        """The status of a signed call to the API, and its version."""
        return self.api.signed()

    @cached_property
    def table(self) -> KeptTable | None:
        return self.tables.find(self.name)

    @cached_property
    def stored(self) -> StoredRepositories:
        """What sweeps have stored of all repositories; nothing where the hub, which has the table, is elsewhere."""
        if not self.is_installed:
            return StoredRepositories(self.account)
        rows = {row.repository: row.facts for row in repository_rows(self.app.queries, ASKED)}
        return StoredRepositories(self.account, rows)
