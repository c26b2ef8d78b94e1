"""A quarantine that is announced: on the whole local stack, from the push to what ECR and Slack have been told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.every_function import HURRY_SECONDS, Played
from tests.local.push_image import Pusher
from tests.local.running import local_stack

GRACE = timedelta(minutes=30)
POLICY = """
version: 1
mode: enforce
quarantine: {grace_minutes: 30}
rules: [{id: shut, match: {tag: "bad-*"}, decision: quarantine}]
notify: [{channel: slack}]
"""


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        played = Played(stack)
        apply_policy(POLICY, "oncall", played.context)
        yield played


def push(played: Played, tag: str) -> tuple[ImageRef, str]:
    """Into a repository of its own; and what Slack was told of it."""
    before, home = len(played.stack.catcher.slack), Repository(ACCOUNT, REGION, f"team/{tag}")
    if not any(one["repositoryName"] == home.name for one in played.ecr.describe_repositories()["repositories"]):
        played.ecr.create_repository(repositoryName=home.name)
    ref = Pusher(played.ecr, home).image([tag.encode()], [tag])
    played.settle()
    return ref, "\n".join(line for caught in played.stack.catcher.slack[before:] for line in caught.lines)


def storage(played: Played, ref: ImageRef) -> str:
    asked = {"repositoryName": ref.repository, "filter": {"imageStatus": "ANY"}}
    answer = played.ecr.describe_images(**asked, imageIds=[{"imageDigest": ref.digest}])  # type: ignore[arg-type]
    return str(answer["imageDetails"][0]["imageStatus"])  # type: ignore[typeddict-item]


def wait(played: Played, passing: timedelta) -> None:
    played.clock.move(passing)
    played.run_clock()


def test_the_alert_names_the_time_at_which_the_image_is_archived_and_then_it_is(played: Played) -> None:
    ref, told = push(played, "bad-1")
    named = told.partition("is archived at ")[2][:16]
    at = datetime.strptime(named, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    assert timedelta(minutes=28) < at - played.clock.now() <= GRACE
    assert "unless it is released or waived before" in told
    wait(played, GRACE - timedelta(minutes=5))
    assert storage(played, ref) == "ACTIVE"
    wait(played, timedelta(minutes=5))
    assert storage(played, ref) == "ARCHIVED"


@pytest.mark.parametrize("how", ["release", "waiver"])
def test_an_image_that_is_released_or_waived_before_is_never_archived(played: Played, how: str) -> None:
    ref, _ = push(played, f"bad-{how}")
    place = {"repository": ref.repository, "reason": "it is needed"}
    if how == "release":
        played.ask("POST", "/v1/release", {**place, "digest": ref.digest})
    else:
        ends = (played.clock.now() + timedelta(days=7)).isoformat()
        said = {"rule": "shut", "approved_by": "owner", "expires_at": ends}
        played.ask("POST", "/v1/waivers", {**place, **said})
    played.settle()
    wait(played, 3 * GRACE)
    assert storage(played, ref) == "ACTIVE"


def test_pushing_the_image_again_gives_no_second_grace(played: Played) -> None:
    ref, _ = push(played, "bad-again")
    wait(played, GRACE - timedelta(minutes=5))
    played.ecr.batch_delete_image(repositoryName=ref.repository, imageIds=[{"imageDigest": ref.digest}])
    played.settle()
    assert push(played, "bad-again")[0] == ref
    wait(played, timedelta(minutes=10))
    assert storage(played, ref) == "ARCHIVED"


def test_what_a_person_orders_is_done_at_once(played: Played) -> None:
    ref, _ = push(played, "bad-ordered")
    played.ask("POST", "/v1/quarantine", {"repository": ref.repository, "digest": ref.digest, "reason": "now"})
    played.settle()
    assert storage(played, ref) == "ARCHIVED"
