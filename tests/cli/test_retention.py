"""`lazaretto retention plan|apply|native`: what people read, and what is only done by the plan they read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from chalicelib.cli import app, retention
from chalicelib.cli.framework.operator import Operator
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.domain.retention.image import RetainedImage
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct
from chalicelib.services.retention.plan_retention import plan_retention
from tests.cli.conftest import Run
from tests.fakes.keeper import FakeKeeper
from tests.fakes.queries import NOW, FakeContext
from tests.fakes.registries import HOME, digest, retained
from tests.services.retaining import Retaining, known, replaced

ARN = f"arn:aws:iam::{HOME.registry}:user/alice"
SAID = {"keep": {"newest": 1}, "max_share": 1.0, "untagged_after_days": 7}
URI = f"{HOME.registry}.dkr.ecr.{HOME.region}.amazonaws.com/{HOME.name}"
Command = Callable[..., Result]


def images() -> list[RetainedImage]:
    return [retained(n, f"t{n}", days=n) for n in (1, 2, 3)]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Retaining:
    made = Retaining(images(), SAID)
    enter(made, monkeypatch)
    return made


def enter(world: Retaining, monkeypatch: pytest.MonkeyPatch) -> None:
    context: Any = world
    monkeypatch.setattr(retention, "operator", lambda stage: Operator(context, ARN))
    monkeypatch.setenv("AWS_REGION", HOME.region)


def command(*words: str) -> Result:
    return CliRunner().invoke(app, ["retention", *words])


def plan_id(world: Retaining) -> str:
    return plan_retention(HOME, world).plan.id  # type: ignore[arg-type]


class TestPlan:
    @pytest.fixture(autouse=True)
    def _filled(self, context: FakeContext) -> None:
        for image in images():
            context.queries.add(known(image))
        context.keeper = context.replicas = FakeKeeper(HOME, images(), lambda: NOW)
        said = {"version": 1, "mode": "enforce", "retention": [{"repository": "*", **SAID}]}
        context.rules.rules = Rules(parse_policy(said, 1), (), 1, 1)

    def test_it_shows_what_would_go_why_and_how_to_have_it_done(self, run: Run) -> None:
        result = run("retention", "plan", URI)
        assert result.exit_code == 0, result.output
        assert "team/api: 2 of 3 images would go" in result.stdout
        assert "lazaretto retention apply team/api --plan" in result.stdout
        assert "1 stays (newest 1); --all names them." in result.stdout
        assert max(map(len, result.stdout.splitlines())) <= 100

    def test_all_names_what_stays_too(self, run: Run) -> None:
        assert "one of the newest 1" in " ".join(run("retention", "plan", URI, "--all").stdout.split())

    def test_it_says_once_what_its_dollars_are(self, run: Run) -> None:
        stdout = " ".join(run("retention", "plan", URI).stdout.split())
        assert stdout.count("not verified: see the Amazon ECR pricing page") == 1
        assert "a month.*" in stdout

    def test_json_is_the_answer_of_the_api(self, run: Run) -> None:
        body = json.loads(run("retention", "plan", URI, "--json").stdout)
        assert len(body["fates"]) == 3

    def test_an_unknown_repository_is_a_negative_answer(self, run: Run) -> None:
        assert run("retention", "plan", "team/none").exit_code == 1


class TestPlanDirect:
    def test_it_is_the_plan_of_the_api_without_it(self, world: Retaining) -> None:
        result = command("plan", HOME.name, "--direct", "--json")
        assert result.exit_code == 0, result.output
        body = json.loads(result.stdout)
        assert (body["id"], body["acts"], len(body["fates"])) == (plan_id(world), True, 3)
        assert "lazaretto retention apply team/api --plan" in command("plan", HOME.name, "--direct").stdout

    def test_an_unknown_repository_is_a_negative_answer(self, world: Retaining) -> None:
        assert command("plan", "team/none", "--direct").exit_code == 1


class TestApply:
    def test_the_plan_that_was_read_is_done(self, world: Retaining) -> None:
        result = command("apply", HOME.name, "--plan", plan_id(world))
        assert result.exit_code == 0, result.output
        assert "2 images expired." in result.stdout
        assert world.left == {digest(1)}
        assert world.records("EXPIRE")[0].actor == f"person:{ARN}"
        assert world.stored.repositories[HOME]["retention"]["taken"] == 2

    @pytest.mark.parametrize("change", ["tag", "use", "image"])
    def test_what_has_changed_since_is_refused(self, world: Retaining, change: str) -> None:
        plan = plan_id(world)
        if change == "tag":
            replaced(world, digest(1), tags=("t1", "new"))
        elif change == "use":
            world.runtime.run(HOME.image(digest(3)))
        else:
            del world.keeper.rows[digest(2)]
        before = world.left
        result = command("apply", HOME.name, "--plan", plan)
        assert result.exit_code == 1
        assert "has changed since plan" in result.stderr
        assert world.left == before

    def test_a_stopped_plan_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = Retaining(images(), {**SAID, "max_share": 0.2})
        enter(made, monkeypatch)
        result = command("apply", HOME.name, "--plan", plan_id(made))
        assert result.exit_code == 1
        assert "stopped" in result.stderr

    def test_who_only_observes_takes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = Retaining(images(), SAID, mode="observe")
        enter(made, monkeypatch)
        assert command("apply", HOME.name, "--plan", plan_id(made)).exit_code == 1
        assert len(made.left) == 3

    def test_an_image_that_could_not_be_taken_is_a_negative_answer(self, world: Retaining) -> None:
        world.keeper.refused[digest(3)] = "KmsError: no"
        result = command("apply", HOME.name, "--plan", plan_id(world), "--json")
        assert result.exit_code == 1
        said = json.loads(result.stdout)
        assert (said["taken"], said["failed"]) == ([digest(2)], {digest(3): "KmsError: no"})

    def test_one_that_changed_meanwhile_is_told_apart_and_no_failure(self, world: Retaining) -> None:
        plan = plan_id(world)

        def meanwhile(call: str) -> None:
            if call == "describe":
                replaced(world, digest(3), last_pulled_at=NOW)

        world.keeper.before = meanwhile
        result = command("apply", HOME.name, "--plan", plan)
        assert result.exit_code == 0, result.output
        assert "1 image has changed since the plan, and stays:" in result.stdout
        assert "could not be taken" not in result.stdout
        assert world.left == {digest(1), digest(3)}

    def test_it_goes_on_beyond_what_the_plan_had_looked_up(
        self, world: Retaining, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("chalicelib.services.usage.find_image_uses.MOST_LOOKED_UP", 1)
        world.keeper.refused[digest(2)] = "KmsError: no"
        result = command("apply", HOME.name, "--plan", plan_id(world), "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout)["taken"] == [digest(3)]

    def test_a_public_repository_is_refused(self, world: Retaining) -> None:
        assert command("apply", "public.ecr.aws/alias/api", "--plan", "0").exit_code == 2


class TestNative:
    @pytest.fixture(autouse=True)
    def _there(self, world: Retaining) -> None:
        world.lifecycles.acts = {digest(2): NativeAct("expire", 2), digest(3): NativeAct("expire", 2)}

    def test_without_a_policy_it_says_so(self, world: Retaining) -> None:
        result = command("native", HOME.name)
        assert result.exit_code == 0, result.output
        assert "no native lifecycle policy" in result.stdout

    def test_our_rule_is_written_and_then_explained(self, world: Retaining) -> None:
        assert command("native", HOME.name, "--write", "--dry-run").exit_code == 0
        assert not world.lifecycles.texts
        result = command("native", HOME.name, "--write")
        assert result.exit_code == 0, result.output
        assert "Written: ECR acts by it within 24 hours." in result.stdout
        assert "- It does not express that what runs, or may run, stays." in result.stdout
        shown = command("native", HOME.name).stdout
        assert "the newest stays; expire the others." in shown
        assert "ECR would take 2 images, the same as we would." in shown

    def test_what_ecr_would_take_that_runs_is_a_negative_answer(self, world: Retaining) -> None:
        command("native", HOME.name, "--write")
        world.runtime.run(HOME.image(digest(3)))
        result = command("native", HOME.name)
        assert result.exit_code == 1
        assert "running" in result.stdout
        assert "ECR would take 1 image that must stay." in result.stdout
        said = json.loads(command("native", HOME.name, "--json").stdout)
        assert said["differences"][0]["danger"] == "RUNNING"
        assert said["differences"][0]["why"].startswith("runs, or may be started: ")

    def test_what_cannot_be_written_is_said(self, world: Retaining) -> None:
        world.runtime.run(HOME.image(digest(3)))
        result = command("native", HOME.name, "--write")
        assert result.exit_code == 1
        assert "images that are to stay" in result.stderr

    def test_dry_run_belongs_to_write(self, world: Retaining) -> None:
        assert command("native", HOME.name, "--dry-run").exit_code == 2
