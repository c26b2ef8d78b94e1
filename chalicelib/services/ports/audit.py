"""The audit log: its records, and what keeps and proves its chains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Protocol

import msgspec

from chalicelib.domain.audit.chain import Chain, Copy, Head, StoredRecord
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.policy.waiver import Waiver


class ActionRecord(msgspec.Struct, frozen=True):
    """One record of the audit log. `wanted_at` and `effect` make its key, so that the same effect is recorded once.

    `ref` None: it is about no image; then `subject` says what it is about (`policy`, `fuse`, `waiver/<id>`,
    `repository/<path>`, `registry/<account>/<Region>`). Each image and each subject has a chain of its own. `actor` is
    `rule:<id>`, `person:<name>` or `system`. `before` and `after` are the states in words; `undo` is a command for
    people, None where there is none.
    `waivers`: in the record of a waiver's change, the waiver before and after it, each None where there was none.
    """

    ref: ImageRef | None
    effect: str
    wanted_at: datetime
    kind: str
    actor: str
    reason: str
    at: datetime
    before: str | None = None
    after: str | None = None
    policy_version: int = 0
    vulnerability_ids: tuple[str, ...] = ()
    undo: str | None = None
    subject: str = ""
    waivers: tuple[Waiver | None, Waiver | None] | None = None

    @property
    def chain(self) -> Chain:
        return self.subject if self.ref is None else self.ref


class AlertDelivery(msgspec.Struct, frozen=True):
    """What the record of an alert for one channel says of its delivery. `claims`: how many workers began to send it,
    the last at `claimed_at`."""

    claimed_at: datetime
    claims: int = 1
    delivered_at: datetime | None = None


class Audit(Protocol):
    """What keeps and proves audit chains. Chains and copies are read consistently, days through the index."""

    def chains_of_day(self, day: date) -> Iterator[Chain]:
        """Those with a record of that day, each once."""

    def heads(self, chains: Iterable[Chain]) -> Mapping[Chain, Head]:
        """Chains without one are absent."""

    def stored(self, chain: Chain) -> Iterator[StoredRecord]:
        """In no order."""

    def copies(self, chain: Chain, days: Iterable[date]) -> Sequence[Copy]:
        """Oldest first."""

    def copies_of_day(self, day: date) -> Iterator[tuple[Chain, Head]]: ...

    def copies_of_shard(self, shard: int, days: Iterable[date]) -> Mapping[Chain, Sequence[Copy]]:
        """Of the 256th part of all chains that `shard` (0 to 255) names; each chain's oldest first."""


class RecordedAction(Protocol):
    """A record of the audit log in its place."""

    @property
    def record(self) -> ActionRecord: ...
