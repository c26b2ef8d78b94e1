"""What people are told about the end of a waiver, and when: a week before, a day before, and when it is over. Pure.

Each is told once for each end: a waiver that was renewed ends at another time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import IntEnum

import msgspec

from chalicelib.domain.policy.waiver import EXPIRING_WITHIN, Waiver

LAST_DAY = timedelta(days=1)
PATIENCE = timedelta(minutes=30)
RETRY_AFTER = timedelta(hours=1)


class Stage(IntEnum):
    NONE = 0
    WEEK = 1
    DAY = 2
    OVER = 3


class Notice(msgspec.Struct, frozen=True):
    """The last that was told of the end at `expires_at`. `tried_at`: a channel failed when the next was to be told.

    `awaited_since`: it is over, and its images are not all decided again. `after`: those up to there were told of.
    `heard`: the channels that have the next one (`trying`) already, although another one failed.
    """

    expires_at: datetime
    stage: Stage = Stage.NONE
    tried_at: datetime | None = None
    awaited_since: datetime | None = None
    after: str | None = None
    heard: tuple[str, ...] = ()
    trying: Stage = Stage.NONE


def due_stage(waiver: Waiver, told: Notice | None, now: datetime) -> Stage | None:
    """What is to be told now; None: nothing. What was missed is not made up for: only the latest counts."""
    current = current_notice(waiver, told)
    if current.tried_at is not None and now < current.tried_at + RETRY_AFTER:
        return None
    stage = _stage(waiver, now)
    return stage if stage > current.stage else None


def failed(notice: Notice, stage: Stage, heard: Sequence[str], now: datetime) -> Notice:
    """What is remembered when it could not be told to all."""
    return msgspec.structs.replace(notice, tried_at=now, heard=tuple(heard), trying=stage)


def current_notice(waiver: Waiver, told: Notice | None) -> Notice:
    """What was told of the end that it has now."""
    return told if told is not None and told.expires_at == waiver.expires_at else Notice(waiver.expires_at)


def awaited(notice: Notice, now: datetime) -> Notice | None:
    """What is remembered while its images are not all decided again; None: they have been waited for long enough."""
    since = notice.awaited_since or now
    return None if now >= since + PATIENCE else msgspec.structs.replace(notice, awaited_since=since)


def _stage(waiver: Waiver, now: datetime) -> Stage:
    """Who gave a waiver for three days needs no telling that it ends within a week."""
    if not waiver.in_force(now):
        return Stage.OVER
    left, span = waiver.expires_at - now, waiver.expires_at - waiver.created_at
    if left <= LAST_DAY < span:
        return Stage.DAY
    return Stage.WEEK if left <= EXPIRING_WITHIN < span else Stage.NONE
