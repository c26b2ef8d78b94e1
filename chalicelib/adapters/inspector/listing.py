"""Amazon Inspector, listed for a whole registry or one repository: what it covers, what changed, what it counts.

Calls: one ListCoverage for each 200 images, one ListFindings for each 25 findings that changed, one
ListFindingAggregations for each hundred repositories (or images of one). A listing that fails half-way raises.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.calls import P, answered_at, read_pages, take_bodies
from chalicelib.domain.images.image import ImageRef, Repository, Scan
from chalicelib.domain.reconcile.registry_listing import ChangesListed, CoverageListed, OpenCounts
from chalicelib.parsers.findings.counts import (
    CountsPage,
    K,
    parse_finding_changes,
    parse_image_counts,
    parse_repository_counts,
)
from chalicelib.parsers.findings.coverage import ECR_IMAGE, parse_list_coverage

if TYPE_CHECKING:
    from types_boto3_inspector2 import Inspector2Client

COVERED_ASKED = 200
FINDINGS_ASKED = 100
COUNTS_ASKED = 100
Filters = dict[str, list[dict[str, Any]]]


class InspectorListing:
    """`client_of` gives the Inspector client by which an account is asked about in a Region. A delegated administrator
    is answered about all its members: every call names the account that is meant.

    All methods raise TransientError, DeniedError, UpstreamError. `repository` "" is all of the registry (an account and
    Region); `most_pages` ends a listing that is too long.
    """

    def __init__(self, client_of: Callable[[str, str], Inspector2Client]) -> None:
        self._client_of = client_of

    def coverage(self, home: Repository, most_pages: int) -> CoverageListed:
        """Of the images of `home`, or of all of its registry where it has no name."""
        criteria = _of_registry(home, "accountId") | _named("ecrRepositoryName", home)
        request = {"filterCriteria": criteria, "maxResults": COVERED_ASKED}
        what = "ask Inspector which images it scans"
        pages = _pages(
            what, self._client_of(home.registry, home.region).list_coverage, request, most_pages, parse_list_coverage
        )
        scans: dict[Repository, dict[str, Scan]] = {}
        for item in (item for page, _ in pages for item in page.items):
            scans.setdefault(item.ref.home, {})[item.ref.digest] = item.scan
        return CoverageListed(pages[0][1], scans, whole=pages[-1][0].next_token is None)

    def changes(self, home: Repository, since: datetime, most_pages: int) -> ChangesListed:
        """When findings were last updated, by image, of those updated at or after `since`, closed ones too."""
        criteria = _of_registry(home, "awsAccountId") | _named("ecrImageRepositoryName", home)
        criteria |= {"updatedAt": [{"startInclusive": since}]}
        request = {"filterCriteria": criteria, "maxResults": FINDINGS_ASKED}
        client = self._client_of(home.registry, home.region)
        take_bodies(client, "inspector2.ListFindings")
        what = "ask Inspector which findings changed"
        pages = _pages(what, client.list_findings, request, most_pages, parse_finding_changes)
        updated: dict[Repository, dict[str, datetime]] = {}
        for ref, at in (item for page, _ in pages for item in page.updated.items()):
            of_home = updated.setdefault(ref.home, {})
            of_home[ref.digest] = max(at, of_home.get(ref.digest, at))
        return ChangesListed(since, pages[0][1], updated, whole=pages[-1][0].next_token is None)

    def repository_counts(self, home: Repository, most_pages: int) -> dict[Repository, OpenCounts] | None:
        """By repository, those without a finding absent; None where there are more pages than that."""
        what = "ask Inspector how many findings repositories have"
        read = partial(parse_repository_counts, region=home.region)
        return self._counts(what, home, most_pages, read, aggregationType="REPOSITORY")

    def image_counts(self, home: Repository, most_pages: int) -> dict[ImageRef, OpenCounts] | None:
        """By image of one repository, as above."""
        what = f"ask Inspector how many findings images of {home.path} have"
        by_name = {"awsEcrContainerAggregation": {"repositories": [_equals(home.name)]}}
        asked = {"aggregationType": "AWS_ECR_CONTAINER", "aggregationRequest": by_name}
        return self._counts(what, home, most_pages, parse_image_counts, **asked)

    def _counts(
        self, what: str, home: Repository, most_pages: int, read: Callable[[Any], CountsPage[K]], **asked: Any
    ) -> dict[K, OpenCounts] | None:
        call = self._client_of(home.registry, home.region).list_finding_aggregations
        request = {**asked, "accountIds": [_equals(home.registry)], "maxResults": COUNTS_ASKED}
        pages = _pages(what, call, request, most_pages, read)
        if pages[-1][0].next_token:
            return None
        return {about: counts for page, _ in pages for about, counts in page.counts.items()}


def _of_registry(home: Repository, account: str) -> Filters:
    return {account: [_equals(home.registry)], "resourceType": [_equals(ECR_IMAGE)]}


def _named(criterion: str, home: Repository) -> Filters:
    return {criterion: [_equals(home.name)]} if home.name else {}


def _equals(value: str) -> dict[str, str]:
    return {"comparison": "EQUALS", "value": value}


def _pages(
    what: str, call: Callable[..., Any], request: dict[str, Any], most_pages: int, read: Callable[[Any], P]
) -> list[tuple[P, datetime]]:
    """One after the other, each with the time of its answer; at least one."""
    pages = islice(read_pages(what, read, call, **request), most_pages)
    return [(page, answered_at(answer)) for page, answer in pages]
