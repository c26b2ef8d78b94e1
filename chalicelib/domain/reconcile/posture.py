"""The settings of a repository: gathered for posture, and compared between the source and a copy. Pure.

ECR copies images and no settings. Source: Amazon ECR user guide (private image replication: what is not replicated;
repository creation templates).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from chalicelib.domain.enforcement.repository_policy import canonical, without_statement
from chalicelib.domain.reconcile.scan_rule import ScanRule
from chalicelib.domain.replication.replica_case import Mutability
from chalicelib.errors import UpstreamError

MANUAL = "MANUAL"


class RepositorySettings(msgspec.Struct, frozen=True, kw_only=True):
    """`scan_frequency` MANUAL: nothing is scanned by itself. `policy`, `lifecycle` None: there is none. `unread`: why
    an attribute could not be read, by its name; its value then says nothing."""

    scan_frequency: str | None = None
    mutability: Mutability | None = None
    lifecycle: str | None = None
    encryption: str | None = None
    policy: str | None = None
    unread: dict[str, str] = {}

    def knows(self, name: str) -> bool:
        return name not in self.unread


def differences(source: RepositorySettings, there: RepositorySettings) -> tuple[str, ...]:
    """Each a sentence, also for what could not be read."""
    return tuple(_differences(source, there))


def _differences(source: RepositorySettings, there: RepositorySettings) -> Iterator[str]:
    for where, settings in (("there", there), ("at the source", source)):
        for name, why in sorted(settings.unread.items()):
            yield f"{_WORDS[name]} {where} cannot be told: {why}"
    if _both(source, there, "scan_frequency") and _scans(source) and not _scans(there):
        yield f"scanning is off there ({there.scan_frequency or MANUAL}), and {source.scan_frequency} at the source"
    if _both(source, there, "mutability") and there.mutability != source.mutability:
        yield f"tags are {_mutability(there)} there, and {_mutability(source)} at the source"
    if _both(source, there, "lifecycle") and source.lifecycle is not None and there.lifecycle is None:
        yield "no lifecycle policy there: nothing is ever expired"
    if _both(source, there, "encryption") and there.encryption != source.encryption:
        yield f"encryption is {there.encryption or 'unknown'} there, and {source.encryption or 'unknown'} at the source"
    if _both(source, there, "policy") and _policy(there) != _policy(source):
        yield f"{'no' if there.policy is None else 'another'} repository policy there"


_WORDS = {
    "scan_frequency": "whether images are scanned",
    "mutability": "whether tags can be moved",
    "lifecycle": "the lifecycle policy",
    "encryption": "the encryption",
    "policy": "the repository policy",
}


def _both(source: RepositorySettings, there: RepositorySettings, name: str) -> bool:
    return source.knows(name) and there.knows(name)


def _scans(settings: RepositorySettings) -> bool:
    return settings.scan_frequency not in (None, MANUAL)


def _mutability(settings: RepositorySettings) -> str:
    held = settings.mutability
    if held is None:
        return "of unknown mutability"
    return f"{held.word} (but {', '.join(held.exceptions)})" if held.exceptions else held.word


def _policy(settings: RepositorySettings) -> str:
    """Without our own statement, which changes with the images. A policy that cannot be parsed is compared as text."""
    try:
        return canonical(without_statement(settings.policy))
    except UpstreamError:
        return settings.policy or ""


class GatheredSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """`scanning` None: how the registry scans it is unknown."""

    settings: RepositorySettings
    scanning: ScanRule | None = None


def changed(before: GatheredSettings | None, after: GatheredSettings) -> tuple[str, ...]:
    """The names of what differs; what could not be read does not differ."""
    if before is None:
        return ()
    names = [name for name in RepositorySettings.__struct_fields__ if name != "unread"]
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
