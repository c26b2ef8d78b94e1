"""What ECR answers about how a registry is set up: scanning rules, replication, settings of repositories, and previews
of lifecycle policies.

What an answer is about has no default: an answer without it is refused, because "nothing" would be read as "none". A
replication rule that filters by anything but a prefix is refused, because its extent is unknown. Source: ECR API
reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from chalicelib.domain.images.image import Source
from chalicelib.domain.reconcile.scan_rule import AppliedScanRule, Frequency, FrequencyRule, RegistryScanning
from chalicelib.domain.replication.replica_case import Mutability, Reported
from chalicelib.domain.replication.rules import Configuration, Destination, ReplicationRule
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire.wire import Lower, read

_WORDS = {"EXPIRE": "expire", "TRANSITION": "archive"}


class PreviewAction(Lower):
    type: str | None = None


class PreviewRow(Lower):
    image_digest: str
    action: PreviewAction = msgspec.field(default_factory=PreviewAction)
    applied_rule_priority: int = 0


class PreviewPage(Lower):
    """`status`: IN_PROGRESS, COMPLETE, EXPIRED or FAILED. Rows mean something once it is COMPLETE; they are about the
    policy of `lifecycle_policy_text`."""

    status: str
    lifecycle_policy_text: str | None = None
    preview_results: tuple[PreviewRow, ...] = ()
    next_token: str | None = None

    @property
    def acts(self) -> Mapping[str, NativeAct]:
        """By digest. Raises RefusedPayloadError for an unknown action: it may be worse than both."""
        return {row.image_digest: _act(row) for row in self.preview_results}


def _act(row: PreviewRow) -> NativeAct:
    word = _WORDS.get(row.action.type or "")
    if word is None:
        raise RefusedPayloadError("$.previewResults", f"an unknown action: {row.action.type!r:.80}")
    return msgspec.convert({"action": word, "priority": row.applied_rule_priority}, NativeAct)


PREFIX = "PREFIX_MATCH"


class _Filter(Lower):
    filter: str
    filter_type: str | None = None


class CopyDestination(Lower):
    region: str
    registry_id: str


class _Deletes(Lower):
    enabled: bool


class CopyRule(Lower):
    """`delete_replication` absent: deletions are not copied, or this boto3 is too old to know."""

    destinations: list[CopyDestination]
    repository_filters: list[_Filter] = []
    delete_replication: _Deletes | None = None


class _Rules(Lower):
    rules: list[CopyRule]


class RegistryAnswer(Lower):
    registry_id: str
    replication_configuration: _Rules


class _Row(Lower):
    region: str
    registry_id: str
    status: str
    failure_code: str | None = None


class _Rows(Lower):
    replication_statuses: list[_Row]


class _Exception(Lower):
    filter: str


class _Encryption(Lower):
    encryption_type: str
    kms_key: str | None = None


class _Repository(Lower):
    image_tag_mutability: str
    image_tag_mutability_exclusion_filters: list[_Exception] = []
    encryption_configuration: _Encryption | None = None


class _Repositories(Lower):
    repositories: list[_Repository]


class _Scanning(Lower):
    repository_name: str
    scan_frequency: str


class _Scannings(Lower):
    scanning_configurations: list[_Scanning]


class _Policy(Lower):
    registry_id: str
    policy_text: str


class _Lifecycle(Lower):
    lifecycle_policy_text: str


def read_configuration(answer: Any) -> tuple[str, Configuration]:
    """Of DescribeRegistry: the registry it is about, and its rules. Raises RefusedPayloadError."""
    registry = read(RegistryAnswer, answer)
    rules = registry.replication_configuration.rules
    at = "$.replicationConfiguration.rules"
    known = tuple(_rule(rule, f"{at}[{n}].repositoryFilters") for n, rule in enumerate(rules))
    return registry.registry_id, Configuration(known)


def _rule(rule: CopyRule, at: str) -> ReplicationRule:
    places = tuple(Destination(place.registry_id, place.region) for place in rule.destinations)
    deletes = rule.delete_replication is not None and rule.delete_replication.enabled
    return ReplicationRule(places, _filters(rule.repository_filters, PREFIX, at), deletes)


def read_reports(answer: Any) -> dict[Destination, Reported]:
    """Of DescribeImageReplicationStatus; empty for an image that ECR never took up."""
    rows = read(_Rows, answer).replication_statuses
    return {Destination(r.registry_id, r.region): Reported(r.status, r.failure_code) for r in rows}


def read_repository(answer: Any) -> tuple[Mutability, str | None]:
    """Of DescribeRepositories for one: mutability, and what it is encrypted by. Raises RefusedPayloadError."""
    found = read(_Repositories, answer).repositories
    if not found:
        raise RefusedPayloadError("$.repositories", "empty: the one asked for is not among them")
    held = found[0]
    exceptions = tuple(sorted(f.filter for f in held.image_tag_mutability_exclusion_filters))
    encryption = held.encryption_configuration
    return Mutability(held.image_tag_mutability, exceptions), _encryption(encryption)


def _encryption(held: _Encryption | None) -> str | None:
    """A key is a Region's own: which one it is says nothing about a difference, but whether there is one."""
    if held is None:
        return None
    return f"{held.encryption_type} with a key of its own" if held.kms_key else held.encryption_type


