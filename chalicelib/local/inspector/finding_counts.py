"""Inspector's ListFindingAggregations, as far as sweeps ask it: open findings by repository, and by image of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from chalicelib.local.inspector.findings_filter import Row, UnknownFilterError
from chalicelib.parsers.wire import identity

_SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNTRIAGED")


def count_findings(asked: Mapping[str, Any], of_images: Mapping[str, Iterable[Row]]) -> list[Row]:
    """All responses, unpaged; `of_images` holds the findings of each image by its ARN. Images without open findings are
    left out, and so are repositories. Raises UnknownFilterError for what is not played."""
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
    wanted = {**next(iter(request), {})}
    accounts, names = asked.get("accountIds") or (), wanted.pop("repositories", ())
    if wanted:
        raise UnknownFilterError(", ".join(wanted))
    return _fits(ref.registry, accounts) and _fits(ref.repository, names)


def _fits(value: str, wanted: Iterable[Row]) -> bool:
    named = [one["value"] for one in wanted if one["comparison"] == "EQUALS"]
    return not named or value in named


def _open(rows: Iterable[Row]) -> Counter[str]:
    return Counter(str(row.get("severity")) for row in rows if row.get("status") == "ACTIVE")


def _severity_counts(found: Counter[str]) -> Row:
    return {"all": found.total(), **{word.lower(): found[word] for word in _SEVERITIES}}
