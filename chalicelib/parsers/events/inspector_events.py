"""The events of Amazon Inspector (`aws.inspector2`). EC2, Lambda, code and other clouds are Ignored.

An organisation's delegated administrator receives the events of its members too, so the image is always the one of
the ARN, never of the envelope's account. Source: Amazon Inspector user guide, EventBridge event schema.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.events.event import CoverageChanged, FindingChanged, Ignored, ScanFinished
from chalicelib.domain.images.finding import FindingRow
from chalicelib.domain.images.image import Coverage, ImageRef, Scan, Source
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.findings.coverage import TOTAL, coverage_state, scan_of, severity_counts
from chalicelib.parsers.findings.resources import Foreign, about_of
from chalicelib.parsers.findings.rows import FindingWire, finding_of
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.answer import Envelope, KebabWire
from chalicelib.parsers.wire.wire import Count, Wire, decode, under


class _Scan(KebabWire):
    scan_status: str | None = None
    repository_name: str | None = None
    image_digest: str | None = None
    image_tags: tuple[str, ...] | None = None
    finding_severity_counts: dict[str, Count] | None = None


class _Head(Wire):
    resources: msgspec.Raw


class _Status(Wire):
    status_code_value: str | None = None
    status_code: str | None = None
    reason: str | None = None


class _Coverage(Wire):
    scan_status: _Status


_SCAN = msgspec.json.Decoder(_Scan)
_HEAD = msgspec.json.Decoder(_Head)
_FINDING = msgspec.json.Decoder(FindingWire)
_COVERAGE = msgspec.json.Decoder(_Coverage)


def read_scan(envelope: Envelope) -> ScanFinished | Ignored:
    """The first enhanced scan of an image is complete. EC2, AMI and Lambda share the name and have no repository."""
    wire = envelope.read_detail(_SCAN)
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


def _scanned(envelope: Envelope, wire: _Scan) -> ImageRef:
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
        about = about_of(decode(_HEAD, envelope.detail).resources)
        if isinstance(about, Foreign):
            return Ignored(f"a finding about {about.resource_type}", envelope.event_id)
        finding = finding_of(decode(_FINDING, envelope.detail))
    except RefusedPayloadError as error:
        raise under("$.detail", error) from None
    identity.agree("$.region", envelope.region, about.ref.region, "Region")
    identity.resources_agree(envelope.resources, about.ref)
    return FindingChanged(FindingRow(about, finding), envelope.happened_at(), envelope.event_id)


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
