"""Inspector as moto lacks it: findings with filters and pages, coverage, counts, details. State, requests and answers.

One Inspector per Region sees every account, as a delegated administrator's does. Findings are also stored as text: a
page is joined without encoding 25 findings again. Known are the filters that Lazaretto sends; another one is refused.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec
from moto.core.exceptions import JsonRESTError
from moto.inspector2 import urls as moto_urls
from moto.inspector2.models import Inspector2Backend, inspector2_backends
from moto.inspector2.responses import Inspector2Response

from chalicelib.local.pages import page_of
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.wire import instant

PAGE, FINDINGS_PER_PAGE = 100, 25
MOST_ASKED, MOST_COVERED_ASKED = 100, 200
_ADMINISTRATOR = "123456789012"
Row = dict[str, Any]
_SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNTRIAGED")


class UnknownFilterError(JsonRESTError):
    def __init__(self, name: str) -> None:
        super().__init__("ValidationException", f"the local Inspector knows no filter {name}")


def _finding_repository(row: Row) -> str | None:
    resources = row.get("resources") or [{}]
    image: dict[str, Any] = (resources[0].get("details") or {}).get("awsEcrContainerImage") or {}
    return image.get("repositoryName")


def _covered_repository(resource: Row) -> str | None:
    """Of a covered repository or image: by its metadata, else by its ARN."""
    said = ((resource.get("resourceMetadata") or {}).get("ecrRepository") or {}).get("name")
    named = str(resource.get("resourceId", "")).partition(":repository/")[2].rpartition("/sha256:")[0]
    return said or named or None


Readers = Mapping[str, Callable[[Row], Iterable[Any]]]
FINDING: Readers = {
    "awsAccountId": lambda r: [r.get("awsAccountId")],
    "ecrImageRepositoryName": lambda r: [_finding_repository(r)],
    "resourceId": lambda r: [x.get("id") for x in r.get("resources") or []],
    "resourceType": lambda r: [x.get("type") for x in r.get("resources") or []],
    "updatedAt": lambda r: [r.get("updatedAt")],
}
COVERED: Readers = {
    "accountId": lambda r: [r.get("accountId")],
    "ecrRepositoryName": lambda r: [_covered_repository(r)],
    "resourceId": lambda r: [r.get("resourceId")],
    "resourceType": lambda r: [r.get("resourceType")],
}
COUNTED: Readers = {"accountIds": lambda r: [r["accountId"]], "repositories": lambda r: [r["repository"]]}
"""The values that a filter compares, by its name."""


class _Held(msgspec.Struct):
    row: Row
    text: str


class LocalInspector(Inspector2Backend):
    """`coverage` (rows of ListCoverage) and `clusters` (of GetClustersForImage) by image ARN. `kev`: `cisaData` by
    vulnerability id, None where CISA does not list it; a vulnerability outside `kev` has no details."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.coverage: dict[str, Row] = {}
        self.clusters: dict[str, list[Row]] = {}
        self.kev: dict[str, dict[str, Any] | None] = {}
        self._of_image: dict[str, dict[str, _Held]] = {}
        self._image_of: dict[str, str] = {}

    @property
    def _url_module(self) -> Any:
        return sys.modules[__name__]

    def hold(self, image_arn: str, row: Row) -> None:
        """Stores the finding; of two with one ARN the newer `updatedAt`, at a tie the last one."""
        held = self._of_image.setdefault(image_arn, {})
        before = held.get(row["findingArn"])
        if before is not None and _updated(before.row) > _updated(row):
            return
        held[row["findingArn"]] = _Held(row, msgspec.json.encode(row).decode())
        self._image_of[row["findingArn"]] = image_arn

    def rows_of(self, image_arn: str) -> list[Row]:
        return [held.row for held in self._of_image.get(image_arn, {}).values()]

    def of_images(self) -> dict[str, list[Row]]:
        """All findings, by image ARN."""
        return {arn: [held.row for held in of_image.values()] for arn, of_image in self._of_image.items()}

    def row(self, finding_arn: str) -> Row | None:
        held = self._of_image.get(self._image_of.get(finding_arn, ""), {}).get(finding_arn)
        return held.row if held else None

    def texts(self, criteria: dict[str, list[dict[str, Any]]]) -> list[str]:
        return [held.text for held in self._candidates(criteria) if fits(held.row, criteria, FINDING)]

    def _candidates(self, criteria: dict[str, list[dict[str, Any]]]) -> Iterator[_Held]:
        """A request by image reads only the findings of that image."""
        asked = criteria.get("resourceId", [])
        by_image = bool(asked) and all(one.get("comparison") == "EQUALS" for one in asked)
        images: Iterable[str] = dict.fromkeys(one["value"] for one in asked) if by_image else sorted(self._of_image)
        for image in images:
            yield from self._of_image.get(image, {}).values()


