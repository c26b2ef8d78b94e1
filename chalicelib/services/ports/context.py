"""Everything a use case may ask for, in one Protocol; and its parts for messages, rules and what-if jobs.

`chalicelib.context.AppContext` has it all; a test's context has what its use case asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.events.dead_letter import DeadLetter
from chalicelib.domain.events.message import Delivery, Message, Metric, Outcome
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.reconcile.retirement import Retirement
from chalicelib.domain.waivers.alert import Notice
from chalicelib.domain.waivers.change import WaiverChange
from chalicelib.domain.whatif.report import Job, ShardPart
from chalicelib.services.ports.registry import (
    Acts,
    GatheredPosture,
    Inspection,
    Inventory,
    Keeper,
    LegalHolds,
    Lifecycles,
    PublicInventory,
    Registry,
    Replicas,
    ReplicationReader,
    Runtime,
    ScanAsks,
    Scanner,
    Scans,
)
from chalicelib.services.ports.table import Admissions, Index, Table


class Outbox(Protocol):
    def send(self, queue: str, message: Message, delay_seconds: float = 0) -> None:
        """`queue` is `scans`, `actions`, `alerts` or `sweeps`. SQS cuts delays at 900 s; the receiver sends again."""

    def send_all(self, queue: str, messages: Iterable[Message]) -> None:
        """Ten in a call. Where it raises, some may have been sent: a retry sends all."""


class DeadLetters(Protocol):
    """One dead-letter queue, for people. What is taken is hidden from others for two minutes."""

    def take(self) -> Sequence[DeadLetter]:
        """Ten at most; none: there are none left that can be seen."""

    def show_again(self, handles: Iterable[str]) -> None: ...

    def send_again(self, letter: DeadLetter, mark: str) -> None:
        """Into the queue it came from. It stays here as well."""

    def delete(self, letter: DeadLetter) -> None: ...


class Channel(Protocol):
    """Where people are told. `name` is what the policy's `notify` calls it."""

    @property
    def name(self) -> str: ...

    def send(self, alert: Alert) -> None:
        """Once per call. Raises TransientError (with `retry_after_seconds`), UpstreamError."""


class Meter(Protocol):
    def count(self, metric: Metric, number: float = 1, by: str | None = None) -> None:
        """Adds to what is counted. `by`: the value of the metric's dimension, where it has one."""

    def measure(self, metric: Metric, value: float, by: str | None = None) -> None:
        """The largest value of what is measured together counts."""


class Journal(Meter, Protocol):
    """What the work says of itself: numbers, and one line of the log for each message."""

    def handling(self, *deliveries: Delivery) -> AbstractContextManager[None]:
        """Around the handling of messages that go together. At its end each has its line: `handled` by default."""

    def note(self, delivery: Delivery, outcome: Outcome, why: object = None) -> None:
        """What has become of one of them; the last word counts."""

    def decided(self, ref: ImageRef, number: int) -> None:
        """The number of the verdict that the image has by now, for the lines about it."""


class PolicyVersion(msgspec.Struct, frozen=True):
    """One stored policy. `text` is the YAML as it was put; `number` counts from 1."""

    number: int
    text: str
    put_at: datetime
    put_by: str


class RuleBook(Protocol):
    """Reading what is in force may raise StoredPolicyError."""

    def current(self) -> Rules:
        """Policy and waivers, possibly cached for a minute."""

    def fresh(self) -> Rules:
        """As stored now."""

    def policy_in_force(self) -> tuple[Policy, int]:
        """As stored now, with its version; waivers are not read."""

    def built_in(self) -> Policy:
        """The one that came with the bundle: in force until another is put."""

    def policy_of(self, text: str) -> Policy:
        """As it would be put. Raises PolicyError."""

    def put_policy(self, text: str, put_by: str, *, after: int | None = None) -> int:
        """Returns its version. `after`: only on top of this one. Raises PolicyError for a text that does not load,
        ConflictError when another policy was put meanwhile."""

    def read_policy(self, version: int) -> PolicyVersion:
        """Raises NotFoundError; so for 0, which is the policy that came with the bundle."""


