"""One digest, one repository name and one tag in four registries: what is done to one image is done to no other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from chalice.test import Client

from chalicelib.adapters.ecr.registry import EcrActs
from chalicelib.domain.headers.pending_action import Stage
from chalicelib.domain.images.image import ImageRef, Repository, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.local import events as aws_events
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION, LocalStack
from chalicelib.local.demo import demo_registry
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.local.inspector import inspector_of
from chalicelib.local.story.world import HURRY_SECONDS
from chalicelib.services.policy.apply_policy import apply_policy
from tests.fakes.iam import REPLICA_ACCOUNT, REPLICA_REGION
from tests.local.ordering import seen
from tests.local.running import local_stack
from tests.local.test_many_registries import DIGEST, NAME, Closed, Hub

HOMES = tuple(
    Repository(account, region, NAME) for account in (ACCOUNT, REPLICA_ACCOUNT) for region in (REGION, REPLICA_REGION)
)
TAG = "1.0"
pytestmark = [pytest.mark.in_turn, pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")]
POLICY = """
version: 1
mode: enforce
quarantine: {when_running: proceed, max_per_hour: 20}
rules:
  - {id: critical, match: {severity: {gte: CRITICAL}}, decision: quarantine}
notify:
  - {channel: sns, min_decision: block, events: [verdict]}
