"""Which image Inspector speaks of, and how far its scan got: `resources` of a finding, ListCoverage, and scan states.

The type of a resource decides, never the details beside it; a finding about anything but an ECR image is Foreign. All
findings of an image say the same about it, so the last few hundred answers are kept by their bytes. An unknown scan
state is never COMPLETE. Sources: ECR `ScanStatus`, Inspector `ScanStatusCode` and `ScanStatusReason`, the `scan-status`
of both scan events.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, final

import msgspec

from chalicelib.domain.images.finding import ImageFacts, Severity
from chalicelib.domain.images.image import Coverage, ImageRef, Scan, ScanState, Source
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.wire import NULL, Count, Wire, decode, instant, json_bytes

TOTAL = "TOTAL"
_LONGEST_REASON = 200
_S = ScanState
_OF_STATUS = {
    "COMPLETE": _S.COMPLETE,
    "ACTIVE": _S.COMPLETE,
    "INITIAL_SCAN_COMPLETE": _S.COMPLETE,
    "IN_PROGRESS": _S.IN_PROGRESS,
    "PENDING": _S.PENDING,
    "FAILED": _S.FAILED,
    "LIMIT_EXCEEDED": _S.FAILED,
    "UNSUPPORTED_IMAGE": _S.UNSUPPORTED,
    "IMAGE_SIZE_EXCEEDED": _S.UNSUPPORTED,
    "SCAN_ELIGIBILITY_EXPIRED": _S.EXPIRED,
    "IMAGE_ARCHIVED": _S.ARCHIVED,
    "FINDINGS_UNAVAILABLE": _S.UNAVAILABLE,
}
_SOURCE_OF_STATUS = {"COMPLETE": Source.BASIC, "ACTIVE": Source.ENHANCED, "SCAN_ELIGIBILITY_EXPIRED": Source.ENHANCED}
_OF_REASON = {
    "PENDING_INITIAL_SCAN": _S.PENDING,
    "PENDING_REVIVAL_SCAN": _S.PENDING,
    "SCAN_IN_PROGRESS": _S.IN_PROGRESS,
    "UNSUPPORTED_OS": _S.UNSUPPORTED,
    "UNSUPPORTED_MEDIA_TYPE": _S.UNSUPPORTED,
    "UNSUPPORTED_CONFIG_FILE": _S.UNSUPPORTED,
    "IMAGE_SIZE_EXCEEDED": _S.UNSUPPORTED,
    "INVALID_ARTIFACT": _S.UNSUPPORTED,
    "IMAGE_ARCHIVED": _S.ARCHIVED,
    "SCAN_ELIGIBILITY_EXPIRED": _S.EXPIRED,
    # This image is no longer scanned: what was found before is not kept up.
    "SCAN_FREQUENCY_MANUAL": _S.EXPIRED,
    "PENDING_DISABLE": _S.EXPIRED,
    "ACCESS_DENIED": _S.FAILED,
    "ACCESS_DENIED_TO_ENCRYPTION_KEY": _S.FAILED,
    "INTERNAL_ERROR": _S.FAILED,
    "STORAGE_LIMIT_EXCEEDED": _S.FAILED,
    "EXTRACTION_COLLECTION_TIME_LIMIT_EXCEEDED": _S.FAILED,
}
_COVERED = frozenset({"SUCCESSFUL", "SCAN_FREQUENCY_SCAN_ON_PUSH"})


def scan_of(
    status: str | None, description: str | None, source: Source | None = None, scanned_at: datetime | None = None
) -> Scan:
    """From `imageScanStatus` or the `scan-status` of an event. `source` where the caller knows it."""
    state = _OF_STATUS.get(status or "", ScanState.UNAVAILABLE)
    reason = None
    if state is not ScanState.COMPLETE:
        # The description explains a state whose name is AWS's own word; another word says more by itself.
        reason = (description if status == state.value and description else status) or None
    source = source or _SOURCE_OF_STATUS.get(status or "")
    return Scan(state, reason[:_LONGEST_REASON] if reason else None, source, scanned_at)


def coverage_state(active: bool, reason: str) -> ScanState:
    """From Inspector's `scanStatus`: only ACTIVE, scanned and without a reservation is COMPLETE."""
    if reason in _COVERED:
        return ScanState.COMPLETE if active else ScanState.UNAVAILABLE
    return _OF_REASON.get(reason, ScanState.UNAVAILABLE)


def severity_counts(counts: Mapping[str, int] | None) -> dict[Severity, int] | None:
    """Normalised names, TOTAL left out: it is no severity. None where AWS gave none."""
    if counts is None:
        return None
    normal: dict[Severity, int] = {}
    for word, count in counts.items():
        if word != TOTAL:
            severity = Severity.of(word)
            normal[severity] = normal.get(severity, 0) + count
    return normal


class CoveragePage(msgspec.Struct, frozen=True):
    """One page of ListCoverage. `not_ecr` resources (EC2, Lambda, repositories, …) were left out."""

    items: tuple[Coverage, ...]
    not_ecr: int = 0
    next_token: str | None = None


class _Status(Wire):
    status_code: str | None = None
    reason: str | None = None


class _EcrImage(Wire):
    tags: tuple[str, ...] | None = None
    image_pulled_at: Any = None
    last_in_use_at: Any = None
    in_use_count: Count | None = None


class _Metadata(Wire):
    ecr_image: _EcrImage | None = None


class _Resource(Wire):
    resource_id: str
    account_id: str | None = None
    scan_status: _Status | None = None
    last_scanned_at: Any = None
    resource_metadata: _Metadata | None = None


class _Head(Wire):
    resource_type: str


