"""Find out how the repositories of a registry are scanned: which scanner is in force, and which rule covers each."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from chalicelib.domain.images.image import Repository, Source
from chalicelib.domain.reconcile.scan_rule import Applied, ScanRule, rule_of
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.ports.sweep_ports import ScanHouse


class FoundRules(msgspec.Struct, frozen=True):
    """`scanner` None, a repository without a rule: nobody could find out."""

    scanner: Source | None = None
    rules: Mapping[str, ScanRule] = {}


def find_rules(registry: Repository, names: Collection[str], house: ScanHouse) -> FoundRules:
    """Of the registry and Region of `registry`, by name of a repository. Where ECR does not say what is applied, the
    rules alone tell. Raises TransientError."""
    try:
        account, configuration = house.scans.configuration(registry)
    except TransientError:
        raise
    except UpstreamError:
        return FoundRules()
    if account != registry.registry:
        return FoundRules()
    applied = _applied(registry, names, house)
    return FoundRules(configuration.scanner, {n: rule_of(n, configuration, applied.get(n)) for n in names})


def _applied(registry: Repository, names: Collection[str], house: ScanHouse) -> Mapping[str, Applied]:
    try:
        return house.scans.applied(registry, names)
    except TransientError:
        raise
    except UpstreamError:
        return {}
