"""`/v1/waivers`: given once, changed, listed, ended; what is wrong is named by field."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from chalice.test import Client

from chalicelib.domain.events.message import WaiversChanged
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.finding import FindingStatus, Severity
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import parse_policy
from tests.api.conftest import Ask
from tests.fakes.images import finding, image
from tests.fakes.queries import NOW, FakeContext

SEVERE = {"id": "severe", "match": {"severity": {"gte": "CRITICAL"}}, "decision": "block"}
TAGGED = {"id": "tagged", "match": {"repository": ["team/*"]}, "decision": "block"}
WISH: dict[str, Any] = {
    "repository": "team/*",
    "vulnerability_id": "CVE-2026-0001",
    "reason": "the parser is not reachable",
    "approved_by": "platform security",
    "expires_at": "2026-04-01T00:00:00Z",
    "allow_unmatched": True,
}


def give(client: Client, **changes: Any) -> tuple[int, Any]:
    body = {k: v for k, v in {**WISH, **changes}.items() if v is not None}
    answer = client.http.request("POST", "/v1/waivers", {"Content-Type": "application/json"}, json.dumps(body).encode())
    return answer.status_code, json.loads(answer.body)


def post(client: Client, **changes: Any) -> tuple[int, Any]:
    """The waiver alone, without what it touches."""
    status, answer = give(client, **changes)
    return status, {name: said for name, said in answer.items() if name not in ("touched", "dry_run")}


def delete(client: Client, **query: str) -> tuple[int, Any]:
    answer = client.http.request("DELETE", f"/v1/waivers?{urlencode(query)}")
    return answer.status_code, json.loads(answer.body)


def test_a_waiver_is_given_and_told_as_it_stands(client: Client, context: FakeContext, ask: Ask) -> None:
    status, waiver = post(client)
    assert status == 201
    assert waiver["id"].startswith("w-")
    assert (waiver["state"], waiver["created_at"], waiver["package"]) == ("in_force", "2026-03-10T12:00:00Z", None)
    assert ask("/v1/waivers") == {"waivers": [waiver], "next_cursor": None}
    assert context.outbox.sent == [("sweeps", WaiversChanged())]
    (record,) = context.queries.records[f"waiver/{waiver['id']}"]
    assert (record.kind, record.actor, record.policy_version) == ("WAIVE", "person:local", 3)


def test_before_a_waiver_is_given_it_says_how_many_images_and_findings_it_touches(
    client: Client, context: FakeContext
) -> None:
    context.queries.add(image(1, Decision.BLOCK), [finding(1), finding(2)])
    context.queries.add(image(2, Decision.BLOCK), [finding(1), finding(1, source_finding_id="another")])
    context.queries.add(image(3, Decision.BLOCK), [finding(1, status=FindingStatus.RESOLVED)])
    status, planned = give(client, dry_run=True, allow_unmatched=False)
    assert (status, planned["dry_run"], context.waivers.read()) == (200, True, ())
    assert planned["touched"] == {"images": 2, "findings": 3, "whole": True}
    assert give(client, allow_unmatched=False)[1]["touched"] == planned["touched"]


def test_of_a_rule_it_touches_what_the_rule_is_about(client: Client, context: FakeContext) -> None:
    context.rules.rules = Rules(parse_policy({"version": 1, "rules": [SEVERE, TAGGED]}))
    context.queries.add(image(1, Decision.BLOCK), [finding(1, Severity.CRITICAL), finding(2, Severity.LOW)])
    for rule, findings in (("severe", 1), ("tagged", 0)):
        touched = give(client, vulnerability_id=None, rule=rule, dry_run=True, allow_unmatched=False)[1]["touched"]
        assert touched == {"images": 1, "findings": findings, "whole": True}


@pytest.mark.parametrize("changes", [{}, {"vulnerability_id": None, "rule": "severe"}, {"repository": "prod/*"}])
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_matches_nothing_is_refused_but_by_a_word(
    client: Client, context: FakeContext, changes: dict[str, Any], dry_run: bool
) -> None:
    context.rules.rules = Rules(parse_policy({"version": 1, "rules": [SEVERE]}))
    context.queries.add(image(1, Decision.BLOCK), [finding(2, Severity.LOW)])
    status, problem = give(client, **changes, dry_run=dry_run, allow_unmatched=False)
    assert (status, problem["parameter"], context.waivers.read()) == (400, "allow_unmatched", ())
    assert "matches nothing that is stored" in problem["detail"]


def test_what_is_exploited_as_it_is_waived_is_kept_with_the_waiver(client: Client, context: FakeContext) -> None:
    context.queries.add(image(1, Decision.BLOCK), [finding(1, kev=True)])
    assert post(client)[1]["exploited"] == ["CVE-2026-0001"]
    waiver = post(client, vulnerability_id="CVE-2026-0002", even_if_exploited=True)[1]
    assert (waiver["exploited"], waiver["even_if_exploited"]) == ([], True)


def test_the_same_waiver_twice_is_one(client: Client, context: FakeContext, ask: Ask) -> None:
    _, first = post(client)
    context.clock.at += timedelta(hours=1)
    status, second = post(client)
    assert (status, second) == (200, first)
    assert len(ask("/v1/waivers")["waivers"]) == 1
    assert len(context.queries.records[f"waiver/{first['id']}"]) == 1


def test_an_id_in_small_letters_is_the_same_vulnerability(client: Client, context: FakeContext, ask: Ask) -> None:
    _, first = post(client)
    status, second = post(client, vulnerability_id="cve-2026-0001")
    assert (status, second) == (200, first)
    assert ask("/v1/waivers", vulnerability_id="Cve-2026-0001")["waivers"] == [first]


def test_giving_it_with_another_reason_or_end_changes_it(client: Client, context: FakeContext, ask: Ask) -> None:
    _, first = post(client)
    context.clock.at += timedelta(hours=1)
    status, changed = post(client, reason="still not reachable", expires_at="2026-04-02T00:00:00+00:00")
    assert (status, changed["id"]) == (200, first["id"])
    assert (changed["reason"], changed["created_at"]) == ("still not reachable", "2026-03-10T13:00:00Z")
    assert ask("/v1/waivers")["waivers"] == [changed]
    _, record = context.queries.records[f"waiver/{first['id']}"]
    assert "the parser is not reachable" in record.before
    assert "still not reachable" in record.after


def test_an_end_with_an_offset_is_kept_in_utc(client: Client, context: FakeContext) -> None:
    _, waiver = post(client, expires_at="2026-04-01T02:00:00+02:00")
    assert waiver["expires_at"] == "2026-04-01T00:00:00Z"
    assert post(client)[0] == 200
    assert post(client, expires_at="9999-12-31T23:59:59-01:00")[1]["parameter"] == "expires_at"


def test_one_for_another_package_or_rule_is_another_waiver(client: Client, context: FakeContext) -> None:
    ids = {post(client, **more)[1]["id"] for more in ({}, {"package": "openssl"}, {"rule": "exploited-and-fixable"})}
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reason": None}, "reason"),
        ({"reason": " "}, "reason"),
        ({"reason": "bell \x07"}, "reason"),
        ({"approved_by": None}, "approved_by"),
        ({"expires_at": None}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"expires_at": "2026-04-01T00:00:00"}, "expires_at"),
        ({"expires_at": "2026-03-10T12:00:00Z"}, "expires_at"),
        ({"expires_at": "2026-06-08T12:00:01Z"}, "expires_at"),
        ({"repository": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/api"}, "repository"),
        ({"repository": "Team/API"}, "repository"),
        ({"vulnerability_id": None}, "vulnerability_id"),
        ({"vulnerability_id": "CVE-*"}, "vulnerability_id"),
        ({"rule": "no-such-rule"}, "rule"),
        ({"vulnerability_id": None, "rule": "pending"}, "rule"),
        ({"status": "safe"}, "status"),
        ({"status": "not_affected"}, "justification"),
        ({"expires": "2026-04-01T00:00:00Z"}, "expires"),
    ],
)
def test_what_is_wrong_is_named(client: Client, context: FakeContext, changes: dict[str, Any], field: str) -> None:
    status, problem = post(client, **changes)
    assert (status, problem["parameter"]) == (400, field), problem
    assert context.waivers.read() == ()
    assert context.outbox.sent == []


def test_the_longest_waiver_the_policy_allows_is_given(client: Client, context: FakeContext) -> None:
    assert post(client, expires_at="2026-06-08T12:00:00Z")[0] == 201


def test_a_waiver_is_ended_with_a_reason(client: Client, context: FakeContext, ask: Ask) -> None:
    _, waiver = post(client)
    assert delete(client, id=waiver["id"])[1]["parameter"] == "reason"
    assert delete(client, reason="fixed")[1]["parameter"] == "id"
    assert delete(client, id=waiver["id"], reason="fixed") == (200, waiver)
    assert ask("/v1/waivers")["waivers"] == []
    assert delete(client, id=waiver["id"], reason="fixed")[0] == 404
    _, record = context.queries.records[f"waiver/{waiver['id']}"]
    assert (record.kind, record.reason, record.after) == ("UNWAIVE", "fixed", "ended")
    assert record.undo.startswith("lazaretto waive --repository 'team/*' --vulnerability CVE-2026-0001")


def test_the_list_is_filtered_and_the_next_to_end_comes_first(client: Client, context: FakeContext, ask: Ask) -> None:
    post(client, expires_at="2026-05-01T00:00:00Z")
    post(client, expires_at="2026-03-12T00:00:00Z", repository="prod/api")
    post(client, expires_at="2026-03-11T00:00:00Z", vulnerability_id="CVE-2026-0002")
    context.clock.at = NOW + timedelta(days=1)

    def ends(**query: str) -> list[str]:
        return [w["expires_at"][5:10] for w in ask("/v1/waivers", **query)["waivers"]]

    assert ends() == ["03-11", "03-12", "05-01"]
    assert ends(state="in_force") == ["05-01"]
    assert ends(state="expiring") == ["03-12"]
    assert ends(state="expired,expiring") == ["03-11", "03-12"]
    assert ends(vulnerability_id="CVE-2026-0002") == ["03-11"]
    assert ends(repository="prod/api") == ["03-12"]
    assert ends(repository="team/anything", registry="111122223333") == ["03-11", "05-01"]


def test_the_list_is_paged_and_stays_right_when_one_is_ended(client: Client, context: FakeContext, ask: Ask) -> None:
    given = [post(client, vulnerability_id=f"CVE-2026-000{n}")[1]["id"] for n in range(5)]
    first = ask("/v1/waivers", limit=2)
    shown = [w["id"] for w in first["waivers"]]
    delete(client, id=shown[0], reason="fixed")
    cursor = first["next_cursor"]
    while cursor:
        page = ask("/v1/waivers", limit=2, cursor=cursor)
        shown += [w["id"] for w in page["waivers"]]
        cursor = page["next_cursor"]
    assert shown == sorted(given)
