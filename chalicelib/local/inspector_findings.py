"""Which findings and covered resources match a request to Inspector, and how many findings of each severity there are.

Any element of one filter may match, and all filters must. An unknown filter is refused, not ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.wire import instant

Row = dict[str, Any]
_SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNTRIAGED")
_EQUALS, _PREFIX, _NOT_EQUALS = "EQUALS", "PREFIX", "NOT_EQUALS"


class UnknownFilterError(ValueError):
    pass


def _image(row: Row) -> dict[str, Any]:
    resources = row.get("resources") or [{}]
    found: dict[str, Any] = (resources[0].get("details") or {}).get("awsEcrContainerImage") or {}
    return found


def _vulnerability(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = row.get("packageVulnerabilityDetails") or {}
    return found


def _repository(resource: Row) -> str | None:
    """Of a covered repository or image: by its metadata, else by its ARN."""
    said = ((resource.get("resourceMetadata") or {}).get("ecrRepository") or {}).get("name")
    named = str(resource.get("resourceId", "")).partition(":repository/")[2].rpartition("/sha256:")[0]
    return said or named or None


_TEXTS: dict[str, Callable[[Row], Iterable[Any]]] = {
    "awsAccountId": lambda r: [r.get("awsAccountId")],
    "ecrImageArchitecture": lambda r: [_image(r).get("architecture")],
    "ecrImageHash": lambda r: [_image(r).get("imageHash")],
    "ecrImageRegistry": lambda r: [_image(r).get("registry")],
    "ecrImageRepositoryName": lambda r: [_image(r).get("repositoryName")],
    "ecrImageTags": lambda r: _image(r).get("imageTags") or [],
    "exploitAvailable": lambda r: [r.get("exploitAvailable")],
    "findingArn": lambda r: [r.get("findingArn")],
    "findingStatus": lambda r: [r.get("status")],
    "findingType": lambda r: [r.get("type")],
    "fixAvailable": lambda r: [r.get("fixAvailable")],
    "relatedVulnerabilities": lambda r: _vulnerability(r).get("relatedVulnerabilities") or [],
    "resourceId": lambda r: [x.get("id") for x in r.get("resources") or []],
    "resourceType": lambda r: [x.get("type") for x in r.get("resources") or []],
    "severity": lambda r: [r.get("severity")],
    "title": lambda r: [r.get("title")],
    "vendorSeverity": lambda r: [_vulnerability(r).get("vendorSeverity")],
    "vulnerabilityId": lambda r: [_vulnerability(r).get("vulnerabilityId")],
    "vulnerabilitySource": lambda r: [_vulnerability(r).get("source")],
}
_NUMBERS: dict[str, Callable[[Row], Any]] = {
    "ecrImageInUseCount": lambda r: _image(r).get("inUseCount"),
    "epssScore": lambda r: (r.get("epss") or {}).get("score"),
    "inspectorScore": lambda r: r.get("inspectorScore"),
}
_TIMES: dict[str, Callable[[Row], Any]] = {
    "ecrImageLastInUseAt": lambda r: _image(r).get("lastInUseAt"),
    "ecrImagePushedAt": lambda r: _image(r).get("pushedAt"),
    "firstObservedAt": lambda r: r.get("firstObservedAt"),
    "lastObservedAt": lambda r: r.get("lastObservedAt"),
    "updatedAt": lambda r: r.get("updatedAt"),
}
_COVERED: dict[str, Callable[[Row], Iterable[Any]]] = {
    "accountId": lambda r: [r.get("accountId")],
    "ecrRepositoryName": lambda r: [_repository(r)],
    "resourceId": lambda r: [r.get("resourceId")],
    "resourceType": lambda r: [r.get("resourceType")],
    "scanStatusCode": lambda r: [r["scanStatus"]["statusCode"]],
    "scanStatusReason": lambda r: [r["scanStatus"]["reason"]],
    "scanType": lambda r: [r.get("scanType")],
}


def finding_fits(row: Row, criteria: dict[str, list[dict[str, Any]]]) -> bool:
    """Raises UnknownFilterError."""
    return all(any(_fits(row, name, one) for one in filters) for name, filters in criteria.items())


def coverage_fits(resource: Row, criteria: dict[str, list[dict[str, Any]]]) -> bool:
    """Raises UnknownFilterError."""
    if unknown := criteria.keys() - _COVERED.keys():
        raise UnknownFilterError(min(unknown))
    return all(any(_text_fits(_COVERED[name](resource), one) for one in filters) for name, filters in criteria.items())


def _fits(row: Row, name: str, one: dict[str, Any]) -> bool:
    if name in _TEXTS:
        return _text_fits(_TEXTS[name](row), one)
    if name in _NUMBERS:
        return _number_fits(_NUMBERS[name](row), one)
    if name in _TIMES:
        return _time_fits(instant(_TIMES[name](row), f"$.{name}"), one)
    raise UnknownFilterError(name)


def _number_fits(value: float | None, one: dict[str, Any]) -> bool:
    low, high = one.get("lowerInclusive"), one.get("upperInclusive")
    return value is not None and (low is None or value >= low) and (high is None or value <= high)


def _text_fits(values: Iterable[Any], one: dict[str, Any]) -> bool:
    said, how, value = [v for v in values if v is not None], one["comparison"], one["value"]
    if how == _NOT_EQUALS:
        return value not in said
    if how == _PREFIX:
        return any(str(v).startswith(value) for v in said)
    if how == _EQUALS:
        return value in said
    raise UnknownFilterError(how)


def _time_fits(at: datetime | None, one: dict[str, Any]) -> bool:
    start = instant(one.get("startInclusive"), "$.startInclusive")
    end = instant(one.get("endInclusive"), "$.endInclusive")
    return at is not None and (start is None or at >= start) and (end is None or at <= end)


def count_findings(asked: Mapping[str, Any], of_images: Mapping[str, Iterable[Row]]) -> list[Row]:
    """All responses, unpaged, without images and repositories that have no open findings. `of_images`: findings by
    image ARN. Raises UnknownFilterError."""
    kind = asked.get("aggregationType")
    counted = {arn: found for arn, rows in of_images.items() if (found := _open(rows)) and _is_meant(arn, asked)}
    if kind == "REPOSITORY":
        return list(_by_repository(counted))
    if kind == "AWS_ECR_CONTAINER":
        return [{"awsEcrContainerAggregation": _container(arn, counted[arn])} for arn in sorted(counted)]
    raise UnknownFilterError(f"aggregationType {kind}")


def _by_repository(counted: Mapping[str, Counter[str]]) -> Iterator[Row]:
    of_each: dict[tuple[str, str], list[Counter[str]]] = {}
    for arn, found in counted.items():
        ref = identity.image_arn(arn, "$")
        of_each.setdefault((ref.registry, ref.repository), []).append(found)
    for (account, name), all_found in sorted(of_each.items()):
        counts = _severity_counts(sum(all_found, Counter()))
        row = {"accountId": account, "repository": name, "affectedImages": len(all_found), "severityCounts": counts}
        yield {"repositoryAggregation": row}


def _container(arn: str, found: Counter[str]) -> Row:
    ref = identity.image_arn(arn, "$")
    return {
        "accountId": ref.registry,
        "imageSha": ref.digest,
        "repository": ref.repository,
        "resourceId": arn,
        "severityCounts": _severity_counts(found),
    }


def _is_meant(arn: str, asked: Mapping[str, Any]) -> bool:
    ref = identity.image_arn(arn, "$")
    request = (asked.get("aggregationRequest") or {}).values()
    filters = {**next(iter(request), {})}
    accounts, names = asked.get("accountIds") or (), filters.pop("repositories", ())
    if filters:
        raise UnknownFilterError(", ".join(filters))
    return _is_named(ref.registry, accounts) and _is_named(ref.repository, names)


def _is_named(value: str, filters: Iterable[Row]) -> bool:
    named = [one["value"] for one in filters if one["comparison"] == "EQUALS"]
    return not named or value in named


def _open(rows: Iterable[Row]) -> Counter[str]:
    return Counter(str(row.get("severity")) for row in rows if row.get("status") == "ACTIVE")


def _severity_counts(found: Counter[str]) -> Row:
    return {"all": found.total(), **{word.lower(): found[word] for word in _SEVERITIES}}
