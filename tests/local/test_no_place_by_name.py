"""No repository is ours by its name: one called as the place of quarantine once was is judged like any other."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.verdict import Decision
from chalicelib.local import events as aws_events
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.seed import covered
from chalicelib.local.aws.stack import REGION
from chalicelib.local.demo import demo_registry
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.local.inspector import inspector_of
from chalicelib.local.story.world import HURRY_SECONDS, StoryWorld
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.push_image import Pusher
from tests.local.running import local_stack

pytestmark = pytest.mark.in_turn

POLICY = """
version: 1
mode: enforce
quarantine: {when_running: proceed}
rules:
  - {id: critical, match: {severity: {gte: CRITICAL}}, decision: quarantine}
notify:
  - {channel: sns, min_decision: warn}
"""


@pytest.fixture
def world() -> Iterator[StoryWorld]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        apply_policy(POLICY, "oncall", stack.context)
        yield StoryWorld(stack, lambda words: pytest.fail(f"nobody types {words}"))


@pytest.mark.parametrize("name", ["lazaretto-quarantine/team/api", "quarantine/team/api", "lazaretto"])
def test_an_image_in_a_repository_with_a_name_like_ours_is_judged_quarantined_and_told(
    world: StoryWorld, name: str
) -> None:
    home = Repository(ACCOUNT, REGION, name)
    ecr = boto3.Session(region_name=REGION).client("ecr")
    ecr.create_repository(repositoryName=name)
    image = Pusher(ecr, home).image([b"evil"], ["1.0"])
    assert world.settle()
    with world.stack.aws.lock:
        row = demo_registry.enhanced_finding(image, demo_registry.OPENSSL, ("1.0",), world.now, world.now)
        inspector_of(REGION).coverage[image.arn] = covered(image, "ACTIVE", "SUCCESSFUL", world.now)
        inspector_of(REGION).hold(image.arn, {**row, "severity": "CRITICAL"})
    world.stack.aws.put_event(aws_events.inspector_scan_finished(image, ("1.0",), {}, world.now))
    assert world.settle()
    header = world.stack.headers([image])[image].header
    assert header.decision is Decision.QUARANTINE
    assert header.hold is not None
    assert str(ecr_of(home).get(name, {"imageDigest": image.digest}).status) == "ARCHIVED"
    assert any(str(image) in "\n".join(caught.lines) for caught in world.sent()["sns"])
