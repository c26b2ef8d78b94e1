"""The round of `lazaretto doctor`: which checks are made, and by which adapters. Nothing is printed here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

import msgspec

from chalicelib import __version__
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.channels.registry import secret_checks
from chalicelib.adapters.dynamodb.schema import table_definition
from chalicelib.adapters.ecr.settings import EcrScanning
from chalicelib.adapters.stack.account_facts import AccountFacts, PolicySimulator
from chalicelib.adapters.stack.cloudformation import find_deployment
from chalicelib.adapters.stack.installed_stack import ApiProbe, InstalledSpokes, InstalledStack
from chalicelib.adapters.stack.kept_table import KeptTables
from chalicelib.adapters.stack.parts import InstalledParts
from chalicelib.cli.deploy.spoke import spoke_template
from chalicelib.context import AppContext
from chalicelib.domain.doctor.health import Check, HealthReport, check_of, fail, in_order, run_check, skipped, unknown
from chalicelib.domain.doctor.installed import (
    FUNCTION,
    SOURCES,
    Caller,
    DeployedFunction,
    Installed,
    StoredRepositories,
    patterns_of,
)
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.reconcile.scan_rule import RegistryScanning
from chalicelib.errors import DeniedError, LazarettoError
from chalicelib.services.doctor.check_account import check_account
from chalicelib.services.doctor.check_channels import check_channels
from chalicelib.services.doctor.check_registries import check_pull_times, check_registries, check_spokes, readers_of
from chalicelib.services.doctor.check_rights import check_deploy_rights, check_rights
from chalicelib.services.doctor.check_stack import ENDPOINT, check_stack, check_storage
from chalicelib.services.doctor.check_wiring import check_wiring
from chalicelib.services.doctor.check_work import check_work
from chalicelib.settings import Settings

COMPLETE = "OnAlerts"
"""The function whose settings are read: it has all of them."""
ASKED = 100


class Orders(msgspec.Struct, frozen=True):
    """`quick`: IAM's simulator is not asked. `send_test`: an alert goes through each channel. `register`: our roles are
    excluded from pull times."""

    quick: bool = False
    send_test: bool = False
    register: bool = False


def make_round(stage: str, sessions: Sessions, orders: Orders, made: Callable[[], None] = lambda: None) -> HealthReport:
    """`made` is called after each check. What AWS refuses is in the report, and raises nothing."""
    region = str(sessions.session.region_name)
    facts = AccountFacts(sessions)
    try:
        caller = facts.caller()
    except LazarettoError as error:
        refused = isinstance(error, DeniedError)
        advice = "`aws sts get-caller-identity` must answer: set --profile, or the credentials of the environment"
        found = (fail if refused else unknown)(str(error), advice)
        return HealthReport(stage, region, None, installed=False, checks=(check_of("credentials", found),))
    round_ = _Round(stage, region, caller, sessions, facts, orders)
    checks = list[Check]()
    for check in round_.checks():
        checks.append(check)
        made()
    return HealthReport(stage, region, caller.account, installed=round_.is_installed, checks=in_order(checks))


class _Round:
    def __init__(
        self, stage: str, region: str, caller: Caller, sessions: Sessions, facts: AccountFacts, orders: Orders
    ) -> None:
        self._stage, self._region, self._caller, self._orders = stage, region, caller, orders
        self._sessions, self._facts, self._now = sessions, facts, datetime.now(UTC)
        self._stack, self._parts = InstalledStack(sessions), InstalledParts(sessions)
        self._simulator = PolicySimulator(sessions)
        self._ask = None if orders.quick else self._simulator.ask
        self._there = Installed(stage, region, caller.account)
        self.is_installed = self._settings_read = False

    def checks(self) -> Iterator[Check]:
        """In any order."""
        yield from check_account(
            self._caller, self._region, self._now, lambda: self._scanning, self._facts, self._parts.concurrency
        )
        spokes, here = InstalledSpokes(lambda account: self._sessions), RegistryPlace(self._region)
        try:
            self._there = self._stack.find(self._stage, self._region, self._caller.account)
            queues = any(self._parts.queue(self._there.queue(source)) for source in SOURCES)
            self.is_installed = bool(self._there.status) or queues
            spoke = not self.is_installed and spokes.is_there(self._stage, here)
        except LazarettoError as error:
            yield check_of("stack", unknown(f"cannot be looked for: {error}", "nothing of an installation is checked"))
            return
        if self.is_installed:
            yield from self._of_installation()
        elif spoke:
            seen = f"{self._there.name} is elsewhere: its spoke here and the account are looked at"
            yield check_of("stack", skipped(seen))
            yield check_of("deploy-rights", skipped("a spoke is here, and no hub"))
            yield self._spokes(spokes, [here], None, lambda: StoredRepositories(self._caller.account))
        else:
            seen = f"there is no stack {self._there.name} here: the account alone is looked at"
            yield check_of("stack", skipped(seen, self._there.deploy))
            principal_of = self._simulator.principal_of
            yield run_check(
                "deploy-rights", lambda: check_deploy_rights(self._caller, self._region, principal_of, self._ask)
            )

    def _spokes(
        self,
        spokes: InstalledSpokes,
        places: Sequence[RegistryPlace],
        hub_bus: str | None,
        known: Callable[[], StoredRepositories],
    ) -> Check:
        template, spoke_of = spoke_template(self._stage), partial(spokes.find, self._stage)
        return run_check(
            "spokes", lambda: check_spokes(self._there, hub_bus, places, template, spoke_of, known, self._now)
        )

    def _of_installation(self) -> Iterator[Check]:
        there, now, context, settings = self._there, self._now, self._context, self._context.settings
        yield from check_stack(there, lambda: self._functions, self._table_of, lambda: self._api, __version__)
        # A spoke's rules match the same events as its hub's.
        yield from check_wiring(there, patterns_of(spoke_template(self._stage)), self._parts)
        tables = KeptTables(self._sessions)
        yield from check_storage(there, table_definition(there.name), tables.find, tables.key_state)
        channels = context.channels if self._orders.send_test else None
        secrets = secret_checks(settings, self._sessions)
        yield from check_channels(there, settings.channels.get("sns"), self._parts.topic, secrets, channels, now)
        documents = (lambda: self._stack.policies(there)) if there.names else None
        role_arn = self._simulator.role_arn
        yield run_check("roles", lambda: check_rights(self._region, documents, role_arn, self._ask))
        places, listing = context.registries, context.inventory.repositories
        yield run_check("registries", lambda: check_registries(there, places, self._known, listing, now))
        if there.names and not self._settings_read:
            yield check_of("spokes", unknown("the functions' settings tell which there are, and were not read"))
        else:
            bus = f"arn:{self._partition}:events:{self._region}:{self._caller.account}:event-bus/default"
            yield self._spokes(InstalledSpokes(context.sessions_in), places[1:], bus, lambda: self._known)
        readers, register = readers_of(places, settings.role_arns, settings.account_roles), self._orders.register
        yield run_check(
            "pull-times", lambda: check_pull_times(self._stage, readers, context.pull_times, register=register)
        )
        yield from check_work(
            there, now, lambda: self._known, self._parts, lambda: self._scanning.scanner, self._snapshot_at, context
        )

    @property
    def _partition(self) -> str:
        return self._caller.arn.split(":")[1]

    @cached_property
    def _api(self) -> ApiProbe:
        return ApiProbe(self._sessions, self._there.outputs[ENDPOINT])

    @cached_property
    def _functions(self) -> Mapping[str, DeployedFunction | None]:
        return {logical: self._parts.function(name) for logical, name in self._there.of_kind(FUNCTION).items()}

    def _snapshot_at(self) -> datetime | None:
        snapshot = self._context.queries.read_snapshot()
        return None if snapshot is None else snapshot.at

    def _table_of(self, function: DeployedFunction) -> str:
        return self._settings_of(function).table

    def _settings_of(self, function: DeployedFunction) -> Settings:
        return Settings.from_env({**function.environment, "AWS_REGION": self._region})

    @cached_property
    def _context(self) -> AppContext:
        """With the settings of the functions; without them, with the names that the stage gives."""
        try:
            function = self._functions.get(COMPLETE)
            if function is not None:
                settings = self._settings_of(function)
                self._settings_read = True
                return AppContext(settings, self._sessions)
        except LazarettoError:
            pass
        arn = f"arn:{self._partition}:sns:{self._region}:{self._caller.account}:{self._there.name}-alerts"
        return AppContext(msgspec.structs.replace(self._named_settings(), channels={"sns": arn}), self._sessions)

    def _named_settings(self) -> Settings:
        try:
            return find_deployment(self._stage, self._sessions)
        except LazarettoError:
            none: dict[str, Any] = dict.fromkeys(("queue_scans", "queue_actions", "queue_alerts", "queue_sweeps"), "")
            return Settings(table=self._there.name, stage=self._stage, **none)

    @cached_property
    def _known(self) -> StoredRepositories:
        found: dict[Repository, Mapping[str, object]] = {}
        after: str | None = None
        while True:
            page = self._context.queries.repositories(after, ASKED)
            found |= {row.repository: row.facts for row in page.items}
            if page.after is None:
                return StoredRepositories(self._caller.account, found)
            after = page.after

    @cached_property
    def _scanning(self) -> RegistryScanning:
        here = Repository(self._caller.account, self._region, "")
        return EcrScanning(lambda account, region: self._sessions.client("ecr", region)).configuration(here)[1]
