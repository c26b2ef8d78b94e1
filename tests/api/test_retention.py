"""`GET /v1/retention/plan`: every image with the rule that keeps or takes it, and what is refused."""

from __future__ import annotations

import pytest

from chalicelib.api import retention as view
from chalicelib.domain.header import Rules
from chalicelib.domain.policy import parse_policy
from chalicelib.domain.retention_image import Inside, Layer
from chalicelib.errors import TransientError
from tests.api.conftest import Ask
from tests.fakes.images import fill, home
from tests.fakes.keeper import FakeKeeper
from tests.fakes.queries import NOW, FakeHouse
from tests.fakes.registries import HOME, digest, retained
from tests.services.retaining import known

ROUTE = "/v1/retention/plan"
IMAGES = [retained(n, f"t{n}", days=n) for n in (1, 2, 3)]
WHERE = {"repository": HOME.name, "registry": HOME.registry, "region": HOME.region}


@pytest.fixture
def house(house: FakeHouse) -> FakeHouse:
    for image in IMAGES:
        house.queries.add(known(image))
    house.keeper = house.replicas = FakeKeeper(HOME, IMAGES, lambda: NOW)
    house.keeper.inside = {digest(n): Inside((), None, (Layer(f"sha256:{n:064x}", 1024**3),)) for n in (1, 2, 3)}
    return policy(house, mode="enforce", retention=[{"repository": "*", "keep": {"newest": 1}, "max_share": 1}])


def policy(house: FakeHouse, **said: object) -> FakeHouse:
    house.rules.rules = Rules(parse_policy({"version": 1, **said}, 7), (), 7, 1)
    return house


def test_every_image_is_named_with_what_keeps_or_takes_it(house: FakeHouse, ask: Ask) -> None:
    body = ask(ROUTE, **WHERE)
    assert [(f["fate"], f["by"]) for f in body["fates"]] == [
        ("keep", "retention[0].keep.newest"),
        ("expire", "retention[0]"),
        ("expire", "retention[0]"),
    ]
    assert [f["running"] for f in body["fates"]] == [None, "NO", "NO"]
    assert (body["wanted"], body["images"], body["stopped"], body["acts"], body["rule"]) == (2, 3, None, True, 0)
    assert body["freed"]["size_bytes"] == 2 * 1024**3
    assert body["freed"]["at_most"] is False
    assert body["policy_version"] == 7
    assert len(body["id"]) == 16


def test_a_bare_name_is_enough_where_it_is_the_only_one(house: FakeHouse, ask: Ask) -> None:
    assert ask(ROUTE, repository=HOME.name)["images"] == 3


def test_what_nobody_looked_up_is_counted(house: FakeHouse, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.services.plan_retention.MOST_LOOKED_UP", 1)
    body = ask(ROUTE, **WHERE)
    assert (body["wanted"], body["unlooked"]) == (1, 1)


def test_a_stopped_plan_says_why(house: FakeHouse, ask: Ask) -> None:
    policy(house, retention=[{"repository": "*", "keep": {"newest": 1}}])
    body = ask(ROUTE, **WHERE)
    assert body["stopped"].startswith("2 of 3 images would go")
    assert body["acts"] is False, "the default policy only observes"


def test_without_a_rule_everything_is_kept(house: FakeHouse, ask: Ask) -> None:
    policy(house)
    body = ask(ROUTE, **WHERE)
    assert (body["rule"], body["action"], {f["by"] for f in body["fates"]}) == (None, None, {"no rule"})


def test_an_answer_too_long_names_what_goes_first(house: FakeHouse, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "MOST_BYTES", 1000)
    body = ask(ROUTE, **WHERE)
    assert body["fates_left_out"] > 0
    assert all(f["fate"] == "expire" for f in body["fates"])


def test_a_repository_that_ecr_does_not_have_is_not_found(house: FakeHouse, ask: Ask) -> None:
    ask(ROUTE, 404, repository="team/none", registry=HOME.registry, region=HOME.region)
    ask(ROUTE, 404, repository="team/never-heard-of")


def test_a_public_repository_is_refused(house: FakeHouse, ask: Ask) -> None:
    ask(ROUTE, 400, repository="api", registry="public/alias")


def test_a_listing_that_fails_is_no_plan(house: FakeHouse, ask: Ask) -> None:
    def fails(call: str) -> None:
        raise TransientError("throttled")

    house.keeper.before = fails
    ask(ROUTE, 503, **WHERE)


def test_the_house_of_every_test_can_be_asked(house: FakeHouse, ask: Ask) -> None:
    fresh = FakeHouse()
    fill(fresh)
    assert fresh.keeper.images(home()).images
