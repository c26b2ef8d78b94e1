"""How long a pull that no look-up explains delays an automatic act: once, and never longer than the policy says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.enforcement.pull_brake import braked_until, quiet_days
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Order
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.verdict import Decision, Reason
from chalicelib.domain.policy.policy import Policy, parse_policy
from chalicelib.errors import PolicyError

PUSHED = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLOSED = PUSHED + timedelta(days=10)
WEEK = timedelta(days=7)
REF = ImageRef("111122223333", "eu-west-1", "team/api", "sha256:" + "a" * 64)
REASONS = (Reason("exploited", Decision.QUARANTINE), Reason("high", Decision.BLOCK))


def policy(rules: dict[str, Any] | None = None, **said: Any) -> Policy:
    made = [
        {"id": "exploited", "match": {"kev": True}, "decision": "quarantine"},
        {"id": "high", "match": {"severity": "HIGH"}, "decision": "block"},
    ]
    for rule in made:
        rule |= (rules or {}).get(str(rule["id"]), {})
    return parse_policy({"version": 1, "mode": "enforce", "rules": made, **said})


def image(pulled_at: datetime | None, **changes: Any) -> Header:
    fields = {"ref": REF, "exists": True, "pushed_at": PUSHED, "closing_at": CLOSED, "pulled_at": pulled_at}
    return Header(**{**fields, **changes})


def test_a_pull_of_the_last_week_delays_it_by_a_week_from_the_first_closing_verdict() -> None:
    assert braked_until(image(CLOSED - timedelta(days=6)), REASONS, policy()) == CLOSED + WEEK


@given(st.integers(0, 60 * 24 * 60))
def test_no_later_pull_moves_the_end(minutes: int) -> None:
    assert braked_until(image(CLOSED + timedelta(minutes=minutes)), REASONS, policy()) == CLOSED + WEEK


@pytest.mark.parametrize(
    "pulled_at", [None, PUSHED + timedelta(hours=11), PUSHED - timedelta(days=1), CLOSED - timedelta(days=7)]
)
def test_no_pull_one_of_the_push_day_and_one_of_long_ago_delay_nothing(pulled_at: datetime | None) -> None:
    assert braked_until(image(pulled_at), REASONS, policy()) is None


def test_what_a_person_orders_is_delayed_by_no_pull() -> None:
    ordered = image(CLOSED, order=Order(ActionType.QUARANTINE, "oncall", "why", CLOSED))
    assert braked_until(ordered, REASONS, policy()) is None
    assert braked_until(msgspec.structs.replace(ordered, order=None), REASONS, policy()) is not None


def test_an_image_that_was_never_closed_has_no_brake() -> None:
    assert braked_until(image(CLOSED, closing_at=None), REASONS, policy()) is None


def test_the_policy_and_the_rules_that_decided_say_for_how_many_days() -> None:
    assert quiet_days(REASONS, policy()) == 7
    assert quiet_days(REASONS, policy(in_use={"quiet_days": 2})) == 2
    assert quiet_days(REASONS, policy({"exploited": {"quiet_days": 0}})) == 0
    assert quiet_days(REASONS, policy({"high": {"quiet_days": 0}})) == 7, "it blocks, and the other one quarantines"
    assert quiet_days((Reason("child", Decision.QUARANTINE),), policy()) == 7


def test_zero_days_are_no_delay() -> None:
    assert braked_until(image(CLOSED - timedelta(hours=1)), REASONS, policy(in_use={"quiet_days": 0})) is None
    braked = braked_until(image(CLOSED + timedelta(hours=1)), REASONS, policy({"exploited": {"quiet_days": 0}}))
    assert braked is None or braked <= CLOSED


def test_only_a_rule_that_closes_the_doors_has_quiet_days() -> None:
    rule = {"id": "low", "match": {"severity": "LOW"}, "decision": "warn", "quiet_days": 0}
    with pytest.raises(PolicyError, match="quiet_days needs the decision block or quarantine"):
        parse_policy({"version": 1, "rules": [rule]})
