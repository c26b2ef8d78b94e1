"""A record of the audit log, the kinds there are, and the id by which people name one."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from chalicelib.domain.audit.chain import Chain, chain_name
from chalicelib.domain.headers.pending_action import Order
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.errors import ParameterError

ACTION_ID = re.compile(r"(?P<at>[0-9]{8}T[0-9]{6}\.[0-9]{6})Z(?:-[A-Za-z0-9]+)*-[0-9a-f]{8}")
_SHOWN = 40
_TIME = "%Y%m%dT%H%M%S.%f"


class Recorded(Protocol):
    """What of an audit record makes its id: the record has it, and its entry in the index of the day."""

    @property
    def chain(self) -> Chain: ...
    @property
    def effect(self) -> str: ...
    @property
    def wanted_at(self) -> datetime: ...
    @property
    def at(self) -> datetime: ...


def action_id(record: Recorded) -> str:
    """`20261125T093012.123456Z-QUARANTINE-3-1f0c2ab9`: when it was recorded (the index of the day is ordered by that),
    the effect, and 32 bits of a hash of its whole key. At most 80 characters, none of which a shell would touch."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", record.effect[:_SHOWN]).strip("-")
    wanted = record.wanted_at.astimezone(UTC).isoformat(timespec="microseconds")
    key = "\n".join((chain_name(record.chain), wanted, record.effect))
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    at = record.at.astimezone(UTC).strftime(_TIME)
    return "-".join(part for part in (f"{at}Z", words, digest) if part)


def undo_command(record: Recorded) -> str:
    """What a person types; the reason is to be replaced."""
    return f"lazaretto undo {action_id(record)} --reason undone"


def recorded_at(text: str) -> datetime:
    """When the record was made that an id names. Raises ParameterError naming `action_id`."""
    match = ACTION_ID.fullmatch(text)
    if match is None:
        reason = (
            f"must be as the audit log shows it, such as 20261125T093012.123456Z-QUARANTINE-3-1f0c2ab9: {text[:100]!r}"
        )
        raise ParameterError("action_id", reason)
    try:
        return datetime.strptime(match["at"], _TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise ParameterError("action_id", f"names no time that exists: {text[:100]!r}") from error


class ActionKind(StrEnum):
    """The kinds of record that the audit log holds: links of hash chains cover them, none is ever renamed.

    `QUARANTINE_FAILED`: AWS refused it. `WOULD_QUARANTINE`: the policy only observes. `EXPIRE` is recorded before an
    image is deleted, `EXPIRE_FAILED` after it when the image was not. `EXPIRED_BY_ECR`, `ARCHIVED_BY_ECR`: ECR's own
    lifecycle policy did it. `FILLED`: the first sweep was told of. `UNREACHABLE`: a registry cannot be listed.
    `ORDER_ENDED`: a release has ended by itself, or an order with its registry. `ORDER_REFUSED`: an order that was
    recorded, and not given. `REGISTRY_RETIRED`: all images of a registry were given up. `REGISTRY_WATCHED`: it is
    watched again.
    """

    ALERT = "ALERT"
    REPORT = "REPORT"
    BLOCK = "BLOCK"
    QUARANTINE = "QUARANTINE"
    RELEASE = "RELEASE"
    UNBLOCK = "UNBLOCK"
    BLOCK_FAILED = "BLOCK_FAILED"
    QUARANTINE_FAILED = "QUARANTINE_FAILED"
    RELEASE_FAILED = "RELEASE_FAILED"
    UNBLOCK_FAILED = "UNBLOCK_FAILED"
    WOULD_BLOCK = "WOULD_BLOCK"
    WOULD_QUARANTINE = "WOULD_QUARANTINE"
    WOULD_RELEASE = "WOULD_RELEASE"
    WOULD_UNBLOCK = "WOULD_UNBLOCK"
    ORDER_QUARANTINE = "ORDER_QUARANTINE"
    ORDER_RELEASE = "ORDER_RELEASE"
    ORDER_TAKEN_BACK = "ORDER_TAKEN_BACK"
    WAIVE = "WAIVE"
    UNWAIVE = "UNWAIVE"
    POLICY = "POLICY"
    FUSE_RESET = "FUSE_RESET"
    PULL_FAILED = "PULL_FAILED"
    REPLICATION_FAILED = "REPLICATION_FAILED"
    TAMPERING = "TAMPERING"
    DROP_MESSAGE = "DROP_MESSAGE"
    FILLED = "FILLED"
    UNREACHABLE = "UNREACHABLE"
    EXPIRE = "EXPIRE"
    EXPIRE_FAILED = "EXPIRE_FAILED"
    WOULD_EXPIRE = "WOULD_EXPIRE"
    ARCHIVE = "ARCHIVE"
    ARCHIVE_FAILED = "ARCHIVE_FAILED"
    WOULD_ARCHIVE = "WOULD_ARCHIVE"
    RETENTION_STOPPED = "RETENTION_STOPPED"
    RETENTION_FAILED = "RETENTION_FAILED"
    EXPIRED_BY_ECR = "EXPIRED_BY_ECR"
    ARCHIVED_BY_ECR = "ARCHIVED_BY_ECR"
    LIFECYCLE_WRITTEN = "LIFECYCLE_WRITTEN"
    LEGAL_HOLD = "LEGAL_HOLD"
    LEGAL_HOLD_ENDED = "LEGAL_HOLD_ENDED"
    ORDER_ENDED = "ORDER_ENDED"
    ORDER_REFUSED = "ORDER_REFUSED"
    REGISTRY_RETIRED = "REGISTRY_RETIRED"
    REGISTRY_WATCHED = "REGISTRY_WATCHED"


class ActionRecord(msgspec.Struct, frozen=True):
    """One record of the audit log. `wanted_at` and `effect` make its key, so that the same effect is recorded once.

    `ref` None: it is about no image; then `subject` says what it is about (`policy`, `fuse`, `waiver/<id>`,
    `repository/<path>`, `registry/<account>/<Region>`). Each image and each subject has a chain of its own. `actor` is
    `rule:<id>`, `person:<name>` or `system`. `before` and `after` are the states in words; `undo` is a command for
    people, None where there is none.
    `waivers`: in the record of a waiver's change, the waiver before and after it, each None where there was none.
    `orders`: in the record of an order, the one that stood before and the one that stands after it, in the same way.
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
    orders: tuple[Order | None, Order | None] | None = None

    @property
    def chain(self) -> Chain:
        return self.subject if self.ref is None else self.ref


class AlertDelivery(msgspec.Struct, frozen=True):
    """What the record of an alert for one channel says of its delivery. `claims`: how many workers began to send it,
    the last at `claimed_at`."""

    claimed_at: datetime
    claims: int = 1
    delivered_at: datetime | None = None
