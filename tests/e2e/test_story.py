"""The story of one image, played on the packaged functions: as `lazaretto story` tells it, in real time.

What takes days in the world is not waited for: a waiver is given for seconds, the clock is called by hand, and what a
quarter of an hour would bring, an event of Inspector brings.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.local.story.story import ACTS, POLICY_FILE
from chalicelib.local.story.world import CLUSTER, FLAW, NAME, SERVICE
from tests.e2e.account import eventually
from tests.e2e.run import Run
from tests.e2e.world import World

pytestmark = pytest.mark.e2e

CRITICAL = ("CRITICAL", 9.8)
WAIVED_FOR = timedelta(seconds=25)


class Told:
    """What people were told since they were asked last, by Slack and by SNS."""

    def __init__(self, run: Run) -> None:
        self._run, self._read = run, {"slack": 0, "sns": 0}

    def hears(self, words: str, *channels: str) -> None:
        """Each of the channels is sent a message with the words in it. Raises AssertionError where it is not."""
        for channel in channels:
            eventually(lambda channel=channel: self._news(channel), lambda news: any(words in text for text in news))

    def reads_all(self) -> None:
        self._read = {channel: len(self._all(channel)) for channel in self._read}

    def _news(self, channel: str) -> list[str]:
        return self._all(channel)[self._read[channel] :]

    def _all(self, channel: str) -> list[str]:
        return self._run.slack() if channel == "slack" else self._run.letters()


@pytest.fixture(scope="module")
def world(run: Run) -> World:
    return World(run)


@pytest.fixture(scope="module")
def told(run: Run) -> Told:
    return Told(run)


@pytest.fixture(scope="module")
def waiver() -> dict[str, Any]:
    return {}


@pytest.fixture(autouse=True)
def all_is_handled(world: World, told: Told) -> Iterator[None]:
    """Nothing of one scene is on its way any more when the next begins."""
    told.reads_all()
    yield
    world.settle()


def test_a_policy_that_acts_is_put_in_force(run: Run, world: World) -> None:
    shutil.copy(POLICY_FILE, run.folder)
    applied = world.type("policy", "apply", POLICY_FILE.name, "--yes", "--reason", "the story begins").answer
    assert applied["changed"]
    assert applied["version"] == 1


def test_an_image_that_nobody_has_scanned_is_pending(world: World) -> None:
    world.push()
    world.settle()
    seen = world.look()
    assert (seen.decision, seen.gate_exit_code, seen.pulled) == ("PENDING", 1, True)


def test_a_scan_with_a_high_flaw_is_a_warning_and_slack_is_told_what_to_upgrade(world: World, told: Told) -> None:
    world.scan()
    world.settle()
    seen = world.look()
    assert (seen.decision, seen.gate_exit_code) == ("WARN", 0)
    told.hears(f"Upgrade {FLAW.package} to {FLAW.fixed}", "slack")


def test_what_runs_is_not_taken_away_though_its_flaw_became_critical(world: World, told: Told) -> None:
    world.deploy()
    world.rate(*CRITICAL)
    world.settle()
    seen = world.look()
    assert (seen.decision, seen.gate_exit_code, seen.pulled) == ("QUARANTINE", 1, True)
    assert (seen.held or "").startswith("RUNNING")
    told.hears(f"ECS service {SERVICE} in cluster {CLUSTER}", "slack", "sns")


def test_once_nothing_runs_it_any_more_it_is_archived(world: World, told: Told) -> None:
    world.undeploy()
    world.look_up_again()
    seen = world.look()
    assert (seen.decision, seen.storage, seen.pulled) == ("QUARANTINE", "ARCHIVED", False)
    told.hears("quarantined (archive)", "slack", "sns")


def test_findings_that_are_closed_by_the_archive_release_nothing(world: World) -> None:
    assert set(world.findings()) == {"CLOSED"}
    seen = world.look()
    assert (seen.decision, seen.storage) == ("QUARANTINE", "ARCHIVED")


def test_a_pull_that_fails_is_explained_with_the_command_that_would_release(world: World, told: Told) -> None:
    world.deploy()
    world.settle()
    told.hears("quarantine by Lazaretto", "slack")
    told.hears("lazaretto release", "slack")
    world.undeploy()


def test_a_second_push_of_the_same_image_is_quarantined_again(run: Run, world: World, told: Told) -> None:
    run.recycle("on_actions")
    world.push()
    assert world.pull()
    world.settle()
    seen = world.look()
    assert (seen.storage, seen.pulled) == ("ARCHIVED", False)
    told.hears("quarantined (archive)", "slack", "sns")


def test_a_waiver_opens_the_gate_and_restores_the_image(world: World, told: Told, waiver: dict[str, Any]) -> None:
    ends_at = datetime.now(UTC).replace(microsecond=0) + WAIVED_FOR
    waiver |= world.type(
        *("waive", "--repository", "team/*", "--cve", FLAW.id, "--expires", ends_at.isoformat()),
        *("--reason", "the vulnerable function is not called", "--approved-by", "security@example.com"),
    ).answer
    seen = eventually(world.look, lambda seen: seen.storage == "ACTIVE")
    world.settle()
    seen = world.look()
    assert (seen.decision, seen.gate_exit_code, seen.pulled) == ("ALLOW", 0, True)
    assert seen.waived == (waiver["id"],)
    told.hears("security@example.com", "slack")


def test_a_waiver_that_ends_excuses_no_longer(run: Run, world: World, waiver: dict[str, Any]) -> None:
    ends_at = datetime.fromisoformat(waiver["expires_at"])
    time.sleep(max(0.0, (ends_at - datetime.now(UTC)).total_seconds() + 1))
    run.recycle("on_actions")
    run.tick()
    seen = world.look()
    assert (seen.decision, seen.storage, seen.waived) == ("QUARANTINE", "ARCHIVED", ())


def test_a_person_releases_it_against_the_verdict(world: World) -> None:
    world.type("release", NAME, "--reason", "outage 4711: roll back to 1.4.0")
    eventually(world.storage, lambda storage: storage == "ACTIVE")
    world.settle()
    world.rate(*CRITICAL)
    world.settle()
    seen = world.look()
    assert (seen.storage, seen.pulled) == ("ACTIVE", True)
    assert (seen.decision, seen.gate_exit_code) == ("QUARANTINE", 1)
    assert "outage 4711" in (seen.order or "")


def test_the_release_is_undone_by_its_id_in_the_audit_log(run: Run, world: World) -> None:
    records = world.type("audit", NAME).answer["records"]
    released = next(r for r in records if r["kind"] == "RELEASE" and r["actor"].startswith("person:"))
    run.recycle("on_actions")
    world.type("undo", released["action_id"], "--reason", "outage 4711 is over")
    world.settle()
    seen = world.look()
    assert (seen.storage, seen.pulled, seen.order) == ("ARCHIVED", False, None)


def test_the_audit_log_is_whole_and_holds_each_act_once(world: World) -> None:
    proof = world.type("audit", "verify", NAME).answer
    assert proof["whole"]
    records = world.type("audit", NAME).answer["records"]
    assert [r["kind"] for r in reversed(records) if r["kind"] in set(ACTS)] == ACTS
