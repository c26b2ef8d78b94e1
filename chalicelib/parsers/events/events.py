"""An SQS record or an EventBridge event as a value of the domain: which reader reads what, and the readers for
Inspector and ECS. ECR's are in `ecr_events.py`.

Events of Inspector about EC2, Lambda, code and other clouds are Ignored. A delegated administrator receives the events
of its members too, so the image is always that of the ARN, never of the envelope's account. The detail of an ECS task
event is the task as DescribeTasks answers it.

Sources: EventBridge events reference; Amazon Inspector user guide, EventBridge event schema; Amazon ECS developer
guide, events; AWS Lambda developer guide, "Using Lambda with Amazon SQS" (record shape).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from chalicelib.domain.events.dead_letter import MARK
from chalicelib.domain.events.event import (
    CoverageChanged,
    Event,
    FindingChanged,
    Ignored,
    ScanFinished,
    TaskChanged,
    TaskContainer,
)
from chalicelib.domain.events.message import Delivery, Message, RetriedEvent
from chalicelib.domain.images.image import Coverage, ImageRef, Scan, Source
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.events import ecr_events
from chalicelib.parsers.findings.coverage import TOTAL, Foreign, coverage_state, scan_of, severity_counts
from chalicelib.parsers.findings.rows import RowReader
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.identity import Envelope
from chalicelib.parsers.wire.wire import Count, Wire, decode, json_bytes, refuse_deep, required_instant, under


class _Status(Wire):
    status_code_value: str | None = None
    status_code: str | None = None
    reason: str | None = None


class _Coverage(Wire):
    scan_status: _Status


_COVERAGE = msgspec.json.Decoder(_Coverage)


def read_scan(envelope: Envelope) -> ScanFinished | Ignored:
    """The first enhanced scan of an image is complete. EC2, AMI and Lambda share the name and have no repository."""
    wire = envelope.read_detail(ecr_events.SCAN)
    about_ecr = any(identity.is_ecr_arn(arn) for arn in envelope.resources or ())
    if not about_ecr and not wire.repository_name and not wire.image_digest:
        return Ignored("a scan of something that is no ECR image", envelope.event_id)
    counts = wire.finding_severity_counts
    return ScanFinished(
        _scanned(envelope, wire),
        Source.ENHANCED,
        scan_of(wire.scan_status, None, Source.ENHANCED),
        envelope.happened_at(),
        envelope.event_id,
        wire.image_tags or (),
        severity_counts(counts),
        None if counts is None else counts.get(TOTAL),
    )


def _scanned(envelope: Envelope, wire: ecr_events.ScanWire) -> ImageRef:
    """`repository-name` is an ARN here; a bare name means a repository of the envelope's account."""
    name = wire.repository_name or ""
    if not name.startswith("arn:"):
        return envelope.image(name, wire.image_digest)
    home = identity.repository_arn(name, "$.detail.repository-name")
    identity.agree("$.detail.repository-name", home.region, envelope.region, "Region")
    ref = home.image(identity.digest(wire.image_digest, "$.detail.image-digest"))
    identity.resources_agree(envelope.resources, ref)
    return ref


def read_finding(envelope: Envelope) -> FindingChanged | Ignored:
    """The detail is one finding, written as ListFindings writes it but for its dates."""
    try:
        row = RowReader().read(envelope.detail)
    except RefusedPayloadError as error:
        raise under("$.detail", error) from None
    if isinstance(row, Foreign):
        return Ignored(f"a finding about {row.resource_type}", envelope.event_id)
    identity.agree("$.region", envelope.region, row.image.ref.region, "Region")
    identity.resources_agree(envelope.resources, row.image.ref)
    return FindingChanged(row, envelope.happened_at(), envelope.event_id)


def read_coverage(envelope: Envelope) -> CoverageChanged | Ignored:
    """The resource stands in the envelope alone: the ARN of an image, or of something else."""
    if not envelope.resources:
        raise RefusedPayloadError("$.resources", "missing")
    if (ref := _covered(envelope.resources)) is None:
        return Ignored("the coverage of something that is no ECR image", envelope.event_id)
    identity.agree("$.region", envelope.region, ref.region, "Region")
    status = envelope.read_detail(_COVERAGE).scan_status
    active, reason = (status.status_code_value or status.status_code) == "ACTIVE", status.reason or ""
    scan = Scan(coverage_state(active, reason), reason or None, Source.ENHANCED)
    return CoverageChanged(Coverage(ref, scan, active, reason), envelope.happened_at(), envelope.event_id)


def _covered(resources: tuple[str, ...]) -> ImageRef | None:
    """The one image among the resources; a repository or an instance is none."""
    found: ImageRef | None = None
    for n, arn in enumerate(resources):
        if not identity.is_ecr_arn(arn) or "/sha256:" not in arn:
            continue
        ref = identity.image_arn(arn, f"$.resources[{n}]")
        identity.agree_on_image(f"$.resources[{n}]", ref, found or ref)
        found = ref
    return found


_FAILED_TO_START = "TaskFailedToStart"
# CannotPullContainerError, CannotPullECRContainerError, CannotPullImageManifestError
_CANNOT_PULL = "CannotPull"
_REGISTRY_AUTH = "pull secrets or registry auth"


