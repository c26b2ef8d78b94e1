"""The parts of an installation as AWS shows them, and what sweeps have stored of the registries. Pure.

The `check_…` use cases say how they must be.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from chalicelib.domain.events.sweep_message import Sweep
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.reconcile.difference import Memory

SOURCES = ("scans", "findings", "actions", "alerts", "sweeps")
"""Queues that a function reads, by the last part of their name."""
FUNCTIONS = ("OnScans", "OnFindings", "OnActions", "OnAlerts", "OnSweeps", "Clock", "APIHandler")
"""By their logical ids."""
CLOCK = "clock"
QUEUE = "AWS::SQS::Queue"
RULE = "AWS::Events::Rule"
FUNCTION = "AWS::Lambda::Function"
ALARM = "AWS::CloudWatch::Alarm"


class Installed(msgspec.Struct, frozen=True):
    """One stage in one account and Region. `names`: the physical id of each resource of the stack, by logical id; empty
    without a stack. `kinds`: its type, likewise."""

    stage: str
    region: str
    account: str
    status: str = ""
    names: Mapping[str, str] = {}
    kinds: Mapping[str, str] = {}
    outputs: Mapping[str, str] = {}
    protected: bool = False

    @property
    def name(self) -> str:
        """Of the stack, and of the table."""
        return f"lazaretto-{self.stage}"

    @property
    def deploy(self) -> str:
        return f"`lazaretto deploy --stage {self.stage}`"

    def of_kind(self, kind: str) -> dict[str, str]:
        """Names by logical id."""
        return {logical: name for logical, name in self.names.items() if self.kinds[logical] == kind}

    def queue(self, name: str) -> str:
        return f"{self.name}-{name}"

    def dead_queue(self, name: str) -> str:
        return f"{self.name}-{name}-dead"

    @property
    def dead_queues(self) -> tuple[str, ...]:
        return tuple(self.dead_queue(name) for name in (*SOURCES, CLOCK))


class Queue(msgspec.Struct, frozen=True):
    """`messages`: approximate, as SQS counts, hidden and delayed ones included. `dead_arn`, `receives`: its redrive
    policy. `lets_rules_send`: its policy names EventBridge."""

    messages: int = 0
    dead_arn: str | None = None
    receives: int = 0
    lets_rules_send: bool = False


class RuleTarget(msgspec.Struct, frozen=True):
    """`dead_arn`: the queue for what cannot be delivered; None: EventBridge drops it."""

    arn: str
    dead_arn: str | None = None


class EventRule(msgspec.Struct, frozen=True):
    """`pattern`: the events it matches; None: it runs on a schedule."""

    state: str
    targets: tuple[RuleTarget, ...] = ()
    pattern: Mapping[str, Any] | None = None

    @property
    def enabled(self) -> bool:
        """Two states mean enabled: one of them matches read-only calls as well."""
        return self.state.startswith("ENABLED")


def patterns_of(template: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The patterns of a template's rules, by logical id."""
    resources: Mapping[str, Mapping[str, Any]] = template["Resources"]
    return {n: r["Properties"]["EventPattern"] for n, r in resources.items() if r["Type"] == RULE}


class Spoke(msgspec.Struct, frozen=True):
    """The stack that forwards the events of one registry. `hub_bus`: the ARN it was given. `template`: as it was
    deployed. `rules` by logical id; None: the rule is gone. `dead`: the queue of what the bus did not take."""

    status: str
    hub_bus: str | None
    template: Mapping[str, Any]
    rules: Mapping[str, EventRule | None]
    dead: Queue | None


class DeployedFunction(msgspec.Struct, frozen=True):
    """`code`: the hash of its bundle. `reserved`: its reserved concurrency; None: it shares the account's."""

    runtime: str
    state: str
    last_update: str
    reason: str
    code: str
    environment: Mapping[str, str] = {}
    reserved: int | None = None


class EventSource(msgspec.Struct, frozen=True):
    """An event source mapping of a function. `reports`: it reports single messages that failed."""

    queue_arn: str
    state: str
    reports: bool


class KeptTable(msgspec.Struct, frozen=True):
    """DynamoDB counts `items` and `size_bytes` about every six hours. `key`: the ARN of the customer's KMS key; empty:
    AWS's own encrypts the table. `unready`: indexes that are being made or deleted."""

    name: str
    status: str
    items: int
    size_bytes: int
    protected: bool
    key: str
    properties: Mapping[str, Any]
    unready: tuple[str, ...] = ()


class Topic(msgspec.Struct, frozen=True):
    """Numbers of subscriptions."""

    confirmed: int
    pending: int


class Alarm(msgspec.Struct, frozen=True):
    """`state`: OK, ALARM or INSUFFICIENT_DATA. `since`: when it last changed. `acts`: its actions are on."""

    name: str
    state: str
    since: datetime
    acts: bool = True


class Fired(msgspec.Struct, frozen=True):
    """How often a rule has sent an event on, the last hour it did (None: never), and how often it failed to."""

    times: int = 0
    last_at: datetime | None = None
    failed: int = 0


class Trail(msgspec.Struct, frozen=True):
    """`management`: it records calls that write."""

    name: str
    logging: bool
    management: bool


class Caller(msgspec.Struct, frozen=True):
    """Whose credentials these are. `at`: AWS's time."""

    account: str
    arn: str
    at: datetime


class StoredRepositories(msgspec.Struct, frozen=True):
    """`facts` by repository. `account`: our own, of places without an account."""

    account: str
    facts: Mapping[Repository, Mapping[str, object]] = {}

    def of(self, *places: RegistryPlace) -> StoredRepositories:
        """Those of these registries alone."""
        wanted = {(place.account or self.account, place.region) for place in places}
        own = {home: facts for home, facts in self.facts.items() if (home.registry, home.region) in wanted}
        return StoredRepositories(self.account, own)

    @property
    def living(self) -> StoredRepositories:
        return StoredRepositories(self.account, {h: f for h, f in self.facts.items() if "deleted_at" not in f})

    def times(self, sweep: Sweep) -> list[datetime]:
        """When the sweep last handled each repository that it has handled."""
        found = (facts.get(f"{sweep}_at") for facts in self.facts.values())
        return [at for at in found if isinstance(at, datetime)]

    @property
    def compared_at(self) -> datetime | None:
        """The last comparison with the registry; None: never."""
        return max(self.times(Sweep.RECONCILE), default=None)

    @property
    def comparisons(self) -> dict[Repository, Memory]:
        """What the last comparison found."""
        stored = {home: facts.get(str(Sweep.RECONCILE)) for home, facts in self.facts.items()}
        return {home: Memory.read(found) for home, found in stored.items() if found}

    @property
    def lost_events(self) -> int:
        return sum(memory.lost_events for memory in self.comparisons.values())
