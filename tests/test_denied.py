"""A right that is missing is never missed in silence: each action of each function's policy, taken away one at a time.

Everything is played once on the local stack, for `test_permissions.py` as well. Beside each invocation a copy of the
process does the same without one right: once for every function, kind of message (or route) and action. AWS's refusal
must be counted and told by name, for which there is an alarm; and the message must come back (five times, then it is a
dead letter), or the request fail, but for what may be done without the answer: `DONE_WITHOUT`. `make denied`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chalicelib.domain.events.message import Metric
from tests.fakes.iam import listed
from tests.local.play_once import Recorded
from tests.local.without_right import Refused
from tests.test_permissions import FUNCTIONS, POLICIES, own

pytestmark = pytest.mark.denied

TEMPLATE = json.loads((Path(__file__).parent.parent / ".chalice/resources.json").read_text())


@pytest.fixture(scope="module")
def refusals(recorded: Recorded) -> list[Refused]:
    return [one for one in recorded.refusals if one.refused]


def test_every_trial_came_to_its_end(recorded: Recorded) -> None:
    assert [one.broken for one in recorded.refusals if one.broken] == []


def surfaced(one: Refused) -> bool:
    """Whether the message comes back, or whoever asked is told that it failed."""
    return bool(one.failed or one.raised) or (one.status is not None and one.status >= 500)


PLACES = ("apprunner:", "batch:", "codebuild:", "ecs:", "eks:", "lambda:", "sagemaker:")
LOOKED_FOR_USE = (*PLACES, "events:", "scheduler:", "ec2:", "iam:")
"""Who runs an image, or what pulls it: what could not be looked at makes it UNKNOWN, which counts as running."""
DONE_WITHOUT = {
    "inspector2:GetClustersForImage": "the image counts as running",
    "ecr:DescribeRegistry": "it counts as copied anywhere: the check finds out, and who runs it is UNKNOWN",
    "ecr:GetRegistryPolicy": "every account may pull it: who runs it is UNKNOWN",
    "ecr:GetRepositoryPolicy": "every account may pull it: who runs it is UNKNOWN",
    "inspector2:ListCoverage": "the scan is not complete, and who runs the image is UNKNOWN",
    "inspector2:ListFindings": "the scan is UNAVAILABLE, which is never clean",
    "ecr:DescribeImageScanFindings": "the scan is UNAVAILABLE, which is never clean",
    "ecr-public:DescribeImages": "the scan is UNAVAILABLE, which is never clean",
    "inspector2:BatchGetFindingDetails": "KEV stays null, and is asked again",
    "ecr:DescribeImages": "what is there is not known: nothing is done to it, and it is said",
    "ecr:BatchGetImage": "what an index holds is not known: it is kept, and a copy of it is UNREADABLE",
    "ecr:DescribeImageReplicationStatus": "how copying went is not known: only the destination says that it is there",
    "ecr:BatchGetRepositoryScanningConfiguration": "which rule scans a repository is not known",
    "ecr:GetRegistryScanningConfiguration": "which rule scans a repository is not known",
    "ecr:GetLifecyclePolicy": "what ECR may take by itself is not known",
    "ecr:DescribeRepositories": "what is known of the registry is looked at, and the registry is doubted",
    "ecr:StartImageScan": "it is asked for again, and its error kept with the sweep",
    "inspector2:ListFindingAggregations": "every image is looked at",
    "sts:AssumeRole": "the other account is out of reach: UNREADABLE, UNAVAILABLE, UNKNOWN",
}
"""Look-ups whose answer may be absent, and what that means then: never the better of two possibilities."""
CHANNELS = {"sns:Publish", "secretsmanager:GetSecretValue", "ssm:GetParameter"}
ACTS = ("Act QUARANTINE", "Act RELEASE", "Act BLOCK", "Act UNBLOCK")
EVERY_FIVE_MINUTES = ("Due",)
"""What the clock asks for again anyway; images that could not be dealt with stay due."""
LEFT_TO_THE_NEXT_SWEEP = {
    ("SweepRepository reconcile", "dynamodb:BatchGetItem"),
    ("SweepRepository reconcile", "dynamodb:PutItem"),
    ("TakeImages", "ecr:BatchDeleteImage"),
}
"""A part that failed stops no other; the whole is done again within the day. An image that could not be deleted has its
EXPIRE_FAILED in the audit log."""


def is_expected(one: Refused) -> bool:
    if one.kind in EVERY_FIVE_MINUTES or (one.kind, one.action) in LEFT_TO_THE_NEXT_SWEEP:
        return True
    if one.action in CHANNELS:
        return Metric.CHANNEL_FAILURES in one.counted
    if one.kind in ACTS and one.action not in DONE_WITHOUT and not one.action.startswith(LOOKED_FOR_USE):
        return any('"REPORT#' in message for message in one.sent)
    return one.action in DONE_WITHOUT or one.action.startswith(LOOKED_FOR_USE)


def test_every_refusal_is_counted_and_told_by_name(refusals: list[Refused]) -> None:
    quiet = [
        (one.function, one.kind, one.action)
        for one in refusals
        if Metric.CALLS_REFUSED not in one.counted or not any("call refused" in line for line in one.logged)
    ]
    assert quiet == []


def test_the_first_refusal_rings_the_alarm() -> None:
    (alarm,) = (
        r["Properties"]
        for r in TEMPLATE["Resources"].values()
        if r.get("Properties", {}).get("MetricName") == Metric.CALLS_REFUSED
    )
    assert (alarm["Threshold"], alarm["Statistic"], alarm["EvaluationPeriods"]) == (1, "Sum", 1)


def test_work_that_lacks_a_right_comes_back_or_fails_unless_it_can_do_without(refusals: list[Refused]) -> None:
    silent = [one for one in refusals if not surfaced(one) and not is_expected(one)]
    assert not silent, "\n".join(f"{o.function} {o.kind} {o.action} {o.counted} {len(o.sent)}" for o in silent)


def test_nothing_is_excused_that_never_happens(refusals: list[Refused]) -> None:
    without = {one.action for one in refusals if not surfaced(one)}
    assert without >= DONE_WITHOUT.keys()
    assert {one.kind for one in refusals if not surfaced(one)} >= set(EVERY_FIVE_MINUTES)
    silent = {(one.kind, one.action) for one in refusals if not surfaced(one)}
    assert silent >= LEFT_TO_THE_NEXT_SWEEP


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_action_of_the_policy_was_taken_away(refusals: list[Refused], function: str) -> None:
    allowed = {action for s in own(POLICIES[function]) for action in listed(s["Action"])}
    assert allowed - {one.action for one in refusals if one.function == function} == set()
