"""The local Inspector counts open findings as sweeps ask for them."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.local.inspector import UnknownFilterError, count_findings
from chalicelib.parsers.findings.counts import parse_image_counts, parse_repository_counts


def arn(name: str, number: int) -> str:
    return f"arn:aws:ecr:eu-west-1:111122223333:repository/{name}/sha256:{number:064x}"


def rows(*severities: str, status: str = "ACTIVE") -> list[dict[str, Any]]:
    return [{"severity": severity, "status": status} for severity in severities]


HELD = {
    arn("a", 1): rows("HIGH", "HIGH", "UNTRIAGED"),
    arn("a", 2): rows("LOW"),
    arn("b", 3): rows("CRITICAL") + rows("HIGH", status="CLOSED"),
    arn("c", 4): rows("HIGH", status="SUPPRESSED"),
}


def test_open_findings_are_counted_by_repository() -> None:
    said = count_findings({"aggregationType": "REPOSITORY"}, HELD)
    counts = {home.name: c for home, c in parse_repository_counts({"responses": said}, "eu-west-1").counts.items()}
    assert {name: (c.total, c.by_severity) for name, c in counts.items()} == {
        "a": (4, (0, 2, 0, 1, 0, 1)),
        "b": (1, (1, 0, 0, 0, 0, 0)),
    }
    assert said[0]["repositoryAggregation"]["affectedImages"] == 2


def test_open_findings_are_counted_by_image_of_one_repository() -> None:
    by_name = {"repositories": [{"comparison": "EQUALS", "value": "a"}]}
    asked = {
        "aggregationType": "AWS_ECR_CONTAINER",
        "accountIds": [{"comparison": "EQUALS", "value": "111122223333"}],
        "aggregationRequest": {"awsEcrContainerAggregation": by_name},
    }
    counts = parse_image_counts({"responses": count_findings(asked, HELD)}).counts
    assert {ref.arn: c.total for ref, c in counts.items()} == {arn("a", 1): 3, arn("a", 2): 1}
    other = {**asked, "accountIds": [{"comparison": "EQUALS", "value": "9" * 12}]}
    assert count_findings(other, HELD) == []


def test_what_is_not_played_is_refused() -> None:
    with pytest.raises(UnknownFilterError):
        count_findings({"aggregationType": "TITLE"}, HELD)
    by_tag = {"awsEcrContainerAggregation": {"imageTags": [{"comparison": "EQUALS", "value": "v1"}]}}
    with pytest.raises(UnknownFilterError):
        count_findings({"aggregationType": "AWS_ECR_CONTAINER", "aggregationRequest": by_tag}, HELD)
