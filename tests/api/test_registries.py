"""`/v1/registry/retire`: refused while it is watched, planned, begun, and listed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chalice.test import Client

from chalicelib.domain.events.sweep_message import RetireRegistry
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.images.verdict import Decision
from tests.api.conftest import Ask
from tests.fakes.images import ACCOUNT, REGION, image, ref
from tests.fakes.queries import FakeContext

ROUTE = "/v1/registry/retire"
THERE = "444455556666"
WHY = {"registry": THERE, "region": REGION, "reason": "the account is closed"}


@pytest.fixture(autouse=True)
def known(context: FakeContext) -> None:
    for where in (ref(1), ref(2, registry=THERE), ref(3, registry=THERE)):
        context.queries.add(image(1, Decision.ALLOW, where))


def post(client: Client, expected: int, **body: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    response = client.http.post(ROUTE, body=json.dumps({**WHY, **body}).encode(), headers=headers)
    assert response.status_code == expected, response.body
    return json.loads(response.body)


def test_it_is_begun_goes_on_when_asked_again_and_is_listed(client: Client, ask: Ask, context: FakeContext) -> None:
    begun = post(client, 202)
    assert (begun["registry"], begun["region"], begun["done_at"], begun["orders"]) == (THERE, REGION, None, 0)
    assert post(client, 202, reason="again")["reason"] == "the account is closed"
    assert context.outbox.sent == [("sweeps", RetireRegistry(THERE, REGION))] * 2
    assert [one["registry"] for one in ask("/v1/registry/retired")["registries"]] == [THERE]


def test_a_dry_run_counts_what_it_can_and_changes_nothing(client: Client, ask: Ask, context: FakeContext) -> None:
    plan = post(client, 200, dry_run=True)
    assert (plan["images"], plan["repositories"], plan["orders"], plan["dry_run"]) == (2, 1, None, True)
    assert "2 images of 1 repository would be watched no more" in plan["lines"][0]
    assert context.outbox.sent == []
    assert ask("/v1/registry/retired")["registries"] == []


def test_a_watched_one_is_refused_and_the_setting_is_named(client: Client, context: FakeContext) -> None:
    context.registries = (*context.registries, RegistryPlace(REGION, THERE))
    assert "parameter Registries" in post(client, 409)["detail"]
    assert "always watched" in post(client, 409, registry=ACCOUNT)["detail"]


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"reason": " "}, 400, "reason"),
        ({"registry": "shop"}, 400, "registry"),
        ({"region": "Ireland"}, 400, "region"),
        ({"region": "eu-north-1"}, 404, f"known are {ACCOUNT}/{REGION}, {THERE}/{REGION}"),
    ],
)
def test_what_is_no_registry_is_refused(client: Client, body: dict[str, Any], status: int, named: str) -> None:
    assert named in json.dumps(post(client, status, **body))
