"""A waiver is accepted with a subject, a reason and an end, and excuses no more than it names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.finding import Finding, Package, Severity
from chalicelib.domain.image import Source
from chalicelib.domain.waiver import VexJustification, VexStatus, Waiver, WaiverBook, check_waiver
from chalicelib.errors import ParameterError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WAIVER = Waiver(
    id="w-1",
    repository="prod/*",
    vulnerability_id="CVE-2024-1",
    reason="the parser is not reachable",
    approved_by="security",
    created_at=NOW,
    expires_at=NOW + timedelta(days=90),
)
FINDING = Finding(
    "CVE-2024-1",
    Severity.HIGH,
    "HIGH",
    Source.ENHANCED,
    "f-1",
    packages=(Package("openssl"), Package("libssl3")),
    related_ids=("GHSA-1",),
)


def changed(**changes: Any) -> Waiver:
    return msgspec.structs.replace(WAIVER, **changes)


def test_a_complete_waiver_is_accepted() -> None:
    check_waiver(WAIVER, 90, NOW)
    check_waiver(changed(vulnerability_id=None, rule="critical-overdue"), 90, NOW)
    check_waiver(changed(status=VexStatus.NOT_AFFECTED, justification=VexJustification.COMPONENT_NOT_PRESENT), 90, NOW)


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"reason": "  "}, "reason"),
        ({"approved_by": ""}, "approved_by"),
        ({"repository": ""}, "repository"),
        ({"repository": "!dev/*"}, "repository"),
        ({"package": "!openssl"}, "package"),
        ({"reason": "x" * 2_001}, "reason"),
        ({"vulnerability_id": None}, "vulnerability_id"),
        ({"vulnerability_id": "", "rule": ""}, "vulnerability_id"),
        ({"vulnerability_id": None, "rule": "r", "package": "openssl"}, "package"),
        ({"rule": "stale"}, "rule"),
        ({"rule": "unscanned"}, "rule"),
        ({"expires_at": NOW}, "expires_at"),
        ({"expires_at": NOW + timedelta(days=90, seconds=1)}, "expires_at"),
        ({"expires_at": datetime(2026, 3, 2)}, "expires_at"),
        ({"status": VexStatus.NOT_AFFECTED}, "justification"),
    ],
)
def test_an_unfit_waiver_is_refused_by_the_name_of_what_is_wrong(changes: dict[str, Any], parameter: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check_waiver(changed(**changes), 90, NOW)
    assert caught.value.parameter == parameter


def test_a_waiver_is_over_at_the_moment_it_expires() -> None:
    assert WAIVER.in_force(WAIVER.expires_at - timedelta(microseconds=1))
    assert not WAIVER.in_force(WAIVER.expires_at)


def test_a_waiver_excuses_by_related_id_and_only_when_every_package_is_meant() -> None:
    assert changed(vulnerability_id="GHSA-1").excuses(FINDING)
    assert changed(package="*ssl*").excuses(FINDING)
    assert not changed(package="openssl").excuses(FINDING)
    assert not changed(package="*").excuses(msgspec.structs.replace(FINDING, packages=()))


def test_a_book_holds_what_is_in_force_for_the_repository() -> None:
    waivers = (
        WAIVER,
        changed(id="w-2", vulnerability_id="GHSA-1"),
        changed(id="over", expires_at=NOW),
        changed(id="elsewhere", repository="dev/*"),
        changed(id="w-3", vulnerability_id=None, rule="r"),
        changed(id="w-4", rule="r"),
        changed(id="other-rule", rule="q"),
    )
    book = WaiverBook(waivers, "prod/api", NOW)
    assert {w.id for w in book.excusing(FINDING, "r")} == {"w-1", "w-2", "w-3", "w-4"}
    assert [w.id for w in book.excusing_image("r")] == ["w-3"]
    assert book.excusing_image("q") == []
