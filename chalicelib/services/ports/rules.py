"""Policy, waivers, and what-if jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from chalicelib.domain.headers.header import Rules
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.waivers.alert import Notice
from chalicelib.domain.waivers.change import WaiverChange
from chalicelib.domain.whatif.report import Job, ShardPart


class PolicyVersion(msgspec.Struct, frozen=True):
    """One stored policy. `text` is the YAML as it was put; `number` counts from 1."""

    number: int
    text: str
    put_at: datetime
    put_by: str


class RuleBook(Protocol):
    """Whoever asks for what is in force may get StoredPolicyError."""

    def current(self) -> Rules:
        """Policy and waivers, possibly cached for a minute."""

    def fresh(self) -> Rules:
        """As stored now."""

    def policy_in_force(self) -> tuple[Policy, int]:
        """As stored now, with its version; waivers are not read."""

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
