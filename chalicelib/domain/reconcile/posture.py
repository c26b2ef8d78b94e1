"""What is gathered of a repository's own settings, for posture to judge. Nothing is judged here. Pure."""

from __future__ import annotations

import msgspec

from chalicelib.domain.reconcile.replica_settings import Settings
from chalicelib.domain.reconcile.scan_rule import ScanRule


class GatheredSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """`settings`: scanning frequency, mutability, lifecycle policy, encryption, repository policy, and what of it could
    not be read. `scanning` None: how the registry scans it could not be found out."""

    settings: Settings
    scanning: ScanRule | None = None


def changed(before: GatheredSettings | None, after: GatheredSettings) -> tuple[str, ...]:
    """The names of what differs; what could not be read, then or now, differs from nothing."""
    if before is None:
        return ()
    names = [name for name in Settings.__struct_fields__ if name != "unread"]
    differing = [
        name
        for name in names
        if before.settings.knows(name)
        and after.settings.knows(name)
        and getattr(before.settings, name) != getattr(after.settings, name)
    ]
    if before.scanning is not None and after.scanning is not None and before.scanning != after.scanning:
        differing.append("scanning")
    return tuple(sorted(differing))