class _Container(Wire):
    name: str
    image: str | None = None
    image_digest: str | None = None
    reason: str | None = None


class _Task(Wire):
    task_arn: str
    cluster_arn: str
    task_definition_arn: str
    last_status: str
    desired_status: str
    version: Count
    containers: list[_Container] | None = None
    group: str | None = None
    stop_code: str | None = None
    stopped_reason: str | None = None
    stopped_at: Any = None
    stopping_at: Any = None
    created_at: Any = None


_TASK = msgspec.json.Decoder(_Task)


def read_task_state_change(envelope: Envelope) -> TaskChanged:
    return _changed(envelope.read_detail(_TASK), envelope.happened_at(), envelope.event_id, "$.detail")


def parse_described_task(payload: bytes | str | dict[str, Any]) -> TaskChanged:
    """One task of DescribeTasks, as of when it stopped, or was made where it has not. Raises RefusedPayloadError."""
    wire = decode(_TASK, json_bytes(payload))
    at = required_instant(wire.stopped_at or wire.stopping_at or wire.created_at, "$.createdAt")
    return _changed(wire, at, "", "$")


def _changed(wire: _Task, at: datetime, event_id: str, path: str) -> TaskChanged:
    for key, arn in (("taskArn", wire.task_arn), ("clusterArn", wire.cluster_arn)):
        if not arn.startswith("arn:"):
            raise RefusedPayloadError(f"{path}.{key}", f"not an ARN: {arn[:100]!r}")
    containers = tuple(TaskContainer(c.name, c.image, c.image_digest, c.reason) for c in wire.containers or ())
    return TaskChanged(
        wire.task_arn,
        wire.cluster_arn,
        wire.task_definition_arn,
        wire.last_status,
        wire.desired_status,
        wire.version,
        wire.group,
        wire.stop_code,
        wire.stopped_reason,
        containers,
        _pull_failed(wire, containers),
        at,
        event_id,
    )


def _pull_failed(wire: _Task, containers: tuple[TaskContainer, ...]) -> bool:
    """A task fails to start for many reasons: only the text tells that an image could not be had."""
    reasons = [wire.stopped_reason or "", *(c.reason or "" for c in containers)]
    if any(_CANNOT_PULL in reason for reason in reasons):
        return True
    return wire.stop_code == _FAILED_TO_START and any(_REGISTRY_AUTH in reason for reason in reasons)


_READERS: dict[tuple[str, str], Callable[[Envelope], Event]] = {
    ("aws.ecr", "ECR Image Action"): ecr_events.read_image_action,
    ("aws.ecr", "ECR Referrer Action"): ecr_events.read_referrer_action,
    ("aws.ecr", "ECR Image Scan"): ecr_events.read_image_scan,
    ("aws.ecr", "ECR Scan Resource Change"): ecr_events.read_scan_resource_change,
    ("aws.ecr", "ECR Replication Action"): ecr_events.read_replication_action,
    ("aws.ecr", "ECR Pull Through Cache Action"): ecr_events.read_pull_through_cache_action,
    ("aws.ecr", "AWS API Call via CloudTrail"): ecr_events.read_api_call,
    ("aws.ecr-public", "AWS API Call via CloudTrail"): ecr_events.read_api_call,
    ("aws.ecr", "AWS Service Event via CloudTrail"): ecr_events.read_service_event,
    ("aws.inspector2", "Inspector2 Scan"): read_scan,
    ("aws.inspector2", "Inspector2 Finding"): read_finding,
    ("aws.inspector2", "Inspector2 Coverage"): read_coverage,
    ("aws.ecs", "ECS Task State Change"): read_task_state_change,
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


_OWN = msgspec.json.Decoder(Message)
LONGEST_ID = 64


def read_delivery(record: Mapping[str, Any]) -> Delivery:
    """`record` has `messageId`, `body`, `attributes.ApproximateReceiveCount`, and the mark of who was redriven in
    `messageAttributes`: those receives before it lay dead count as one. Raises RefusedPayloadError."""
    body: str = record["body"]
    redriven = MARK in (record.get("messageAttributes") or {})
    receives = int(record.get("attributes", {}).get("ApproximateReceiveCount", "1")) + redriven
    message_id: str = record["messageId"]
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as e:
        raise RefusedPayloadError("$", f"no JSON: {e}") from e
    if not isinstance(raw, dict):
        raise RefusedPayloadError("$", "neither an event nor a message of ours: no object")
    if "detail-type" in raw:
        return Delivery(message_id, parse_event(body), receives, redriven=redriven, raw=raw)
    try:
        own = _OWN.decode(body)
    except msgspec.ValidationError as e:
        raise RefusedPayloadError("$", f"neither an event nor a message of ours: {e}") from e
    if isinstance(own, RetriedEvent):
        event = parse_event(own.event)
        return Delivery(message_id, event, receives, own.attempt, own.redriven or redriven, raw=own.event)
    return Delivery(message_id, own, receives, getattr(own, "attempt", 0), redriven)


def event_id_of(body: str) -> str | None:
    """EventBridge's id of the event in a message that may not be readable otherwise."""
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    event = raw.get("event", raw) if isinstance(raw, dict) else None
    found = event.get("id") if isinstance(event, dict) else None
    return found if isinstance(found, str) and len(found) <= LONGEST_ID else None
