"""ECR as CloudTrail records it: calls that change something, and the runs of lifecycle policies.

Source: AWS CloudTrail record contents; Amazon ECR user guide, logging with CloudTrail.
"""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.domain.events.event import ApiCall, Ignored, LifecycleExpiry, LifecycleRan
from chalicelib.domain.images.image import Repository
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.answer import Envelope
from chalicelib.parsers.wire.dates import instant, instant_of_ms
from chalicelib.parsers.wire.wire import Count, Wire, decode

_ECR = "ecr.amazonaws.com"
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
    request_parameters: dict[str, Any] | None = None


class _Image(Wire):
    digest: str | None = None
    tag_list: tuple[str, ...] | None = None
    pushed_at: Any = None


class _ImageAction(Wire):
    lifecycle_event_image: _Image
    rule_priority: Count | None = None


class _Details(Wire):
    repository_name: str | None = None
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
    if wire.event_source and wire.event_source != _ECR:
        return Ignored(f"a call of {wire.event_source[:100]}", envelope.event_id)
    if wire.read_only:
        return Ignored("a call that only reads", envelope.event_id)
    parameters = wire.request_parameters or {}
    return ApiCall(
        wire.event_name,
        identity.account(envelope.account, "$.account"),
        identity.region(envelope.region, "$.region"),
        _actor(wire.user_identity),
        instant(wire.event_time, "$.detail.eventTime") or envelope.happened_at(),
        envelope.event_id,
        _repository(envelope, parameters, failed=wire.error_code is not None),
        wire.error_code,
        _changed(parameters),
    )


def read_service_event(envelope: Envelope) -> LifecycleRan | Ignored:
    wire = envelope.read_detail(_SERVICE_EVENT)
    if (wire.event_source or _ECR) != _ECR or wire.event_name not in _RUNS:
        return Ignored(f"a service event that is no lifecycle run: {wire.event_name[:100]}", envelope.event_id)
    at = "$.detail.serviceEventDetails"
    details = decode(_DETAILS, wire.service_event_details, at)
    actions = enumerate(details.lifecycle_event_image_actions or ())
    return LifecycleRan(
        envelope.home(details.repository_name, f"{at}.repositoryName"),
        _RUNS[wire.event_name],
        tuple(_expiry(action, f"{at}.lifecycleEventImageActions[{n}]") for n, action in actions),
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


def _changed(parameters: dict[str, Any]) -> dict[str, str]:
    kept = [(key, value) for key, value in parameters.items() if key not in _NOT_CHANGED and value is not None]
    return {key[:_LONGEST_VALUE]: _short(value) for key, value in kept[:_MOST_VALUES]}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _expiry(action: _ImageAction, at: str) -> LifecycleExpiry:
    image = action.lifecycle_event_image
    within = f"{at}.lifecycleEventImage"
    return LifecycleExpiry(
        identity.digest(image.digest, f"{within}.digest"),
        image.tag_list or (),
        action.rule_priority,
        instant_of_ms(image.pushed_at, f"{within}.pushedAt"),
    )
