"""A container that could not be pulled: by our quarantine, or by something else."""

from __future__ import annotations

import msgspec
import pytest

from chalicelib.domain.effect import EffectKind, Enforcement, Stage
from chalicelib.domain.event import Container, TaskChanged
from chalicelib.domain.image import StorageStatus
from tests.services.house import Story
from tests.services.world import START, new_ref

HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"


def task(*containers, failed=True):
    arn = "arn:aws:ecs:eu-west-1:111122223333:task/prod/1"
    return TaskChanged(
        arn, arn, arn, "STOPPED", "STOPPED", 5, None, "TaskFailedToStart", "CannotPull", containers, failed, START, "e"
    )


def reasons(story, *containers, **more):
    story.receive(task(*containers, **more))
    return [r.reason for r in story.stored.actions.get(story.ref, []) if r.kind == "PULL_FAILED"]


def container(story, **fields):
    return Container("app", f"{HOST}/{story.ref.repository}@{story.ref.digest}", **fields)


def changed(story, **fields):
    story.stored.headers[story.ref] = msgspec.structs.replace(story.head, **fields)
    return story


def test_our_quarantine_is_named_with_the_verdict_behind_it():
    story = Story()
    done = Enforcement(EffectKind.QUARANTINE, 1, Stage.DONE, START)
    (reason,) = reasons(changed(story, enforcement=done), container(story))
    assert reason == f"quarantined by verdict {story.head.verdict.number}: deploy another image"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"storage": StorageStatus.ARCHIVED}, "the image is ARCHIVED in ECR, not by us"),
        ({"exists": False}, "the image has been deleted"),
        ({}, "not by us: no route to host"),
    ],
)
def test_everything_else_is_not_ours(fields, words):
    story = changed(Story(), **fields)
    assert reasons(story, container(story, reason="no route to host")) == [words]


def test_an_image_unknown_here_is_said_to_be_so():
    story = Story()
    story.ref = new_ref()
    assert reasons(story, container(story)) == ["image unknown here; ECS says: CannotPull"]


def test_a_tag_is_looked_up():
    story = Story()
    assert len(reasons(story, Container("app", f"{HOST}/{story.ref.repository}:v1"))) == 1
    assert len(reasons(story, Container("other", f"{HOST}/{story.ref.repository}:gone"))) == 1


def test_other_registries_and_tasks_that_did_not_fail_to_pull_are_none_of_ours():
    story = Story()
    assert reasons(story, Container("app", "docker.io/library/nginx:1")) == []
    assert reasons(story, container(story), failed=False) == []


def test_the_same_event_twice_is_recorded_once():
    story = Story()
    reasons(story, container(story))
    assert len(reasons(story, container(story))) == 1
