"""The header: what is computed from findings, rules and time, what is announced, when the clock must come."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from chalicelib.domain.assessment.conclusion import conclude, with_due
from chalicelib.domain.enforcement.enforcement import Closing
from chalicelib.domain.headers.header import Rules, in_sketch
from chalicelib.domain.headers.pending_action import LOST_AFTER, ActionType, Order, PendingAlert
from chalicelib.domain.images.finding import FindingsDocument, FindingStatus, Severity
from chalicelib.domain.images.image import Kind, Scan, ScanState, Source
from chalicelib.domain.images.verdict import Decision, VerdictSummary
from chalicelib.domain.policy.policy import parse_policy
from tests.fakes.images import finding, image, ref
from tests.fakes.queries import NOW

CRITICAL, HIGH = Severity.CRITICAL, Severity.HIGH
BLOCK_CRITICAL = {"id": "critical", "match": {"severity": {"gte": "CRITICAL"}}, "decision": "block"}
SLACK = {"channel": "slack", "min_decision": "block"}
DAY = timedelta(days=1)


def rules(version=1, **policy):
    said = {"version": 1, "rules": [BLOCK_CRITICAL], "notify": [SLACK], **policy}
    return Rules(parse_policy(said, version), (), version, 0)


def document(*findings):
    return FindingsDocument(ref(1), 7, findings)


def new(**changes):
    return image(1, verdict=None, policy_version=0, **changes)


def test_counts_sketch_and_revision_come_from_the_document():
    hidden, gone = (
        finding(3, status=FindingStatus.SUPPRESSED),
        finding(4, status=FindingStatus.RESOLVED),
    )
    related = finding(1, CRITICAL, related_ids=("GHSA-1",))
    header = conclude(new(), document(related, finding(2), hidden, gone), rules(), NOW)
    assert (header.counts, header.suppressed, header.revision) == ((1, 1, 0, 0, 0, 0), 1, 7)
    assert [in_sketch(header.sketch, i) for i in ("CVE-2026-0001", "GHSA-1", "CVE-2026-0003", "CVE-2026-0004")] == [
        True,
        True,
        True,
        False,
    ]


def test_a_verdict_is_numbered_and_keeps_the_policy_that_made_it():
    first = conclude(new(), document(finding(1, CRITICAL)), rules(), NOW)
    again = conclude(first, document(finding(1, CRITICAL)), rules(2), NOW + DAY)
    assert (first.verdict.number, first.decision) == (1, Decision.BLOCK)
    assert again.verdict == first.verdict
    assert (again.verdict.policy_version, again.policy_version) == (1, 2)
    assert conclude(again, document(), rules(2), NOW + DAY).verdict.number == 2


def test_one_alert_for_one_change_of_verdict_carried_over_by_every_later_write():
    first = conclude(new(), document(finding(1, CRITICAL)), rules(), NOW)
    assert [(e.key, e.decision, e.former) for e in first.pending] == [("ALERT#1", Decision.BLOCK, None)]
    assert conclude(first, document(finding(1, CRITICAL)), rules(), NOW + DAY).pending == first.pending
    fallen = conclude(first, document(), rules(), NOW + DAY)
    assert [(e.key, e.decision, e.former) for e in fallen.pending[1:]] == [("ALERT#2", Decision.ALLOW, Decision.BLOCK)]


def test_one_of_many_is_announced_by_the_summary_and_counts_as_told():
    quiet = conclude(new(), document(finding(1, CRITICAL)), rules(), NOW, quiet=True)
    assert (quiet.pending, quiet.announced) == ((), Decision.BLOCK)
    assert conclude(quiet, document(finding(1, CRITICAL)), rules(), NOW).pending == ()


def test_the_clock_comes_when_an_effect_must_have_been_lost_and_else_when_the_decision_may_change():
    stale = conclude(new(scan=Scan(ScanState.COMPLETE, None, None, NOW)), document(), rules(), NOW)
    assert stale.due_at == stale.decide_at == NOW + 30 * DAY
    assert conclude(new(), document(finding(1, CRITICAL)), rules(), NOW).due_at == NOW + LOST_AFTER


def test_a_due_time_that_would_only_move_later_stays_as_stored_until_the_clock_comes():
    header = conclude(new(due_at=NOW + DAY, scan=Scan(ScanState.COMPLETE, None, None, NOW)), document(), rules(), NOW)
    assert header.due_at == NOW + DAY
    assert with_due(header).due_at == header.decide_at


def test_a_deleted_image_keeps_its_verdict_and_is_not_due_any_more():
    stored = image(1, exists=False, due_at=NOW, decide_at=NOW)
    header = conclude(stored, document(finding(1, CRITICAL)), rules(), NOW)
    assert (header.verdict, header.decide_at, header.due_at) == (stored.verdict, None, None)


def test_an_alert_about_a_deleted_image_is_still_due():
    alert = PendingAlert(1, NOW, Decision.BLOCK)
    assert conclude(image(1, exists=False, pending=(alert,)), document(), rules(), NOW + DAY).due_at == NOW + LOST_AFTER


def test_an_artifact_has_no_verdict_even_if_it_was_taken_for_an_image():
    header = conclude(image(1, kind=Kind.ARTIFACT), document(), rules(), NOW)
    assert (header.verdict, header.due_at) == (None, None)


def test_an_index_takes_the_worst_of_its_children():
    header = conclude(
        new(kind=Kind.INDEX),
        document(),
        rules(),
        NOW,
        children=[VerdictSummary(Decision.ALLOW), VerdictSummary(Decision.BLOCK)],
    )
    assert header.decision is Decision.BLOCK


def test_what_its_images_get_worse_by_makes_another_verdict_of_an_index_and_no_alert():
    def judged(header, *children):
        return conclude(header, document(), rules(), NOW, children=children)

    first = judged(new(kind=Kind.INDEX), VerdictSummary(Decision.BLOCK, 1))
    assert [e.key for e in first.pending] == ["ALERT#1"]
    worse = judged(first, VerdictSummary(Decision.BLOCK, 3))
    assert worse.verdict.worse_than(first.verdict)
    assert (worse.verdict.number, worse.pending) == (2, first.pending)
    stronger = judged(worse, VerdictSummary(Decision.QUARANTINE, 3))
    assert [e.key for e in stronger.pending if e.kind is ActionType.ALERT] == ["ALERT#1", "ALERT#3"]


def test_a_release_is_decided_again_at_its_end_which_waits_to_be_recorded_and_told():
    given = Order(ActionType.RELEASE, "oncall", "needed", NOW, until=NOW + DAY)
    header = conclude(new(order=given), document(finding(1, CRITICAL)), rules(), NOW)
    assert (header.order.kind, header.decide_at) == (ActionType.RELEASE, NOW + DAY)
    ended = conclude(header, document(finding(1, CRITICAL)), rules(), NOW + DAY)
    (report,) = [e for e in ended.pending if e.kind is ActionType.REPORT]
    assert (ended.order, report.ends, report.due_at) == (None, given, NOW + DAY + LOST_AFTER)
    assert report.said == "the release by oncall has ended, its time was over at 2026-03-11 12:00 UTC"


def test_a_release_of_an_index_ends_by_what_closes_one_of_its_images():
    flaw, other = finding(1, CRITICAL), finding(2, CRITICAL)
    below = [Closing(image(1), (flaw,), scanner=Source.ENHANCED)]
    header = new(kind=Kind.INDEX, order=Order(ActionType.RELEASE, "oncall", "needed", NOW))
    given = conclude(header, document(), rules(), NOW, below=below)
    assert conclude(given, document(), rules(), NOW, below=below).order == given.order
    more = [msgspec.structs.replace(below[0], findings=(flaw, other))]
    assert conclude(given, document(), rules(), NOW, below=more).order is None


@pytest.mark.parametrize(
    ("decision", "standing"),
    [("quarantine", (2, 1)), ("block", (2, 1)), ("warn", (0, 0))],
)
def test_its_indexes_hear_how_bad_an_image_is_where_its_doors_are_closed(decision, standing):
    policy = rules(rules=[{**BLOCK_CRITICAL, "decision": decision}])
    header = conclude(new(), document(finding(1, CRITICAL, kev=True), finding(2, CRITICAL)), policy, NOW)
    assert header.standing == VerdictSummary(Decision(decision.upper()), *standing)
    assert new().standing == VerdictSummary(Decision.PENDING)


def test_kev_that_a_rule_asks_for_is_refreshed_daily_and_a_write_in_between_does_not_put_it_off():
    asking = rules(rules=[{**BLOCK_CRITICAL, "match": {"kev": True}}])
    header = conclude(new(), document(finding(1)), asking, NOW)
    assert header.decide_at == NOW + DAY
    later = conclude(header, document(finding(1)), asking, NOW + DAY / 2)
    assert later.decide_at == NOW + DAY
    assert conclude(later, document(finding(1)), asking, NOW + DAY).decide_at == NOW + 2 * DAY


# ---- whether closings may be believed

QUARANTINE = {"mode": "enforce", "quarantine": {"when_running": "proceed"}}
