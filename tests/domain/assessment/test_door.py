"""From when on the door of a cluster refuses an image, and when to look whether it runs: with every header that is
decided."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.assessment.conclusion import conclude
from chalicelib.domain.headers.header import Door, Header, Rules
from chalicelib.domain.headers.pending_action import ActionType, Hold, Order
from chalicelib.domain.images.finding import FindingsDocument, Severity
from chalicelib.domain.images.image import Child, InUse, InUseState, Kind, Scan, ScanState
from chalicelib.domain.images.verdict import Decision, VerdictSummary
from chalicelib.domain.policy.policy import parse_policy
from tests.fakes.images import digest, finding, image
from tests.fakes.queries import NOW

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RULE = {"id": "high", "match": {"severity": {"gte": "HIGH"}}, "decision": "block"}
BAD, GOOD = (finding(1),), (finding(1, Severity.LOW),)
RELEASE = Order(ActionType.RELEASE, "person:oncall", "must run", NOW, VerdictSummary(Decision.BLOCK, 9, 9))


def rules(**said: Any) -> Rules:
    return Rules(parse_policy({"version": 1, "mode": "enforce", "rules": [RULE], **said}, number=3), (), 3)


def decided(header: Header, found: Any, at: datetime, of: Rules | None = None, **more: Any) -> Header:
    return conclude(header, FindingsDocument(header.ref, 1, tuple(found)), of or rules(), at, **more)


def door(header: Header) -> Door:
    assert header.door is not None
    return header.door


def test_the_days_begin_when_verdict_mode_and_exemptions_first_close_the_door_together() -> None:
    header = decided(image(1, Decision.ALLOW), BAD, NOW, rules(mode="observe"))
    assert header.decision is Decision.BLOCK
    assert header.door is None, "weeks in observe do not count"
    header = decided(header, BAD, NOW + 9 * DAY, rules(exempt={"repository": "team/*"}))
    assert header.door is None
    header = decided(header, BAD, NOW + 10 * DAY)
    assert door(header).refused_at == NOW + 10 * DAY
    assert door(decided(header, BAD, NOW + 12 * DAY)).refused_at == NOW + 10 * DAY


@pytest.mark.parametrize(
    ("lapse", "since"), [(DAY - timedelta(minutes=1), NOW), (DAY, NOW + DAY + HOUR)], ids=["short", "a day"]
)
@pytest.mark.parametrize("by", ["verdict", "mode", "release"])
def test_a_lapse_of_less_than_a_day_does_not_begin_them_anew(by: str, lapse: timedelta, since: datetime) -> None:
    header = decided(image(1, Decision.ALLOW), BAD, NOW)
    if by == "release":
        header = msgspec.structs.replace(header, order=RELEASE)
    of = rules(mode="observe") if by == "mode" else rules()
    header = decided(header, GOOD if by == "verdict" else BAD, NOW + HOUR, of)
    assert door(header).lapsed_at == NOW + HOUR
    header = decided(msgspec.structs.replace(header, order=None), BAD, NOW + HOUR + lapse)
    assert (door(header).refused_at, door(header).lapsed_at) == (since, None)


def test_only_what_was_scanned_once_or_replaced_allow_or_warn_may_go_on() -> None:
    new = decided(image(1, refreshed_at=None, verdict=None, scan=Scan()), (), NOW)
    assert (new.decision, door(new).has_grace(new.decision)) == (Decision.PENDING, False)
    blocked = decided(new, (), NOW + 2 * HOUR, rules(unscanned={"then": "block"}))
    assert (blocked.decision, door(blocked).has_grace(blocked.decision)) == (Decision.BLOCK, False)
    lapsed = decided(image(2, Decision.WARN, refreshed_at=None, scan=Scan()), (), NOW)
    assert (lapsed.decision, door(lapsed).has_grace(lapsed.decision)) == (Decision.PENDING, True)
    assert not door(lapsed).has_grace(Decision.BLOCK), "no scan has ever completed for it"
    assert door(decided(image(3), BAD, NOW)).has_grace(Decision.BLOCK)
    child = VerdictSummary(Decision.BLOCK, 1, 0)
    for state, scanned in ((ScanState.COMPLETE, True), (ScanState.PENDING, False)):
        index = image(4, verdict=None, kind=Kind.INDEX, children=(Child(digest(1)),), refreshed_at=None)
        index = decided(msgspec.structs.replace(index, scan=Scan(state)), (), NOW, children=(child,))
        assert (index.decision, door(index).has_grace(Decision.BLOCK)) == (Decision.BLOCK, scanned)


def test_it_is_looked_for_at_once_every_twelve_hours_and_an_hour_after_no_answer() -> None:
    header = decided(image(1, Decision.ALLOW), BAD, NOW)
    assert (door(header).look_at, header.due_at) == (NOW, NOW)
    for state, then in ((InUseState.NO, 12), (InUseState.YES, 12), (InUseState.UNKNOWN, 1)):
        seen = door(header).seen(InUse(state, seen_at=NOW + HOUR, looked=True))
        again = decided(msgspec.structs.replace(header, door=seen), BAD, NOW + HOUR)
        assert door(again).look_at == NOW + HOUR + then * HOUR


@pytest.mark.parametrize(
    ("of", "changes"),
    [
        (rules(admission={"running_grace_days": 0}), {}),
        (rules(rules=[{**RULE, "running_grace_days": 0}]), {}),
        (rules(mode="observe"), {}),
        (rules(), {"door": Door(NOW - 8 * DAY, scanned=True)}),
        (rules(), {"refreshed_at": None, "scan": Scan(), "verdict": None}),
        (rules(), {"hold": Hold("archive", 1, NOW)}),
        (rules(), {"denied": True}),
    ],
)
def test_nothing_is_looked_for_where_no_answer_opens_the_door(of: Rules, changes: dict[str, Any]) -> None:
    header = decided(image(1, Decision.BLOCK, **changes), BAD, NOW, of)
    assert header.door is None or header.door.look_at is None


def test_inspectors_yes_counts_and_its_zero_is_no_answer() -> None:
    told = InUse(InUseState.YES, count=2, seen_at=NOW - HOUR)
    header = decided(image(1, Decision.ALLOW, in_use=told), BAD, NOW)
    assert door(header).is_running(NOW)
    assert door(header).look_at == NOW + 11 * HOUR
    zero = InUse(InUseState.UNKNOWN, count=0, seen_at=NOW + HOUR)
    header = decided(msgspec.structs.replace(header, in_use=zero), BAD, NOW + HOUR)
    assert (door(header).is_running(NOW + HOUR), door(header).asked_at) == (True, NOW - HOUR)


def test_a_yes_is_a_day_old_at_most_or_a_week_where_later_looks_failed() -> None:
    yes = Door().seen(InUse(InUseState.YES, seen_at=NOW))
    failed = yes.seen(InUse(InUseState.UNKNOWN, seen_at=NOW + HOUR))
    assert (yes.is_running(NOW + DAY), yes.is_running(NOW + DAY + HOUR)) == (True, False)
    assert (failed.is_running(NOW + 7 * DAY), failed.is_running(NOW + 7 * DAY + HOUR)) == (True, False)
    assert not failed.seen(InUse(InUseState.NO, seen_at=NOW + 2 * HOUR)).is_running(NOW + 2 * HOUR)
    assert not Door().seen(InUse(InUseState.UNKNOWN, seen_at=NOW)).is_running(NOW)
    assert yes.seen(InUse(InUseState.NO, seen_at=NOW - HOUR)) == yes, "an older look changes nothing"
