"""`GET /v1/retention/plan`: every image with the rule that keeps or takes it, and what is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.api import retention as view
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.image import Repository, StorageStatus
from chalicelib.domain.policy.policy import parse_policy, policy_schema
from chalicelib.domain.retention.image import QUARANTINED, Guard, Inside, Layer
from chalicelib.errors import TransientError
from chalicelib.services.retention.plan_retention import Planned, plan_retention
from tests.api.conftest import Ask
from tests.fakes.images import fill, home
from tests.fakes.keeper import FakeKeeper
from tests.fakes.queries import NOW, FakeContext
from tests.fakes.registries import HOME, digest, retained
from tests.fakes.registries import NOW as LISTED
from tests.services.retaining import known

ROUTE = "/v1/retention/plan"
IMAGES = [retained(n, f"t{n}", days=n) for n in (1, 2, 3)]
WHERE = {"repository": HOME.name, "registry": HOME.registry, "region": HOME.region}


@pytest.fixture
def context(context: FakeContext) -> FakeContext:
    for image in IMAGES:
        context.queries.add(known(image))
    context.keeper = context.replicas = FakeKeeper(HOME, IMAGES, lambda: NOW)
    context.keeper.inside = {digest(n): Inside((), None, (Layer(f"sha256:{n:064x}", 1024**3),)) for n in (1, 2, 3)}
    return policy(context, mode="enforce", retention=[{"repository": "*", "keep": {"newest": 1}, "max_share": 1}])


def policy(context: FakeContext, **said: object) -> FakeContext:
    context.rules.rules = Rules(parse_policy({"version": 1, **said}, 7), (), 7, 1)
    return context


def test_every_image_is_named_with_what_keeps_or_takes_it(context: FakeContext, ask: Ask) -> None:
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


def test_a_plan_names_what_nobody_asks(context: FakeContext, ask: Ask) -> None:
    context.runtime.left_out = ("SageMaker",)
    assert ask(ROUTE, **WHERE)["not_asked"] == ["SageMaker"]


def test_a_bare_name_is_enough_where_it_is_the_only_one(context: FakeContext, ask: Ask) -> None:
    assert ask(ROUTE, repository=HOME.name)["images"] == 3


def test_what_nobody_looked_up_is_counted(context: FakeContext, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.services.usage.find_image_uses.MOST_LOOKED_UP", 1)
    body = ask(ROUTE, **WHERE)
    assert (body["wanted"], body["unlooked"]) == (1, 1)


def test_a_stopped_plan_says_why(context: FakeContext, ask: Ask) -> None:
    policy(context, retention=[{"repository": "*", "keep": {"newest": 1}}])
    body = ask(ROUTE, **WHERE)
    assert body["stopped"].startswith("2 of 3 images would go")
    assert body["acts"] is False, "the default policy only observes"


def test_without_a_rule_everything_is_kept(context: FakeContext, ask: Ask) -> None:
    policy(context)
    body = ask(ROUTE, **WHERE)
    assert (body["rule"], body["action"], {f["by"] for f in body["fates"]}) == (None, None, {"no rule"})


def test_an_answer_too_long_names_what_goes_first(
    context: FakeContext, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "MOST_BYTES", 1000)
    body = ask(ROUTE, **WHERE)
    assert body["fates_left_out"] > 0
    assert all(f["fate"] == "expire" for f in body["fates"])


def test_a_repository_that_ecr_does_not_have_is_not_found(context: FakeContext, ask: Ask) -> None:
    ask(ROUTE, 404, repository="team/none", registry=HOME.registry, region=HOME.region)
    ask(ROUTE, 404, repository="team/never-heard-of")


def test_a_public_repository_is_refused(context: FakeContext, ask: Ask) -> None:
    ask(ROUTE, 400, repository="api", registry="public/alias")


def test_a_listing_that_fails_is_no_plan(context: FakeContext, ask: Ask) -> None:
    def fails(call: str) -> None:
        raise TransientError("throttled")

    context.keeper.before = fails
    ask(ROUTE, 503, **WHERE)


def test_every_part_of_the_policy_that_keeps_is_in_its_schema_and_named_where_it_keeps(
    context: FakeContext, ask: Ask
) -> None:
    keep = {"newest": 1, "tag": ["v1*"], "newest_per_minor": 1, "pushed_within_days": 3, "pulled_within_days": 9}
    images = [
        retained(1, "newest", days=1),
        retained(2, "pushed", days=2),
        retained(3, "v1.0.0", days=40),
        retained(4, "2.0.1", days=41),
        retained(5, "2.0.0", days=42),
        retained(6, "pulled", days=43, pulled_at=LISTED),
        retained(7, days=4),
        retained(8, days=40),
        retained(9, days=40, guard=Guard(QUARANTINED, "denied")),
        retained(10, "runs", days=40),
        retained(11, "owed", days=40),
        retained(12, days=40),
        retained(13, "v1.1.0", days=40, contains=(digest(12),)),
        retained(14, days=40, subject=digest(13)),
        retained(15, "old", days=40, storage=StorageStatus.ARCHIVED),
        retained(16, "unheard", days=40),
        retained(17, "behind", days=40),
    ]
    for image in images:
        header = known(image, [digest(13)] if image.digest == digest(12) else [])
        context.queries.add(header if image.tags != ("behind",) else msgspec.structs.replace(header, policy_version=6))
    del context.queries.stored[HOME.image(digest(16))]
    context.keeper = context.replicas = FakeKeeper(HOME, images, lambda: LISTED)
    context.keeper.absent = {digest(11)}
    context.runtime.run(HOME.image(digest(10)))
    rule = {"repository": "*", "keep": keep, "untagged_after_days": 7, "max_share": 1}
    policy(context, mode="enforce", retention=[rule])
    fates = {int(f["digest"][7:], 16): (f["fate"], f["by"].rpartition(".")[2]) for f in ask(ROUTE, **WHERE)["fates"]}
    assert {number: by for number, (fate, by) in fates.items() if fate == "keep"} == {
        1: "newest",
        2: "pushed_within_days",
        3: "tag",
        4: "newest_per_minor",
        6: "pulled_within_days",
        7: "untagged_after_days",
        9: "quarantined",
        10: "running",
        11: "replica",
        12: "index",
        13: "tag",
        14: "subject",
        15: "archived",
        16: "not known here",
        17: "not decided yet",
    }
    assert {number for number, (fate, _) in fates.items() if fate == "expire"} == {5, 8}
    schema = json.dumps(policy_schema())
    assert all(f'"{key}"' in schema for key in (*keep, *rule, "action", "max_images"))


def test_a_repository_too_large_for_one_call_says_what_to_do(
    context: FakeContext, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "MOST_IMAGES", 2)
    body = ask(ROUTE, 413, **WHERE)
    assert body["detail"].endswith(
        "has more than 2 images, too many for one call: lazaretto retention plan team/api --direct"
    )


def test_a_plan_that_whoever_applies_it_would_not_find_again_is_not_given(
    context: FakeContext, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would have looked up fewer than an apply does."""
    monkeypatch.setattr("chalicelib.services.retention.plan_retention.plan_retention", out_of_time)
    body = ask(ROUTE, 413, **WHERE)
    assert "lazaretto retention plan team/api --direct" in body["detail"]


def out_of_time(repository: Repository, context: Any, **said: Any) -> Planned:
    """Every look-up takes longer than there is."""
    assert said["until"] - context.clock.now() <= timedelta(seconds=12)
    return msgspec.structs.replace(plan_retention(repository, context, rules=said["rules"]), in_time=False)


def test_the_house_of_every_test_can_be_asked(context: FakeContext, ask: Ask) -> None:
    fresh = FakeContext()
    fill(fresh)
    assert fresh.keeper.images(home()).images
