"""Gather the settings of one repository and store them for posture. Nothing is judged or changed here."""

from __future__ import annotations

import msgspec

from chalicelib.domain.events.sweep_message import SweepRepository
from chalicelib.domain.images.image import Repository
from chalicelib.domain.reconcile.posture import GatheredSettings, RepositorySettings, changed
from chalicelib.domain.reconcile.scan_rule import AppliedScanRule, Frequency, ScanRule, rule_of
from chalicelib.errors import AbsentError, TransientError, UpstreamError
from chalicelib.services.ports.answers import answered
from chalicelib.services.ports.context import Context

AT, RESULT = "posture_at", "posture"


class Gathered(msgspec.Struct, frozen=True):
    """`unread`: what could not be read, `changed`: what differs from the last time, by name. `error`: why nothing was
    read."""

    unread: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    error: str | None = None


def gather_posture(message: SweepRepository, context: Context) -> Gathered | None:
    """None: the repository is public or gone. Raises TransientError: requeue the message."""
    home = message.repository
    if home.public:
        return None
    now = context.clock.now()
    try:
        settings = context.replication.settings(home)
        found = GatheredSettings(settings, _scanning(home, settings, context))
    except AbsentError:
        return None
    except TransientError:
        raise
    except UpstreamError as error:
        gathered = Gathered(error=str(error)[:500])
        context.table.store_repository(home, {RESULT: msgspec.to_builtins(gathered)})
        return gathered
    known = context.posture.read(home)
    differing = changed(known[0] if known else None, found)
    context.posture.keep(home, found, now)
    gathered = Gathered(tuple(sorted(settings.unread)), differing)
    context.table.store_repository(home, {AT: now, RESULT: msgspec.to_builtins(gathered)})
    return gathered


def _scanning(home: Repository, settings: RepositorySettings, context: Context) -> ScanRule | None:
    """None: how the registry scans is unknown. Raises TransientError."""
    found = answered(lambda: context.scans.configuration(Repository(home.registry, home.region, "")))
    if found is None or found[0] != home.registry:
        return None
    registry = found[1]
    frequency = Frequency.__members__.get(settings.scan_frequency or "")
    return rule_of(home.name, registry, None if frequency is None else AppliedScanRule(frequency))
