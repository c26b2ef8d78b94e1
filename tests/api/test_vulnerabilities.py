"""`/v1/vulnerabilities/{id}`: every image that has it, and none that only looks so."""

from __future__ import annotations

from chalicelib.domain.images.finding import FindingStatus, Package, Severity
from chalicelib.domain.images.image import InUse, InUseState
from chalicelib.domain.images.verdict import Decision
from tests.api.conftest import Ask
from tests.fakes.images import finding, image, ref
from tests.fakes.queries import FakeContext

CVE = "/v1/vulnerabilities/CVE-2026-0001"


def test_a_vulnerability_is_told_with_every_image_that_has_it(ask: Ask, context: FakeContext) -> None:
    one = finding(1, kev=True, title="Bad", description="Very", related_ids=("GHSA-x",))
    context.queries.add(image(1, Decision.QUARANTINE, in_use=InUse(InUseState.YES)), [one])
    context.queries.add(image(2, Decision.ALLOW, where=ref(2, "team/web"), in_use=InUse(InUseState.NO)), [finding(1)])
    context.queries.add(image(3), [finding(2)])
    body = ask(CVE)
    assert (body["id"], body["kev"], body["related_ids"]) == ("CVE-2026-0001", True, ["GHSA-x"])
    assert body["databases"][0]["description"] == "Very"
    assert body["blast_radius"] == {"images": 2, "repositories": 2, "running": 1, "maybe_running": 0, "closed": 1}
    assert [a["decision"] for a in body["affected"]] == ["QUARANTINE", "ALLOW"]


def test_a_wrong_hit_of_the_sketch_is_not_listed(ask: Ask, context: FakeContext) -> None:
    header = image(1)
    context.queries.add(header, [finding(1)])
    context.queries.documents[ref(1)] = context.queries.documents[ref(1)].__class__(ref(1), 2, (finding(2),))
    body = ask(CVE)
    assert body["affected"] == []


def test_what_is_resolved_is_not_affected(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1, status=FindingStatus.RESOLVED)])
    assert ask(CVE)["affected"] == []


def test_several_findings_of_one_image_are_one_row_by_the_worst(ask: Ask, context: FakeContext) -> None:
    other = finding(1, Severity.CRITICAL, source_finding_id="other", packages=(Package("lib", "1"),))
    context.queries.add(image(1), [finding(1, Severity.LOW), other])
    affected = ask(CVE)["affected"]
    assert len(affected) == 1
    assert affected[0]["severity"] == "CRITICAL"
    assert [p["name"] for p in affected[0]["packages"]] == ["lib", "openssl"]


def test_pages_of_affected_images_go_on(ask: Ask, context: FakeContext) -> None:
    for number in range(1, 8):
        context.queries.add(image(number), [finding(1)])
    seen, cursor = [], None
    while True:
        body = ask(CVE, limit=3, cursor=cursor)
        seen += [a["image"]["digest"] for a in body["affected"]]
        if (cursor := body["next_cursor"]) is None:
            break
    assert len(seen) == len(set(seen)) == 7


def test_a_cursor_of_one_vulnerability_is_none_of_another(ask: Ask, context: FakeContext) -> None:
    for number in (1, 2):
        context.queries.add(image(number), [finding(1), finding(2)])
    cursor = ask(CVE, limit=1)["next_cursor"]
    assert ask("/v1/vulnerabilities/CVE-2026-0002", 400, limit=1, cursor=cursor)["parameter"] == "cursor"


def test_the_list_is_narrowed_by_place(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1)])
    context.queries.add(image(2, where=ref(2, registry="public/acme", region="us-east-1")), [finding(1)])
    assert len(ask(CVE, registry="public/acme")["affected"]) == 1


def test_an_unknown_vulnerability_is_not_found(ask: Ask, context: FakeContext) -> None:
    assert ask("/v1/vulnerabilities/CVE-2026-9999", 404)["status"] == 404


def test_an_id_with_a_colon_may_be_encoded(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1, related_ids=("RHSA-2026:1",))])
    assert len(ask("/v1/vulnerabilities/RHSA-2026%3A1")["affected"]) == 1


def test_what_is_no_id_is_refused_by_name(ask: Ask, context: FakeContext) -> None:
    assert ask("/v1/vulnerabilities/a%2Fb", 400)["parameter"] == "id"
