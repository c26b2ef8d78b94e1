"""`GET /v1/replication`: how the copies of images stand."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.replication.replica import Note, Replica, ReplicaStatus
from chalicelib.domain.replication.rules import Destination
from tests.api.conftest import Ask
from tests.fakes.images import home, ref
from tests.fakes.queries import NOW, FakeContext

NEAR, FAR = Destination("111122223333", "eu-central-1"), Destination("444455556666", "us-east-1")
PATH = "/v1/replication"


def replica(number: int, place: Destination, status: ReplicaStatus = ReplicaStatus.COMPLETE, **facts: Any) -> Replica:
    return Replica(ref=ref(number), destination=place, status=status, since=NOW, at=NOW, **facts)


@pytest.fixture
def replicated(context: FakeContext) -> FakeContext:
    said = {
        NEAR.path: {"COMPLETE": 2, "alarms": 0},
        FAR.path: {
            "MISSING": 1,
            "COMPLETE": 1,
            "alarms": 1,
            "settings": ["tags are MUTABLE there"],
            "unread": "denied",
        },
    }
    context.queries.homes[home()] = {"replication": said, "replication_at": NOW}
    context.queries.homes[home("team/web")] = {"replication": {}, "replication_at": NOW}
    for number in (1, 2):
        context.replicas.add(replica(number, NEAR))
    context.replicas.add(replica(1, FAR))
    context.replicas.add(replica(2, FAR, ReplicaStatus.MISSING, notes=(Note.EXPIRED,)))
    return context


def test_repositories_with_destinations_are_listed_with_counts(ask: Ask, replicated: FakeContext) -> None:
    body = ask(PATH)
    (repository,) = body["repositories"]
    assert (repository["repository"], repository["looked_at"]) == ("team/api", "2026-03-10T12:00:00Z")
    near, far = repository["destinations"]
    assert (near["region"], near["counts"], near["alarms"], near["unreadable"]) == (
        "eu-central-1",
        {"COMPLETE": 2},
        0,
        None,
    )
    assert (far["counts"], far["alarms"]) == ({"COMPLETE": 1, "MISSING": 1}, 1)
    assert (far["settings"], far["unreadable"]) == (["tags are MUTABLE there"], "denied")
    assert body["copies"] == []


def test_what_a_sweep_had_no_time_for_is_told(ask: Ask, replicated: FakeContext) -> None:
    assert [repository["unfinished"] for repository in ask(PATH)["repositories"]] == [None]
    left = {"since": NOW.isoformat(), "digest": ref(1).digest, "left": 60_000, "images": 100_000}
    replicated.queries.homes[home()]["replication_unfinished"] = left
    replicated.queries.homes[home("team/web")]["replication_unfinished"] = {"since": NOW.isoformat()}
    one, other = ask(PATH)["repositories"]
    assert one["unfinished"] == {
        "since": "2026-03-10T12:00:00Z",
        "left": 60_000,
        "images": 100_000,
        "text": "60,000 of 100,000 images were not looked at in the time of one sweep; the check began "
        "2026-03-10 12:00 UTC",
    }
    assert (other["repository"], other["destinations"]) == ("team/web", [])
    assert (other["unfinished"]["left"], other["unfinished"]["images"]) == (None, None)
    replicated.queries.homes[home()]["replication_unfinished"] = "of another version"
    assert ask(PATH, repository="team/api")["repositories"][0]["unfinished"] is None


def test_copies_of_one_repository_are_listed_one_by_one(ask: Ask, replicated: FakeContext) -> None:
    body = ask(PATH, repository="team/api")
    assert len(body["copies"]) == 4
    (missing,) = [copy for copy in body["copies"] if copy["alarm"]]
    assert (missing["status"], missing["notes"], missing["digest"]) == ("MISSING", ["gone-since"], ref(2).digest)
    assert "taken away since" in missing["text"]
    assert any("start-replication-backfill" in line for line in missing["what_to_do"])
    assert missing["uri"] == str(FAR.repository(home()).image(ref(2).digest))


def test_copies_are_filtered_and_paged(ask: Ask, replicated: FakeContext) -> None:
    assert len(ask(PATH, repository="team/api", digest=ref(1).digest)["copies"]) == 2
    assert len(ask(PATH, repository="team/api", status="MISSING,FAILED")["copies"]) == 1
    assert len(ask(PATH, repository="team/api", alarm="false")["copies"]) == 3
    first = ask(PATH, repository="team/api", limit=3)
    second = ask(PATH, repository="team/api", limit=3, cursor=first["next_cursor"])
    found = [(c["digest"], c["region"]) for c in (*first["copies"], *second["copies"])]
    assert len(set(found)) == len(found) == 4
    assert second["next_cursor"] is None


def test_a_repository_that_is_not_known_is_not_found(ask: Ask, replicated: FakeContext) -> None:
    assert ask(PATH, 404, repository="no/such")["status"] == 404


def test_a_status_that_does_not_exist_is_named(ask: Ask, replicated: FakeContext) -> None:
    assert ask(PATH, 400, repository="team/api", status="LOST")["parameter"] == "status"
