"""`lazaretto why-pull-failed`: by a text, or by the ARN of a task."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from chalicelib.adapters.usage.runtime import AwsRuntime
from chalicelib.cli import app
from chalicelib.domain.headers.pending_action import Hold
from chalicelib.domain.images.image import ImageDetail, StorageStatus
from tests.adapters.usage.test_ecs_task_stopped import ANSWER, TASK, Ecs
from tests.cli.conftest import Run
from tests.fakes.images import digest, image, ref
from tests.fakes.queries import NOW, FakeContext

HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
NOT_FOUND = f"CannotPullContainerError: {HOST}/team/api:v1: not found"
COMMAND = "why-pull-failed"


def quarantine(context: FakeContext) -> None:
    context.queries.add(image(1, hold=Hold("archive", 3, NOW), storage=StorageStatus.ARCHIVED))


def ecs(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    said = changes.get("stoppedReason", NOT_FOUND)
    containers = [{"name": "api", "image": f"{HOST}/team/api:v1", "reason": said}]
    task = {**ANSWER, "stoppedReason": said, "containers": containers, **changes}
    monkeypatch.setattr("chalicelib.adapters.aws.sessions.Sessions", lambda region, _: Ecs({"tasks": [task]}))


def test_a_text_is_explained_with_the_command_that_releases(run: Run, context: FakeContext) -> None:
    quarantine(context)
    result = run(COMMAND, NOT_FOUND)
    assert result.exit_code == 0
    assert "QUARANTINE 111122223333/eu-west-1/team/api:v1" in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if "lazaretto release" in line]
    assert f"lazaretto release {ref(1)} --reason WHY" in line


def test_a_text_of_several_lines_is_taken_as_it_is_copied(run: Run, context: FakeContext) -> None:
    quarantine(context)
    result = run(COMMAND, f"Warning  Failed\t2m  kubelet\n  {NOT_FOUND}\x1b[0m\n", "--json")
    assert json.loads(result.stdout)["cause"] == "QUARANTINE"


def test_a_text_may_come_from_standard_input(url: str, context: FakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    quarantine(context)
    result = CliRunner().invoke(app, [COMMAND, "-", "--url", url], input=NOT_FOUND)
    assert (result.exit_code, "QUARANTINE" in result.stdout) == (0, True)


def test_an_image_that_the_text_does_not_name_is_given(run: Run, context: FakeContext) -> None:
    quarantine(context)
    assert run(COMMAND, "manifest unknown", "--image", "team/api:v1").exit_code == 0
    refused = run(COMMAND, "manifest unknown")
    assert (refused.exit_code, "names no image of Amazon ECR" in refused.stderr) == (2, True)


def test_an_unknown_cause_is_a_negative_answer(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1))
    context.registry.hold(ImageDetail(ref(1), ("v1",)))
    result = run(COMMAND, f'Back-off pulling image "{HOST}/team/api:v1"')
    assert (result.exit_code, "UNKNOWN" in result.stdout) == (1, True)


@pytest.mark.parametrize("rest", ["", "Warning  Failed  Error: ErrImagePull\n" * 20])
def test_of_a_long_text_the_failure_is_what_counts(run: Run, context: FakeContext, rest: str) -> None:
    quarantine(context)
    text = f'{"Node-Selectors: <none>" * 200}\n  Failed to pull image "{HOST}/team/api:v1": not found\n{rest}'
    assert json.loads(run(COMMAND, text, "--json").stdout)["cause"] == "QUARANTINE"
    assert run(COMMAND, "x" * 3_000 + NOT_FOUND[11:]).exit_code == 0


@pytest.mark.parametrize("text", ["", "  \n"])
def test_nothing_said_is_bad_input(run: Run, text: str) -> None:
    assert run(COMMAND, text).exit_code == 2


def test_a_task_is_asked_of_ecs_and_then_explained(
    run: Run, context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarantine(context)
    ecs(monkeypatch)
    result = run(COMMAND, TASK, "--json")
    body = json.loads(result.stdout)
    assert (result.exit_code, body["cause"], body["pulled"]["tag"]) == (0, "QUARANTINE", "v1")


def test_a_task_that_was_denied_is_told_with_the_role_that_pulled(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    role = "arn:aws:iam::111122223333:role/api-execution"
    asked = []

    def pull_role(_: AwsRuntime, task_arn: str) -> str:
        asked.append(task_arn)
        return role

    monkeypatch.setattr(AwsRuntime, "pull_role", pull_role)
    ecs(monkeypatch, stoppedReason="CannotPullContainerError: 403 Forbidden")
    result = run(COMMAND, TASK, "--json")
    body = json.loads(result.stdout)
    assert (result.exit_code, body["cause"], asked) == (0, "ACCESS_DENIED", [TASK])
    assert role in body["explanation"]


def test_each_image_that_a_task_could_not_pull_is_explained(
    run: Run, context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarantine(context)
    names = [f"{HOST}/team/api:v1", f"{HOST}/team/api@{digest(2)}"]
    ecs(
        monkeypatch,
        containers=[{"name": n, "image": n, "reason": "CannotPullContainerError: not found"} for n in names],
    )
    lines = [json.loads(line) for line in run(COMMAND, TASK, "--json").stdout.splitlines()]
    assert [line["cause"] for line in lines] == ["QUARANTINE", "NOT_FOUND"]


def test_a_task_that_failed_otherwise_is_a_negative_answer_with_what_ecs_says(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "Essential container in task exited"
    ecs(monkeypatch, stoppedReason=said, stopCode="EssentialContainerExited", containers=[])
    result = run(COMMAND, TASK)
    assert (result.exit_code, said in result.stderr) == (1, True)


def test_something_like_an_arn_is_bad_input(run: Run) -> None:
    result = run(COMMAND, "arn:aws:ecs:eu-west-1:111122223333:service/prod/api")
    assert (result.exit_code, "not the ARN of an ECS task" in result.stderr) == (2, True)
