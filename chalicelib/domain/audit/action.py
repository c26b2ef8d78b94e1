"""The kinds of audit record that retention makes. Pure.

The id by which people name an audit record, made of the record's key: it tells where the record is found. Pure.

`20261125T093012.123456Z-QUARANTINE-3-1f0c2ab9`: when it was recorded, to the microsecond (the index of the day is
ordered by that), the effect in letters and digits, and 32 bits of a hash of its whole key.

The kinds of record the audit log holds. Pure.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Protocol

from chalicelib.domain.audit.chain import Chain, chain_name
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.errors import ParameterError

ACTION_ID = re.compile(r"(?P<at>[0-9]{8}T[0-9]{6}\.[0-9]{6})Z(?:-[A-Za-z0-9]+)*-[0-9a-f]{8}")
_SHOWN = 40
_TIME = "%Y%m%dT%H%M%S.%f"


class Recorded(Protocol):
    """What of an audit record makes its key: `services.ports.ActionRecord` has it."""

    @property
    def chain(self) -> Chain: ...
    @property
    def effect(self) -> str: ...
    @property
    def wanted_at(self) -> datetime: ...
    @property
    def at(self) -> datetime: ...


def action_id(record: Recorded) -> str:
    """At most 80 characters, all of them letters, digits, `.` and `-`: nothing a shell would touch."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", record.effect[:_SHOWN]).strip("-")
    wanted = record.wanted_at.astimezone(UTC).isoformat(timespec="microseconds")
    key = "\n".join((chain_name(record.chain), wanted, record.effect))
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    at = record.at.astimezone(UTC).strftime(_TIME)
    return "-".join(part for part in (f"{at}Z", words, digest) if part)


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


EXPIRE, ARCHIVE = "EXPIRE", "ARCHIVE"
STOPPED, FAILED = "RETENTION_STOPPED", "RETENTION_FAILED"
EXPIRED_BY_ECR = "EXPIRED_BY_ECR"
LIFECYCLE_WRITTEN = "LIFECYCLE_WRITTEN"
RETENTION_KINDS = (
    *(kind for act in (EXPIRE, ARCHIVE) for kind in (act, f"{act}_FAILED", f"WOULD_{act}")),
    STOPPED,
    FAILED,
    EXPIRED_BY_ECR,
    LIFECYCLE_WRITTEN,
)
"""`EXPIRE` is put before an image is deleted: `EXPIRE_FAILED` after it says that it was not. `EXPIRED_BY_ECR`: its own
lifecycle policy did it."""

_ACTS = tuple(kind.value for kind in ActionType if kind.acts)
_ORDERS = ("ORDER_QUARANTINE", "ORDER_RELEASE", "ORDER_TAKEN_BACK")
_OTHERS = ("WAIVE", "UNWAIVE", "POLICY", "FUSE_RESET", "PULL_FAILED", "REPLICATION_FAILED", "TAMPERING", "DROP_MESSAGE")

ACTION_KINDS = (
    ActionType.ALERT.value,
    ActionType.REPORT.value,
    *_ACTS,
    *(f"{act}_FAILED" for act in _ACTS),
    *(f"WOULD_{act}" for act in _ACTS),
    *_ORDERS,
    *_OTHERS,
    *RETENTION_KINDS,
)
"""`QUARANTINE_FAILED`: AWS refused it; `WOULD_QUARANTINE`: the policy only observes."""
