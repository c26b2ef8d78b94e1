"""Lifecycle policies of the local ECR: taken and refused as ECR does, previewed, and never run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings

from chalicelib.adapters.ecr.keeper import EcrLifecycles
from chalicelib.domain.policy.section import Retention
from chalicelib.domain.retention.image import RetainedImage
from chalicelib.domain.retention.lifecycle_compiler import compile_retention
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct, evaluate_lifecycle_policy
from chalicelib.local.ecr.ecr import HeldImage, LocalEcr, ecr_of
from chalicelib.local.ecr.lifecycle import preview
from tests.fakes.keeper import INDEX
from tests.fakes.registries import NOW, digest, repositories, sayable
from tests.local import samples
from tests.local.running import local_aws

HOME = samples.ref().home
NEWEST = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
                "action": {"type": "expire"},
            }
        ]
    }
)


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with local_aws() as aws:
        yield aws


@pytest.fixture
def ecr(running: Any) -> LocalEcr:
    backend = ecr_of(HOME)
    backend.repositories.clear()
    backend.hold_repository(HOME.name)
    return backend


def lifecycles() -> EcrLifecycles:
    return EcrLifecycles(lambda _, region: boto3.client("ecr", region), lambda seconds: None)


def test_a_policy_is_kept_and_given_back(ecr: LocalEcr) -> None:
    assert lifecycles().read(HOME) is None
    lifecycles().write(HOME, NEWEST)
    assert lifecycles().read(HOME) == NEWEST
    lifecycles().delete(HOME)
    assert lifecycles().read(HOME) is None


def test_a_policy_that_ecr_refuses_is_refused(ecr: LocalEcr) -> None:
    with pytest.raises(ClientError, match="rulePriority"):
        boto3.client("ecr", HOME.region).put_lifecycle_policy(
            repositoryName=HOME.name, lifecyclePolicyText=NEWEST.replace('"rulePriority": 1', '"rulePriority": 0')
        )


def test_a_preview_names_what_would_go_and_changes_nothing(ecr: LocalEcr) -> None:
    for n in range(1, 131):
        held = ecr.hold_image(HOME.name, digest(n), pushed_at=NOW)
        ecr.tag_image(held, f"t{n}")
    found = lifecycles().preview(HOME, NEWEST)
    assert found == {digest(n): NativeAct("expire", 1) for n in range(1, 130)}
    assert len(ecr.home(HOME.name).images) == 130
    assert lifecycles().read(HOME) is None


def test_without_a_preview_there_is_nothing_to_get(ecr: LocalEcr) -> None:
    client = boto3.client("ecr", HOME.region)
    with pytest.raises(client.exceptions.LifecyclePolicyPreviewNotFoundException):
        client.get_lifecycle_policy_preview(repositoryName=HOME.name)
    with pytest.raises(client.exceptions.LifecyclePolicyNotFoundException):
        client.start_lifecycle_policy_preview(repositoryName=HOME.name)


@settings(max_examples=200, deadline=None)
@given(repositories(plain=True), sayable())
def test_the_preview_and_our_evaluation_are_two_answers_and_agree(images: list[RetainedImage], said: Retention) -> None:
    policy = compile_retention(said).policy
    assert policy is not None
    ours = evaluate_lifecycle_policy(policy, images, NOW)
    rows = preview(json.loads(policy.text), [held(image) for image in images], NOW)
    words = {"EXPIRE": "expire", "TRANSITION": "archive"}
    theirs = {row["imageDigest"]: NativeAct(words[row["action"]["type"]], row["appliedRulePriority"]) for row in rows}  # type: ignore[arg-type]
    assert theirs == ours


def held(image: RetainedImage) -> HeldImage:
    manifests = [{"digest": one} for one in image.contains or ()]
    made: Any = SimpleNamespace(
        image_digest=image.digest,
        image_tags=list(image.tags),
        pushed_at=image.pushed_at,
        pulled_at=image.pulled_at,
        activated_at=image.activated_at,
        archived_at=image.archived_at,
        status=image.storage.value,
        subject=image.subject,
        image_manifest=json.dumps({"manifests": manifests} if manifests else {}),
        image_manifest_media_type=INDEX if manifests else "",
    )
    return made
