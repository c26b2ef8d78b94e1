"""The parts of an installation as AWS shows them: queues, rules, functions, topics, alarms. Pure.

What AWS does not say is None. How they must be is judged by the `check_…` use cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

SOURCES = ("scans", "findings", "actions", "alerts", "sweeps")
"""The queues that a function reads, by the last part of their name."""
FUNCTIONS = ("OnScans", "OnFindings", "OnActions", "OnAlerts", "OnSweeps", "Clock", "APIHandler")
"""By their logical ids."""
CLOCK = "clock"
QUEUE = "AWS::SQS::Queue"
RULE = "AWS::Events::Rule"
FUNCTION = "AWS::Lambda::Function"
ALARM = "AWS::CloudWatch::Alarm"


class Installed(msgspec.Struct, frozen=True):
    """What is there of one stage, in one account and Region. `names`: what AWS calls each resource of the stack, by
    logical id; empty: no stack tells. `kinds` likewise."""

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
    """Numbers of messages are approximate, as SQS counts. `dead_arn`, `receives`: the redrive policy; None: none.
    `lets_rules_send`: its policy names EventBridge."""

    name: str
    arn: str
    waiting: int
    hidden: int
    delayed: int
    dead_arn: str | None = None
    receives: int | None = None
    lets_rules_send: bool = False


class RuleTarget(msgspec.Struct, frozen=True):
    """`dead_arn`: the queue for what could not be delivered; None: it is dropped."""

    arn: str
    dead_arn: str | None = None


class EventRule(msgspec.Struct, frozen=True):
    """`pattern`: the events it hears; None: it hears none, but goes by the clock."""

    name: str
    state: str
    targets: tuple[RuleTarget, ...] = ()
    pattern: Mapping[str, Any] | None = None

    @property
    def enabled(self) -> bool:
        """There are two ways of it: one hears calls that only read as well."""
        return self.state.startswith("ENABLED")


def patterns_of(template: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What the rules of a template hear, by logical id."""
    resources: Mapping[str, Mapping[str, Any]] = template["Resources"]
    return {n: r["Properties"]["EventPattern"] for n, r in resources.items() if r["Type"] == RULE}


class Spoke(msgspec.Struct, frozen=True):
    """The stack that forwards the events of one registry. `hub_bus`: the ARN of the bus it was told. `template`: as it
    was deployed. `rules` by logical id; None: it is gone. `dead`: the queue of what the bus did not take."""

    status: str
    hub_bus: str | None
    template: Mapping[str, Any]
    rules: Mapping[str, EventRule | None]
    dead: Queue | None


class DeployedFunction(msgspec.Struct, frozen=True):
    """`name` is AWS's. `code`: the hash of its bundle. `reserved`: executions kept for it, and the most it gets; None:
    it takes what the account has."""

    name: str
    arn: str
    role: str
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
    """`items` and `size_bytes` are counted by DynamoDB every six hours or so. `key` is the ARN of the customer's KMS
    key; empty: the table lies under one of AWS. `unready`: indexes that are being made, or taken away."""

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

    arn: str
    confirmed: int
    pending: int


class Alarm(msgspec.Struct, frozen=True):
    """`state`: OK, ALARM or INSUFFICIENT_DATA. `since`: when it last changed. `acts`: it tells anybody."""

    name: str
    state: str
    since: datetime
    acts: bool = True


class Fired(msgspec.Struct, frozen=True):
    """How often a rule has sent an event on in a time, and the last hour it did; None: never. `failed`: how often it
    could not."""

    times: int = 0
    last_at: datetime | None = None
    failed: int = 0


class Trail(msgspec.Struct, frozen=True):
    """`management`: it records calls that write."""

    name: str
    logging: bool
    management: bool


class Caller(msgspec.Struct, frozen=True):
    """Whose credentials these are. `at`: what time AWS says it is."""

    account: str
    arn: str
    at: datetime