class _Page(Wire):
    covered_resources: list[msgspec.Raw]
    next_token: str | None = None


_PAGE = msgspec.json.Decoder(_Page)
_HEAD = msgspec.json.Decoder(_Head)
_RESOURCE = msgspec.json.Decoder(_Resource)


def parse_list_coverage(payload: bytes | str | dict[str, Any]) -> CoveragePage:
    """A ListCoverage response. Raises RefusedPayloadError(path, reason)."""
    page = decode(_PAGE, json_bytes(payload))
    items: list[Coverage] = []
    for n, raw in enumerate(page.covered_resources):
        at = f"$.coveredResources[{n}]"
        if decode(_HEAD, raw, at).resource_type == ECR_IMAGE:
            items.append(_coverage(decode(_RESOURCE, raw, at), at))
    return CoveragePage(tuple(items), len(page.covered_resources) - len(items), page.next_token)


def _coverage(wire: _Resource, at: str) -> Coverage:
    ref = identity.image_arn(wire.resource_id, f"{at}.resourceId")
    identity.agree(f"{at}.accountId", wire.account_id, ref.registry, "account")
    status = wire.scan_status or _Status()
    active, reason = status.status_code == "ACTIVE", status.reason or ""
    image = (wire.resource_metadata or _Metadata()).ecr_image or _EcrImage()
    within = f"{at}.resourceMetadata.ecrImage"
    scanned_at = instant(wire.last_scanned_at, f"{at}.lastScannedAt")
    return Coverage(
        ref,
        Scan(coverage_state(active, reason), reason or None, Source.ENHANCED, scanned_at),
        active,
        reason,
        image.tags or (),
        instant(image.last_in_use_at, f"{within}.lastInUseAt"),
        image.in_use_count,
        instant(image.image_pulled_at, f"{within}.imagePulledAt"),
    )


ECR_IMAGE = "AWS_ECR_CONTAINER_IMAGE"
_KEPT = 512
_LONGEST_KEPT = 4096


class _Image(Wire):
    repository_name: str | None = None
    registry: str | None = None
    image_hash: str | None = None
    image_digest: str | None = None
    image_tags: tuple[str, ...] | None = None
    architecture: str | None = None
    platform: str | None = None
    pushed_at: Any = None
    last_in_use_at: Any = None
    in_use_count: Count | None = None


class _Details(Wire):
    aws_ecr_container_image: _Image | None = None
    image: _Image | None = None


class _FindingResource(Wire):
    type: str | None = None
    id: str | None = None
    region: str | None = None
    details: msgspec.Raw = NULL


_RESOURCES: msgspec.json.Decoder[list[_FindingResource]] = msgspec.json.Decoder(list[_FindingResource])
_DETAILS: msgspec.json.Decoder[_Details | None] = msgspec.json.Decoder(_Details | None)


@final
class Foreign(msgspec.Struct, frozen=True):
    """What a finding is about where that is no ECR image."""

    resource_type: str


def about_of(raw: msgspec.Raw) -> ImageFacts | Foreign:
    """The image, from the finding's undecoded `resources`. Error paths start at the finding (`$`)."""
    text = bytes(raw)
    return _kept(text) if len(text) <= _LONGEST_KEPT else _read(text)


def _read(text: bytes) -> ImageFacts | Foreign:
    resources = decode(_RESOURCES, text, "$.resources")
    if not resources:
        raise RefusedPayloadError("$.resources", "names no resource")
    found: ImageFacts | None = None
    for n, resource in enumerate(resources):
        at = f"$.resources[{n}]"
        if not resource.type:
            raise RefusedPayloadError(f"{at}.type", "missing")
        if resource.type != ECR_IMAGE:
            continue
        facts = _facts(resource, at)
        if found is not None:
            identity.agree_on_image(at, facts.ref, found.ref)
        found = found or facts
    return found or Foreign(resources[0].type or "")


_kept = lru_cache(_KEPT)(_read)


def _facts(resource: _FindingResource, at: str) -> ImageFacts:
    within = f"{at}.details.awsEcrContainerImage"
    details = decode(_DETAILS, resource.details, f"{at}.details")
    image, twin = (details.aws_ecr_container_image, details.image) if details else (None, None)
    if image is None:
        within = f"{at}.details.image"
    image = image or twin or _Image()
    return ImageFacts(
        _ref(resource, image, at, within),
        image.image_tags or (),
        image.architecture,
        image.platform,
        instant(image.pushed_at, f"{within}.pushedAt"),
        image.in_use_count,
        instant(image.last_in_use_at, f"{within}.lastInUseAt"),
    )


def _ref(resource: _FindingResource, image: _Image, at: str, within: str) -> ImageRef:
    key = "imageHash" if image.image_hash else "imageDigest"
    hashed = image.image_hash or image.image_digest
    if not resource.id:
        # Without the ARN no Region is certain; the details alone still name the image.
        return ImageRef(
            identity.account(image.registry, f"{within}.registry"),
            identity.region(resource.region, f"{at}.region") if resource.region not in (None, "", "N/A") else "",
            identity.repository_name(image.repository_name, f"{within}.repositoryName"),
            identity.digest(hashed, f"{within}.{key}"),
        )
    ref = identity.image_arn(resource.id, f"{at}.id")
    identity.agree(f"{within}.{key}", hashed, ref.digest, "digest")
    identity.agree(f"{within}.repositoryName", image.repository_name, ref.repository, "repository")
    identity.agree(f"{within}.registry", image.registry, ref.registry, "registry")
    identity.agree_on_region(f"{at}.region", resource.region, ref.region)
    return ref
