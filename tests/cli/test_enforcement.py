"""`lazaretto quarantine`, `release`, `undo`, `fuse` in a terminal."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from chalicelib.domain.audit.action import action_id
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.errors import UpstreamError
from tests.cli.conftest import Run
from tests.fakes.images import digest, image, ref
from tests.fakes.queries import NOW, FakeContext


@pytest.fixture(autouse=True)
def enforcing(context: FakeContext) -> None:
    context.rules.rules = Rules(parse_policy({"version": 1, "mode": "enforce"}, number=3), policy_version=3)
    context.table.versions = (3, 0)
    context.queries.add(image(1, Decision.ALLOW))


def test_an_order_says_what_hangs_on_the_image_and_where_to_look(run: Run, context: FakeContext) -> None:
    context.runtime.run(ref(1), "Lambda function resize")
    result = run("quarantine", "team/api:v1", "--reason", "a leaked key")
    assert result.exit_code == 0, result.output
    assert "Lambda function resize" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert context.queries.stored[ref(1)].order is not None


def test_the_command_that_watches_an_order_can_be_pasted(run: Run) -> None:
    result = run("quarantine", "team/api:v1", "--reason", "a leaked key")
    assert f"Watch it with: lazaretto image {ref(1)}" in result.stdout.splitlines()


def test_what_could_not_be_looked_up_is_named_and_no_dash_alone(run: Run, context: FakeContext) -> None:
    context.registry.failure = UpstreamError("ecr:DescribeImages")
    result = run("quarantine", "team/api:v1", "--reason", "to see", "--dry-run")
    assert "not looked up" in result.stdout
    assert "the last pull" in result.stdout


def test_a_dry_run_says_so(run: Run, context: FakeContext) -> None:
    result = run("quarantine", f"team/api@{digest(1)}", "--reason", "to see", "--dry-run")
    assert "nothing was changed" in result.stdout
    assert "Would be quarantined (archive) at once." in result.stdout
    assert "on its way" not in result.stdout
    assert context.queries.stored[ref(1)].order is None


def test_a_release_of_what_is_not_held_says_that_nothing_is_to_be_done(run: Run) -> None:
    result = run("release", "team/api:v1", "--reason", "to be sure")
    assert "Nothing is to be done" in result.stdout


def test_no_reason_is_bad_input_and_an_unknown_image_a_negative_answer(run: Run) -> None:
    assert run("release", "team/api:v1").exit_code == 2
    assert run("release", "team/api:v1", "--reason", " ").exit_code == 2
    assert run("release", f"team/api@{digest(9)}", "--reason", "x").exit_code == 1


def test_the_fuse_answers_by_its_exit_code_and_is_reset(run: Run, context: FakeContext) -> None:
    assert run("fuse", "show").exit_code == 0
    context.table.fuse = Fuse(blown_at=NOW, waiting=(f"{ref(1)} QUARANTINE#4",))
    shown = run("fuse", "show")
    assert shown.exit_code == 1
    assert "1 act waits" in shown.stdout
    assert json.loads(run("fuse", "reset", "--reason", "checked", "--json").stdout)["sent"] == 1
    assert run("fuse", "show").exit_code == 0
    context.table.brake = Fuse(blown_at=NOW, waiting=(f"{ref(1)} RELEASE#4",))
    shown = run("fuse", "show")
    assert shown.exit_code == 1
    assert "lazaretto fuse reset --releases --reason WHY" in shown.stdout
    assert "The brake is whole" in run("fuse", "reset", "--releases", "--reason", "checked").stdout
    assert run("fuse", "show").exit_code == 0


def test_an_action_nobody_knows_is_a_negative_answer(run: Run) -> None:
    assert run("undo", "20261125T093012.123456Z-QUARANTINE-3-1f0c2ab9", "--reason", "x").exit_code == 1


def test_a_waiver_is_undone_and_what_was_changed_since_is_not(run: Run, context: FakeContext) -> None:
    given = ("waive", "--repository", "team/*", "--vulnerability", "CVE-2026-0001", "--approved-by", "security")
    assert run(*given, "--expires", "2026-03-20T00:00:00Z", "--reason", "not reachable").exit_code == 0
    (waiver,) = context.waivers.read()
    (record,) = context.queries.records[f"waiver/{waiver.id}"]
    planned = run("undo", action_id(record), "--reason", "a mistake", "--dry-run")
    assert planned.stdout.startswith(f"dry run, nothing was changed: The waiver {waiver.id} is ended.")
    assert context.waivers.read() == (waiver,)
    undone = run("undo", action_id(record), "--reason", "a mistake")
    assert undone.stdout.startswith(f"done: The waiver {waiver.id} is ended.")
    assert context.waivers.read() == ()
    context.clock.at += timedelta(minutes=1)
    assert run(*given, "--expires", "2026-03-25T00:00:00Z", "--reason", "another").exit_code == 0
    refused = run("undo", action_id(record), "--reason", "a mistake")
    assert refused.exit_code == 1
    assert "was changed since" in refused.stderr


def test_an_act_is_undone_by_the_id_that_the_audit_log_shows(run: Run, context: FakeContext) -> None:
    assert run("quarantine", "team/api:v1", "--reason", "a leaked key").exit_code == 0
    shown = run("audit", "team/api:v1").stdout.split()[-1]
    result = run("undo", shown, "--reason", "no leak")
    assert result.exit_code == 0, result.output
    assert context.queries.stored[ref(1)].order is None
    assert json.loads(run("audit", "team/api:v1", "--json").stdout)["records"][0]["kind"] == "ORDER_TAKEN_BACK"
