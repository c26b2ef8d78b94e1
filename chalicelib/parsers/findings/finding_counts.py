"""Inspector's ListFindingAggregations: how many findings it counts for each repository, and for each image of one.

Source: Inspector API reference (RepositoryAggregationResponse, AwsEcrContainerAggregationResponse, SeverityCounts).
"""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.reconcile.registry_listing import OpenCounts
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.wire import Count, Wire, decode, json_bytes, under


class RepositoryCountsPage(msgspec.Struct, frozen=True):
    """`region` of the repositories is the caller's: the answer names none. Repositories outside AWS were left out."""

    counts: dict[Repository, OpenCounts]
    next_token: str | None = None


class ImageCountsPage(msgspec.Struct, frozen=True):
    counts: dict[ImageRef, OpenCounts]
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


class _Page(Wire):
    responses: list[_Response] | None = None
    next_token: str | None = None


_PAGE = msgspec.json.Decoder(_Page)
_NOT_SAID = OpenCounts(None, (None,) * len(Severity))


def parse_repository_counts(body: bytes | str | dict[str, Any], region: str) -> RepositoryCountsPage:
    """Of `aggregationType: REPOSITORY`. Raises RefusedPayloadError(path, reason)."""
    page = decode(_PAGE, json_bytes(body))
    counts: dict[Repository, OpenCounts] = {}
    for n, response in enumerate(page.responses or ()):
        row = response.repository_aggregation
        if row is None or row.cloud_provider not in (None, "AWS"):
            continue
        try:
            home = Repository(
                identity.account(row.account_id, "$.accountId"),
                region,
                identity.repository_name(row.repository, "$.repository"),
            )
        except RefusedPayloadError as error:
            raise under(f"$.responses[{n}].repositoryAggregation", error) from None
        counts[home] = _counts(row.severity_counts)
    return RepositoryCountsPage(counts, page.next_token)


def parse_image_counts(body: bytes | str | dict[str, Any]) -> ImageCountsPage:
    """Of `aggregationType: AWS_ECR_CONTAINER`. Raises RefusedPayloadError(path, reason)."""
    page = decode(_PAGE, json_bytes(body))
    counts: dict[ImageRef, OpenCounts] = {}
    for n, response in enumerate(page.responses or ()):
        row = response.aws_ecr_container_aggregation
        if row is None:
            continue
        at = f"$.responses[{n}].awsEcrContainerAggregation.resourceId"
        counts[identity.image_arn(row.resource_id or "", at)] = _counts(row.severity_counts)
    return ImageCountsPage(counts, page.next_token)


def _counts(said: _Counts | None) -> OpenCounts:
    if said is None:
        return _NOT_SAID
    rated = (said.critical, said.high, said.medium, said.low, said.informational, said.untriaged)
    return OpenCounts(said.all, rated)
