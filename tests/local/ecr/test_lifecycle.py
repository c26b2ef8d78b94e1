"""Lifecycle policies of the local ECR: taken and refused as ECR does, previewed, and run once a day."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.ecr.keeper import EcrLifecycles
from chalicelib.domain.events.event import ImageAction, LifecycleRan
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct
from chalicelib.local.ecr.ecr import LocalEcr, ecr_of
from chalicelib.local.ecr.lifecycle import LocalLifecycle
from chalicelib.parsers.events.events import parse_event
from tests.fakes.registries import NOW, digest
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
ARCHIVES = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {
                    "tagStatus": "tagged",
                    "tagPatternList": ["t1"],
                    "countType": "sinceImagePushed",
                    "countUnit": "days",
                    "countNumber": 1,
                },
                "action": {"type": "expire"},
            },
            {
                "rulePriority": 2,
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
                "action": {"type": "transition", "targetStorageClass": "archive"},
            },
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


def test_a_policy_runs_once_a_day_and_expires_or_archives(running: Any, ecr: LocalEcr, monkeypatch: Any) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(LocalEcr, "publish", staticmethod(heard.append))
    monkeypatch.setattr(LocalLifecycle, "due_at", None)
    for n in range(1, 4):
        ecr.tag_image(ecr.hold_image(HOME.name, digest(n), pushed_at=NOW), f"t{n}")
    lifecycles().write(HOME, ARCHIVES)
    running.let_time_pass()
    assert {image.status for image in ecr.home(HOME.name).images} == {"ACTIVE"}  # type: ignore[attr-defined]
    running.clock.move(timedelta(hours=24))
    running.let_time_pass()
    running.let_time_pass()
    left = {image.image_digest: image.status for image in ecr.home(HOME.name).images}  # type: ignore[attr-defined]
    assert left == {digest(2): "ARCHIVED", digest(3): "ACTIVE"}
    read = [parse_event(event) for event in heard]
    assert [event.action for event in read if isinstance(event, ImageAction)] == ["DELETE", "UPDATE_STORAGE_CLASS"]
    (ran,) = [event for event in read if isinstance(event, LifecycleRan)]
    assert [(image.digest, image.tags, image.action) for image in ran.images] == [
        (digest(1), ("t1",), "expire"),
        (digest(2), ("t2",), "transition"),
    ]
