"""An image that was pulled by something that no look-up knows: on the whole local stack, from ECR's pull time to ECR's
archive."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.every_function import HURRY_SECONDS, Played
from tests.local.push_image import Pusher
from tests.local.running import local_stack

pytestmark = pytest.mark.in_turn

HOME = Repository(ACCOUNT, REGION, "team/pulled")
DAY = timedelta(days=1)
POLICY = """
version: 1
mode: enforce
rules:
  - {{id: shut, match: {{tag: "{shut}"}}, decision: quarantine}}
  - {{id: now, match: {{tag: "kev-*"}}, decision: quarantine, quiet_days: 0}}
notify: [{{channel: slack}}]
"""


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        played = Played(stack)
        played.ecr.create_repository(repositoryName=HOME.name)
        yield played


def push(played: Played, tag: str) -> ImageRef:
    ref = Pusher(played.ecr, HOME).image([tag.encode()], [tag])
    played.settle()
    return ref


def pull(played: Played, ref: ImageRef) -> None:
    """As ECR notes it."""
    with played.stack.aws.lock:
        held = ecr_of(HOME).find(ecr_of(HOME).home(HOME.name), ref.digest, None)
        assert held is not None
        held.pulled_at = played.clock.now()


def storage(played: Played, ref: ImageRef) -> str:
    asked = {"repositoryName": ref.repository, "filter": {"imageStatus": "ANY"}}
    answer = played.ecr.describe_images(**asked, imageIds=[{"imageDigest": ref.digest}])  # type: ignore[arg-type]
    return str(answer["imageDetails"][0]["imageStatus"])  # type: ignore[typeddict-item]


def wait(played: Played, passing: timedelta) -> None:
    played.clock.move(passing)
    played.run_clock()


def shut(played: Played, tag: str) -> str:
    """What Slack was told of it."""
    before = len(played.stack.catcher.slack)
    apply_policy(POLICY.format(shut=tag), "oncall", played.context)
    for _ in range(2):  # the policy is carried to every image by the clock
        wait(played, timedelta(minutes=5))
    return "\n".join(line for caught in played.stack.catcher.slack[before:] for line in caught.lines)


def test_a_pull_after_the_push_day_delays_the_archive_once_and_for_a_week(played: Played) -> None:
    ref, untouched = push(played, "old-1"), push(played, "old-2")
    wait(played, 3 * DAY)
    pull(played, ref)
    told = shut(played, "old-*")
    assert "it was pulled after its push day: it waits until " in told
    assert (storage(played, ref), storage(played, untouched)) == ("ACTIVE", "ARCHIVED")
    wait(played, 5 * DAY)
    pull(played, ref)
    wait(played, timedelta(minutes=5))
    assert storage(played, ref) == "ACTIVE"
    wait(played, 2 * DAY)
    assert storage(played, ref) == "ARCHIVED", "the later pull extends nothing"


def test_a_rule_that_asks_for_no_quiet_days_and_a_person_do_not_wait(played: Played) -> None:
    apply_policy(POLICY.format(shut="none"), "oncall", played.context)
    exploited, ordered = push(played, "kev-1"), push(played, "fine-1")
    wait(played, 3 * DAY)
    pull(played, ordered)
    assert storage(played, exploited) == "ARCHIVED"
    played.ask("POST", "/v1/quarantine", {"repository": HOME.name, "digest": ordered.digest, "reason": "now"})
    played.settle()
    assert storage(played, ordered) == "ARCHIVED"
