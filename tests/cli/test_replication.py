"""`lazaretto replication`: whether every image is where the rules say."""

from __future__ import annotations

import json

import pytest

from chalicelib.domain.images.image import Repository
from chalicelib.domain.replication.replica import Replica, ReplicaStatus
from chalicelib.domain.replication.rules import Destination
from tests.cli.conftest import Run
from tests.fakes.images import home, ref
from tests.fakes.queries import NOW, FakeContext

FAR = Destination("444455556666", "us-east-1")


@pytest.fixture
def replicated(context: FakeContext) -> FakeContext:
    said = {FAR.path: {"COMPLETE": 1, "alarms": 0, "settings": ["no lifecycle policy there"]}}
    context.queries.homes[home()] = {"replication": said, "replication_at": NOW}
    context.replicas.add(Replica(ref=ref(1), destination=FAR, status=ReplicaStatus.COMPLETE, since=NOW, at=NOW))
    return context


def test_destinations_are_shown_with_what_differs(run: Run, replicated: FakeContext) -> None:
    result = run("replication")
    assert result.exit_code == 0
    assert "1 COMPLETE" in result.stdout
    assert "no lifecycle policy there" in result.stdout


def test_how_long_copies_take_is_shown_and_what_was_not_measured_is_no_zero(run: Run, replicated: FakeContext) -> None:
    lag = {"arrived": 9, "p50_seconds": 30, "p95_seconds": 600, "max_seconds": 9000, "waiting": 2}
    said = replicated.queries.homes[home()]["replication"][FAR.path]
    replicated.queries.homes[home()]["replication"] = {FAR.path: said | {"lag": lag | {"waiting_seconds": 1200}}}
    shown = run("replication", "--json").stdout
    assert json.loads(shown)["repositories"][0]["destinations"][0]["lag"]["p95_seconds"] == 600
    table = " ".join(run("replication").stdout.split())
    assert "30 s, 10 min, 2 h 2, for 20 min" in table
    replicated.queries.homes[home()]["replication"] = {FAR.path: said | {"lag": {}}}
    assert "none was measured" in " ".join(run("replication").stdout.split())


def test_a_copy_that_is_missing_is_a_negative_answer_with_its_remedy(run: Run, replicated: FakeContext) -> None:
    missing = Replica(ref=ref(2), destination=FAR, status=ReplicaStatus.MISSING, since=NOW, at=NOW)
    replicated.replicas.add(missing)
    result = run("replication", "team/api")
    assert result.exit_code == 1
    assert "MISSING" in result.stdout
    assert "aws ecr start-replication-backfill" in result.stdout
    body = json.loads(run("replication", "team/api", "--json").stdout)
    assert [copy["status"] for copy in body["copies"]] == ["COMPLETE", "MISSING"]


def test_a_check_that_did_not_end_is_a_negative_answer(run: Run, replicated: FakeContext) -> None:
    left = {"since": NOW.isoformat(), "left": 60_000, "images": 100_000}
    replicated.queries.homes[home()]["replication_unfinished"] = left
    for words in (("replication",), ("replication", "team/api")):
        result = run(*words)
        assert result.exit_code == 1, "what was not looked at is not fine"
        assert "team/api is not checked to the end: 60,000 of 100,000 images" in " ".join(result.stdout.split())


def test_what_many_repositories_have_in_common_is_said_once(run: Run, context: FakeContext) -> None:
    near = Destination(home().registry, "eu-central-1")
    said = {place.path: {"COMPLETE": 1, "alarms": 0, "unread": "no role is set"} for place in (near, FAR)}
    for number in range(3):
        one = Repository(home().registry, home().region, f"team/a-rather-long-name-of-a-service-{number}")
        context.queries.homes[one] = {"replication": said, "replication_at": NOW}
    result = run("replication")
    assert result.exit_code == 1, "what was not looked at is not fine"
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert sum("no role is set" in line for line in lines) == 2
    assert f"- 3 repositories at {FAR}: no role is set" in lines
    assert "- 3 repositories at eu-central-1: no role is set" in lines
    assert not any(line.strip() == "service-0" for line in lines)


def test_a_repository_is_named_once_and_its_copies_are_counted_apart_from_what_is_said_of_them(
    run: Run, context: FakeContext
) -> None:
    counts = {"COMPLETE": 2, "EXTRA": 1, "alarms": 0, "not-scanned": 2}
    near = Destination(home().registry, "eu-central-1")
    context.queries.homes[home()] = {"replication": {near.path: counts, FAR.path: counts}, "replication_at": NOW}
    result = run("replication")
    rows = [line.strip() for line in result.stdout.splitlines() if "COMPLETE" in line]
    assert len(rows) == 2
    assert "2 COMPLETE, 1 EXTRA (2 not-scanned)" in " ".join(result.stdout.split())
    assert rows[0].startswith("team/api")
    assert rows[1].startswith(FAR.registry)
    assert not rows[1].endswith("-")


def test_of_a_name_that_its_copies_share_the_source_is_meant(run: Run, replicated: FakeContext) -> None:
    replicated.queries.homes[FAR.repository(home())] = {}
    result = run("replication", "team/api")
    assert result.exit_code == 0, result.stdout
    assert "COMPLETE" in result.stdout


def test_nothing_replicated_says_so(run: Run, context: FakeContext) -> None:
    result = run("replication")
    assert result.exit_code == 0
    assert "No repository is known to be replicated" in result.stdout