class WhatIfs(Protocol):
    """What-if jobs and what is found for them, kept for a week. Read consistently; nothing else is touched."""

    def put_job(self, job: Job) -> None:
        """Raises ParameterError for a policy that is too large."""

    def read_job(self, job_id: str) -> Job | None: ...

    def put_part(self, job: Job, part: ShardPart) -> ShardPart:
        """As `revision + 1` on condition of `revision` (0: absent), and returns it as it was put: with fewer rows, the
        others counted, where they do not fit. Raises ConflictError."""

    def read_part(self, job: Job, shard: int) -> ShardPart:
        """Revision 0 where there is none."""

    def read_parts(self, job: Job) -> Sequence[ShardPart]:
        """Those that were begun, by shard."""


class Waivers(Protocol):
    """The waivers as stored, the changes on their way to the images, and what people were told. Read consistently."""

    def read(self) -> Sequence[Waiver]:
        """All, ended ones included."""

    def get(self, waiver_id: str) -> Waiver | None: ...

    def put(self, change: WaiverChange) -> WaiverChange:
        """Puts or ends the waiver, raises the waivers' version and keeps the change, all in one; returns it with its
        version. Raises ConflictError where another waiver than `former` is stored, TransientError where others do not
        let it through."""

    def changes(self) -> Sequence[WaiverChange]:
        """Those that have not reached every image, oldest first."""

    def store_change(self, change: WaiverChange) -> None:
        """Nothing where it was ended in between."""

    def end_change(self, version: int) -> None:
        """It has reached every image, and people were told."""

    def notices(self) -> Mapping[str, Notice]:
        """By the waiver's id."""

    def store_notice(self, waiver_id: str, notice: Notice) -> None: ...

    def drop_notice(self, waiver_id: str) -> None: ...

    def drop(self, waiver: Waiver) -> None:
        """One that is over; nothing where it was given anew."""


class Retirements(Protocol):
    """The registries that were retired and are not watched again, with how far each is. Read consistently."""

    def all(self) -> Sequence[Retirement]: ...

    def recent(self) -> Sequence[Retirement]:
        """The same, at most a minute old, or as last read while the table does not answer."""

    def get(self, account: str, region: str) -> Retirement | None: ...

    def put(self, retirement: Retirement) -> Retirement:
        """As `revision + 1` on condition of `revision` (0: absent), and returns it so. Raises ConflictError."""

    def drop(self, retirement: Retirement) -> None:
        """It is watched again."""


class Clock(Protocol):
    def now(self) -> datetime: ...


class Context(Protocol):
    @property
    def clock(self) -> Clock: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def consistency_delay(self) -> timedelta:
        """How long a source may need to list what it has announced."""

    @property
    def own_roles(self) -> Sequence[str]:
        """ARNs of the roles we run under (patterns allowed): a Deny of ours leaves them out."""

    @property
    def registries(self) -> Sequence[RegistryPlace]:
        """Those that sweeps list; ours are named by their Regions alone."""

    def own_account(self) -> str:
        """Our own account's id. May raise UpstreamError."""

    @property
    def outbox(self) -> Outbox: ...

    # The table
    @property
    def table(self) -> Table: ...
    @property
    def queries(self) -> Index: ...
    @property
    def rules(self) -> RuleBook: ...
    @property
    def waivers(self) -> Waivers: ...
    @property
    def what_ifs(self) -> WhatIfs: ...
    @property
    def replicas(self) -> Replicas: ...
    @property
    def scan_asks(self) -> ScanAsks: ...
    @property
    def posture(self) -> GatheredPosture: ...
    @property
    def legal_holds(self) -> LegalHolds: ...
    @property
    def retirements(self) -> Retirements: ...
    @property
    def admissions(self) -> Admissions: ...

    # One image of a registry
    @property
    def registry(self) -> Registry: ...
    @property
    def scanner(self) -> Scanner: ...
    @property
    def runtime(self) -> Runtime: ...
    @property
    def acts(self) -> Acts: ...

    # Listings and settings of a registry
    @property
    def inventory(self) -> Inventory: ...
    @property
    def inspection(self) -> Inspection: ...
    @property
    def public(self) -> PublicInventory: ...
    @property
    def scans(self) -> Scans: ...
    @property
    def replication(self) -> ReplicationReader: ...
    @property
    def keeper(self) -> Keeper: ...
    @property
    def lifecycles(self) -> Lifecycles: ...
