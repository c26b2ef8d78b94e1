"""A spoke is sound by what was seen of it alone: its rules, their events and targets, and what did not arrive."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from chalicelib.cli.deploy.spoke import spoke_template
from chalicelib.cli.doctor.checks import KINDS
from chalicelib.domain.doctor.health import Check, CheckStatus
from chalicelib.domain.doctor.installed import (
    EventRule,
    Queue,
    RuleTarget,
    Spoke,
    StoredRepositories,
    patterns_of,
)
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import DeniedError

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SHOP, NEAR = RegistryPlace("eu-central-1", "444455556666"), RegistryPlace("eu-north-1")
BUS = "arn:aws:events:eu-west-1:111122223333:event-bus/default"
TEMPLATE = spoke_template("prod")
DEAD = Queue()
KEPT = RuleTarget(BUS, "arn:dead")
RULES: dict[str, EventRule | None] = {n: EventRule("ENABLED", (KEPT,), p) for n, p in patterns_of(TEMPLATE).items()}
SOUND = Spoke("CREATE_COMPLETE", BUS, TEMPLATE, RULES, DEAD)
Change = Callable[[Spoke], Spoke | None]


def look(
    spokes: dict[RegistryPlace, Spoke | None],
    places: tuple[RegistryPlace, ...] = (SHOP,),
    hub_bus: str | None = BUS,
    facts: dict[Repository, dict[str, object]] | None = None,
) -> Check:
    """`spokes`: one that is left out must not be looked at."""

    def spoke_of(place: RegistryPlace) -> Spoke | None:
        if place not in spokes:
            raise DeniedError("sts:AssumeRole: AssumeRole: not authorized (AccessDenied)")
        return spokes[place]

    (kind,) = (kind for kind in KINDS if kind.id == "spokes")
    known = StoredRepositories("111122223333", facts or {})
    hub = SimpleNamespace(stage="prod", stack=None, hub_bus=hub_bus, spoke_places=places, now=NOW, stored=known)
    return kind.run(SimpleNamespace(**vars(hub), spoke=spoke_of, spoke_template=TEMPLATE))


def changed(**fields: Any) -> Change:
    return lambda spoke: msgspec.structs.replace(spoke, **fields)


def with_rule(**fields: Any) -> Change:
    def change(spoke: Spoke) -> Spoke:
        rule = spoke.rules["FindingRule"]
        assert rule is not None
        rules = {**spoke.rules, "FindingRule": msgspec.structs.replace(rule, **fields)}
        return msgspec.structs.replace(spoke, rules=rules)

    return change


def without_rule(spoke: Spoke) -> Spoke:
    return msgspec.structs.replace(spoke, rules={n: r for n, r in spoke.rules.items() if n != "FindingRule"})


def test_a_spoke_whose_every_part_was_seen_is_sound() -> None:
    found = look({SHOP: SOUND}).found
    assert (found.status, found.problems) == (CheckStatus.OK, ())
    assert found.seen == f"444455556666/eu-central-1: 12 rules send to {BUS}, nothing undelivered"


def test_a_rule_that_hears_reading_calls_as_well_is_enabled_too() -> None:
    state = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
    assert look({SHOP: with_rule(state=state)(SOUND)}).found.status is CheckStatus.OK


def test_where_no_other_registry_is_watched_there_is_nothing_to_be_seen() -> None:
    assert look({}, ()).found.status is CheckStatus.SKIPPED


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda spoke: None, CheckStatus.WARN, "there is none"),
        (changed(template={}), CheckStatus.WARN, "another version"),
        (changed(status="ROLLBACK_COMPLETE"), CheckStatus.FAIL, "its stack is ROLLBACK_COMPLETE"),
        (changed(hub_bus=BUS.replace("1111", "9999")), CheckStatus.FAIL, "forward to arn:aws:events:eu-west-1:9999"),
        (changed(hub_bus=None), CheckStatus.FAIL, "an unknown bus"),
        (changed(rules={}), CheckStatus.FAIL, "ImageActionRule: it is gone"),
        (without_rule, CheckStatus.FAIL, "FindingRule: it is gone"),
        (changed(rules={**RULES, "FindingRule": None}), CheckStatus.FAIL, "FindingRule: it is gone"),
        (with_rule(state="DISABLED"), CheckStatus.FAIL, "FindingRule: it is DISABLED"),
        (with_rule(pattern={"source": ["aws.ecr"]}), CheckStatus.FAIL, "FindingRule: it matches other events"),
        (with_rule(pattern=None), CheckStatus.FAIL, "FindingRule: it matches other events"),
        (with_rule(targets=()), CheckStatus.FAIL, "FindingRule: it does not send to the hub's bus"),
        (
            with_rule(targets=(RuleTarget("arn:other", "arn:dead"),)),
            CheckStatus.FAIL,
            "it does not send to the hub's bus",
        ),
        (with_rule(targets=(RuleTarget(BUS),)), CheckStatus.FAIL, "what cannot be delivered is dropped"),
        (with_rule(targets=(KEPT, RuleTarget("arn:other", "arn:dead"))), CheckStatus.FAIL, "it sends to arn:other"),
        (changed(dead=None), CheckStatus.FAIL, "the queue of what could not be delivered is gone"),
        (changed(dead=msgspec.structs.replace(DEAD, messages=3)), CheckStatus.FAIL, "3 events did not reach the hub"),
    ],
)
def test_what_is_wrong_with_a_spoke_is_told(change: Change, status: CheckStatus, words: str) -> None:
    found = look({SHOP: change(SOUND)}).found
    assert found.status is status, found
    assert words in " ".join(found.problems)
    assert "--hub 111122223333/eu-west-1 --region eu-central-1`" in found.advice
    assert found.seen == "0 of 1 are as they must be"


def test_a_spoke_nobody_may_look_at_is_not_known_and_what_sweeps_found_is_told() -> None:
    compared: dict[str, object] = {"reconcile_at": NOW - timedelta(hours=3), "reconcile": {"lost_events": 7}}
    facts = {Repository("444455556666", "eu-central-1", "team/web"): compared}
    check = look({NEAR: SOUND}, (SHOP, NEAR), facts=facts)
    assert (check.found.status, check.denies) == (CheckStatus.UNKNOWN, False)
    assert "compared 3 h ago, 7 events were lost by then; its rules cannot be read" in check.found.problems[0]
    assert check.found.advice == (
        "with credentials of 444455556666: `lazaretto doctor --stage prod --region eu-central-1`"
    )
    assert "never compared" in look({}, (SHOP,)).found.problems[0]


def test_one_that_is_wrong_outweighs_one_that_must_not_be_looked_at() -> None:
    check = look({NEAR: without_rule(SOUND)}, (SHOP, NEAR))
    assert (check.found.status, check.denies) == (CheckStatus.FAIL, True)
    assert len(check.found.problems) == 2


def test_seen_from_its_own_account_a_spoke_tells_where_it_sends() -> None:
    assert look({NEAR: SOUND}, (NEAR,), None).found.seen.startswith(f"eu-north-1: 12 rules send to {BUS}")
    found = look({NEAR: without_rule(SOUND)}, (NEAR,), None).found
    assert found.advice.startswith("`lazaretto deploy --spoke --stage prod --region eu-north-1`")
