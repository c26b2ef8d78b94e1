"""Others change what Lazaretto did, by ECR's own API on the whole local stack: it is put right, and people are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.domain.enforcement.repository_policy import stands
from chalicelib.local.demo import demo_registry
from chalicelib.local.story.world import HURRY_SECONDS, REPOSITORY, TAG, StoryWorld
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.running import local_stack

POLICY = """
version: 1
mode: enforce
quarantine: {{when_running: proceed}}
rules:
  - {{id: critical, match: {{severity: {{gte: CRITICAL}}}}, decision: {decision}}}
notify:
  - {{channel: slack, min_decision: block}}
"""
BLOCK = "block, enforce: repository-policy"
WHO = "arn:aws:sts::123456789012:assumed-role/intruder/eve"


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[StoryWorld]:
    """`decision` of the one rule by parameter; the image has a CRITICAL finding."""
    with local_stack(hurry=HURRY_SECONDS) as stack:
        apply_policy(POLICY.format(decision=request.param), "oncall", stack.context)
        made = StoryWorld(stack, lambda words: pytest.fail(f"nobody types {words}"))
        made.push()
        made.scan()
        made.rate("CRITICAL", 9.8)
        assert made.settle()
        yield made
        assert stack.dead_letters() == []


def deny_stands(world: StoryWorld) -> bool:
    text = world.ecr.get_repository_policy(repositoryName=REPOSITORY)["policyText"]
    return stands(text, world.stack.context.own_roles)


def alerts(world: StoryWorld) -> list[str]:
    return [json.dumps(caught, default=str) for caught in world.sent()["slack"]]


def tell(world: StoryWorld, name: str, **parameters: Any) -> None:
    """As CloudTrail does, minutes later."""
    detail = {
        "eventName": name,
        "eventSource": "ecr.amazonaws.com",
        "eventTime": f"{world.now:%Y-%m-%dT%H:%M:%SZ}",
        "sourceIPAddress": "192.0.2.44",
        "userIdentity": {"arn": WHO, "sessionContext": {"sessionIssuer": {"arn": "arn:aws:iam::123456789012:role/x"}}},
        "responseElements": parameters.pop("answer", None),
        "requestParameters": {"repositoryName": REPOSITORY, **parameters},
    }
    envelope = {"version": "0", "id": f"{name}-1", "source": "aws.ecr", "detail-type": "AWS API Call via CloudTrail"}
    place = {"account": world.ref.registry, "region": world.ref.region, "resources": [], "time": detail["eventTime"]}
    world.stack.aws.put_event({**envelope, **place, "detail": detail})
    assert world.settle()


@pytest.mark.parametrize("world", [BLOCK], indirect=True)
def test_a_deny_that_was_narrowed_is_whole_again_after_one_turn_of_the_clock(world: StoryWorld) -> None:
    assert deny_stands(world)
    policy = json.loads(world.ecr.get_repository_policy(repositoryName=REPOSITORY)["policyText"])
    policy["Statement"][0]["Principal"] = {"AWS": "arn:aws:iam::123456789012:role/nobody"}
    world.ecr.set_repository_policy(repositoryName=REPOSITORY, policyText=json.dumps(policy))
    assert not deny_stands(world)
    world.stack.run_clock()
    assert world.settle()
    assert deny_stands(world)
    assert any("put it right at" in text for text in alerts(world))
    tell(world, "SetRepositoryPolicy", policyText=json.dumps(policy))
    told = [text for text in alerts(world) if "Deny of pulls taken out or changed" in text]
    assert len(told) == 1
    assert WHO in told[0]
    assert "192.0.2.44" in told[0]


@pytest.mark.parametrize("world", ["quarantine"], indirect=True)
def test_a_restored_quarantine_and_its_layers_pushed_anew_are_told(world: StoryWorld) -> None:
    ids: Any = {"imageDigest": world.ref.digest}
    assert world.storage() == "ARCHIVED"
    world.ecr.update_image_storage_class(repositoryName=REPOSITORY, imageId=ids, targetStorageClass="STANDARD")
    tell(world, "UpdateImageStorageClass", imageId=ids, targetStorageClass="STANDARD")
    assert any("quarantined image was restored" in text and WHO in text for text in alerts(world))
    manifest = json.loads(demo_registry.manifest(REPOSITORY, TAG, "linux/amd64"))
    manifest["config"]["digest"] = f"sha256:{'f' * 64}"
    text = json.dumps(manifest)
    answer = world.ecr.put_image(repositoryName=REPOSITORY, imageManifest=text, imageTag="v9")
    again = answer["image"]["imageId"]["imageDigest"]
    assert again != world.ref.digest
    assert world.settle()
    tell(world, "PutImage", imageTag="v9", imageManifest=text, answer={"image": {"imageId": {"imageDigest": again}}})
    (told,) = [text for text in alerts(world) if "layers of a quarantined image" in text]
    assert again in told
    assert "lazaretto quarantine" in told
