"""A registry that can be listed, as sweeps do: repositories, images, coverage, findings that changed, and counts.

Played like the rest of AWS (`aws.py`), in pages as AWS makes them. Images may share a repository, be deleted, archived,
and swap tags; what a test changes is what the next listing shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from unittest.mock import patch

import boto3
from botocore import UNSIGNED

from bench import payloads
from bench.aws import Generated, PlayedAws, Refusal, Shown
from bench.generate import ImageState, Plan, images
from bench.world import ALLOW_ALL, Place
from chalicelib.context import AppContext
from chalicelib.domain.events.sweep_message import SweepRepository
from chalicelib.domain.reconcile.difference import Reconciled
from chalicelib.services.handlers import receive_sweeps
from chalicelib.services.ports.context import Context
from chalicelib.services.reconcile.reconcile_registry import reconcile_registry

COVERED_PER_PAGE, FINDINGS_PER_PAGE, COUNTED_PER_PAGE = 200, 25, 100
_NAMES = {"CRITICAL": "critical", "HIGH": "high", "MEDIUM": "medium", "LOW": "low"}
_EVERYTHING = {"filter": "*", "filterType": "WILDCARD"}
Answer = Any


class Listed(Generated):
    """What the APIs answer of `states`, by digest; `archived`: digests. `basic`: ECR's own scanner is in force."""

    def __init__(self, plan: Plan, states: Iterable[ImageState], *, basic: bool = False) -> None:
        self.states = {state.digest: state for state in states}
        self.basic = basic
        super().__init__(plan, list(self.states.values()), basic=basic)

    @property
    def repositories(self) -> list[str]:
        return sorted({state.repository for state in self.states.values()})

    def of(self, repository: str | None) -> list[ImageState]:
        found = [s for s in self.states.values() if repository in (None, s.repository)]
        return sorted(found, key=lambda s: (s.repository, s.digest))

    def without(self, *digests: str) -> Listed:
        return Listed(self._plan, [s for s in self.states.values() if s.digest not in digests], basic=self.basic)

    def changed(self, *states: ImageState) -> Listed:
        return Listed(self._plan, {**self.states, **{s.digest: s for s in states}}.values(), basic=self.basic)

    def rows(self, state: ImageState) -> list[dict[str, Any]]:
        return [payloads.finding(self._plan, state, row) for row in state.findings]


