"""A task that could not pull: what of it is handed on to be explained, and that such events reach us at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain.events.pull_failure import PullFailureCause
from chalicelib.domain.images.names import ImageName
from chalicelib.local.aws.event_bus import Pattern
from chalicelib.parsers.events.events import parse_event
from chalicelib.services.pulls.notify_pull_failure import handle_pull_failure
from tests.services.pull_context import HOME, HOST, NOT_FOUND, PullContext, task

ROOT = Path(__file__).parents[3]
RESOURCES = json.loads((ROOT / ".chalice/resources.json").read_text())["Resources"]
PATTERN = RESOURCES["PullFailureRule"]["Properties"]["EventPattern"]
RULE = Pattern(json.dumps(PATTERN), PATTERN)
SAMPLE = json.loads((ROOT / "events/ecs-task-pull-failed.json").read_text())
AUTH = "ResourceInitializationError: unable to pull secrets or registry auth: AccessDeniedException: not authorized"


def heard(event: Any) -> list[ImageName]:
    context = PullContext()
    handle_pull_failure(event, context)
    return [message.failed.pulled for message in context.taken()]


def test_each_image_of_a_task_is_handed_on_once() -> None:
    names = [f"{HOST}/team/api:1", f"{HOST}/team/api:2", f"{HOST}/team/api:1", "docker.io/library/nginx:1"]
    assert heard(task(*names)) == [ImageName(HOME, "1"), ImageName(HOME, "2")]


def test_the_sample_of_a_failed_pull_is_handed_on_with_what_was_said() -> None:
    context = PullContext()
    handle_pull_failure(parse_event(SAMPLE), context)
    (message,) = context.taken()
    assert message.failed.pulled == ImageName(HOME, "1.4.2")
    assert message.failed.cause is PullFailureCause.NOT_FOUND
    assert message.failed.where == "service api in cluster prod"
    assert context.records() == []


def test_a_task_that_runs_is_none_of_ours() -> None:
    running = json.loads((ROOT / "events/ecs-task-running.json").read_text())
    assert heard(parse_event(running)) == []


@pytest.mark.parametrize(
    ("stopped", "container", "reaches_us", "is_told"),
    [
        (f"{NOT_FOUND}", None, True, True),
        ("Task failed to start", "CannotPullImageManifestError: manifest unknown", True, True),
        ("CannotPullECRContainerError: AccessDeniedException: no", None, True, True),
        (AUTH, None, True, True),
        (AUTH.replace("AccessDeniedException", "unable to retrieve secret from asm"), None, True, False),
        ("Essential container in task exited", "OutOfMemoryError", False, False),
    ],
)
def test_rule_and_reader_agree_about_what_a_failed_pull_is(
    stopped: str, container: str | None, reaches_us: bool, is_told: bool
) -> None:
    event = json.loads(json.dumps(SAMPLE))
    event["detail"]["stoppedReason"] = stopped
    event["detail"]["containers"][0]["reason"] = container
    assert RULE.fits(Pattern.flat(event)) is reaches_us
    assert bool(heard(parse_event(event))) is is_told
