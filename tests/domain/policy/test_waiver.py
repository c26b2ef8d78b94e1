"""A waiver is accepted with a subject, a reason and an end, and excuses no more than it names."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.images.finding import Finding, Package, Severity
from chalicelib.domain.images.image import Source
from chalicelib.domain.policy.waiver import VexJustification, VexStatus, Waiver, WaiverBook, canonical_id, check_waiver
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
    check_waiver(changed(reason="two lines,\n\tone of them indented", repository="*", package="@scope/*"), 90, NOW)
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
        ({"justification": VexJustification.COMPONENT_NOT_PRESENT}, "justification"),
        ({"repository": "Prod/api"}, "repository"),
        ({"repository": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/prod/api"}, "repository"),
        ({"repository": "public.ecr.aws/acme/api"}, "repository"),
        ({"repository": "a" * 257}, "repository"),
        ({"vulnerability_id": "CVE-2024-*"}, "vulnerability_id"),
        ({"vulnerability_id": " CVE-2024-1"}, "vulnerability_id"),
        ({"vulnerability_id": "cve-2024-1"}, "vulnerability_id"),
        ({"vulnerability_id": "ghsa-9F46-5r25-5wfm"}, "vulnerability_id"),
        ({"package": ""}, "package"),
        ({"approved_by": "a\nb"}, "approved_by"),
        ({"reason": "a\x1b[31mb"}, "reason"),
    ],
)
def test_an_unfit_waiver_is_refused_by_the_name_of_what_is_wrong(changes: dict[str, Any], parameter: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check_waiver(changed(**changes), 90, NOW)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("cve-2026-0001", "CVE-2026-0001"),
        ("Cve-2026-0001", "CVE-2026-0001"),
        ("rhsa-2026:0001", "RHSA-2026:0001"),
        ("alas2023-2026-001", "ALAS2023-2026-001"),
        ("ghsa-9F46-5r25-5WFM", "GHSA-9f46-5r25-5wfm"),
        ("openSUSE-SU-2026:0001-1", "openSUSE-SU-2026:0001-1"),
        ("SNYK-JS-LODASH-567746", "SNYK-JS-LODASH-567746"),
        ("TEMP-0000000-a1b2c3", "TEMP-0000000-a1b2c3"),
        ("", ""),
    ],
)
def test_an_id_is_put_in_the_case_in_which_it_is_published(said: str, written: str) -> None:
    assert canonical_id(said) == canonical_id(written) == written


def test_a_waiver_is_over_at_the_moment_it_expires() -> None:
    assert WAIVER.in_force(WAIVER.expires_at - timedelta(microseconds=1))
    assert not WAIVER.in_force(WAIVER.expires_at)


def excused(finding: Finding, *waivers: Waiver) -> bool:
    return bool(WaiverBook(waivers, "prod/api", NOW).excusing(finding, "r"))


def test_a_waiver_excuses_only_when_every_package_is_meant() -> None:
    assert excused(FINDING, changed(package="*ssl*"))
    assert not excused(FINDING, changed(package="openssl"))
    assert not excused(msgspec.structs.replace(FINDING, packages=()), changed(package="*"))


@pytest.mark.parametrize(
    ("own", "related", "waived", "excuses"),
    [
        ("CVE-1", ("CVE-2",), {"CVE-1"}, True),
        ("CVE-1", ("CVE-2",), {"CVE-2"}, False),
        ("CVE-1", ("GHSA-1",), {"GHSA-1"}, False),
        ("ALAS-1", ("CVE-1", "CVE-2"), {"CVE-1"}, False),
        ("ALAS-1", ("CVE-1", "CVE-2"), {"CVE-1", "CVE-2"}, True),
        ("ALAS-1", ("CVE-1", "CVE-2"), {"ALAS-1"}, True),
        ("GHSA-1", ("CVE-1", "RHSA-1"), {"CVE-1"}, True),
        ("GHSA-1", ("RHSA-1",), {"RHSA-1"}, False),
    ],
)
def test_related_ids_excuse_a_finding_only_where_all_that_it_stands_for_is_waived(
    own: str, related: tuple[str, ...], waived: set[str], excuses: bool
) -> None:
    finding = msgspec.structs.replace(FINDING, vulnerability_id=own, related_ids=related)
    assert excused(finding, *(changed(id=f"w-{name}", vulnerability_id=name) for name in waived)) is excuses


@pytest.mark.parametrize(
    ("kev", "changes", "excuses"),
    [
        (None, {}, True),
        (False, {}, True),
        (True, {}, False),
        (True, {"even_if_exploited": True}, True),
        (True, {"exploited": ("CVE-2024-1",)}, True),
        (True, {"exploited": ("CVE-2024-9",)}, False),
        (True, {"vulnerability_id": None, "rule": "r"}, False),
        (True, {"vulnerability_id": None, "rule": "r", "even_if_exploited": True}, True),
        (True, {"vulnerability_id": None, "rule": "r", "exploited": ("CVE-2024-1",)}, True),
    ],
)
def test_what_was_not_known_to_be_exploited_when_it_was_waived_is_excused_only_until_it_is(
    kev: bool | None, changes: dict[str, Any], excuses: bool
) -> None:
    assert excused(msgspec.structs.replace(FINDING, kev=kev), changed(**changes)) is excuses


def test_it_is_asked_about_a_finding_whether_it_is_exploited_where_that_would_end_its_excuse() -> None:
    finding = msgspec.structs.replace(FINDING, kev=False)
    assert WaiverBook([changed()], "prod/api", NOW).asks_exploited(finding)
    assert WaiverBook([changed(vulnerability_id=None, rule="r")], "prod/api", NOW).asks_exploited(finding)
    assert not WaiverBook([changed(even_if_exploited=True)], "prod/api", NOW).asks_exploited(finding)
    assert not WaiverBook([changed(vulnerability_id="CVE-2024-9")], "prod/api", NOW).asks_exploited(finding)


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


@pytest.mark.parametrize("wildcard", ["", "*"])
def test_ten_thousand_waivers_of_as_many_repositories_are_looked_through_in_milliseconds(wildcard: str) -> None:
    many = [changed(repository=f"team/app-{n}{wildcard}") for n in range(10_000)]
    WaiverBook(many, "team/app-7", NOW)
    started = time.process_time()
    book = WaiverBook(many, "team/app-7", NOW)
    assert time.process_time() - started < 0.25
    assert [w.repository for w in book.excusing(FINDING, "any")] == [f"team/app-7{wildcard}"]