class ListingAws(PlayedAws):
    """Answers the calls of listings and leaves all others to what plays them. `listings`: which were asked for."""

    def __init__(self, shown: Shown, now: Callable[[], datetime]) -> None:
        super().__init__(shown, now)
        self.listings: Counter[str] = Counter()

    @property
    def registry(self) -> Listed:
        assert isinstance(self.shown, Listed)
        return self.shown

    def answer_for(self, session: boto3.Session, *, blank: bool = False) -> None:
        """Requests are not signed either: of what sweeps cost no time is measured."""
        super().answer_for(session, blank=blank)
        session.events.register("choose-signer", lambda **_: UNSIGNED)

    def _answers(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        listings: dict[str, Callable[[dict[str, Any]], Any]] = {
            "ecr.DescribeRepositories": lambda asked: self._repositories(asked),
            "ecr.DescribeImages": lambda asked: self._images(asked),
            "ecr.GetRegistryScanningConfiguration": lambda asked: self._configuration(asked),
            "ecr.BatchGetRepositoryScanningConfiguration": lambda asked: self._applied(asked),
            "ecr.StartImageScan": lambda asked: {**asked, "imageScanStatus": {"status": "IN_PROGRESS"}},
            "ecr-public.DescribeRegistries": lambda _: {"registries": []},
            "inspector2.ListCoverage": lambda asked: self._coverage(asked),
            "inspector2.ListFindings": lambda asked: self._findings(asked),
            "inspector2.ListFindingAggregations": lambda asked: self._counts(asked),
        }
        return super()._answers() | {name: self._counted(name, answer) for name, answer in listings.items()}

    def _counted(self, name: str, answer: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        def count(asked: dict[str, Any]) -> Any:
            if not _is_of_one_image(asked):
                self.listings[name] += 1
            return answer(asked)

        return count

    def _repositories(self, asked: dict[str, Any]) -> Answer:
        rows = [
            {
                "registryId": payloads.ACCOUNT,
                "repositoryName": name,
                "repositoryArn": payloads.repository_arn(name),
                "createdAt": min(state.pushed_at for state in self.registry.of(name)),
            }
            for name in self.registry.repositories
        ]
        return _page("repositories", rows, asked, asked["maxResults"])

    def _images(self, asked: dict[str, Any]) -> Answer:
        of = self.registry.of(asked["repositoryName"])
        if not of:
            raise Refusal("RepositoryNotFoundException")
        wanted = {one["imageDigest"] for one in asked.get("imageIds") or ()}
        shown = [s for s in of if not wanted or s.digest in wanted]
        if wanted and not shown:
            raise Refusal("ImageNotFoundException")
        details = [payloads.image_page(s)["imageDetails"][0] for s in shown]
        rows = [d | ({"imageStatus": "ARCHIVED"} if d["imageDigest"] in self.archived else {}) for d in details]
        return _page("imageDetails", rows, asked, asked.get("maxResults", 100))

    def _scan_findings(self, asked: dict[str, Any]) -> Answer:
        if asked["imageId"]["imageDigest"] not in self.registry.states:
            raise Refusal("ImageNotFoundException")
        return super()._scan_findings(asked)

    def _configuration(self, _: dict[str, Any]) -> Answer:
        kind = "BASIC" if self.registry.basic else "ENHANCED"
        rule = {"scanFrequency": self._frequency, "repositoryFilters": [_EVERYTHING]}
        return {"registryId": payloads.ACCOUNT, "scanningConfiguration": {"scanType": kind, "rules": [rule]}}

    @property
    def _frequency(self) -> str:
        return "SCAN_ON_PUSH" if self.registry.basic else "CONTINUOUS_SCAN"

    def _applied(self, asked: dict[str, Any]) -> Answer:
        there = [name for name in asked["repositoryNames"] if name in self.registry.repositories]
        gone = [name for name in asked["repositoryNames"] if name not in there]
        rows = [{"repositoryName": n, "scanFrequency": self._frequency, "appliedScanFilters": []} for n in there]
        failures = [{"repositoryName": name, "failureCode": "REPOSITORY_NOT_FOUND"} for name in gone]
        return {"scanningConfigurations": rows, "failures": failures}

    def _coverage(self, asked: dict[str, Any]) -> Answer:
        criteria = asked["filterCriteria"]
        if "resourceId" in criteria:
            return super()._list_coverage(asked) if not self.registry.basic else {"coveredResources": []}
        name = criteria["ecrRepositoryName"][0]["value"] if "ecrRepositoryName" in criteria else None
        rows = [] if self.registry.basic else [payloads.coverage(s) for s in self.registry.of(name)]
        return _page("coveredResources", rows, asked, min(COVERED_PER_PAGE, asked.get("maxResults", 100)))

    def _findings(self, asked: dict[str, Any]) -> Answer:
        criteria = asked["filterCriteria"]
        if "updatedAt" not in criteria:
            return super()._list_findings(asked)
        since = criteria["updatedAt"][0]["startInclusive"]
        named = criteria.get("ecrImageRepositoryName")
        of = self.registry.of(named[0]["value"] if named else None)
        rows = [row for s in of for row in self.registry.rows(s) if row["updatedAt"] >= since]
        return _page("findings", [] if self.registry.basic else rows, asked, FINDINGS_PER_PAGE)

    def _counts(self, asked: dict[str, Any]) -> Answer:
        if asked["aggregationType"] == "REPOSITORY":
            of_each = [
                {"repository": name, "accountId": payloads.ACCOUNT, "severityCounts": _counted(self.registry.of(name))}
                for name in self.registry.repositories
            ]
            rows = [{"repositoryAggregation": row} for row in of_each if row["severityCounts"]["all"]]
        else:
            name = asked["aggregationRequest"]["awsEcrContainerAggregation"]["repositories"][0]["value"]
            images_of = [{"resourceId": s.arn, "severityCounts": _counted([s])} for s in self.registry.of(name)]
            rows = [{"awsEcrContainerAggregation": row} for row in images_of if row["severityCounts"]["all"]]
        return _page("responses", [] if self.registry.basic else rows, asked, COUNTED_PER_PAGE)


class SweptPlace(Place):
    """The deployed services before a registry that can be listed; the table named `TABLE` must be there."""

    def __init__(self, shown: Listed, at: float, policy: str = ALLOW_ALL) -> None:
        self.results: list[Reconciled] = []
        super().__init__(shown, at, policy)

    def new_house(self) -> AppContext:
        if not isinstance(self.aws, ListingAws):
            self.aws = ListingAws(self.aws.shown, self.clock.now)
        return super().new_house()

    def _receive(self, queue: str, records: Sequence[Mapping[str, Any]], context: AppContext) -> None:
        with patch.object(receive_sweeps, "reconcile_registry", self._reconcile):
            super()._receive(queue, records, context)

    def _reconcile(self, message: SweepRepository, context: Context) -> Reconciled:
        self.results.append(reconcile_registry(message, context))
        return self.results[-1]


def shared(plan: Plan, repositories: int) -> list[ImageState]:
    """The plan's images in so many repositories; no tag is another one's."""
    return [replace(s, repository=f"team/service-{s.number % repositories}") for s in images(plan)]


def _counted(states: Sequence[ImageState]) -> dict[str, int]:
    found = Counter(f.severity for s in states for f in s.findings if f.status == "ACTIVE")
    return {"all": found.total(), **{ours: found[theirs] for theirs, ours in _NAMES.items()}}


def _is_of_one_image(asked: dict[str, Any]) -> bool:
    criteria = asked.get("filterCriteria") or {}
    return "imageIds" in asked or "resourceId" in criteria


def _page(name: str, rows: list[Any], asked: dict[str, Any], size: int) -> dict[str, Any]:
    start = int(asked.get("nextToken") or 0)
    page: dict[str, Any] = {name: rows[start : start + size]}
    return page | ({"nextToken": str(start + size)} if start + size < len(rows) else {})
