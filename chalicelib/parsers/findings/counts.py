"""What Inspector counts: its ListFindingAggregations, for each repository and for each image of one; and of its
ListFindings only when findings of which image changed.

Source: Inspector API reference (RepositoryAggregationResponse, AwsEcrContainerAggregationResponse, SeverityCounts).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.reconcile.registry_listing import OpenCounts
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.findings.coverage import Foreign, about_of
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.wire import NULL, Count, Wire, decode, instant, json_bytes, under


class ChangesPage(msgspec.Struct, frozen=True):
    """When each image's findings on this page were last updated. What is about no ECR image, or gives no time, was left
    out: a listing by time holds no such finding."""

    updated: dict[ImageRef, datetime]
    next_token: str | None = None


class _Finding(Wire):
    resources: msgspec.Raw = NULL
    updated_at: Any = None


class _Page(Wire):
    findings: list[_Finding]
    next_token: str | None = None


_PAGE = msgspec.json.Decoder(_Page)


def parse_finding_changes(body: bytes | str | dict[str, Any]) -> ChangesPage:
    """The body of a ListFindings response. Raises RefusedPayloadError(path, reason)."""
    page = decode(_PAGE, json_bytes(body))
    updated: dict[ImageRef, datetime] = {}
    for n, finding in enumerate(page.findings):
        try:
            about, at = about_of(finding.resources), instant(finding.updated_at, "$.updatedAt")
        except RefusedPayloadError as error:
            raise under(f"$.findings[{n}]", error) from None
        if at is not None and not isinstance(about, Foreign):
            updated[about.ref] = max(at, updated.get(about.ref, at))
    return ChangesPage(updated, page.next_token)


K = TypeVar("K", Repository, ImageRef)


class CountsPage(msgspec.Struct, Generic[K], frozen=True):
    """`region` of the repositories is the caller's: the answer names none. Repositories outside AWS were left out."""

    counts: dict[K, OpenCounts]
    next_token: str | None = None


class _Counts(Wire):
    all: Count | None = None
    critical: Count | None = None
    high: Count | None = None
    medium: Count | None = None
    low: Count | None = None
    informational: Count | None = None
    untriaged: Count | None = None


class _Repository(Wire):
    repository: str | None = None
    account_id: str | None = None
    cloud_provider: str | None = None
    severity_counts: _Counts | None = None


class _Container(Wire):
    resource_id: str | None = None
    severity_counts: _Counts | None = None


class _Response(Wire):
    repository_aggregation: _Repository | None = None
    aws_ecr_container_aggregation: _Container | None = None


class _Aggregated(Wire):
    responses: list[_Response] | None = None
    next_token: str | None = None


_AGGREGATED = msgspec.json.Decoder(_Aggregated)
_NOT_SAID = OpenCounts(None, (None,) * len(Severity))


def parse_repository_counts(body: bytes | str | dict[str, Any], region: str) -> CountsPage[Repository]:
    """Of `aggregationType: REPOSITORY`. Raises RefusedPayloadError(path, reason)."""
    page = decode(_AGGREGATED, json_bytes(body))
    counts: dict[Repository, OpenCounts] = {}
    for n, response in enumerate(page.responses or ()):
        row = response.repository_aggregation
        if row is None or row.cloud_provider not in (None, "AWS"):
            continue
        at = f"$.responses[{n}].repositoryAggregation"
        account = identity.account(row.account_id, f"{at}.accountId")
        home = Repository(account, region, identity.repository_name(row.repository, f"{at}.repository"))
        counts[home] = _counts(row.severity_counts)
    return CountsPage(counts, page.next_token)


def parse_image_counts(body: bytes | str | dict[str, Any]) -> CountsPage[ImageRef]:
    """Of `aggregationType: AWS_ECR_CONTAINER`. Raises RefusedPayloadError(path, reason)."""
    page = decode(_AGGREGATED, json_bytes(body))
    counts: dict[ImageRef, OpenCounts] = {}
    for n, response in enumerate(page.responses or ()):
        row = response.aws_ecr_container_aggregation
        if row is None:
            continue
        at = f"$.responses[{n}].awsEcrContainerAggregation.resourceId"
        counts[identity.image_arn(row.resource_id or "", at)] = _counts(row.severity_counts)
    return CountsPage(counts, page.next_token)


def _counts(said: _Counts | None) -> OpenCounts:
    if said is None:
        return _NOT_SAID
    rated = (said.critical, said.high, said.medium, said.low, said.informational, said.untriaged)
    return OpenCounts(said.all, rated)
