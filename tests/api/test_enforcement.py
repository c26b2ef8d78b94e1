"""`POST /v1/quarantine`, `/v1/release`, `/v1/undo`, the fuse: a person's word, and what follows from it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import Client

from chalicelib.adapters.stores.policy_file import default_policy
from chalicelib.domain.audit.action import ActionRecord, action_id
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.events.message import Act
from chalicelib.domain.events.sweep_message import ReplicationCheck
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.headers.pending_action import Hold
from chalicelib.domain.images.image import Kind, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import parse_policy
from tests.api.conftest import Ask
from tests.fakes.images import digest, finding, image, ref
from tests.fakes.queries import NOW, FakeContext

MEANT = {"repository": "team/api", "digest": digest(1), "reason": "looks like a leaked key"}
ENFORCING = Rules(parse_policy({"version": 1, "mode": "enforce"}, number=3), policy_version=3)


@pytest.fixture(autouse=True)
def enforcing(context: FakeContext) -> None:
    context.rules.rules = ENFORCING
    context.table.versions = ENFORCING.versions


def post(client: Client, path: str, expected: int, etag: str = "", **body: Any) -> Any:
    headers = {"Content-Type": "application/json"} | ({"If-Match": etag} if etag else {})
    answer = client.http.request("POST", path, headers, json.dumps(body).encode())
    assert answer.status_code == expected, answer.body
    return json.loads(answer.body)


def archived(context: FakeContext, **changes: Any) -> None:
    held = Hold("archive", 1, NOW)
    fields = {"hold": held, "storage": StorageStatus.ARCHIVED, **changes}
    context.queries.add(image(1, Decision.QUARANTINE, **fields), [finding(1)])


def test_the_plan_of_an_order_names_what_nobody_asks(client: Client, context: FakeContext) -> None:
    context.queries.add(image(1, Decision.ALLOW))
    context.runtime.left_out = ("SageMaker",)
    assert post(client, "/v1/quarantine", 200, **MEANT, dry_run=True)["radius"]["not_asked"] == ["SageMaker"]


def test_an_order_is_kept_recorded_and_sent_with_what_hangs_on_the_image(client: Client, context: FakeContext) -> None:
    context.queries.add(image(1, Decision.ALLOW))
    said = post(client, "/v1/quarantine", 202, **MEANT)
    assert (said["act"]["kind"], said["act"]["method"], said["act"]["held"]) == ("QUARANTINE", "archive", None)
    assert said["order"] == {
        "kind": "QUARANTINE",
        "by": "local",
        "reason": "looks like a leaked key",
        "at": "2026-03-10T12:00:00Z",
        "until": None,
    }
    assert (said["radius"]["in_use"], said["radius"]["tags"]) == ("NO", ["v1"])
    now = context.clock.now()
    copies = ("sweeps", ReplicationCheck(ref(1), now, now, turned=True))
    assert context.outbox.sent == [("actions", Act(ref(1), "QUARANTINE#1")), copies]
    (record,) = context.queries.records[ref(1)]
    assert (record.kind, record.actor, record.reason) == ("ORDER_QUARANTINE", "person:local", MEANT["reason"])


def test_all_that_hangs_on_the_image_is_answered(client: Client, context: FakeContext) -> None:
    context.queries.add(image(1, tags=("v1.0.0",), parents=(digest(3),), pulled_at=NOW))
    context.queries.add(image(2, Decision.ALLOW, tags=("v1.1.0",), pushed_at=NOW))
    context.queries.add(image(3, kind=Kind.INDEX, tags=("v1.0.0-all",)))
    radius = post(client, "/v1/quarantine", 200, **MEANT, dry_run=True)["radius"]
    assert (radius["last_pulled_at"], radius["tags"]) == ("2026-03-10T12:00:00Z", ["v1.0.0"])
    assert [digest(3) in index for index in radius["indexes"]] == [True]
    assert radius["newer"] == {"tag": "v1.1.0", "digest": digest(2), "decision": "ALLOW"}


def test_what_runs_is_named_and_holds_the_act(client: Client, context: FakeContext) -> None:
    context.queries.add(image(1, Decision.ALLOW))
    context.runtime.run(ref(1), "ECS service web in cluster prod (2 tasks)")
    said = post(client, "/v1/quarantine", 200, **MEANT, dry_run=True)
    assert said["act"]["held"]["why"] == "RUNNING"
    assert said["radius"]["running"] == ["ECS service web in cluster prod (2 tasks)"]
    assert any("ECS service web" in line for line in said["lines"])


def test_a_dry_run_changes_nothing(client: Client, context: FakeContext) -> None:
    context.queries.add(image(1, Decision.ALLOW))
    before = context.queries.stored[ref(1)]
    assert post(client, "/v1/quarantine", 200, **MEANT, dry_run=True)["dry_run"] is True
    assert (context.queries.stored[ref(1)], context.outbox.sent, context.queries.records) == (before, [], {})


def test_a_dry_run_of_a_release_leaves_nothing_for_later_either(client: Client, context: FakeContext) -> None:
    archived(context)
    before = context.queries.stored[ref(1)]
    assert post(client, "/v1/release", 200, **MEANT, dry_run=True)["act"]["kind"] == "RELEASE"
    assert (context.queries.stored[ref(1)], context.outbox.sent, context.queries.records) == (before, [], {})


def test_a_release_gives_back_and_a_tag_says_which_image_is_meant(client: Client, context: FakeContext) -> None:
    archived(context)
    order = {"repository": "team/api", "tag": "v1", "reason": "needed for the audit"}
    said = post(client, "/v1/release", 202, context.queries.stored[ref(1)].etag, **order)
    assert (said["act"]["kind"], said["order"]["kind"], said["hold"]["method"]) == ("RELEASE", "RELEASE", "archive")


def test_nothing_is_quarantined_while_the_policy_only_observes(client: Client, context: FakeContext) -> None:
    context.queries.add(image(1))
    context.rules.rules = Rules(default_policy())
    problem = post(client, "/v1/quarantine", 409, **MEANT)
    assert "observe" in problem["detail"]


@pytest.mark.parametrize(
    ("changes", "status", "named"),
    [
        ({"reason": " "}, 400, "reason"),
        ({"digest": None}, 400, "digest"),
        ({"digest": "sha256:1"}, 400, "digest"),
        ({"repository": None}, 400, "repository"),
        ({"resaon": "x"}, 400, "resaon"),
        ({"digest": digest(9)}, 404, ""),
    ],
)
def test_what_is_wrong_is_named(
    client: Client, context: FakeContext, changes: dict[str, Any], status: int, named: str
) -> None:
    context.queries.add(image(1))
    body = {k: v for k, v in {**MEANT, **changes}.items() if v is not None}
    assert named in json.dumps(post(client, "/v1/release", status, **body))


def test_an_action_is_undone_by_its_id(client: Client, context: FakeContext) -> None:
    """The verdict stays QUARANTINE: once the order to release is taken back, the image is as it is wanted."""
    rule = {"id": "high", "match": {"severity": {"gte": "HIGH"}}, "decision": "quarantine"}
    context.rules.rules = Rules(
        parse_policy({"version": 1, "mode": "enforce", "rules": [rule]}, number=3), policy_version=3
    )
    archived(context)
    record = ActionRecord(ref(1), "QUARANTINE#1", NOW, "QUARANTINE", "rule:critical", "because", NOW)
    context.queries.records[ref(1)] = (record,)
    said = post(client, "/v1/undo", 202, action_id=action_id(record), reason="a mistake")
    assert (said["action_id"], said["kind"], said["subject"]) == (action_id(record), "QUARANTINE", None)
    assert said["given"]["act"]["kind"] == "RELEASE"
    assert said["lines"] == said["given"]["lines"]
    order = action_id(context.queries.records[ref(1)][-1])
    undone = post(client, "/v1/undo", 202, action_id=order, reason="no mistake after all")["given"]
    assert (undone["act"], undone["order"], undone["decision"]) == (None, None, "QUARANTINE")


def test_of_two_orders_in_equal_words_the_one_that_is_named_is_undone_and_so_is_the_undo(
    client: Client, context: FakeContext
) -> None:
    """The audit log names what undoes each."""
    context.queries.add(image(1, Decision.ALLOW))

    def ordered(path: str, **body: Any) -> str:
        context.clock.at += timedelta(minutes=1)
        post(client, path, 202, context.queries.stored[ref(1)].etag, **body)
        undo = context.queries.records[ref(1)][-1].undo
        assert undo is not None
        return undo.split()[2]

    first, _, second = (ordered(f"/v1/{what}", **MEANT) for what in ("quarantine", "release", "quarantine"))
    refused = post(client, "/v1/undo", 409, action_id=first, reason="a mistake")
    assert f"undo that one: lazaretto undo {second}" in refused["detail"]
    undone = ordered("/v1/undo", action_id=second, reason="a mistake")
    assert context.queries.stored[ref(1)].order.kind == "RELEASE"
    again = ordered("/v1/undo", action_id=undone, reason="no mistake after all")
    assert context.queries.stored[ref(1)].order.kind == "QUARANTINE"
    assert context.queries.stored[ref(1)].order.reason == f"no mistake after all; {MEANT['reason']}"
    assert again != second


def test_a_waiver_is_undone_by_its_action_id(client: Client, context: FakeContext) -> None:
    wish = {
        "repository": "team/*",
        "vulnerability_id": "CVE-2026-0001",
        "reason": "not reachable",
        "approved_by": "platform security",
        "expires_at": "2026-03-20T00:00:00Z",
        "allow_unmatched": True,
    }
    made = post(client, "/v1/waivers", 201, **wish)
    (record,) = context.queries.records[f"waiver/{made['id']}"]
    planned = post(client, "/v1/undo", 200, action_id=action_id(record), reason="a mistake", dry_run=True)
    assert (planned["given"], planned["dry_run"], len(context.waivers.read())) == (None, True, 1)
    said = post(client, "/v1/undo", 202, action_id=action_id(record), reason="a mistake")
    assert (said["kind"], said["subject"], context.waivers.read()) == ("WAIVE", f"waiver/{made['id']}", ())
    assert said["lines"] == planned["lines"]


def test_what_changed_nothing_cannot_be_undone(client: Client, context: FakeContext) -> None:
    record = ActionRecord(ref(1), "ALERT#1", NOW, "ALERT", "system", "announced", NOW)
    context.queries.records[ref(1)] = (record,)
    assert "has changed nothing" in post(client, "/v1/undo", 409, action_id=action_id(record), reason="x")["detail"]
    unknown = "20261125T093012.123456Z-QUARANTINE-3-1f0c2ab9"
    assert post(client, "/v1/undo", 404, action_id=unknown, reason="x")["status"] == 404
    assert "action_id" in json.dumps(post(client, "/v1/undo", 400, action_id="7", reason="x"))


def test_the_fuse_is_shown_and_reset(client: Client, context: FakeContext, ask: Ask) -> None:
    whole = {
        "limit": 20,
        "share": 5,
        "taken": 0,
        "blown_at": None,
        "whole_at": None,
        "waiting": 0,
        "reset_at": None,
        "reset_by": None,
    }
    assert ask("/v1/fuse") == {**whole, "releases": {**whole, "expected": 0}}
    context.table.fuse = Fuse(blown_at=NOW, waiting=(f"{ref(1)} QUARANTINE#4",))
    assert ask("/v1/fuse")["whole_at"] == "2026-03-10T13:01:30Z"
    answer = post(client, "/v1/fuse/reset", 200, reason="checked")
    assert (answer["sent"], answer["waiting"], answer["blown_at"]) == (1, 0, None), "as it is now"
    assert context.outbox.sent == [("actions", Act(ref(1), "QUARANTINE#4", attempt=1))]
    assert ask("/v1/fuse")["reset_by"] == "local"
    (record,) = context.queries.records["fuse"]
    assert (record.kind, record.reason) == ("FUSE_RESET", "checked")


def test_the_brake_of_releases_is_reset_apart_and_lets_out_all_that_waits(
    client: Client, context: FakeContext, ask: Ask
) -> None:
    context.table.fuse = Fuse(blown_at=NOW)
    context.table.brake = Fuse(blown_at=NOW, waiting=(f"{ref(1)} RELEASE#4",))
    answer = post(client, "/v1/fuse/reset", 200, reason="checked", releases=True)
    assert (answer["sent"], answer["releases"]["blown_at"], answer["releases"]["expected"]) == (1, None, 1)
    assert answer["blown_at"] == ask("/v1/fuse")["blown_at"] is not None
    assert context.outbox.sent == [("actions", Act(ref(1), "RELEASE#4", attempt=1))]


def test_an_image_shows_what_is_done_to_it_and_what_is_still_to_be(
    client: Client, context: FakeContext, ask: Ask
) -> None:
    archived(context)
    post(client, "/v1/release", 202, context.queries.stored[ref(1)].etag, **MEANT)
    body = ask("/v1/image", repository="team/api", tag="v1")
    assert body["hold"] == {"method": "archive", "at": "2026-03-10T12:00:00Z"}
    assert body["act"]["kind"] == "RELEASE"
    assert body["order"]["by"] == "local"
    assert body["denied"] is False


def test_before_a_release_is_given_it_says_what_it_lets_through_and_until_when(
    client: Client, context: FakeContext
) -> None:
    archived(context)

    def give(expected: int, **body: Any) -> Any:
        return post(client, "/v1/release", expected, context.queries.stored[ref(1)].etag, **MEANT, **body)

    planned = post(client, "/v1/release", 200, **MEANT, until="2026-03-20T00:00:00Z", dry_run=True)
    assert planned["touched"] == {"images": 1, "findings": 0, "whole": True}
    given = give(202, until="2026-03-20T00:00:00Z")
    assert (given["order"]["until"], given["touched"]) == ("2026-03-20T00:00:00Z", planned["touched"])
    assert give(202)["order"]["until"] == "2026-06-08T12:00:00Z"
    late = give(400, until="2026-06-08T12:00:01Z")
    assert (late["parameter"], "waivers.max_days" in late["detail"]) == ("until", True)


def test_a_release_of_what_nothing_keeps_out_is_refused_but_by_a_word(client: Client, context: FakeContext) -> None:
    context.queries.add(image(1, Decision.ALLOW))
    for dry_run in (False, True):
        assert post(client, "/v1/release", 400, **MEANT, dry_run=dry_run)["parameter"] == "allow_unmatched"
    assert context.queries.stored[ref(1)].order is None
    etag = context.queries.stored[ref(1)].etag
    assert post(client, "/v1/release", 202, etag, **MEANT, allow_unmatched=True)["touched"]["images"] == 0
