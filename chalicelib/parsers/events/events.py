"""EventBridge events to domain events: which reader reads what. Each source has a module of its own.

Sources: EventBridge events reference (aws.ecr, aws.inspector2, aws.ecs, CloudTrail).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from chalicelib.domain.events.event import Event
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.events import cloudtrail_events, ecr_events, ecs_events, inspector_events
from chalicelib.parsers.wire.answer import Envelope
from chalicelib.parsers.wire.wire import decode, json_bytes, refuse_deep

_READERS: dict[tuple[str, str], Callable[[Envelope], Event]] = {
    ("aws.ecr", "ECR Image Action"): ecr_events.read_image_action,
    ("aws.ecr", "ECR Referrer Action"): ecr_events.read_referrer_action,
    ("aws.ecr", "ECR Image Scan"): ecr_events.read_image_scan,
    ("aws.ecr", "ECR Scan Resource Change"): ecr_events.read_scan_resource_change,
    ("aws.ecr", "ECR Replication Action"): ecr_events.read_replication_action,
    ("aws.ecr", "ECR Pull Through Cache Action"): ecr_events.read_pull_through_cache_action,
    ("aws.ecr", "AWS API Call via CloudTrail"): cloudtrail_events.read_api_call,
    ("aws.ecr", "AWS Service Event via CloudTrail"): cloudtrail_events.read_service_event,
    ("aws.inspector2", "Inspector2 Scan"): inspector_events.read_scan,
    ("aws.inspector2", "Inspector2 Finding"): inspector_events.read_finding,
    ("aws.inspector2", "Inspector2 Coverage"): inspector_events.read_coverage,
    ("aws.ecs", "ECS Task State Change"): ecs_events.read_task_state_change,
}
_ENVELOPE = msgspec.json.Decoder(Envelope)


def parse_event(payload: bytes | str | dict[str, Any]) -> Event:
    """The event in an EventBridge envelope, as it stands or as JSON text.

    Raises RefusedPayloadError(path, reason) for all that cannot be read, and no other error: retrying is useless.
    """
    text = json_bytes(payload)
    refuse_deep(text)
    envelope = decode(_ENVELOPE, text)
    if (read := _READERS.get((envelope.source, envelope.detail_type))) is None:
        kind = f"{envelope.source[:50]!r} / {envelope.detail_type[:100]!r}"
        raise RefusedPayloadError("$.detail-type", f"no reader for {kind}")
    return read(envelope)