def read_scan_frequency(answer: Any, name: str) -> str:
    """Of BatchGetRepositoryScanningConfiguration. Raises RefusedPayloadError where it says nothing of the repository:
    that is not scanning turned off."""
    found = read(_Scannings, answer).scanning_configurations
    if (said := next((one.scan_frequency for one in found if one.repository_name == name), None)) is None:
        raise RefusedPayloadError("$.scanningConfigurations", "the repository asked for is not among them")
    return said


def read_policy(answer: Any) -> tuple[str, str]:
    """Of GetRegistryPolicy and GetRepositoryPolicy: the registry and the text."""
    policy = read(_Policy, answer)
    return policy.registry_id, policy.policy_text


def read_lifecycle(answer: Any) -> str:
    return read(_Lifecycle, answer).lifecycle_policy_text


WILDCARD = "WILDCARD"
NOT_FOUND = "REPOSITORY_NOT_FOUND"


class _ScanRule(Lower):
    scan_frequency: Frequency
    repository_filters: list[_Filter] = []


class _Configuration(Lower):
    scan_type: str
    rules: list[_ScanRule] = []


class _ScanningRegistry(Lower):
    registry_id: str
    scanning_configuration: _Configuration


class _ScannedRepository(Lower):
    repository_name: str
    scan_frequency: Frequency
    scan_on_push: bool = False
    applied_scan_filters: list[_Filter] = []


class _Failure(Lower):
    repository_name: str
    failure_code: str = ""


class _ScannedRepositories(Lower):
    scanning_configurations: list[_ScannedRepository]
    failures: list[_Failure] = []


def read_registry_scanning(answer: dict[str, Any]) -> tuple[str, RegistryScanning]:
    """The registry it is about, and its configuration. Raises RefusedPayloadError."""
    registry = read(_ScanningRegistry, answer)
    said = registry.scanning_configuration
    rules = tuple(
        FrequencyRule(
            rule.scan_frequency, _filters(rule.repository_filters, WILDCARD, f"$.scanningConfiguration.rules[{n}]")
        )
        for n, rule in enumerate(said.rules)
    )
    return registry.registry_id, RegistryScanning(Source.__members__.get(said.scan_type), rules)


def read_applied_scanning(answer: dict[str, Any]) -> dict[str, AppliedScanRule]:
    """By repository; those that are not there are absent. Raises RefusedPayloadError."""
    said = read(_ScannedRepositories, answer)
    for n, failure in enumerate(said.failures):
        if failure.failure_code != NOT_FOUND:
            raise RefusedPayloadError(f"$.failures[{n}]", failure.failure_code[:50])
    return {
        one.repository_name: AppliedScanRule(
            one.scan_frequency,
            one.scan_on_push,
            _filters(one.applied_scan_filters, WILDCARD, f"$.scanningConfigurations[{n}]"),
        )
        for n, one in enumerate(said.scanning_configurations)
    }


def _filters(filters: list[_Filter], known: str, path: str) -> tuple[str, ...]:
    for f in filters:
        if f.filter_type not in (None, known):
            raise RefusedPayloadError(path, f"a filter by {f.filter_type[:50]}, which is not known here")
    return tuple(f.filter for f in filters)
