"""Which findings and covered resources match a request to Inspector, and how many findings of each severity there are.

Known are the filters that Lazaretto sends; another one is refused, not ignored. Any element of one filter may match,
and all filters must.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from moto.core.exceptions import JsonRESTError

from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.wire import instant

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
COUNTED: Readers = {
    "accountIds": lambda r: [r["accountId"]],
    "repositories": lambda r: [r["repository"]],
}
"""The values that a filter compares, by its name."""


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
