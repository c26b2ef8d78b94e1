"""`lazaretto dr-check`: whether everything that runs could be run from another Region."""

from __future__ import annotations

import json
from datetime import timedelta

import msgspec
import pytest

from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.reconcile.difference import RepositoryFacts
from chalicelib.domain.replication.replica import Note, Replica, ReplicaStatus, ReplicationState
from chalicelib.domain.replication.rules import Destination, DestinationAccess
from tests.cli.conftest import Run
from tests.fakes.images import ACCOUNT, digest, home, image, ref
from tests.fakes.queries import NOW, FakeContext

THERE = "eu-central-1"
NEAR = Destination(ACCOUNT, THERE)
LAG = {"arrived": 3, "p50_seconds": 40, "p95_seconds": 300, "max_seconds": 9000, "waiting": 2, "waiting_seconds": 600}


@pytest.fixture
def copied(context: FakeContext) -> FakeContext:
    """Three images, each with its copy: 1 and 2 run, 3 does not."""
    context.registries = (RegistryPlace("eu-west-1"), RegistryPlace(THERE))
    swept = {"reconcile_at": NOW}
    assert RepositoryFacts.read(swept).is_compared
    context.queries.homes[home()] = {"replication": {NEAR.path: {"COMPLETE": 1, "lag": LAG}}, **swept}
    context.queries.homes[NEAR.repository(home())] = swept
    sights = (DestinationAccess(NEAR, NOW - timedelta(days=90)),)
    context.replicas.states[home()] = ReplicationState(sights, NOW)
    for number in (1, 2, 3):
        context.queries.add(image(number, Decision.ALLOW))
        context.queries.add(image(number, Decision.ALLOW, NEAR.repository(home()).image(digest(number))))
        context.replicas.add(replica(number))
    context.runtime.run(ref(1))
    context.runtime.run(ref(2), "EKS deployment shop of namespace web in cluster blue (2 pods)")
    return context


def replica(number: int, status: ReplicaStatus = ReplicaStatus.COMPLETE, *notes: Note) -> Replica:
    return Replica(ref=ref(number), destination=NEAR, status=status, since=NOW, at=NOW, notes=notes)


def test_all_that_runs_is_ready(run: Run, copied: FakeContext) -> None:
    result = run("dr-check", "--to", THERE)
    assert result.exit_code == 0, result.output
    assert "2 images run or may run; 2 ready, of 3 looked at (1 idle)." in result.stdout
    assert "40 s, 5 min, 2 h" in result.stdout
    assert "2, for 10 min" in result.stdout
    assert "ECS service web" not in result.stdout, "only what is not ready is shown"
    assert "ECS service web" in run("dr-check", "--to", THERE, "--all").stdout


def test_what_is_not_ready_is_shown_with_where_it_runs_and_what_to_do(run: Run, copied: FakeContext) -> None:
    copied.replicas.add(replica(2, ReplicaStatus.MISSING, Note.EXPIRED))
    result = run("dr-check", "--to", THERE)
    assert result.exit_code == 1
    said = " ".join(result.stdout.split())
    assert "aws ecr start-replication-backfill" in said
    assert "blue" in said
    assert "2 images run or may run; 1 ready" in said
    body = json.loads(run("dr-check", "--to", THERE, "--json").stdout)
    assert [(one["image"]["digest"], one["ready"]) for one in body["images"]] == [(digest(1), True), (digest(2), False)]
    assert (body["headers"], body["idle"], body["clusters"]) == (3, 1, ["blue", "prod"])
    assert [lag["repository"] for lag in body["lags"]] == ["team/api"]


def test_what_could_not_be_looked_at_is_not_ready(run: Run, copied: FakeContext) -> None:
    copied.replicas.states[home()] = ReplicationState()
    assert run("dr-check", "--to", THERE).exit_code == 1


def test_a_registry_that_was_never_swept_makes_a_negative_answer(run: Run, copied: FakeContext) -> None:
    copied.registries = (*copied.registries, RegistryPlace("us-west-2"))
    result = run("dr-check", "--to", THERE)
    assert (result.exit_code, "Not complete" in result.stdout) == (1, True)


def test_all_pages_are_gone_through(run: Run, copied: FakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.cli.framework.client.PAGE", 1)
    result = run("dr-check", "--to", THERE)
    assert (result.exit_code, "of 3 looked at (1 idle)" in result.stdout) == (0, True)


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        (("--to", "eu-centrl-1"), THERE),
        (("--to", THERE, "--registry", "111122223334"), ACCOUNT),
        (("--to", THERE, "--cluster", "blu"), "blue"),
        (("--to", THERE, "--service", "shopp"), "shop"),
        (("--to", THERE, "--cluster", "green"), "no image is known to run in green"),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest_one(
    run: Run, copied: FakeContext, options: tuple[str, ...], meant: str
) -> None:
    result = run("dr-check", *options)
    assert (result.exit_code, meant in result.output) == (2, True), result.output


def test_one_cluster_is_asked_about_alone(run: Run, copied: FakeContext) -> None:
    copied.replicas.add(replica(2, ReplicaStatus.MISSING))
    assert run("dr-check", "--to", THERE, "--cluster", "prod").exit_code == 0
    assert run("dr-check", "--to", THERE, "--service", "web").exit_code == 0
    assert run("dr-check", "--to", THERE, "--cluster", "blue").exit_code == 1
    assert run("dr-check", "--to", THERE, "--service", "shop").exit_code == 1


def test_what_may_run_in_the_cluster_is_no_clean_answer(run: Run, copied: FakeContext) -> None:
    copied.runtime.blind = ("the services of ECS cluster prod cannot be looked at: access denied",)
    stored = copied.queries.stored
    unlooked = [r for r in stored if r.region == THERE and r.digest == digest(3)]
    copied.replicas.drop(replica(3))
    stored[unlooked[0]] = msgspec.structs.replace(stored[unlooked[0]], exists=False)
    result = run("dr-check", "--to", THERE, "--cluster", "prod")
    assert result.exit_code == 1
    assert "UNKNOWN" in result.stdout


def test_a_lag_that_was_not_measured_is_said(run: Run, copied: FakeContext) -> None:
    copied.queries.homes[home()]["replication"] = {NEAR.path: {"COMPLETE": 1}}
    assert "was not measured" in run("dr-check", "--to", THERE).stdout
