"""`/v1/legal-hold`: put on an image or a repository, listed, and ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chalice.test import Client

from chalicelib.domain.images.verdict import Decision
from tests.api.conftest import Ask
from tests.fakes.images import digest, image
from tests.fakes.queries import FakeContext

ROUTE = "/v1/legal-hold"
WHERE = {"repository": "team/api"}
WHY = {**WHERE, "reason": "the claim of 2026"}


@pytest.fixture(autouse=True)
def known(context: FakeContext) -> None:
    context.queries.add(image(1, Decision.ALLOW))


def post(client: Client, path: str, expected: int, **body: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    response = client.http.post(path, body=json.dumps(body).encode(), headers=headers)
    assert response.status_code == expected, response.body
    return json.loads(response.body)


def test_a_hold_is_put_listed_and_ended(client: Client, ask: Ask) -> None:
    put = post(client, ROUTE, 201, **WHY, tag="v1")
    assert (put["digest"], put["reason"], put["ended_at"]) == (digest(1), "the claim of 2026", None)
    post(client, ROUTE, 201, **WHY)
    assert {hold["digest"] for hold in ask(ROUTE, **WHERE)["holds"]} == {None, digest(1)}
    ended = post(client, f"{ROUTE}/end", 200, **WHERE, digest=digest(1), reason="settled")
    assert (ended["ended_because"], ended["reason"]) == ("settled", "the claim of 2026")
    assert [hold["digest"] for hold in ask(ROUTE, **WHERE)["holds"] if hold["ended_at"] is None] == [None]


def test_a_dry_run_changes_nothing(client: Client, ask: Ask) -> None:
    assert post(client, ROUTE, 200, **WHY, dry_run=True)["dry_run"] is True
    assert ask(ROUTE, **WHERE)["holds"] == []


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({**WHERE, "reason": ""}, 400, "reason"),
        ({**WHERE, "reason": "x", "digest": digest(9)}, 404, "unknown here"),
        ({**WHERE, "reason": "x", "tag": "none"}, 404, "unknown in"),
        ({"repository": "team/none", "reason": "x"}, 404, "unknown here"),
        ({**WHERE, "reason": "x", "digest": digest(1), "tag": "v1"}, 400, "either digest or tag"),
    ],
)
def test_what_cannot_be_held_is_refused(client: Client, body: dict[str, Any], status: int, named: str) -> None:
    assert named in json.dumps(post(client, ROUTE, status, **body))


def test_ending_what_does_not_stand_is_a_conflict(client: Client) -> None:
    assert "no legal hold stands" in json.dumps(post(client, f"{ROUTE}/end", 409, **WHY))
