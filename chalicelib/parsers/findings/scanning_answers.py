"""What ECR answers about scanning: a registry's configuration, and what of it is applied to repositories.

What an answer is about has no default: one without it would be read as "no rule". A filter by anything but WILDCARD is
refused: nobody here could tell what it covers. Sources: ECR API reference (GetRegistryScanningConfiguration,
BatchGetRepositoryScanningConfiguration).
"""

from __future__ import annotations

from typing import Any

from chalicelib.domain.images.image import Source
from chalicelib.domain.reconcile.scan_rule import AppliedScanRule, Frequency, FrequencyRule, RegistryScanning
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire.wire import Lower, read

WILDCARD = "WILDCARD"
NOT_FOUND = "REPOSITORY_NOT_FOUND"


class _Filter(Lower):
    filter: str
    filter_type: str = WILDCARD


class _Rule(Lower):
    scan_frequency: Frequency
    repository_filters: list[_Filter] = []


class _Configuration(Lower):
    scan_type: str
    rules: list[_Rule] = []


class _Registry(Lower):
    registry_id: str
    scanning_configuration: _Configuration


class _Repository(Lower):
    repository_name: str
    scan_frequency: Frequency
    scan_on_push: bool = False
    applied_scan_filters: list[_Filter] = []


class _Failure(Lower):
    repository_name: str
    failure_code: str = ""


class _Repositories(Lower):
    scanning_configurations: list[_Repository]
    failures: list[_Failure] = []


def read_registry_scanning(answer: dict[str, Any]) -> tuple[str, RegistryScanning]:
    """The registry it is about, and its configuration. Raises RefusedPayloadError."""
    registry = read(_Registry, answer)
    said = registry.scanning_configuration
    rules = tuple(
        FrequencyRule(rule.scan_frequency, _filters(rule.repository_filters, f"$.scanningConfiguration.rules[{n}]"))
        for n, rule in enumerate(said.rules)
    )
    return registry.registry_id, RegistryScanning(Source.__members__.get(said.scan_type), rules)


def read_applied_scanning(answer: dict[str, Any]) -> dict[str, AppliedScanRule]:
    """By repository; those that are not there are absent. Raises RefusedPayloadError."""
    said = read(_Repositories, answer)
    for n, failure in enumerate(said.failures):
        if failure.failure_code != NOT_FOUND:
            raise RefusedPayloadError(f"$.failures[{n}]", failure.failure_code[:50])
    return {
        one.repository_name: AppliedScanRule(
            one.scan_frequency,
            one.scan_on_push,
            _filters(one.applied_scan_filters, f"$.scanningConfigurations[{n}]"),
        )
        for n, one in enumerate(said.scanning_configurations)
    }


def _filters(filters: list[_Filter], path: str) -> tuple[str, ...]:
    for f in filters:
        if f.filter_type != WILDCARD:
            raise RefusedPayloadError(path, f"a filter by {f.filter_type[:50]}, which is not known here")
    return tuple(f.filter for f in filters)
