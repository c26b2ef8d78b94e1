"""Quarantine by `move` on the whole local stack: events in, ECR's state out."""

from __future__ import annotations

import boto3
import pytest

from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.quarantine_place import kept_tag, place_of
from chalicelib.local.aws.server import ACCOUNT
from chalicelib.local.aws.stack import REGION, LocalStack
from chalicelib.local.ecr.push_image import Pusher
from chalicelib.local.story.world import HURRY_SECONDS, REPOSITORY, StoryWorld
from chalicelib.services.enforcement.give_order import release_image
from chalicelib.services.policy.apply_policy import apply_policy

HOME = Repository(ACCOUNT, REGION, REPOSITORY)
PLACE = place_of(HOME)
SIGNATURE = "application/vnd.cncf.notary.signature"
POLICY = """
version: 1
mode: enforce
quarantine: {method: move, allow_delete: true, when_running: proceed}
rules:
  - {id: critical, match: {severity: {gte: CRITICAL}}, decision: quarantine}
"""


class MovingWorld(StoryWorld):
    """`push` pushes an image that has layers, and its signature."""

    def __init__(self, stack: LocalStack) -> None:
        super().__init__(stack, lambda words: pytest.fail(f"nobody types {words}"))
        self.ecr.create_repository(repositoryName=REPOSITORY)
        self._pusher = Pusher(boto3.client("ecr"), HOME)

    def push(self) -> None:
        self._ref = self._pusher.image([b"base", b"application"], ["1.4.0", "latest"])

    def sign(self) -> None:
        self._pusher.referrer(self.ref, SIGNATURE, b"signed")

    def held(self, home: Repository) -> dict[str, set[str]]:
        """Tags by digest."""
        rows = self.ecr.describe_images(repositoryName=home.name, filter={"imageStatus": "ANY"})["imageDetails"]
        return {row["imageDigest"]: set(row.get("imageTags", ())) for row in rows}


@pytest.fixture
def world():
    with LocalStack(hurry=HURRY_SECONDS) as stack:
        apply_policy(POLICY, "oncall", stack.context)
        yield MovingWorld(stack)
        assert stack.dead_letters() == []


def test_a_critical_image_is_moved_moved_again_when_it_is_pushed_again_and_comes_back_when_it_is_released(world):
    world.push()
    world.sign()
    world.scan()
    assert world.settle()
    before = world.held(HOME)
    assert (len(before), before[world.ref.digest]) == (2, {"1.4.0", "latest"})

    world.rate("CRITICAL", 9.8)
    assert world.settle()
    assert world.held(HOME) == {}
    kept = world.held(PLACE)
    assert kept.keys() == before.keys()
    assert kept[world.ref.digest] == {kept_tag(world.ref.digest, tag) for tag in ("1.4.0", "latest")}
    assert "LazarettoPullBlock" in world.ecr.get_repository_policy(repositoryName=PLACE.name)["policyText"]

    world.push()
    assert world.settle()
    assert world.held(HOME) == {}

    release_image(world.ref, "oncall", "needed for the rollback", world.stack.context)
    assert world.settle()
    assert world.held(HOME) == before
    assert world.held(PLACE) == kept
