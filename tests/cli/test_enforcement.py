"""`lazaretto quarantine`, `release`, `undo`, `fuse` in a terminal."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.audit.action import action_id
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.headers.pending_action import ActionType, Order
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.errors import UpstreamError
from tests.cli.conftest import Run
from tests.fakes.images import digest, finding, image, ref
from tests.fakes.queries import NOW, FakeContext


@pytest.fixture(autouse=True)
def enforcing(context: FakeContext) -> None:
    context.rules.rules = Rules(parse_policy({"version": 1, "mode": "enforce"}, number=3), policy_version=3)
    context.table.versions = (3, 0)
    context.queries.add(image(1, Decision.ALLOW))


def test_an_order_says_what_hangs_on_the_image_and_where_to_look(run: Run, context: FakeContext) -> None:
    context.runtime.run(ref(1), "Lambda function resize")
    result = run("quarantine", "team/api:v1", "--reason", "a leaked key", "--force", "--yes")
    assert result.exit_code == 0, result.output
    assert "Lambda function resize" in result.stdout
    # What is to be pasted is never wrapped.
    assert max(len(line) for line in result.stdout.splitlines() if "lazaretto" not in line and "--" not in line) <= 100
    order = context.queries.stored[ref(1)].order
    assert order is not None
    assert order.force


def test_a_plain_order_for_what_runs_is_refused_with_the_command_that_takes_it(run: Run, context: FakeContext) -> None:
    context.runtime.run(ref(1), "Lambda function resize")
    refused = run("quarantine", "team/api:v1", "--reason", "a leaked key")
    assert refused.exit_code == 1
    assert f"lazaretto quarantine {ref(1)} --force --reason WHY" in refused.stderr
    assert context.queries.stored[ref(1)].order is None


@pytest.mark.parametrize("answer", ["", "yes", "quarantine 1 image, running NO"])
def test_by_force_nothing_is_done_unless_the_plan_is_typed_back(
    run: Run, context: FakeContext, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    context.runtime.run(ref(1), "Lambda function resize")
    forced = ("quarantine", "team/api:v1", "--reason", "a leaked key", "--force")
    assert run(*forced).exit_code == 2, "no terminal, and no --yes"
    monkeypatch.setattr("chalicelib.cli.framework.output.is_interactive", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: answer)
    refused = run(*forced)
    assert refused.exit_code == 2
    assert "Lambda function resize" in refused.stdout, "the plan was shown"
    assert context.queries.stored[ref(1)].order is None
    monkeypatch.setattr("typer.prompt", lambda *_, **__: "quarantine 1 image, running YES")
    assert run(*forced).exit_code == 0
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
    result = run("release", "team/api:v1", "--reason", "to be sure", "--allow-unmatched")
    assert "Nothing is to be done" in result.stdout


def test_before_a_release_is_given_a_person_sees_what_it_lets_through_and_is_asked(
    run: Run, context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context.queries.add(image(1, Decision.BLOCK), [finding(1)])
    asked: list[str] = []

    def confirm(question: str, **_: Any) -> bool:
        asked.append(question)
        return len(asked) > 1

    monkeypatch.setattr("chalicelib.cli.framework.output.is_interactive", lambda: True)
    monkeypatch.setattr("chalicelib.cli.framework.output.typer.confirm", confirm)
    refused = run("release", "team/api:v1", "--reason", "must run", "--until", "2026-03-20")
    assert (refused.exit_code, context.queries.stored[ref(1)].order) == (2, None)
    assert "It lets through 1 image and 0 findings" in refused.stderr
    assert run("release", "team/api:v1", "--reason", "must run").exit_code == 0
    assert context.queries.stored[ref(1)].order is not None
    assert run("release", "team/api:v1", "--reason", "must run", "--yes", "--allow-unmatched").exit_code == 0
    assert len(asked) == 2


def test_a_waiver_that_matches_nothing_is_bad_input_but_by_a_word(run: Run, context: FakeContext) -> None:
    given = ("waive", "--repository", "team/*", "--cve", "CVE-2026-0001", "--approved-by", "security", "--reason", "x")
    refused = run(*given, "--expires", "2026-03-20")
    assert (refused.exit_code, context.waivers.read()) == (2, ())
    assert "CVE-2026-0001 in team/* matches nothing that is stored now" in refused.stderr
    assert run(*given, "--expires", "2026-03-20", "--allow-unmatched").exit_code == 0


def test_a_release_that_lets_nothing_through_or_for_too_long_is_bad_input(run: Run) -> None:
    for words, said in (((), "--allow-unmatched"), (("--until", "400d"), "until"), (("--until", "soon"), "--until")):
        result = run("release", "team/api:v1", "--reason", "to be sure", *words)
        assert (result.exit_code, said in result.stderr) == (2, True)


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
    context.queries.add(image(2, Decision.BLOCK), [finding(1)])
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


def test_an_order_is_given_by_the_etag_that_was_seen_and_not_on_an_outdated_view(
    run: Run, context: FakeContext
) -> None:
    seen = context.queries.stored[ref(1)].etag
    assert seen in run("image", "team/api:v1").stdout
    assert f"--if-match {seen}" in run("quarantine", "team/api:v1", "--reason", "to see", "--dry-run").stdout
    assert run("quarantine", "team/api:v1", "--reason", "a leaked key").exit_code == 0
    refused = run("release", "team/api:v1", "--reason", "no leak", "--if-match", seen)
    assert refused.exit_code == 1
    assert "person:local ordered its quarantine" in refused.stderr
    assert run("release", "team/api:v1", "--reason", "no leak").exit_code == 0, "as it is when the command runs"


def test_a_release_is_given_by_the_etag_of_what_was_shown(
    run: Run, context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context.queries.add(image(1, Decision.BLOCK))

    def confirm(*_: object, **__: object) -> bool:
        context.queries.add(image(1, Decision.BLOCK, order=Order(ActionType.QUARANTINE, "local", "a leaked key", NOW)))
        return True

    monkeypatch.setattr("chalicelib.cli.framework.output.is_interactive", lambda: True)
    monkeypatch.setattr("chalicelib.cli.framework.output.typer.confirm", confirm)
    refused = run("release", "team/api:v1", "--reason", "must run")
    assert refused.exit_code == 1
    assert "person:local ordered its quarantine" in refused.stderr


def test_the_order_of_another_person_is_ended_by_override(run: Run, context: FakeContext) -> None:
    order = Order(ActionType.QUARANTINE, "ann", "a leaked key", NOW)
    context.queries.add(image(1, Decision.ALLOW, order=order))
    refused = run("release", "team/api:v1", "--reason", "no leak")
    assert refused.exit_code == 1
    assert "--override: QUARANTINE ordered by ann: a leaked key" in refused.stderr
    given = run("release", "team/api:v1", "--reason", "no leak", "--override")
    assert given.exit_code == 0
    assert "QUARANTINE ordered by ann: a leaked key" in given.stdout
