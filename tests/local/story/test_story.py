"""The story, played once from end to end: each outcome as it is seen from outside.

What is looked at is what `lazaretto image`, `gate` and `audit` answer, what ECR says and gives away, and what Slack and
SNS were sent; nobody looks into the table.
"""

from __future__ import annotations

import contextlib
import json
import urllib.request
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import urlencode

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from chalicelib.cli import app
from chalicelib.cli.local import story as story_cli
from chalicelib.local.aws.stack import REGION
from chalicelib.local.story.page import Beat, Step, StoryCheck
from chalicelib.local.story.story import ACTS, WAIVED_FOR
from chalicelib.local.story.world import CLUSTER, FLAW, NAME, REPOSITORY, SERVICE, StoryWorld, Typed
from tests.agreement import answered_differently
from tests.local.running import local_aws


class Played:
    """The steps, and what was left at the end."""

    def __init__(self) -> None:
        with story_cli.playing(typer.main.get_command(app)) as story:
            self.titles = [title for title, _ in story.scenes]
            stack, world = story.world.stack, story.world
            self.steps, self.differing = [], []
            for step in story.play():
                self.steps.append(step)
                self.differing += [(step.title, words) for words in self.answered_differently(world)]
            self.records = world.type("audit", NAME).answer["records"]
            self.policy_records = world.type("audit", "--subject", "policy").answer["records"]
            subject = f"waiver/{self.beats('A waiver is given')[0].commands[0].answer['id']}"
            self.waiver_records = world.type("audit", "--subject", subject).answer["records"]
            self.images = world.ecr.list_images(repositoryName=REPOSITORY, filter={"imageStatus": "ANY"})["imageIds"]
            self.dead_letters = stack.dead_letters()

    @staticmethod
    def answered_differently(world):
        """The story's own clock goes on: nothing is waited for."""

        def ask(path, **query):
            with urllib.request.urlopen(f"{world.stack.api_url}{path}?{urlencode(query)}") as answer:
                return json.load(answer)

        return list(answered_differently(ask, lambda image: world.type("gate", image).exit_code, world.now))

    def beats(self, title: str) -> tuple[Beat, ...]:
        (step,) = [step for step in self.steps if step.title == title]
        return step.beats


@pytest.fixture(scope="module")
def played():
    return Played()


def texts(beat: Beat, channel: str) -> str:
    return "\n".join(line for caught in beat.told if caught.channel == channel for line in caught.lines)


def test_every_step_comes_out_as_told(played):
    assert [step.title for step in played.steps] == played.titles
    assert [(step.title, c.expected) for step in played.steps for c in step.checks if not c.ok] == []
    assert all(step.checks for step in played.steps)


def test_after_each_step_list_image_verdict_gate_and_summary_say_the_same_of_every_image(played):
    assert played.differing == []


def test_an_image_that_was_pushed_is_pending_and_the_gate_is_closed(played):
    (beat,) = played.beats("An image is pushed")
    assert (beat.seen.decision, beat.seen.gate_exit_code) == ("PENDING", 1)
    assert (beat.seen.storage, beat.seen.pulled) == ("ACTIVE", True)
    assert beat.told == ()


def test_a_scan_that_finds_a_high_flaw_warns_and_opens_the_gate(played):
    (beat,) = played.beats("It is scanned")
    assert (beat.seen.decision, beat.seen.gate_exit_code, beat.seen.scan_state) == ("WARN", 0, "COMPLETE")
    assert FLAW.id in texts(beat, "slack")
    assert texts(beat, "sns") == ""


def test_an_image_in_use_is_alerted_of_and_left_alone(played):
    alerted, looked_again = played.beats("The flaw becomes critical while the image runs")
    assert (alerted.seen.decision, alerted.seen.gate_exit_code) == ("QUARANTINE", 1)
    for beat in (alerted, looked_again):
        assert (beat.seen.storage, beat.seen.pulled) == ("ACTIVE", True)
        assert beat.seen.held == f"RUNNING: it runs: ECS service {SERVICE} in cluster {CLUSTER} (1 task)"
    for channel in ("slack", "sns"):
        assert f"ECS service {SERVICE} in cluster {CLUSTER}" in texts(alerted, channel)
        assert "Last pulled: " in texts(alerted, channel)
    assert looked_again.told == ()


def test_an_image_no_longer_in_use_is_archived_without_a_new_scan(played):
    scanned = played.beats("It is scanned")[0].seen.scanned_at
    archived, later = played.beats("The workload stops")
    for beat in (archived, later):
        assert (beat.seen.decision, beat.seen.storage, beat.seen.pulled) == ("QUARANTINE", "ARCHIVED", False)
        assert beat.seen.scanned_at == scanned
    assert "quarantined (archive)" in texts(archived, "slack")
    assert "quarantined (archive)" in texts(archived, "sns")
    assert later.told == ()


def test_a_pull_that_fails_is_explained_by_the_act_that_caused_it(played):
    (beat,) = played.beats("It is deployed again")
    first = next(r for r in reversed(played.records) if r["kind"] == "QUARANTINE")
    assert first["action_id"] in texts(beat, "slack")
    assert "lazaretto release" in texts(beat, "slack")


def test_an_image_pushed_again_is_archived_again(played):
    (beat,) = played.beats("It is pushed again")
    assert (beat.seen.storage, beat.seen.pulled) == ("ARCHIVED", False)