class LocalInspectorResponse(Inspector2Response):
    @property
    def inspector2_backend(self) -> LocalInspector:
        return inspector_of(self.region)

    def list_findings(self) -> str:
        criteria = self._get_param("filterCriteria") or {}
        page, more = self._page(self.inspector2_backend.texts(criteria), FINDINGS_PER_PAGE)
        token = f',"nextToken":{json.dumps(more["nextToken"])}' if more else ""
        return f'{{"findings":[{",".join(page)}]{token}}}'

    def list_coverage(self) -> str:
        criteria = self._get_param("filterCriteria") or {}
        rows = [row for _, row in sorted(self.inspector2_backend.coverage.items()) if fits(row, criteria, COVERED)]
        page, more = self._page(rows, most=MOST_COVERED_ASKED)
        return json.dumps({"coveredResources": page, **more})

    def list_finding_aggregations(self) -> str:
        asked = {name: self._get_param(name) for name in ("aggregationType", "aggregationRequest", "accountIds")}
        page, more = self._page(count_findings(asked, self.inspector2_backend.of_images()))
        return json.dumps({"aggregationType": asked["aggregationType"], "responses": page, **more})

    def get_clusters_for_image(self) -> str:
        """Inspector knows only the workloads of images that it scans."""
        asked = self._get_param("filter")["resourceId"]
        page, more = self._page(self.inspector2_backend.clusters.get(asked, []))
        return json.dumps({"cluster": page, **more})

    def batch_get_finding_details(self) -> str:
        details, errors = [], []
        for arn in self._get_param("findingArns"):
            row = self.inspector2_backend.row(arn) or {}
            vulnerability = (row.get("packageVulnerabilityDetails") or {}).get("vulnerabilityId", "")
            if vulnerability not in self.inspector2_backend.kev:
                code = "FINDING_DETAILS_NOT_FOUND"
                errors.append({"findingArn": arn, "errorCode": code, "errorMessage": "no details"})
                continue
            detail = {
                "findingArn": arn,
                "epssScore": (row.get("epss") or {}).get("score"),
                "cisaData": self.inspector2_backend.kev[vulnerability],
            }
            details.append({key: value for key, value in detail.items() if value is not None})
        return json.dumps({"findingDetails": details, "errors": errors})

    def _page(self, items: list[Any], size: int = PAGE, most: int = MOST_ASKED) -> tuple[list[Any], dict[str, str]]:
        asked = int(self._get_param("maxResults") or size)
        if not 1 <= asked <= most:
            raise JsonRESTError("ValidationException", f"maxResults is 1 to {most}, not {asked}")
        try:
            return page_of(items, self._get_param("nextToken"), min(size, asked))
        except ValueError:
            raise JsonRESTError("ValidationException", "invalid nextToken") from None


def inspector_of(region: str) -> LocalInspector:
    backend = inspector2_backends[_ADMINISTRATOR][region]
    assert isinstance(backend, LocalInspector)
    return backend


def _updated(row: Row) -> float:
    at = instant(row.get("updatedAt"), "$.updatedAt")
    return at.timestamp() if at else 0.0


def fits(row: Row, criteria: Mapping[str, Iterable[Row]], readers: Readers) -> bool:
    """Raises UnknownFilterError."""
    if unknown := criteria.keys() - readers.keys():
        raise UnknownFilterError(min(unknown))
    return all(any(_matches(readers[name](row), one) for one in filters) for name, filters in criteria.items())


def _matches(values: Iterable[Any], one: Row) -> bool:
    if one.keys() == {"startInclusive"}:
        start = instant(one["startInclusive"], "$.startInclusive")
        times = [instant(value, "$") for value in values]
        return start is not None and any(at is not None and at >= start for at in times)
    if one.get("comparison") == "EQUALS":
        return one["value"] in values
    raise UnknownFilterError(", ".join(map(str, one.values())))


def count_findings(asked: Mapping[str, Any], of_images: Mapping[str, Iterable[Row]]) -> list[Row]:
    """All responses, unpaged, without images and repositories that have no open findings. `of_images`: findings by
    image ARN. Raises UnknownFilterError."""
    criteria = {"accountIds": asked["accountIds"]} if asked.get("accountIds") else {}
    criteria |= next(iter((asked.get("aggregationRequest") or {}).values()), {})
    counted = [_container(arn, rows) for arn, rows in sorted(of_images.items())]
    counted = [row for row in counted if row["severityCounts"]["all"] and fits(row, criteria, COUNTED)]
    match kind := asked.get("aggregationType"):
        case "REPOSITORY":
            groups = groupby(sorted(counted, key=_repository_of), _repository_of)
            return [{"repositoryAggregation": _repository(list(rows))} for _, rows in groups]
        case "AWS_ECR_CONTAINER":
            return [{"awsEcrContainerAggregation": row} for row in counted]
    raise UnknownFilterError(f"aggregationType {kind}")


def _container(arn: str, rows: Iterable[Row]) -> Row:
    ref = identity.image_arn(arn, "$")
    found = Counter(str(row.get("severity")) for row in rows if row.get("status") == "ACTIVE")
    return {
        "accountId": ref.registry,
        "imageSha": ref.digest,
        "repository": ref.repository,
        "resourceId": arn,
        "severityCounts": {"all": found.total(), **{word.lower(): found[word] for word in _SEVERITIES}},
    }


def _repository_of(container: Row) -> tuple[str, str]:
    return container["accountId"], container["repository"]


def _repository(containers: Sequence[Row]) -> Row:
    """The sum of the containers of one repository."""
    account, name = _repository_of(containers[0])
    sums: Counter[str] = Counter()
    for container in containers:
        sums.update(container["severityCounts"])
    return {"accountId": account, "repository": name, "affectedImages": len(containers), "severityCounts": dict(sums)}


url_bases = moto_urls.url_bases
url_paths = dict.fromkeys(moto_urls.url_paths, LocalInspectorResponse.dispatch) | {
    "{0}/cluster/get$": LocalInspectorResponse.dispatch,
    "{0}/coverage/list$": LocalInspectorResponse.dispatch,
    "{0}/findings/details/batch/get$": LocalInspectorResponse.dispatch,
    "{0}/findings/aggregation/list$": LocalInspectorResponse.dispatch,
}
