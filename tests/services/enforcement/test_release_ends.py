"""A release from its order to its end: what ends it, what people are told, what the audit log keeps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import ParameterError
from chalicelib.services.enforcement.give_order import Given, Terms, quarantine_image, release_image
from tests.services.enforcement.test_enforce_verdict import ACTIVE, ARCHIVED, CRITICAL, Acting


def released(*, archived: bool = True, **named: Any) -> Acting:
    """What is archived is restored and scanned anew."""
    story = Acting()
    if archived:
        story.worsen()
    give(story, **named)
    story.drain()
    if archived:
        story.wait_for(minutes=5)
        story.receive(story.one.scanned(), story.one.covered())
        story.drain()
    assert (story.storage, stands(story)) == (ACTIVE, True)
    story.told.clear()
    return story


def give(story: Acting, *, dry_run: bool = False, **terms: Any) -> Given:
    return release_image(story.ref, "ann", "outage 4711", story, dry_run=dry_run, terms=Terms(**terms))  # type: ignore[arg-type]


def stands(story: Acting) -> bool:
    order = story.head.order
    return order is not None and order.kind is ActionType.RELEASE


def ends(story: Acting) -> list[ActionRecord]:
    return [record for record in story.stored.actions[story.ref] if record.kind == "ORDER_ENDED"]


def finds(story: Acting, number: int, **changes: Any) -> None:
    story.receive(story.one.flaw(number, **{"severity": CRITICAL, **changes}))
    story.drain()


def test_a_release_stands_where_what_came_since_closes_no_door() -> None:
    story = Acting(rules=[])
    story.receive(story.one.flaw(1, severity=Severity.MEDIUM))
    quarantine_image(story.ref, "ann", "a leaked key", story)
    story.drain()
    story.change_policy()
    story.moment += timedelta(minutes=2)
    give(story)
    assert story.head.verdict is not None
    assert (story.head.verdict.decision, stands(story)) == (Decision.WARN, True)


def test_a_release_ends_at_its_time_is_recorded_told_and_the_image_taken_again() -> None:
    story = released(until=None)
    until = story.head.order.until
    story.moment = until - timedelta(minutes=1)
    story.drain()
    assert (stands(story), story.storage) == (True, ACTIVE)
    story.moment = until
    story.drain()
    assert (stands(story), story.storage) == (False, ARCHIVED)
    (record,) = ends(story)
    assert (record.actor, record.before, record.after) == ("system", "RELEASE ordered by ann: outage 4711", "no order")
    assert "its time was over" in record.reason
    assert [title for title in story.titles if "the release by ann has ended" in title]


def test_a_release_ends_for_a_flaw_that_it_was_not_given_for() -> None:
    story = released()
    finds(story, 1)
    assert stands(story), "that one it was given for"
    finds(story, 2, related_ids=("CVE-2026-0001",))
    assert stands(story), "another name of the same flaw"
    finds(story, 3)
    assert (stands(story), story.storage) == (False, ARCHIVED)
    assert "CVE-2026-0003" in ends(story)[0].reason
    assert [title for title in story.titles if "has ended" in title]


def test_a_release_ends_when_its_flaw_turns_out_to_be_exploited_though_no_rule_asks_for_that() -> None:
    story = released()
    assert stands(story)
    story.kev |= {finding.source_finding_id: True for finding in story.doc.findings}
    story.wait_for(days=1, minutes=10)
    assert (stands(story), story.storage) == (False, ARCHIVED)
    assert "known to be exploited: CVE-2026-0001" in ends(story)[0].reason


def test_what_the_first_scan_after_the_restore_finds_is_released_too_and_told() -> None:
    story = Acting().worsen()
    give(story)
    story.drain()
    story.told.clear()
    story.wait_for(minutes=5)
    story.one.flaw(2, severity=CRITICAL)
    story.receive(story.one.scanned(), story.one.covered())
    story.drain()
    assert (stands(story), story.storage, ends(story)) == (True, ACTIVE, [])
    assert [title for title in story.titles if "the release by ann stands" in title]
    finds(story, 3)
    assert (stands(story), story.storage) == (False, ARCHIVED)


def test_a_quarantine_that_a_person_orders_ends_it_as_a_word_and_not_by_itself() -> None:
    story = released()
    quarantine_image(story.ref, "bob", "the outage is over", story, terms=Terms(override=True))  # type: ignore[arg-type]
    story.drain()
    assert (story.storage, ends(story)) == (ARCHIVED, [])


def test_a_release_is_never_given_for_longer_than_the_policy_lets_a_waiver_be() -> None:
    story = Acting().worsen()
    for until in (story.moment, story.moment + timedelta(days=90, seconds=1)):
        with pytest.raises(ParameterError, match="until"):
            give(story, until=until)
    week = story.moment + timedelta(days=7)
    assert give(story, until=week).header.order.until == week


def test_a_release_says_what_it_lets_through_and_of_nothing_it_is_refused() -> None:
    story = Acting(rules=[])
    with pytest.raises(ParameterError, match="allow_unmatched"):
        give(story, allow_unmatched=False)
    assert story.head.order is None
    assert (give(story, dry_run=True).touched.images, give(story).touched.images) == (0, 0)
    shut = Acting().worsen()
    touched = give(shut, dry_run=True, allow_unmatched=False).touched
    assert (touched.images, touched.findings) == (1, 1)
