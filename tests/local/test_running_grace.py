"""What runs already when a door begins to refuse it: on the whole local stack, from ECR's push and scan to the answers
that clusters get."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest

from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION
from chalicelib.local.story.world import run_service
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.every_function import HURRY_SECONDS, Played
from tests.local.push_image import Pusher
from tests.local.running import local_stack

pytestmark = pytest.mark.in_turn

HOME = Repository(ACCOUNT, REGION, "team/running")
DAY = timedelta(days=1)
POLICY = """
version: 1
mode: {mode}
rules:
  - {{id: shut, match: {{tag: "bad-*"}}, decision: block}}
  - {{id: exploited, match: {{tag: "kev-*"}}, decision: block, running_grace_days: 0}}
  - {{id: taken, match: {{tag: "gone-*"}}, decision: quarantine}}
"""


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        played = Played(stack)
        played.ecr.create_repository(repositoryName=HOME.name)
        yield played


def push(played: Played, content: str, tag: str, home: Repository = HOME) -> ImageRef:
    """And scanned."""
    ref = Pusher(played.ecr, home).image([content.encode()], [tag])
    played.settle()
    played.ecr.start_image_scan(repositoryName=home.name, imageId={"imageDigest": ref.digest})
    played.settle()
    return ref


def wait(played: Played, passing: timedelta = timedelta(minutes=5)) -> None:
    played.clock.move(passing)
    played.run_clock()


def apply(played: Played, mode: str) -> None:
    apply_policy(POLICY.format(mode=mode), "oncall", played.context)
    for _ in range(2):
        wait(played)


def ask(played: Played, ref: ImageRef, cluster: str) -> dict[str, Any]:
    request = {
        "uid": "a-review",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "object": {"spec": {"containers": [{"name": "c", "image": str(ref)}]}},
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    answer: dict[str, Any] = played.ask("POST", f"/v1/admission?cluster={cluster}", review)["response"]
    return answer


def starts(played: Played, ref: ImageRef, cluster: str = "blue") -> bool:
    return bool(ask(played, ref, cluster)["allowed"])


def test_a_door_lets_what_runs_go_on_for_a_week_and_nothing_else_in(played: Played) -> None:
    apply(played, "observe")
    bad, exploited = push(played, "one", "bad-1"), push(played, "two", "kev-1")
    assert starts(played, bad)
    assert starts(played, exploited)
    wait(played, 20 * DAY)
    apply(played, "enforce")
    answer = ask(played, bad, "blue")
    assert answer["allowed"], "three weeks in observe do not count"
    assert "it runs already" in answer["warnings"][0]
    assert not starts(played, bad, "green")
    assert not starts(played, exploited)
    assert not starts(played, push(played, "three", "bad-2"))
    reported = push(played, "four", "bad-3")
    assert not starts(played, reported)
    played.ask("POST", "/v1/admission/running", {"cluster": "blue", "digests": [reported.digest]})
    assert starts(played, reported)
    wait(played, 6 * DAY)
    apply(played, "observe")
    wait(played, timedelta(hours=20))
    apply(played, "enforce")
    assert starts(played, bad)
    wait(played, timedelta(hours=4))
    assert not starts(played, bad), "a day of observing in between began nothing anew"
    order = {"repository": HOME.name, "digest": reported.digest, "reason": "now"}
    played.ask("POST", "/v1/quarantine", order)
    assert not starts(played, reported), "an order has no grace"


def test_what_ecs_runs_goes_on_and_a_tag_that_moved_makes_nothing_run(played: Played) -> None:
    ecs = boto3.client("ecs", region_name=REGION)
    apply(played, "enforce")
    runs, named = push(played, "five", "bad-5"), push(played, "six", "bad-6")
    run_service(ecs, runs, "pinned")
    run_service(ecs, f"{HOME.uri}:bad-moving", "tagged")
    moved = push(played, "seven", "bad-moving")
    assert not starts(played, runs, "green"), "nobody has looked yet"
    for _ in range(2):
        wait(played)
    assert starts(played, runs, "green")
    assert not starts(played, named, "green")
    assert not starts(played, moved, "green"), "a pusher moved the tag of a service to it"
    ecs.delete_service(cluster="main", service="pinned", force=True)
    for arn in ecs.list_task_definitions(familyPrefix="pinned")["taskDefinitionArns"]:
        ecs.deregister_task_definition(taskDefinition=arn)
    wait(played, timedelta(hours=11))
    assert starts(played, runs, "red"), "it is asked every twelve hours"
    for _ in range(2):
        wait(played, timedelta(hours=1))
    assert not starts(played, runs, "white")
    assert starts(played, runs, "green"), "which admitted it"


def test_what_was_taken_away_is_not_let_in(played: Played) -> None:
    apply(played, "observe")
    gone = push(played, "eight", "gone-1")
    assert starts(played, gone)
    apply(played, "enforce")
    wait(played)
    assert not starts(played, gone)


def test_who_may_push_begins_no_second_week_by_a_copy(played: Played) -> None:
    """Copies made while the grace of the first lasts, and after it; what lay beside it before goes on as it does."""
    homes = [Repository(ACCOUNT, REGION, f"team/copy-{number}") for number in range(3)]
    for home in homes:
        played.ecr.create_repository(repositoryName=home.name)
    apply(played, "observe")
    first, beside = push(played, "nine", "bad-9"), push(played, "nine", "bad-9", homes[0])
    assert starts(played, first)
    wait(played, 2 * DAY)
    apply(played, "enforce")
    wait(played, 5 * DAY)
    during = push(played, "nine", "bad-9", homes[1])
    assert starts(played, first)
    assert starts(played, beside)
    assert not starts(played, during)
    wait(played, 2 * DAY)
    after = push(played, "nine", "bad-9", homes[2])
    assert [starts(played, ref) for ref in (first, beside, during, after)] == [False] * 4
