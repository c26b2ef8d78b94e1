"""The events of Amazon ECR (`aws.ecr`): those it sends itself, and its calls and lifecycle runs as CloudTrail records
them.

Details of ECR's own events are in kebab-case and name repositories bare. Sources: Amazon ECR user guide, EventBridge
events and logging with CloudTrail; EventBridge schema registry; AWS CloudTrail record contents.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from chalicelib.domain.events.event import (
    ApiCall,
    Ignored,
    ImageAction,
    LifecycleImage,
    LifecycleRan,
    NamedImage,
    PulledThrough,
    ReferrerAction,
    Replicated,
    ScanFinished,
    ScanningRule,
    ScanResourceChanged,
)
from chalicelib.domain.images.image import ImageRef, Repository, Source
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.findings.coverage import scan_of, severity_counts
from chalicelib.parsers.images.manifests import layers_of
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.identity import Envelope
from chalicelib.parsers.wire.wire import Count, KebabWire, Wire, decode, instant, instant_of_ms


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


class ScanWire(KebabWire):
    """Of basic scanning and of `Inspector2 Scan`, which write the same."""

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
    ecr_repository_prefix: str | None = None
    repository_name: str | None = None
    image_digest: str | None = None
    image_tag: str | None = None
    upstream_registry_url: str | None = None
    failure_code: str | None = None
    failure_reason: str | None = None


_ACTION = msgspec.json.Decoder(_Action)
SCAN = msgspec.json.Decoder(ScanWire)
_RESOURCE_CHANGE = msgspec.json.Decoder(_ResourceChange)
_PULL_THROUGH = msgspec.json.Decoder(_PullThrough)


def read_image_action(envelope: Envelope) -> ImageAction:
    wire = envelope.read_detail(_ACTION)
    return ImageAction(*_action(envelope, wire), instant(wire.last_activated_at, "$.detail.last-activated-at"))


def read_referrer_action(envelope: Envelope) -> ReferrerAction:
    return ReferrerAction(*_action(envelope, envelope.read_detail(_ACTION)))


def _action(
    envelope: Envelope, wire: _Action
) -> tuple[ImageRef, str, str, datetime, str, str | None, str | None, str | None, str | None]:
    """What both actions say, in the order of their fields."""
    return (
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
    wire = envelope.read_detail(SCAN)
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
        wire.ecr_repository_prefix,
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


_ECR, _PUBLIC = "ecr.amazonaws.com", "ecr-public.amazonaws.com"
_LONGEST_VALUE = 256
_MOST_VALUES = 20
# Who it is about stands in the ApiCall itself; a manifest is no short text.
_NOT_CHANGED = frozenset({"registryId", "repositoryName", "imageManifest"})
_RUNS = {"PolicyExecutionEvent": False, "DryRunEvent": True}


class _Issuer(Wire):
    arn: str | None = None


class _Session(Wire):
    session_issuer: _Issuer | None = None


class _Identity(Wire):
    arn: str | None = None
    principal_id: str | None = None
    invoked_by: str | None = None
    session_context: _Session | None = None


class _Call(Wire):
    event_name: str
    event_source: str | None = None
    event_time: Any = None
    read_only: bool | None = None
    error_code: str | None = None
    user_identity: _Identity | None = None
    source_i_p_address: str | None = msgspec.field(name="sourceIPAddress", default=None)
    request_parameters: dict[str, Any] | None = None
    response_elements: dict[str, Any] | None = None


class _Image(Wire):
    digest: str | None = None
    tag_list: tuple[str, ...] | None = None
    pushed_at: Any = None


class _ImageAction(Wire):
    lifecycle_event_image: _Image
    rule_priority: Count | None = None


class _LifecycleRule(Wire):
    rule_priority: Count | None = None
    action: Any = None


class _LifecyclePolicy(Wire):
    lifecycle_event_rules: list[_LifecycleRule] | None = None


class _Details(Wire):
    repository_name: str | None = None
    lifecycle_event_policy: _LifecyclePolicy | None = None
    lifecycle_event_image_actions: list[_ImageAction] | None = None


class _ServiceEvent(Wire):
    event_name: str
    event_source: str | None = None
    event_time: Any = None
    service_event_details: msgspec.Raw = msgspec.Raw(b"{}")


_CALL = msgspec.json.Decoder(_Call)
_SERVICE_EVENT = msgspec.json.Decoder(_ServiceEvent)
_DETAILS = msgspec.json.Decoder(_Details)


def read_api_call(envelope: Envelope) -> ApiCall | Ignored:
    wire = envelope.read_detail(_CALL)
    if wire.event_source not in (None, "", _ECR, _PUBLIC):
        return Ignored(f"a call of {wire.event_source[:100]}", envelope.event_id)
    if wire.read_only:
        return Ignored("a call that only reads", envelope.event_id)
    parameters, public = wire.request_parameters or {}, wire.event_source == _PUBLIC
    policy = parameters.get("policyText")
    return ApiCall(
        wire.event_name,
        identity.account(envelope.account, "$.account"),
        identity.region(envelope.region, "$.region"),
        _actor(wire.user_identity),
        instant(wire.event_time, "$.detail.eventTime") or envelope.happened_at(),
        envelope.event_id,
        None if public else _repository(envelope, parameters, failed=wire.error_code is not None),
        wire.error_code,
        _changed(parameters, public),
        _role(wire.user_identity),
        wire.source_i_p_address,
        policy if isinstance(policy, str) else None,
        _images(parameters, wire.response_elements or {}),
        _layers(parameters.get("imageManifest")),
        public,
    )


def _role(who: _Identity | None) -> str | None:
    context = who.session_context if who else None
    return context.session_issuer.arn if context and context.session_issuer else None


def _images(parameters: dict[str, Any], answer: dict[str, Any]) -> tuple[NamedImage, ...]:
    """Of BatchDeleteImage those that the answer, where there is one, says were deleted; of UpdateImageStorageClass; of
    PutImage, whose digest may stand in the answer alone."""
    many, one, put = answer.get("imageIds", parameters.get("imageIds")), parameters.get("imageId"), answer.get("image")
    named = [*(many if isinstance(many, list) else ()), one, parameters if "imageManifest" in parameters else None]
    named.append(put.get("imageId") if isinstance(put, dict) else None)
    found = [NamedImage(_text(image, "imageDigest"), _text(image, "imageTag")) for image in named if image]
    return tuple(image for image in found if image != NamedImage())


def _text(image: Any, name: str) -> str | None:
    value = image.get(name) if isinstance(image, dict) else None
    return value if isinstance(value, str) else None


def _layers(manifest: Any) -> tuple[str, ...]:
    """() for an index, and for a manifest that cannot be read: a pusher writes it."""
    try:
        return layers_of(manifest) if isinstance(manifest, str) else ()
    except RefusedPayloadError:
        return ()


def read_service_event(envelope: Envelope) -> LifecycleRan | Ignored:
    wire = envelope.read_detail(_SERVICE_EVENT)
    if (wire.event_source or _ECR) != _ECR or wire.event_name not in _RUNS:
        return Ignored(f"a service event that is no lifecycle run: {wire.event_name[:100]}", envelope.event_id)
    at = "$.detail.serviceEventDetails"
    details = decode(_DETAILS, wire.service_event_details, at)
    policy, actions = details.lifecycle_event_policy, enumerate(details.lifecycle_event_image_actions or ())
    rules = (policy.lifecycle_event_rules if policy is not None else None) or ()
    said = {rule.rule_priority: _action_of(rule) for rule in rules}
    return LifecycleRan(
        envelope.home(details.repository_name, f"{at}.repositoryName"),
        _RUNS[wire.event_name],
        tuple(_taken(action, said, f"{at}.lifecycleEventImageActions[{n}]") for n, action in actions),
        instant(wire.event_time, "$.detail.eventTime") or envelope.happened_at(),
        envelope.event_id,
    )


def _actor(who: _Identity | None) -> str | None:
    if who is None:
        return None
    issuer = who.session_context.session_issuer if who.session_context else None
    return who.arn or (issuer.arn if issuer else None) or who.invoked_by or who.principal_id


def _repository(envelope: Envelope, parameters: dict[str, Any], failed: bool) -> Repository | None:
    """The registry is the one called, which may be another account's. A call that failed may have named nonsense."""
    name, registry = parameters.get("repositoryName"), parameters.get("registryId") or envelope.account
    at = "$.detail.requestParameters"
    if name is None:
        return None
    if not isinstance(name, str) or not isinstance(registry, str):
        raise RefusedPayloadError(f"{at}.repositoryName", "a repository is named by texts")
    try:
        return Repository(
            identity.account(registry, f"{at}.registryId"),
            identity.region(envelope.region, "$.region"),
            identity.repository_name(name, f"{at}.repositoryName"),
        )
    except RefusedPayloadError:
        if failed:
            return None
        raise


def _changed(parameters: dict[str, Any], public: bool) -> dict[str, str]:
    left_out = _NOT_CHANGED - {"repositoryName"} if public else _NOT_CHANGED
    kept = [(key, value) for key, value in parameters.items() if key not in left_out and value is not None]
    return {key[:_LONGEST_VALUE]: _short(value) for key, value in kept[:_MOST_VALUES]}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _action_of(rule: _LifecycleRule) -> str | None:
    """A word, or an object as in the policy's own text: only the word of an expiry was ever published."""
    said = rule.action.get("type") if isinstance(rule.action, dict) else rule.action
    return said.lower() if isinstance(said, str) and said else None


def _taken(action: _ImageAction, said: Mapping[int | None, str | None], at: str) -> LifecycleImage:
    """`said`: what each rule of the policy does."""
    image = action.lifecycle_event_image
    within = f"{at}.lifecycleEventImage"
    return LifecycleImage(
        identity.digest(image.digest, f"{within}.digest"),
        image.tag_list or (),
        action.rule_priority,
        instant_of_ms(image.pushed_at, f"{within}.pushedAt"),
        said.get(action.rule_priority),
    )
