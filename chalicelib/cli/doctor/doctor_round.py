"""The round of `lazaretto doctor`: which checks are made, and by which adapters. Nothing is printed here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from typing import Any

import msgspec

from chalicelib import __version__
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.channels.registry import secret_checks
from chalicelib.adapters.dynamodb.schema import table_definition
from chalicelib.adapters.ecr.scanning import EcrScanning
from chalicelib.adapters.stack.account_facts import AccountFacts
from chalicelib.adapters.stack.api_probe import ApiProbe
from chalicelib.adapters.stack.deployment import find_deployment
from chalicelib.adapters.stack.functions import InstalledFunctions
from chalicelib.adapters.stack.health_metrics import HealthMetrics
from chalicelib.adapters.stack.kept_table import KeptTables
from chalicelib.adapters.stack.policy_simulator import PolicySimulator
from chalicelib.adapters.stack.queues import InstalledQueues, InstalledRules
from chalicelib.adapters.stack.spokes import InstalledSpokes, InstalledStack, InstalledTopics
from chalicelib.cli.deploy.spoke import spoke_template
from chalicelib.context import AppContext
from chalicelib.domain.doctor.health import Check, HealthReport, check_of, fail, in_order, skipped, unknown
from chalicelib.domain.doctor.installed import FUNCTION, SOURCES, Caller, DeployedFunction, Installed, patterns_of
from chalicelib.domain.doctor.stored import StoredRepositories
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.registry import RegistryPlace
from chalicelib.domain.reconcile.scan_rule import RegistryScanning
from chalicelib.errors import DeniedError, LazarettoError, SettingsError
from chalicelib.services.doctor.check_account import check_account
from chalicelib.services.doctor.check_channels import check_channels
from chalicelib.services.doctor.check_deploy_rights import check_deploy_rights
from chalicelib.services.doctor.check_pull_times import check_pull_times
from chalicelib.services.doctor.check_registries import check_registries
from chalicelib.services.doctor.check_rights import check_rights
from chalicelib.services.doctor.check_spokes import check_spokes
from chalicelib.services.doctor.check_stack import ENDPOINT, check_stack
from chalicelib.services.doctor.check_storage import check_storage
from chalicelib.services.doctor.check_wiring import check_wiring
from chalicelib.services.doctor.check_work import check_work
from chalicelib.services.retention.exclude_pull_times import readers_of
from chalicelib.settings import Settings

TELLS = "OnAlerts"
"""The function whose settings are read: it has all of them."""
ASKED = 100


class Orders(msgspec.Struct, frozen=True):
    """`quick`: IAM's simulator is not asked. `send_test`: an alert goes through each channel. `register`: our roles are
    registered as such that leave no pull time."""

    quick: bool = False
    send_test: bool = False
    register: bool = False


def make_round(stage: str, sessions: Sessions, orders: Orders, tell: Callable[[], None] = lambda: None) -> HealthReport:
    """`tell` is called after each check. Raises nothing of what AWS refuses: that is in the report."""
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
        tell()
    return HealthReport(stage, region, caller.account, installed=round_.is_installed, checks=in_order(checks))


class _Round:
    def __init__(
        self, stage: str, region: str, caller: Caller, sessions: Sessions, facts: AccountFacts, orders: Orders
    ) -> None:
        self._stage, self._region, self._caller, self._orders = stage, region, caller, orders
        self._sessions, self._facts, self._now = sessions, facts, datetime.now(UTC)
        self._stack, self._queue_of = InstalledStack(sessions), cache(InstalledQueues(sessions).find)
        self._functions, self._metrics = InstalledFunctions(sessions), HealthMetrics(sessions)
        self._simulator = PolicySimulator(sessions)
        self._ask = None if orders.quick else self._simulator.ask
        self._there = Installed(stage, region, caller.account)
        self.is_installed = self._settings_told = False

    def checks(self) -> Iterator[Check]:
        """In any order."""
        facts = self._facts
        yield from check_account(
            self._caller,
            self._region,
            self._now,
            lambda: self._scanning,
            facts.inspector,
            facts.scan_engine,
            facts.trails,
            self._functions.room,
        )
        spokes, here = InstalledSpokes(lambda account: self._sessions), RegistryPlace(self._region)
        try:
            self._there = self._stack.find(self._stage, self._region, self._caller.account)
            queues = any(self._queue_of(self._there.queue(source)) for source in SOURCES)
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
            yield from self._spokes(spokes, [here], None, lambda: StoredRepositories(self._caller.account))
        else:
            seen = f"there is no stack {self._there.name} here: the account alone is looked at"
            yield check_of("stack", skipped(seen, f"`lazaretto deploy --stage {self._stage}`"))
            principal = partial(self._simulator.principal_of, self._caller.arn)
            yield from check_deploy_rights(self._caller, self._region, principal, self._ask)

    def _spokes(
        self,
        spokes: InstalledSpokes,
        places: Sequence[RegistryPlace],
        hub_bus: str | None,
        known: Callable[[], StoredRepositories],
    ) -> Iterator[Check]:
        template, spoke_of = spoke_template(self._stage), partial(spokes.find, self._stage)
        return check_spokes(self._there, hub_bus, places, template, spoke_of, known, self._now)

    def _of_installation(self) -> Iterator[Check]:
        there, now, context = self._there, self._now, self._context
        yield from self._of_stack()
        # A spoke hears what its hub hears.
        hears = patterns_of(spoke_template(self._stage))
        rule_of, sources_of = InstalledRules(self._sessions).find, self._functions.sources
        yield from check_wiring(there, hears, self._queue_of, rule_of, sources_of, self._metrics.alarms)
        tables = KeptTables(self._sessions)
        table, wanted = partial(tables.find, there.name), table_definition(there.name)
        yield from check_storage(there.name, wanted, self._stage, table, tables.key_state)
        yield from check_channels(
            self._stage,
            context.settings.channels.get("sns"),
            there.names.get("AlarmTopic"),
            InstalledTopics(self._sessions),
            secret_checks(context.settings, self._sessions),
            context.channels if self._orders.send_test else None,
            now,
        )
        documents = (lambda: self._stack.policies(there)) if there.names else None
        yield from check_rights(self._region, documents, self._simulator.role_arn, self._ask)
        yield from check_registries(there, context.registries, lambda: self._known, context.inventory.repositories, now)
        partition = self._caller.arn.split(":")[1]
        bus = f"arn:{partition}:events:{self._region}:{self._caller.account}:event-bus/default"
        if there.names and not self._settings_told:
            yield check_of("spokes", unknown("the functions' settings tell which there are, and were not read"))
        else:
            spokes = InstalledSpokes(context.sessions_in)
            yield from self._spokes(spokes, context.registries[1:], bus, lambda: self._known)
        readers = readers_of(context.registries, context.settings.role_arns, context.settings.account_roles)
        yield from check_pull_times(self._stage, readers, context.pull_times, register=self._orders.register)
        yield from check_work(
            there,
            now,
            context.registries,
            lambda: self._known,
            policy=context.rules.policy_in_force,
            rollout=context.table.read_rollout,
            fuse=context.table.read_fuse,
            fired=self._metrics.fired,
            scanner=lambda: self._scanning.scanner,
            snapshot_at=self._snapshot_at,
            due=context.table.due,
        )

    def _of_stack(self) -> Iterator[Check]:
        return check_stack(
            self._there,
            lambda: self._found_functions,
            lambda function: self._settings_of(function).table,
            lambda: self._probe.unsigned(),
            lambda: self._signed,
            __version__,
        )

    @cached_property
    def _probe(self) -> ApiProbe:
        return ApiProbe(self._sessions, self._there.outputs[ENDPOINT])

    @cached_property
    def _signed(self) -> tuple[int, str | None]:
        return self._probe.signed()

    def _snapshot_at(self) -> datetime | None:
        snapshot = self._context.queries.read_snapshot()
        return None if snapshot is None else snapshot.at

    @cached_property
    def _found_functions(self) -> Mapping[str, DeployedFunction | None]:
        names = self._there.of_kind(FUNCTION)
        return {logical: self._functions.find(name) for logical, name in names.items()}

    @cached_property
    def _told_settings(self) -> Settings:
        """As the functions have them. Raises SettingsError."""
        function = self._found_functions.get(TELLS)
        if function is None:
            raise SettingsError([f"{TELLS} is gone"])
        return self._settings_of(function)

    def _settings_of(self, function: DeployedFunction) -> Settings:
        return Settings.from_env({**function.environment, "AWS_REGION": self._region})

    @cached_property
    def _context(self) -> AppContext:
        """By the settings of the functions; where they do not tell, by what everything is named by."""
        try:
            settings = self._told_settings
        except LazarettoError:
            partition = self._caller.arn.split(":")[1]
            arn = f"arn:{partition}:sns:{self._region}:{self._caller.account}:{self._there.name}-alerts"
            named = msgspec.structs.replace(self._named_settings(), channels={"sns": arn})
            return AppContext(named, self._sessions)
        self._settings_told = True
        return AppContext(settings, self._sessions)

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
