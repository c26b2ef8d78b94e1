"""Inspector's ListCoverage: which images it scans, and how far it got. The event of that name is not read here."""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.domain.images.image import Coverage, Scan, Source
from chalicelib.parsers.findings.resources import ECR_IMAGE
from chalicelib.parsers.findings.scan_states import coverage_state
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.dates import instant
from chalicelib.parsers.wire.wire import Count, Wire, decode, json_bytes


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
