"""`GET /v1/findings` across all its filters, orders and pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.api.framework.call import write_cursor
from chalicelib.api.framework.parameters import SORTS
from chalicelib.domain.images.finding import Ecosystem, FindingStatus, FixAvailable, Package, Severity
from chalicelib.domain.images.image import Child, Kind, Scan, ScanState, Source
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import TransientError
from tests.api.conftest import Ask
from tests.fakes.images import digest, finding, image, ref
from tests.fakes.queries import NOW, FakeContext

FINDINGS = "/v1/findings"
VARIED = [
    finding(1, Severity.CRITICAL, kev=True, epss=0.9, score=9.8, related_ids=("GHSA-aaaa-bbbb-cccc",)),
    finding(2, Severity.UNKNOWN, epss=None, score=None, fix_available=None, first_seen=None),
    finding(3, Severity.LOW, status=FindingStatus.SUPPRESSED, kev=False, epss=0.5),
    finding(4, Severity.HIGH, status=FindingStatus.RESOLVED),
    finding(5, Severity.MEDIUM, source=Source.BASIC, fix_available=FixAvailable.PARTIAL, ecosystem=Ecosystem.LANGUAGE),
    finding(6, Severity.INFORMATIONAL, packages=(Package("lodash", "4.0.0", "NPM"),), fix_available=FixAvailable.NO),
]


def ids(body: dict[str, Any]) -> list[str]:
    return [f["vulnerability_id"].removeprefix("CVE-2026-000") for f in body["findings"]]


def walk(ask: Ask, **query: Any) -> tuple[list[dict[str, Any]], int]:
    """All findings of a question, page by page, and the number of pages."""
    found: list[dict[str, Any]] = []
    cursor, pages = None, 0
    while pages < 1000:
        body = ask(FINDINGS, cursor=cursor, **query)
        found += body["findings"]
        cursor, pages = body["next_cursor"], pages + 1
        if cursor is None:
            return found, pages
    raise AssertionError("the list never ends")


def test_findings_of_a_tag_are_open_and_suppressed_ones_worst_first(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), VARIED)
    body = ask(FINDINGS, repository="team/api", tag="v1")
    assert ids(body) == ["1", "5", "3", "6", "2"]
    assert body["next_cursor"] is None


def test_a_finding_says_where_it_is_and_absent_is_null(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(2, Severity.UNKNOWN, epss=None, score=None, kev=None)])
    found = ask(FINDINGS, repository="team/api", digest=digest(1))["findings"][0]
    assert found["image"] == {
        "registry": "111122223333",
        "region": "eu-west-1",
        "repository": "team/api",
        "digest": digest(1),
        "uri": f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/api@{digest(1)}",
        "tags": ["v1"],
    }
    assert (found["epss"], found["score"], found["kev"]) == (None, None, None)
    assert found["title"] == "About CVE-2026-0002"
    assert found["first_seen"] == "2026-03-08T12:00:00Z"
    assert found["packages"][0]["purl"] == "pkg:deb/debian/openssl@3.0.1?arch=amd64&distro=debian-12"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"severity": "CRITICAL,LOW"}, ["1", "3"]),
        ({"min_severity": "MEDIUM"}, ["1", "5", "2"]),
        ({"min_severity": "HIGH"}, ["1"]),
        ({"severity": "UNKNOWN", "min_severity": "HIGH"}, []),
        ({"status": "RESOLVED"}, ["4"]),
        ({"status": "OPEN"}, ["1", "5", "6", "2"]),
        ({"status": "OPEN,SUPPRESSED,RESOLVED"}, ["1", "4", "5", "3", "6", "2"]),
        ({"source": "BASIC"}, ["5"]),
        ({"ecosystem": "LANGUAGE"}, ["5"]),
        ({"package": "lodash"}, ["6"]),
        ({"package": "open*"}, ["1", "5", "3", "2"]),
        ({"fix_available": "true"}, ["1", "3"]),
        ({"fix_available": "NO,PARTIAL"}, ["5", "6"]),
        ({"fix_available": "false"}, ["6"]),
        ({"kev": "true"}, ["1"]),
        ({"kev": "false"}, ["3"]),
        ({"min_epss": "0.5"}, ["1", "3"]),
        ({"min_epss": "0"}, ["1", "5", "3", "6"]),
        ({"first_seen_after": (NOW - timedelta(days=3)).isoformat()}, ["1"]),
        ({"vulnerability_id": "CVE-2026-0003"}, ["3"]),
        ({"vulnerability_id": "GHSA-aaaa-bbbb-cccc"}, ["1"]),
    ],
)
def test_each_filter_keeps_what_it_says(
    ask: Ask, context: FakeContext, query: dict[str, str], expected: list[str]
) -> None:
    context.queries.add(image(1), VARIED)
    assert ids(ask(FINDINGS, repository="team/api", tag="v1", **query)) == expected
    assert ids(ask(FINDINGS, **query)) == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("severity", ["2", "6", "3", "5", "1"]),
        ("-score", ["1", "3", "5", "6", "2"]),
        ("score", ["3", "5", "6", "1", "2"]),
        ("-epss", ["1", "3", "5", "6", "2"]),
        ("epss", ["5", "6", "3", "1", "2"]),
        ("first_seen", ["6", "5", "3", "1", "2"]),
        ("-first_seen", ["1", "3", "5", "6", "2"]),
        ("vulnerability_id", ["1", "2", "3", "5", "6"]),
        ("-vulnerability_id", ["6", "5", "3", "2", "1"]),
    ],
)
def test_one_image_sorts_by_anything_and_what_has_no_value_comes_last(
    ask: Ask, context: FakeContext, sort: str, expected: list[str]
) -> None:
    context.queries.add(image(1), VARIED)
    assert ids(ask(FINDINGS, repository="team/api", tag="v1", sort=sort)) == expected


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_pages_of_one_image_hold_each_finding_once(ask: Ask, context: FakeContext, sort: str, limit: int) -> None:
    context.queries.add(image(1), VARIED)
    whole = ids(ask(FINDINGS, repository="team/api", tag="v1", sort=sort))
    paged, _ = walk(ask, repository="team/api", tag="v1", sort=sort, limit=limit)
    assert ids({"findings": paged}) == whole


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
def test_a_walk_over_everything_holds_each_finding_once_worst_image_first(
    ask: Ask, context: FakeContext, limit: int
) -> None:
    for number in range(1, 121):
        findings = [finding(n, Severity.HIGH) for n in range(number % 4)]
        context.queries.add(image(number, list(Decision)[number % 5]), findings)
    found, _ = walk(ask, limit=limit)
    places = [(f["image"]["digest"], f["vulnerability_id"]) for f in found]
    assert len(places) == len(set(places)) == sum(n % 4 for n in range(1, 121))
    decisions = [context.queries.stored[ref(int(d.removeprefix("sha256:"), 16))].decision.rank for d, _ in places]
    assert decisions == sorted(decisions, reverse=True)


def test_a_walk_ends_after_200_documents_and_goes_on_from_there(ask: Ask, context: FakeContext) -> None:
    for number in range(1, 251):
        context.queries.add(image(number), [finding(1, Severity.LOW, kev=number == 250)])
    first = ask(FINDINGS, kev="true")
    assert first["findings"] == []
    assert len(context.queries.read) == 200
    rest = ask(FINDINGS, kev="true", cursor=first["next_cursor"])
    assert len(rest["findings"]) == 1
    assert rest["next_cursor"] is None


def test_documents_that_cannot_match_are_not_read(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1, Severity.LOW)])
    context.queries.add(image(2), [finding(1, Severity.CRITICAL)])
    assert len(ask(FINDINGS, severity="CRITICAL")["findings"]) == 1
    assert context.queries.read == [ref(2)]


def test_another_order_over_everything_is_refused_by_name(ask: Ask, context: FakeContext) -> None:
    body = ask(FINDINGS, 400, sort="-epss")
    assert body["parameter"] == "sort"


def test_a_small_repository_sorts_as_one(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1, epss=0.2), finding(2, epss=0.8)])
    context.queries.add(image(2), [finding(3, epss=0.5)])
    found, pages = walk(ask, repository="team/api", sort="-epss", limit=1)
    assert ids({"findings": found}) == ["2", "3", "1"]
    assert pages == 3


def test_a_large_repository_is_refused_another_order(ask: Ask, context: FakeContext) -> None:
    for number in range(1, 202):
        context.queries.add(image(number), [finding(1)])
    assert ask(FINDINGS, 400, repository="team/api", sort="score")["parameter"] == "sort"


def test_every_list_is_narrowed_by_registry_region_and_repository(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1)])
    context.queries.add(image(2, where=ref(2, "team/web")), [finding(2)])
    context.queries.add(image(3, where=ref(3, registry="public/acme", region="us-east-1")), [finding(3)])
    context.queries.add(image(4, where=ref(4, region="us-east-1")), [finding(4)])
    assert ids(ask(FINDINGS, registry="public/acme")) == ["3"]
    assert ids(ask(FINDINGS, region="us-east-1", registry="111122223333")) == ["4"]
    assert ids(ask(FINDINGS, repository="team/web")) == ["2"]
    assert ids(ask(FINDINGS, vulnerability_id="CVE-2026-0002", repository="team/api")) == []


def test_an_index_has_the_findings_of_its_images(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1, tags=()), [finding(1)])
    context.queries.add(image(2, tags=()), [finding(2, Severity.CRITICAL)])
    context.queries.add(image(3, kind=Kind.ARTIFACT, tags=()))
    children = (Child(digest(1), "linux/amd64"), Child(digest(2), "linux/arm64"), Child(digest(3)))
    context.queries.add(image(9, kind=Kind.INDEX, children=children))
    body = ask(FINDINGS, repository="team/api", tag="v9")
    assert ids(body) == ["2", "1"]
    assert body["scan"]["state"] == "COMPLETE"


def test_an_index_with_an_image_that_is_not_known_is_not_clean(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1, tags=()))
    children = (Child(digest(1), "linux/amd64"), Child(digest(2), "linux/arm64"))
    context.queries.add(image(9, kind=Kind.INDEX, children=children))
    assert ask(FINDINGS, repository="team/api", tag="v9")["scan"]["state"] == "PENDING"


def test_a_tag_that_moves_between_two_pages_ends_the_list(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1, tags=("v",)), VARIED)
    cursor = ask(FINDINGS, repository="team/api", tag="v", limit=1)["next_cursor"]
    context.queries.add(image(2, tags=("v",)), VARIED)
    assert ask(FINDINGS, 400, repository="team/api", tag="v", limit=1, cursor=cursor)["parameter"] == "cursor"


def test_an_empty_list_of_an_image_that_was_not_scanned_says_so(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1, scan=Scan(ScanState.FAILED, "no layers"), refreshed_at=None))
    body = ask(FINDINGS, repository="team/api", tag="v1")
    assert body["findings"] == []
    assert body["scan"]["state"] == "FAILED"
    assert body["scan"]["looked_at"] is None


def test_a_name_in_two_registries_must_be_told_apart(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1)])
    context.queries.add(image(1, where=ref(1, registry="public/acme", region="us-east-1")), [finding(2)])
    assert ask(FINDINGS, 400, repository="team/api", tag="v1")["parameter"] == "registry"
    assert ids(ask(FINDINGS, repository="team/api", tag="v1", registry="public/acme")) == ["2"]


def test_a_name_in_two_regions_must_be_told_apart(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1)])
    context.queries.add(image(1, where=ref(1, region="us-east-1")), [finding(2)])
    assert ask(FINDINGS, 400, repository="team/api", tag="v1")["parameter"] == "region"


def test_a_digest_alone_is_no_address(ask: Ask, context: FakeContext) -> None:
    assert ask(FINDINGS, 400, digest=digest(1))["parameter"] == "repository"


def test_digest_and_tag_together_are_refused(ask: Ask, context: FakeContext) -> None:
    assert ask(FINDINGS, 400, repository="team/api", digest=digest(1), tag="v1")["parameter"] == "digest"


@pytest.mark.parametrize("named", [{"tag": "v2"}, {"digest": digest(5)}])
def test_an_unknown_image_is_not_found(ask: Ask, context: FakeContext, named: dict[str, str]) -> None:
    context.queries.add(image(1))
    body = ask(FINDINGS, 404, repository="team/api", **named)
    assert body["status"] == 404
    assert body["title"] == "Not Found"


def test_a_cursor_of_other_filters_is_refused_by_name(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), VARIED)
    cursor = ask(FINDINGS, limit=1)["next_cursor"]
    assert ask(FINDINGS, 400, limit=1, cursor=cursor, severity="LOW")["parameter"] == "cursor"
    assert ask("/v1/images", 400, cursor=cursor)["parameter"] == "cursor"
    assert ask(FINDINGS, limit=2, cursor=cursor)["findings"]


def test_a_cursor_expires(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), VARIED)
    cursor = ask(FINDINGS, limit=1)["next_cursor"]
    context.clock.at = NOW + timedelta(days=1)
    assert "expired" in ask(FINDINGS, 400, limit=1, cursor=cursor)["detail"]


def test_an_image_that_moved_between_two_pages_hides_nothing(ask: Ask, context: FakeContext) -> None:
    for number in (1, 2, 3):
        context.queries.add(image(number), [finding(number)])
    body = ask(FINDINGS, limit=1)
    assert ids(body) == ["1"]
    context.queries.add(image(1, Decision.ALLOW), [finding(1)])
    assert ids(ask(FINDINGS, cursor=body["next_cursor"])) == ["2", "3", "1"]


def test_throttling_is_told_with_a_time_to_wait(client: Any, ask: Ask, context: FakeContext) -> None:
    def throttled(*args: object, **kwargs: object) -> None:
        raise TransientError("ProvisionedThroughputExceeded in table secret-name", 2.2)

    context.queries.images = throttled
    body = ask(FINDINGS, 503)
    assert "secret-name" not in msgspec.json.encode(body).decode()
    assert client.http.get(FINDINGS).headers["Retry-After"] == "3"


def test_what_nobody_foresaw_says_nothing_of_the_inside(ask: Ask, context: FakeContext) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise KeyError("password")

    context.queries.images = broken
    assert "password" not in str(ask(FINDINGS, 500))


def test_a_page_ends_before_it_outgrows_what_a_function_may_answer(ask: Ask, context: FakeContext) -> None:
    packages = tuple(Package(f"p{n}", "1", "JAR", path="x" * 500) for n in range(200))
    for number in (1, 2):
        context.queries.add(image(number), [finding(n, packages=packages) for n in range(1, 41)])
    for place in ({}, {"repository": "team/api", "tag": "v1"}, {"repository": "team/api", "sort": "score"}):
        found, pages = walk(ask, limit=1000, **place)
        assert len({(f["image"]["digest"], f["vulnerability_id"]) for f in found}) == len(found)
        assert len(found) == (40 if "tag" in place else 80)
        assert pages > 1


def test_a_cursor_of_another_version_is_refused_by_name(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), VARIED)
    old = write_cursor('{"v":0}', f"{FINDINGS} []", context.cursor_secrets, NOW)
    assert "another version" in ask(FINDINGS, 400, cursor=old)["detail"]


@pytest.mark.parametrize(
    "query",
    [
        {"vulnerability_id": "cve-2026-0001"},
        {"severity": "critical"},
        {"min_severity": "Critical"},
        {"status": "open", "severity": "CRITICAL"},
        {"source": "enhanced", "severity": "CRITICAL"},
        {"fix_available": "yes", "ecosystem": "os", "severity": "critical"},
        {"severity": "critical", "sort": "-SEVERITY"},
    ],
)
def test_ids_and_words_are_read_in_any_case(ask: Ask, context: FakeContext, query: dict[str, str]) -> None:
    """Refused, or answered with nothing, they would read as clean."""
    context.queries.add(image(1), [finding(1, Severity.CRITICAL), finding(2, Severity.LOW)])
    assert [f["vulnerability_id"] for f in ask("/v1/findings", **query)["findings"]] == ["CVE-2026-0001"]


def test_states_and_decisions_are_read_in_any_case(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1)])
    assert len(ask("/v1/images", scan_state="complete", decision="allow,Block")["images"]) == 1
    assert ask("/v1/vulnerabilities/cve-2026-0001")["blast_radius"]["images"] == 1
