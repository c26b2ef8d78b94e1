"""`POST /v1/policy/what-if` and its `GET`: asked, worked out by the queue, answered; and what is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import Client

from chalicelib.adapters.stores.policy_file import MAX_BYTES
from chalicelib.api.framework.call import MAX_POLICY_BODY_BYTES
from chalicelib.api.what_if import MOST_BYTES
from chalicelib.domain.events.message import WhatIf
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.image import InUse, InUseState
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.domain.whatif.past import NOTES
from chalicelib.errors import StoredPolicyError
from chalicelib.services.policy.evaluate_shard import evaluate_shard
from tests.api.conftest import Ask
from tests.fakes.images import fill, finding, image
from tests.fakes.queries import NOW, FakeContext

ROUTE = "/v1/policy/what-if"
STRICT = "version: 1\nrules:\n  - {id: high, match: {severity: {gte: HIGH}}, decision: quarantine}\n"


@pytest.fixture
def context(context: FakeContext) -> FakeContext:
    context.rules.rules = Rules(parse_policy({"version": 1}, 3), (), 3, 1)
    return context


def post(client: Client, expected: int = 202, **body: Any) -> Any:
    answer = client.http.request("POST", ROUTE, {"Content-Type": "application/json"}, json.dumps(body).encode())
    assert answer.status_code == expected, answer.body
    return answer


def work(context: FakeContext) -> None:
    sent, context.outbox.sent = context.outbox.sent, []
    for queue, message in sent:
        assert (queue, type(message)) == ("sweeps", WhatIf)
        evaluate_shard(message, context)  # type: ignore[arg-type]


def test_a_job_is_accepted_runs_and_is_done(client: Client, ask: Ask, context: FakeContext) -> None:
    fill(context)
    answer = post(client, policy=STRICT, since_days=5)
    job = answer.json_body["id"]
    assert answer.headers["Location"] == f"what-if?id={job}"
    running = ask(ROUTE, id=job)
    assert (running["state"], running["shards_done"], running["images_known"]) == ("running", 0, None)
    work(context)
    done = ask(ROUTE, id=job)
    assert (done["state"], done["shards_done"], done["shards"]) == ("done", 8, 8)
    assert (done["totals"]["images"], done["images_known"], done["today_version"]) == (4, 4, 3)
    assert (done["by"], done["since_days"]) == ("local", 5)
    assert done["totals"]["closes"] == len([r for r in done["rows"] if r["impact"] == "CLOSES"]) > 0


def test_a_row_says_which_image_since_when_why_and_who_runs_it(client: Client, ask: Ask, context: FakeContext) -> None:
    use = InUse(InUseState.YES, 2, NOW, NOW, ("the service web of the cluster main",))
    header = image(1, in_use=use, pushed_at=NOW - timedelta(days=9), known_at=NOW - timedelta(days=9))
    context.queries.add(header, [finding(3)])
    job = post(client, policy=STRICT).json_body["id"]
    work(context)
    (row,) = ask(ROUTE, id=job)["rows"]
    assert row["image"]["tags"] == ["v1"]
    assert (row["today"]["decision"], row["candidate"]["decision"]) == ("ALLOW", "QUARANTINE")
    assert (row["candidate"]["rule"], row["candidate"]["vulnerability_ids"]) == ("high", ["CVE-2026-0003"])
    assert (row["running"]["in_use"], row["running"]["by"]) == ("YES", ["the service web of the cluster main"])
    assert (row["closed_since"], row["first_closed"], row["days_closed"]) == ("2026-03-07", "2026-03-07", 3)
    (run,) = row["runs"]
    assert (run["first"], run["last"]) == ("2026-03-07", "2026-03-09")
    assert {"tags", "in_use"} <= set(run["notes"])


def test_the_notes_of_past_days_are_explained(client: Client, ask: Ask, context: FakeContext) -> None:
    body = ask(ROUTE, id=post(client, policy=STRICT).json_body["id"])
    assert body["note_texts"] == {str(note): text for note, text in NOTES.items()}


@pytest.mark.parametrize(
    ("body", "parameter", "why"),
    [
        ({"policy": "version: 1\nmod: enforce\n"}, "policy", "line 2: mod: unknown key `mod`; did you mean `mode`?"),
        ({"policy": ""}, "policy", "empty"),
        ({"policy": "version: 1\n", "since_days": 91}, "since_days", "history_days"),
        ({"policy": "version: 1\n", "since_days": -1}, "since_days", ">= 0"),
        ({"policy": {"version": 1}}, "policy", "expected a text"),
        ({"since_days": 3}, "policy", "must be given"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_by_name(
    client: Client, context: FakeContext, body: dict[str, Any], parameter: str, why: str
) -> None:
    problem = json.loads(post(client, 400, **body).body)
    assert problem["parameter"] == parameter
    assert why in problem["detail"]
    assert not context.outbox.sent


def test_a_job_nobody_started_is_unknown_and_one_that_can_be_none_is_refused(ask: Ask, context: FakeContext) -> None:
    assert ask(ROUTE, 404, id="0" * 16)["status"] == 404
    assert ask(ROUTE, 400, id="../x")["parameter"] == "id"
    assert ask(ROUTE, 400)["parameter"] == "id"


def test_an_answer_of_too_many_large_rows_holds_the_worst_and_counts_the_others(
    client: Client, ask: Ask, context: FakeContext
) -> None:
    tags = tuple(f"build-{n:04d}-{'x' * 100}" for n in range(1_000))
    for number in range(60):
        context.queries.add(image(number, tags=tags, pushed_at=NOW, known_at=NOW), [finding(3)])
    job = post(client, policy=STRICT, since_days=0).json_body["id"]
    work(context)
    answer = ask(ROUTE, id=job)
    assert (len(answer["rows"]), answer["rows_left_out"], answer["totals"]["closes"]) == (30, 30, 60)
    assert len(json.dumps(answer)) < MOST_BYTES


def test_a_policy_as_large_as_may_be_can_be_asked_about(client: Client) -> None:
    """JSON writes each umlaut as six characters, and each end of a line as two."""
    comment = "# \u00fc\n"
    policy = STRICT + comment * ((MAX_BYTES - len(STRICT)) // len(comment.encode()))
    assert len(json.dumps(policy)) > 1.5 * MAX_BYTES
    post(client, policy=policy)
    post(client, 413, policy="#" * MAX_POLICY_BODY_BYTES)


def test_a_stored_policy_that_does_not_load_is_our_fault_and_says_what_to_do(
    client: Client, context: FakeContext
) -> None:
    def fresh() -> Rules:
        raise StoredPolicyError(7, "4: rules[0].match: unknown key `colour`")

    context.rules.fresh = fresh  # type: ignore[method-assign]
    problem = json.loads(post(client, 500, policy=STRICT).body)
    assert problem["detail"] == (
        "policy 7, which is in force, does not load any more (4: rules[0].match: unknown key `colour`): "
        "lazaretto policy apply FILE"
    )
