"""Compare the settings of a destination's repository with its source's: ECR copies images, and none of these."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.images.image import Repository
from chalicelib.domain.reconcile.replica_settings import Settings, differences
from chalicelib.domain.replication.replication import Sight
from chalicelib.errors import UpstreamError
from chalicelib.services.ports.sweep_ports import Replicating

COMPARED_EVERY = timedelta(days=1)


def compare_settings(
    home: Repository, sights: tuple[Sight, ...], now: datetime, house: Replicating
) -> tuple[Sight, ...]:
    """Once a day for each destination that a rule names; a few calls each. What AWS does not answer for now is compared
    by the next sweep: nothing else waits for it."""
    due = [s for s in sights if s.gone_at is None and s.unread is None and _is_due(s, now)]
    if not due or (source := _settings(home, house)) is None:
        return sights
    compared = {s.destination: _compared(s, source, home, now, house) for s in due}
    return tuple(compared.get(s.destination, s) for s in sights)


def _is_due(sight: Sight, now: datetime) -> bool:
    return sight.compared_at is None or now >= sight.compared_at + COMPARED_EVERY


def _compared(sight: Sight, source: Settings, home: Repository, now: datetime, house: Replicating) -> Sight:
    """A repository that is not there (yet) has no settings: it is looked at again."""
    there = _settings(sight.destination.repository(home), house)
    if there is None:
        return sight
    return msgspec.structs.replace(sight, differences=differences(source, there), compared_at=now)


def _settings(home: Repository, house: Replicating) -> Settings | None:
    try:
        return house.replication.settings(home)
    except UpstreamError:
        return None
