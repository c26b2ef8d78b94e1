"""The parts of an installation that are judged: queues, rules, spokes, the table, and what is stored of repositories.

Pure. The `check_…` modules of `cli/doctor` say how they must be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from chalicelib.domain.events.sweep_message import Sweep
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.reconcile.difference import Memory, RepositoryFacts

QUEUE = "AWS::SQS::Queue"
RULE = "AWS::Events::Rule"
FUNCTION = "AWS::Lambda::Function"
ALARM = "AWS::CloudWatch::Alarm"


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


def wrong_with_rule(
    rule: EventRule | None, pattern: Mapping[str, Any] | None, ours: Collection[str], where: str
) -> Iterator[str]:
    """`pattern`: the events that it must match; None: it runs on a schedule. `ours`: ARNs that it may send to, which
    are `where`. The rules of the hub and of a spoke are judged by it."""
    if rule is None:
        yield "it is gone"
        return
    if not rule.enabled:
        yield f"it is {rule.state}"
    if rule.pattern != pattern:
        yield "it matches other events than in this version"
    own = [target for target in rule.targets if target.arn in ours]
    if not own:
        yield f"it does not send to {where}"
    if any(target.dead_arn is None for target in own):
        yield "what cannot be delivered is dropped"
    yield from (f"it sends to {target.arn}, which is none of ours" for target in rule.targets if target not in own)


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
        own = {home: facts for home, facts in self.facts.items() if not RepositoryFacts.read(facts).is_deleted}
        return StoredRepositories(self.account, own)

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
        return {home: Memory.read(facts.get(str(Sweep.RECONCILE))) for home, facts in self.facts.items()}

    @property
    def lost_events(self) -> int:
        return sum(memory.lost_events for memory in self.comparisons.values())
