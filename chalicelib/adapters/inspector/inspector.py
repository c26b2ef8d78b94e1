"""Amazon Inspector for one image: its findings, whether it is scanned, what CISA knows; and which scanner answers for
it.

ListFindings is the hot path: its pages are read from their bytes (`aws/calls.py`). Calls for one image: one
ListFindings a page (at most 25 findings), one ListCoverage.

A registry has one scanner at a time, and a switch hides what the other found. DescribeImageScanFindings says which it
is, except in states both give (pending, failed, unsupported, archived) and for images never scanned. There Inspector's
coverage decides, and only an image that Inspector does not know is ECR's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from chalicelib.adapters.aws.calls import answered_at, batches, code_of, read_answer, read_pages, take_bodies
from chalicelib.domain.images.finding import FindingRow, ImageFacts, Listing
from chalicelib.domain.images.image import Coverage, ImageRef, InUse, InUseState, Scan, ScanState, Source
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.parsers.findings.coverage import parse_list_coverage
from chalicelib.parsers.findings.rows import FindingsPage, newer, parse_finding_details, parse_list_findings

if TYPE_CHECKING:
    from types_boto3_inspector2 import Inspector2Client

FINDINGS_ASKED = 100
IMAGES_ASKED = 10
DETAILS_ASKED = 10
COVERAGE = "ask Inspector which images it scans"
NOT_COVERED = "Inspector does not cover this image"


class Inspector:
    """`client_of` gives the Inspector client by which an account is asked about in a Region. Safe to share between
    threads as far as that is."""

    def __init__(self, client_of: Callable[[str, str], Inspector2Client]) -> None:
        self._client_of = client_of

    def look(self, ref: ImageRef, since: datetime | None = None) -> Listing:
        """All findings of the image, then its coverage. Raises TransientError, DeniedError, UpstreamError.

        `since`: when the image was pushed or last restored, where the caller knows it; a scan older than that (or than
        the push the findings speak of) saw something else, so the listing is not complete. An image that was never
        scanned has an empty list: only coverage tells it from a clean one.
        """
        rows, listed_at = self._findings(ref)
        facts = _newest_facts(rows)
        scan, coverage = self._scan(ref, _latest(since, facts.pushed_at if facts else None))
        return Listing(
            source=Source.ENHANCED,
            findings=tuple(row.finding for row in rows),
            listed_at=listed_at,
            scan=scan,
            complete=scan.state is ScanState.COMPLETE,
            in_use=_in_use(facts, coverage, listed_at),
            architecture=facts.architecture if facts else None,
            platform=facts.platform if facts else None,
            tags=_tags(facts, coverage),
        )

    def coverage(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Coverage]:
        """Ten images a call. An image Inspector does not speak of is absent: not scanned, which is not clean."""
        found: dict[ImageRef, Coverage] = {}
        for _, images in groupby(sorted(set(refs)), key=lambda r: (r.registry, r.region)):
            for ten in batches(list(images), IMAGES_ASKED):
                found |= {item.ref: item for item in self._covered(ten) if item.ref in ten}
        return found

    def known_exploited(self, finding_ids: Sequence[str]) -> dict[str, bool]:
        """Whether CISA lists the vulnerability, by findingArn, ten a call. No answer is no entry, not False."""
        known: dict[str, bool] = {}
        arns = (i for i in set(finding_ids) if i.startswith("arn:") and i.count(":") > 4)
        for (account, region), there in groupby(sorted(arns, key=_place_of), key=_place_of):
            for ten in batches(list(there), DETAILS_ASKED):
                call = self._client_of(account, region).batch_get_finding_details
                what = "ask Inspector for details of findings"
                facts = read_answer(what, parse_finding_details, call, findingArns=ten)
                known |= {arn: fact.kev for arn, fact in facts.items() if fact.kev is not None}
        return known

    def _findings(self, ref: ImageRef) -> tuple[list[FindingRow], datetime]:
        """A finding that moved between two pages while we read is kept once, in its newer form."""
        rows: dict[str, FindingRow] = {}
        listed_at: datetime | None = None
        for page, at in self._pages(ref):
            listed_at = listed_at or at
            for row in page.rows:
                if row.image.ref == ref:
                    arn = row.finding.source_finding_id
                    rows[arn] = newer(rows[arn], row) if arn in rows else row
        assert listed_at is not None
        return list(rows.values()), listed_at

    def _pages(self, ref: ImageRef) -> Iterator[tuple[FindingsPage, datetime]]:
        client = self._client_of(ref.registry, ref.region)
        take_bodies(client, "inspector2.ListFindings")
        what, request = f"list the findings of {ref}", {"filterCriteria": _about([ref]), "maxResults": FINDINGS_ASKED}
        for page, answer in read_pages(what, parse_list_findings, client.list_findings, **request):
            yield page, answered_at(answer)

    def _scan(self, ref: ImageRef, since: datetime | None) -> tuple[Scan, Coverage | None]:
        """A throttled look-up is tried again later; any other failed one says nothing about the image."""
        try:
            coverage = self.coverage([ref]).get(ref)
        except TransientError:
            raise
        except UpstreamError as error:
            reason = f"coverage look-up failed: {code_of(error) or error}"
            return Scan(ScanState.UNAVAILABLE, reason[:200], Source.ENHANCED), None
        if coverage is None:
            return Scan(ScanState.UNAVAILABLE, NOT_COVERED, Source.ENHANCED), None
        return coverage.scan.since(since), coverage

    def _covered(self, refs: Sequence[ImageRef]) -> Iterator[Coverage]:
        """Of one account and Region."""
        call, what = (
            self._client_of(refs[0].registry, refs[0].region).list_coverage,
            "ask Inspector which images it scans",
        )
        pages = read_pages(what, parse_list_coverage, call, filterCriteria=_about(refs))
        return (item for page, _ in pages for item in page.items)


def _about(refs: Sequence[ImageRef]) -> Any:
    return {"resourceId": [{"comparison": "EQUALS", "value": ref.arn} for ref in refs]}


def _newest_facts(rows: Sequence[FindingRow]) -> ImageFacts | None:
    """What the most recently updated finding says of the image: older ones repeat what was true then."""
    newest = max(rows, key=lambda r: r.finding.updated_at.timestamp() if r.finding.updated_at else 0.0, default=None)
    return newest.image if newest else None


def _in_use(facts: ImageFacts | None, coverage: Coverage | None, seen_at: datetime) -> InUse | None:
    """None where Inspector says nothing. A count of 0 is UNKNOWN: there are places Inspector does not look at."""
    counts = (coverage.in_use_count if coverage else None, facts.in_use_count if facts else None)
    count = next((c for c in counts if c is not None), None)
    last_at = _latest(coverage.last_in_use_at if coverage else None, facts.last_in_use_at if facts else None)
    if count is None and last_at is None:
        return None
    return InUse(InUseState.YES if count else InUseState.UNKNOWN, count, last_at, seen_at)


def _tags(facts: ImageFacts | None, coverage: Coverage | None) -> tuple[str, ...]:
    if coverage and coverage.tags:
        return coverage.tags
    return facts.tags if facts else ()


def _latest(*times: datetime | None) -> datetime | None:
    return max((t for t in times if t is not None), default=None)


def _place_of(arn: str) -> tuple[str, str]:
    """Account and Region."""
    region, account = arn.split(":")[3:5]
    return account, region


class BasicScanner(Protocol):
    def look_basic(self, ref: ImageRef) -> Listing: ...


class EitherScanner:
    def __init__(self, inspector: Inspector, registry: BasicScanner) -> None:
        self._inspector, self._registry = inspector, registry

    def look(self, ref: ImageRef, source: str | None, since: datetime | None = None) -> Listing:
        """All pages, then coverage. `source` None: whichever scanner is in force; `since`: see `Inspector.look`.

        Raises AbsentError where the repository or the image is not there.
        """
        if source == Source.ENHANCED and not ref.home.public:
            return self._inspector.look(ref, since)
        listing = self._registry.look_basic(ref)
        if listing.source is Source.ENHANCED or self._is_inspectors(ref, listing):
            return self._inspector.look(ref, since)
        return listing

    def known_exploited(self, finding_ids: Sequence[str]) -> dict[str, bool]:
        """By findingArn; ids without an answer are absent."""
        return self._inspector.known_exploited(finding_ids)

    def _is_inspectors(self, ref: ImageRef, listing: Listing) -> bool:
        """An Inspector that may not be asked, or is not enabled, does not scan the image either."""
        if ref.home.public or listing.scan.state in (ScanState.COMPLETE, ScanState.IN_PROGRESS):
            return False
        try:
            return ref in self._inspector.coverage([ref])
        except TransientError:
            raise
        except UpstreamError:
            return False
