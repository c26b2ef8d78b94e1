"""The events Amazon ECR sends itself (`aws.ecr`). Their details are written in kebab-case and name repositories bare.

Source: Amazon ECR user guide, EventBridge events; EventBridge schema registry.
"""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.domain.events.event import (
    ImageAction,
    PulledThrough,
    ReferrerAction,
    Replicated,
    ScanFinished,
    ScanningRule,
    ScanResourceChanged,
)
from chalicelib.domain.images.image import Repository, Source
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.findings.coverage import scan_of, severity_counts
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.answer import Envelope, KebabWire
from chalicelib.parsers.wire.dates import instant
from chalicelib.parsers.wire.wire import Count


class _Action(KebabWire):
    action_type: str
    result: str | None = None
    repository_name: str | None = None
    image_digest: str | None = None
    image_tag: str | None = None
    manifest_media_type: str | None = None
    artifact_media_type: str | None = None
    target_storage_class: str | None = None
    last_activated_at: Any = None
    source_account: str | None = None
    source_region: str | None = None


class _Scan(KebabWire):
    scan_status: str | None = None
    repository_name: str | None = None
    image_digest: str | None = None
    image_tags: tuple[str, ...] | None = None
    finding_severity_counts: dict[str, Count] | None = None


class _Rule(KebabWire):
    repository_name: str | None = None
    repository_arn: str | None = None
    scan_frequency: str | None = None
    previous_scan_frequency: str | None = None


class _ResourceChange(KebabWire):
    action_type: str | None = None
    repositories: list[_Rule] | None = None


class _PullThrough(KebabWire):
    sync_status: str
    repository_name: str | None = None
    image_digest: str | None = None
    image_tag: str | None = None
    upstream_registry_url: str | None = None
    failure_code: str | None = None
    failure_reason: str | None = None


_ACTION = msgspec.json.Decoder(_Action)
_SCAN = msgspec.json.Decoder(_Scan)
_RESOURCE_CHANGE = msgspec.json.Decoder(_ResourceChange)
_PULL_THROUGH = msgspec.json.Decoder(_PullThrough)


def read_image_action(envelope: Envelope) -> ImageAction:
    wire = envelope.read_detail(_ACTION)
    return ImageAction(
        envelope.image(wire.repository_name, wire.image_digest),
        _said(wire.action_type, "$.detail.action-type"),
        _said(wire.result, "$.detail.result"),
        envelope.happened_at(),
        envelope.event_id,
        identity.tag(wire.image_tag, "$.detail.image-tag"),
        wire.manifest_media_type,
        wire.artifact_media_type,
        wire.target_storage_class,
        instant(wire.last_activated_at, "$.detail.last-activated-at"),
    )


def read_referrer_action(envelope: Envelope) -> ReferrerAction:
    wire = envelope.read_detail(_ACTION)
    return ReferrerAction(
        envelope.image(wire.repository_name, wire.image_digest),
        _said(wire.action_type, "$.detail.action-type"),
        _said(wire.result, "$.detail.result"),
        envelope.happened_at(),
        envelope.event_id,
        identity.tag(wire.image_tag, "$.detail.image-tag"),
        wire.manifest_media_type,
        wire.artifact_media_type,
        wire.target_storage_class,
    )


def read_image_scan(envelope: Envelope) -> ScanFinished:
    """Basic scanning. The event carries counts only, of the severities that are not zero."""
    wire = envelope.read_detail(_SCAN)
    return ScanFinished(
        envelope.image(wire.repository_name, wire.image_digest),
        Source.BASIC,
        scan_of(wire.scan_status, None, Source.BASIC),
        envelope.happened_at(),
        envelope.event_id,
        wire.image_tags or (),
        severity_counts(wire.finding_severity_counts),
    )


def read_replication_action(envelope: Envelope) -> Replicated:
    """The envelope is the destination's; the source stands in the detail."""
    wire = envelope.read_detail(_ACTION)
    return Replicated(
        envelope.image(wire.repository_name, wire.image_digest),
        _said(wire.result, "$.detail.result"),
        identity.account(wire.source_account, "$.detail.source-account"),
        identity.region(wire.source_region, "$.detail.source-region"),
        envelope.happened_at(),
        envelope.event_id,
        identity.tag(wire.image_tag, "$.detail.image-tag"),
    )


def read_scan_resource_change(envelope: Envelope) -> ScanResourceChanged:
    wire = envelope.read_detail(_RESOURCE_CHANGE)
    rules = tuple(
        ScanningRule(
            _ruled(envelope, rule, f"$.detail.repositories[{n}]"), rule.scan_frequency, rule.previous_scan_frequency
        )
        for n, rule in enumerate(wire.repositories or ())
    )
    return ScanResourceChanged(wire.action_type or "", rules, envelope.happened_at(), envelope.event_id)


def read_pull_through_cache_action(envelope: Envelope) -> PulledThrough:
    wire = envelope.read_detail(_PULL_THROUGH)
    home = envelope.home(wire.repository_name)
    return PulledThrough(
        home,
        wire.sync_status,
        envelope.happened_at(),
        envelope.event_id,
        envelope.image(wire.repository_name, wire.image_digest) if wire.image_digest else None,
        identity.tag(wire.image_tag, "$.detail.image-tag"),
        wire.upstream_registry_url,
        wire.failure_code,
        wire.failure_reason,
    )


def _ruled(envelope: Envelope, rule: _Rule, at: str) -> Repository:
    if not rule.repository_arn:
        return envelope.home(rule.repository_name, f"{at}.repository-name")
    home = identity.repository_arn(rule.repository_arn, f"{at}.repository-arn")
    identity.agree(f"{at}.repository-arn", home.name, rule.repository_name, "repository")
    identity.agree(f"{at}.repository-arn", home.registry, envelope.account, "registry")
    identity.agree(f"{at}.repository-arn", home.region, envelope.region, "Region")
    return home


def _said(text: str | None, at: str) -> str:
    if not text:
        raise RefusedPayloadError(at, "missing")
    return text
