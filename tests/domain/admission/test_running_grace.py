"""What runs already is let in for some days after a door would refuse it first, and nothing else is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.admission.admission import read_image
from chalicelib.domain.admission.judgement import AdmissionJudgement, AdmissionOutcome, admit, grace_ends
from chalicelib.domain.headers.header import Door, Header
from chalicelib.domain.headers.pending_action import ActionType, Enforcement, Hold, Order, Stage
from chalicelib.domain.images.image import Kind, StorageStatus
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.policy.policy import Policy, parse_policy
from chalicelib.errors import PolicyError
from tests.domain.admission.test_admission import ECR, pod, request, review
from tests.fakes.images import digest, image, ref
from tests.fakes.queries import NOW

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
REFUSED_AT = NOW - 2 * DAY
RAN = Door(REFUSED_AT, scanned=True, asked_at=NOW - HOUR, answered_at=NOW - HOUR, runs=True)
SILENT = Door(REFUSED_AT, scanned=True)
QUARANTINE = Order(ActionType.QUARANTINE, "person:oncall", "an incident", NOW)


def policy(**said: Any) -> Policy:
    return parse_policy({"version": 1, "mode": "enforce", **said})


def judged(
    door: Door | None = RAN,
    decision: Decision = Decision.BLOCK,
    *,
    admitted_days_ago: float | None = None,
    images: tuple[Header, ...] | None = None,
    **changes: Any,
) -> AdmissionJudgement:
    header = image(1, decision, door=door, **changes)
    admitted_at = None if admitted_days_ago is None else NOW - timedelta(days=admitted_days_ago)
    return AdmissionJudgement(
        read_image(f"{ECR}/team/api:1"), header, digest=digest(1), admitted_at=admitted_at, images=images
    )


def outcome(one: AdmissionJudgement, of: Policy | None = None) -> AdmissionOutcome:
    return admit(request(), [one], of or policy(), NOW).outcome


def test_what_runs_passes_with_a_warning_that_names_the_end() -> None:
    admission = admit(request(), [judged()], policy(), NOW)
    assert (admission.outcome, admission.answer.response.allowed) == (AdmissionOutcome.GRACE, True)
    assert admission.answer.response.warnings == (
        "denied from 2026-03-15 12:00 UTC (it runs already): team/api:1 is BLOCK: critical (CVE-2026-0001)",
    )


@pytest.mark.parametrize(
    ("one", "passes"),
    [
        (judged(SILENT), False),
        (judged(SILENT, admitted_days_ago=0), True),
        (judged(SILENT, admitted_days_ago=180), True),
        (judged(SILENT, admitted_days_ago=181), False),
        (judged(Door(NOW - 7 * DAY, scanned=True), admitted_days_ago=0), False),
        (judged(Door(NOW - 7 * DAY + HOUR, scanned=True), admitted_days_ago=0), True),
        (judged(Door(NOW - 9 * DAY, scanned=True, lapsed_at=NOW - HOUR), admitted_days_ago=0), False),
        (judged(Door(NOW - 9 * DAY, scanned=True, lapsed_at=NOW - DAY), admitted_days_ago=0), True),
        (judged(None, admitted_days_ago=0), True),
        (judged(None, refreshed_at=None, admitted_days_ago=0), False),
        (judged(Door(REFUSED_AT), admitted_days_ago=0), False),
        (judged(Door(REFUSED_AT), Decision.PENDING, admitted_days_ago=0), False),
        (judged(Door(REFUSED_AT, opened=True), Decision.PENDING, admitted_days_ago=0), True),
        (judged(Door(REFUSED_AT, opened=True), admitted_days_ago=0), False),
        (judged(decision=Decision.QUARANTINE), True),
        (judged(order=QUARANTINE, admitted_days_ago=0), False),
        (judged(hold=Hold("archive", 1, NOW), admitted_days_ago=0), False),
        (judged(denied=True, admitted_days_ago=0), False),
        (judged(storage=StorageStatus.ARCHIVED, admitted_days_ago=0), False),
        (judged(enforcement=Enforcement(ActionType.QUARANTINE, 1, Stage.BEGUN, NOW), admitted_days_ago=0), False),
        (judged(exists=False, admitted_days_ago=0), False),
        (judged(kind=Kind.ARTIFACT, verdict=None, admitted_days_ago=0), False),
        (AdmissionJudgement(read_image(f"{ECR}/team/new:1"), admitted_at=NOW), False),
    ],
)
def test_evidence_time_and_what_was_done_to_it_decide(one: AdmissionJudgement, passes: bool) -> None:
    assert outcome(one) is (AdmissionOutcome.GRACE if passes else AdmissionOutcome.DENIED)


def test_the_shortest_of_the_rules_that_close_the_door_counts() -> None:
    kev = {"id": "kev", "match": {"kev": True}, "decision": "block", "running_grace_days": 0}
    bad = {"id": "critical", "match": {"severity": "CRITICAL"}, "decision": "quarantine"}
    short = policy(rules=[kev, bad])
    assert outcome(judged(), short) is AdmissionOutcome.GRACE
    exploited = Verdict(Decision.QUARANTINE, tuple(Reason(*one) for one in _REASONS), 3, NOW)
    assert outcome(judged(verdict=exploited), short) is AdmissionOutcome.DENIED
    assert outcome(judged(), policy(admission={"running_grace_days": 1})) is AdmissionOutcome.DENIED
    with pytest.raises(PolicyError, match="running_grace_days needs the decision block or quarantine"):
        policy(rules=[{**kev, "decision": "warn"}])


_REASONS = (("critical", Decision.QUARANTINE), ("kev", Decision.BLOCK))


def test_an_index_of_an_image_that_runs_and_a_new_one_is_new() -> None:
    runs, new = image(2, door=RAN), image(3, door=SILENT)
    index = {"kind": Kind.INDEX, "refreshed_at": None}
    assert outcome(judged(**index, images=(runs,))) is AdmissionOutcome.GRACE
    assert outcome(judged(**index, images=(runs, image(4, Decision.ALLOW)))) is AdmissionOutcome.GRACE
    assert outcome(judged(**index, images=(runs, new))) is AdmissionOutcome.DENIED
    assert outcome(judged(**index, images=None)) is AdmissionOutcome.DENIED, "not all are known"
    assert outcome(judged(**index, images=(runs, new), admitted_days_ago=1)) is AdmissionOutcome.GRACE
    ordered = msgspec.structs.replace(new, order=QUARANTINE)
    assert outcome(judged(**index, images=(runs, ordered), admitted_days_ago=1)) is AdmissionOutcome.DENIED
    allowed = image(5, Decision.ALLOW)
    for away in ({"order": QUARANTINE}, {"denied": True}, {"storage": StorageStatus.ARCHIVED}):
        images = (runs, msgspec.structs.replace(allowed, **away))
        assert outcome(judged(**index, images=images, admitted_days_ago=1)) is AdmissionOutcome.DENIED, away
    kev = {"id": "critical", "match": {"kev": True}, "decision": "block", "running_grace_days": 0}
    child = {"verdict": Verdict(Decision.BLOCK, (Reason("child", Decision.BLOCK),), 3, NOW)}
    one = judged(**index, **child, images=(runs,))
    assert outcome(one) is AdmissionOutcome.GRACE
    assert outcome(one, policy(rules=[kev])) is AdmissionOutcome.DENIED, "by the rule of its image"


def test_a_pod_is_remembered_where_it_starts_and_a_dry_run_leaves_nothing() -> None:
    def asked(content: bytes, *judgements: AdmissionJudgement) -> tuple[tuple[str, ...], int]:
        admission = admit(request(content), judgements, policy(), NOW)
        return admission.started, len(admission.uncounted)

    good, uncounted = judged(decision=Decision.ALLOW), judged(None, admitted_days_ago=1)
    start = review(wanted=pod("x"))
    assert asked(start, good) == ((digest(1),), 0)
    assert asked(start, judged()) == ((ref(1).path,), 0), "its grace proves nothing for a copy of it"
    assert asked(start, uncounted) == ((ref(1).path,), 1)
    assert asked(start, judged(SILENT)) == ((), 0)
    dry = start.replace(b'"uid"', b'"dryRun": true, "uid"')
    assert asked(dry, uncounted) == ((), 0)
    deployment = start.replace(b'"Pod"', b'"Deployment"')
    assert asked(deployment, good)[0] == (), "its Pods will be asked about"


def test_no_end_is_named_where_nothing_is_known_to_run() -> None:
    assert grace_ends(judged(), policy(), NOW) == REFUSED_AT + 7 * DAY
    assert grace_ends(judged(SILENT), policy(), NOW) is None