def test_a_waiver_releases_and_the_verdict_names_it(played):
    (given,), (restored,) = played.beats("A waiver is given"), played.beats("The restore is over")
    waiver = given.commands[0].answer["id"]
    assert given.seen.waived == restored.seen.waived == (waiver,)
    assert (given.seen.storage, given.seen.pulled) == ("ACTIVATING", False)
    assert given.seen.held.startswith("RESTORING")
    assert (restored.seen.decision, restored.seen.gate_exit_code) == ("ALLOW", 0)
    assert (restored.seen.storage, restored.seen.pulled) == ("ACTIVE", True)
    released = next(r for r in reversed(played.records) if r["kind"] == "RELEASE")
    assert waiver in released["reason"]


def test_the_waiver_ends_two_days_after_it_was_given_by_the_clock_of_the_story(played):
    at = {step.title: step.at for step in played.steps}
    passed = at["The waiver expires"] - at["A waiver is given"]
    assert WAIVED_FOR <= passed < WAIVED_FOR + timedelta(minutes=15)


def test_a_waiver_that_expired_excuses_nothing(played):
    beat, told = played.beats("The waiver expires")
    assert not beat.told
    (summary,) = [caught for caught in told.told if caught.channel == "slack"]
    assert summary.lines[0].startswith("Waiver has ended")
    assert (beat.seen.decision, beat.seen.waived) == ("QUARANTINE", ())
    assert (beat.seen.storage, beat.seen.pulled) == ("ARCHIVED", False)


def test_a_manual_release_stands_against_the_same_verdict(played):
    ordered, later = played.beats("A person releases it against the verdict")
    assert ordered.seen.storage == "ACTIVATING"
    assert (later.seen.decision, later.seen.storage, later.seen.pulled) == ("QUARANTINE", "ACTIVE", True)
    assert "outage 4711" in later.seen.order


def test_what_a_person_did_is_undone_by_its_id(played):
    (beat,) = played.beats("The release is undone")
    assert beat.commands[0].exit_code == 0
    assert (beat.seen.storage, beat.seen.pulled, beat.seen.order) == ("ARCHIVED", False, None)


def test_the_audit_log_holds_every_act_once_with_its_actor_and_is_whole(played):
    (beat,) = played.beats("The audit log is proven")
    proof = beat.commands[-1]
    assert (proof.exit_code, proof.answer["whole"], proof.answer["problems"]) == (0, True, [])
    acts = [(r["kind"], r["actor"].partition(":")[0]) for r in reversed(played.records) if r["kind"] in set(ACTS)]
    assert acts == [
        ("QUARANTINE", "rule"),
        ("QUARANTINE", "rule"),
        ("RELEASE", "rule"),
        ("QUARANTINE", "rule"),
        ("RELEASE", "person"),
        ("QUARANTINE", "rule"),
    ]
    assert [r["kind"] for r in played.policy_records if r["kind"] != "ALERT"] == ["POLICY"]
    assert [r["kind"] for r in played.waiver_records if r["kind"] != "ALERT"] == ["WAIVE"]


def test_nothing_was_deleted_and_nothing_is_left_over(played):
    assert len(played.images) == 1
    assert played.dead_letters == []


# ---- how it is shown


class Recorded(list):
    """A story that was played already."""

    def play(self):
        return iter(self)


def told(monkeypatch, steps, *options):
    monkeypatch.setattr(story_cli, "playing", lambda program: contextlib.nullcontext(Recorded(steps)))
    return CliRunner().invoke(app, ["story", *options], env={"COLUMNS": "100"})


def test_it_is_told_step_by_step_in_a_hundred_columns(played, monkeypatch):
    result = told(monkeypatch, played.steps, "--fast")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    for step in played.steps:
        assert sum(f"of {len(played.steps)}  {step.title} ─" in line for line in lines) == 1
    assert sum("lazaretto undo " in line for line in lines) == 1
    assert "✗" not in result.stdout


def test_a_step_that_came_out_otherwise_is_marked_and_makes_the_exit_code_1(played, monkeypatch):
    wrong = StoryCheck("it is archived", False)
    steps = [*played.steps[:2], Step(3, "Otherwise", played.steps[0].at, (Beat("Nothing.", checks=(wrong,)),))]
    result = told(monkeypatch, steps, "--fast")
    assert result.exit_code == 1
    assert "✗ not so  it is archived" in result.stdout
    as_json = told(monkeypatch, steps, "--json")
    assert as_json.exit_code == 1
    assert [json.loads(line)["ok"] for line in as_json.stdout.splitlines()] == [True, True, False]


def test_a_command_that_answers_nothing_ends_the_story_with_its_name(monkeypatch):
    def broken(program):
        world = StoryWorld(SimpleNamespace(region=REGION), lambda words: Typed(tuple(words), 3))
        return contextlib.nullcontext(SimpleNamespace(play=lambda: iter([world.type("image", NAME)])))

    with local_aws():
        monkeypatch.setattr(story_cli, "playing", broken)
        result = CliRunner().invoke(app, ["story", "--json"])
    assert result.exit_code == 3
    assert "lazaretto image team/payments:1.4.0 ended with exit code 3" in result.stderr


def test_as_json_each_step_is_one_object_with_the_commands_as_they_are_typed(played, monkeypatch):
    lines = [json.loads(line) for line in told(monkeypatch, played.steps, "--json").stdout.splitlines()]
    assert [line["title"] for line in lines] == played.titles
    typed = [c["command"] for line in lines for beat in line["beats"] for c in beat["commands"]]
    assert typed[0] == "lazaretto policy apply policy.yaml --skip-what-if --yes --reason 'the story begins'"
    assert all(command.startswith("lazaretto ") for command in typed)
    assert lines[1]["beats"][0]["seen"] == json.loads(msgspec.json.encode(played.steps[1].beats[0].seen))