"""


class Estate(Hub):
    """The same image in four registries, each pushed and scanned. What people do goes through the API."""

    def __init__(self, stack: LocalStack) -> None:
        super().__init__(stack)
        self.images = {home: self.hold(home) for home in HOMES}
        for home, ref in self.images.items():
            with stack.aws.lock:
                ecr_of(home).tag_image(ecr_of(home).get(NAME, {"imageDigest": DIGEST}), TAG)
            stack.aws.put_event(aws_events.inspector_scan_finished(ref, (TAG,), {}, self.now))
        assert self.settle()
        assert decisions(self) == dict.fromkeys(HOMES, Decision.ALLOW)

    def break_out(self, ref: ImageRef) -> None:
        """Inspector finds a critical flaw in this image alone, and tells."""
        row = demo_registry.enhanced_finding(ref, demo_registry.OPENSSL, (TAG,), self.now, self.now)
        with self.stack.aws.lock:
            inspector_of(ref.region).hold(ref.arn, {**row, "severity": "CRITICAL"})
        self.stack.aws.put_event(aws_events.finding_changed(ref, {**row, "severity": "CRITICAL"}, self.now))
        self.settle()

    def pass_time(self, passing: timedelta) -> None:
        self.wait(passing)
        self.settle()

    def archived(self) -> set[Repository]:
        return {
            home for home in HOMES if ecr_of(home).get(NAME, {"imageDigest": DIGEST}).status != StorageStatus.ACTIVE
        }

    def ask(self, path: str, expected: int = 200, **query: Any) -> Any:
        with Client(self.stack.app) as client:
            response = client.http.get(f"{path}?{urlencode(query)}" if query else path)
        assert response.status_code == expected, response.body
        return response.json_body

    def order(self, path: str, expected: int = 202, **body: Any) -> Any:
        answer = self.post(path, {"reason": "a drill", **body}, expected)
        self.settle()
        return answer

    def post(self, path: str, body: Any, expected: int = 200) -> Any:
        with Client(self.stack.app) as client:
            headers = {"Content-Type": "application/json"} | (seen(client, body) if "digest" in body else {})
            response = client.http.post(path, headers=headers, body=json.dumps(body))
        assert response.status_code == expected, response.body
        return response.json_body


@pytest.fixture
def estate() -> Iterator[Estate]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        # At the full hour the schedule begins sweeps, which write what these tests compare.
        stack.clock.move((stack.clock.now().replace(minute=10) - stack.clock.now()) % timedelta(hours=1))
        apply_policy(POLICY, "oncall", stack.context)
        yield Estate(stack)


def decisions(estate: Estate) -> dict[Repository, Decision]:
    return {home: header.decision for home, header in estate.headers().items()}


def registry(home: Repository) -> dict[str, str]:
    return {"registry": home.registry, "region": home.region}


def where(home: Repository) -> dict[str, str]:
    return {**registry(home), "repository": home.name}


def places(rows: Iterable[dict[str, Any]]) -> set[Repository]:
    names = [row.get("image") or row for row in rows]
    return {Repository(name["registry"], name["region"], name["repository"]) for name in names}


@pytest.mark.parametrize("bad", [HOMES[0], HOMES[2]], ids=lambda home: f"{home.registry}-{home.region}")
def test_one_bad_image_is_quarantined_told_and_shown_and_its_equals_stay_as_they_are(
    estate: Estate, bad: Repository
) -> None:
    ref, others = estate.images[bad], set(HOMES) - {bad}
    before = estate.headers()
    estate.break_out(ref)
    estate.pass_time(timedelta(minutes=6))
    assert estate.archived() == {bad}
    after = estate.headers()
    assert after[bad].decision is Decision.QUARANTINE
    assert {home: after[home].version for home in others} == {home: before[home].version for home in others}
    alerts = estate.alerts()
    assert alerts
    assert all(str(ref) in text for text in alerts)
    assert not [text for text in alerts if any(str(estate.images[home]) in text for home in others)]
    assert places(estate.ask("/v1/images", decision="QUARANTINE")["images"]) == {bad}
    assert places(estate.ask("/v1/images", decision="ALLOW")["images"]) == others
    for query in ({}, registry(bad), where(bad)):
        assert places(estate.ask("/v1/findings", **query)["findings"]) == {bad}
    for home in others:
        assert estate.ask("/v1/findings", repository=NAME, **registry(home))["findings"] == []
        assert estate.ask("/v1/verdict", **where(home), digest=DIGEST)["decision"] == "ALLOW"
        assert estate.ask("/v1/audit", **where(home), digest=DIGEST)["records"] == []
    assert places(estate.ask(f"/v1/vulnerabilities/{demo_registry.OPENSSL.id}")["affected"]) == {bad}


def test_an_order_is_about_the_registry_it_names_and_a_release_too(estate: Estate) -> None:
    ours, _, theirs, _ = HOMES
    problem = estate.order("/v1/quarantine", 400, repository=NAME, digest=DIGEST)
    assert "registry" in json.dumps(problem), "it must be named: four have that name"
    assert estate.archived() == set()
    estate.order("/v1/quarantine", **where(theirs), digest=DIGEST)
    estate.order("/v1/release", **where(ours), digest=DIGEST, allow_unmatched=True)
    assert estate.archived() == {theirs}, "what was released is another one"
    estate.order("/v1/release", **where(theirs), digest=DIGEST)
    estate.pass_time(timedelta(minutes=30))
    assert estate.archived() == set()


def test_an_ordered_quarantine_is_one_at_every_door_from_the_moment_it_is_answered(estate: Estate) -> None:
    home = HOMES[0]
    ref, pod = estate.images[home], {"containers": [{"name": "api", "image": str(estate.images[home])}]}
    review = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "operation": "CREATE",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "object": {"spec": pod},
        },
    }
    assert estate.post("/v1/admission", review)["response"]["allowed"]
    order = {**where(home), "digest": DIGEST, "reason": "an incident"}
    estate.post("/v1/quarantine", order, 202)
    assert estate.archived() == set(), "nothing has run since"
    said = estate.ask("/v1/verdict", **where(home), digest=DIGEST)
    assert (said["decision"], said["reasons"][0]["rule"]) == ("QUARANTINE", "order")
    assert "an incident" in said["reasons"][0]["detail"]
    assert places(estate.ask("/v1/images", decision="QUARANTINE")["images"]) == {home}
    assert places(estate.ask("/v1/images", decision="ALLOW")["images"]) == set(HOMES) - {home}
    refused = estate.post("/v1/admission", review)["response"]
    assert not refused["allowed"]
    assert f"{ref.repository}" in refused["status"]["message"]
    assert "order (" in refused["status"]["message"]
    estate.settle()
    assert estate.archived() == {home}
    estate.order("/v1/release", **where(home), digest=DIGEST)
    estate.pass_time(timedelta(minutes=30))
    assert decisions(estate)[home] is Decision.ALLOW


def test_a_waiver_excuses_that_name_in_every_registry(estate: Estate) -> None:
    """docs/policy.md: it holds in every registry and Region, as a rule of the policy does."""
    given = {"expires_at": (estate.now + timedelta(days=9)).isoformat(), "approved_by": "security"}
    waiver = {"repository": NAME, "vulnerability_id": demo_registry.OPENSSL.id, "allow_unmatched": True, **given}
    estate.order("/v1/waivers", 201, **waiver)
    for ref in estate.images.values():
        estate.break_out(ref)
    estate.pass_time(timedelta(minutes=6))
    assert estate.archived() == set()
    assert decisions(estate) == dict.fromkeys(HOMES, Decision.ALLOW)


def test_the_fuse_counts_equal_images_one_by_one_and_is_one_for_all_registries(estate: Estate) -> None:
    apply_policy(POLICY.replace("max_per_hour: 20", "max_per_hour: 3"), "oncall", estate.context)
    for ref in estate.images.values():
        estate.break_out(ref)
    assert len(estate.archived()) == 3
    assert len(estate.context.table.read_fuse().taken) == 3
    assert decisions(estate) == dict.fromkeys(HOMES, Decision.QUARANTINE), "the doors are shut"
    for path, rows in (("/v1/images", "images"), ("/v1/findings", "findings"), ("/v1/repositories", "repositories")):
        assert sorted(read_page_by_page(estate, path, rows)) == sorted(HOMES), "each of them once"


def read_page_by_page(estate: Estate, path: str, rows: str) -> Iterator[Repository]:
    query, more = {"limit": "1"}, True
    while more:
        page = estate.ask(path, **query)
        yield from places(page[rows])
        query["cursor"], more = page["next_cursor"], page["next_cursor"] is not None


def test_a_role_taken_away_within_a_quarantine_is_told_and_the_quarantine_ends_when_it_is_back(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = HOMES[2]
    door, acts = Closed(monkeypatch), EcrActs.archive
    door.shut = False
    vars(estate.context).pop("_accounts", None)

    def shut_behind(self: EcrActs, ref: ImageRef) -> None:
        """ECR takes the call, and then nobody is let in any more."""
        acts(self, ref)
        door.shut = True
        vars(estate.context).pop("_accounts", None)

    monkeypatch.setattr(EcrActs, "archive", shut_behind)
    estate.fails = True
    estate.break_out(estate.images[theirs])
    assert estate.archived() == {theirs}
    assert began(estate, theirs) is Stage.BEGUN, "nobody could read how it ended"
    (alert,) = estate.alerts()
    assert "To be quarantined (archive): failed, tried again: its end cannot be read: sts:AssumeRole" in alert
    (failure, _) = estate.ask("/v1/audit", **where(theirs), digest=DIGEST)["records"]
    assert failure["kind"] == "QUARANTINE_FAILED"
    monkeypatch.setattr(EcrActs, "archive", acts)
    door.shut = False
    estate.pass_time(timedelta(hours=1, minutes=6))
    assert began(estate, theirs) is Stage.DONE
    kinds = [record["kind"] for record in estate.ask("/v1/audit", **where(theirs), digest=DIGEST)["records"]]
    assert kinds.count("QUARANTINE") == 1


def began(estate: Estate, home: Repository) -> Stage | None:
    done = estate.headers()[home].enforcement
    return done.stage if done is not None else None


def test_an_order_names_where_else_the_image_lies_and_everywhere_takes_it_there_too(estate: Estate) -> None:
    home, *others = HOMES
    order = {**where(home), "digest": DIGEST}
    plan = estate.order("/v1/quarantine", 200, **order, dry_run=True)
    assert (places(plan["left"]), plan["along"]) == (set(others), [])
    assert "--everywhere" in " ".join(plan["lines"])
    given = estate.order("/v1/quarantine", **order, everywhere=True)
    assert (places(given["along"]), given["left"]) == (set(others), [])
    assert estate.archived() == set(HOMES)
    estate.order("/v1/release", **order, everywhere=True)
    estate.pass_time(timedelta(minutes=30))
    assert estate.archived() == set()
    again = estate.order("/v1/quarantine", **order, everywhere=True)
    assert estate.archived() == set(HOMES)
    estate.order("/v1/undo", action_id=again["undo"].split()[2])
    estate.pass_time(timedelta(minutes=30))
    assert estate.archived() == set()
