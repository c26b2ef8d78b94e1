"""Orders of several people about one image, over the API of the whole local stack: who saw what, and who ends whose."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.audit.action import action_id
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.every_function import HURRY_SECONDS, Played
from tests.local.ordering import Person
from tests.local.push_image import Pusher
from tests.local.running import local_stack

ENFORCE = """
version: 1
mode: enforce
notify: [{channel: slack}]
"""


class Room:
    """Ann and Bob, each with an own role, and one image a test."""

    def __init__(self, played: Played) -> None:
        self.played = played
        role = "arn:aws:sts::111122223333:assumed-role/Ops/"
        self.ann, self.bob = (Person(played.stack.app, role + name) for name in ("ann", "bob"))
        self.pushed = 0

    def push(self, tag: str = "1.0", **manifest: Any) -> ImageRef:
        """Into a repository of its own."""
        self.pushed += 1
        home = Repository(ACCOUNT, REGION, f"team/n{self.pushed}")
        self.played.ecr.create_repository(repositoryName=home.name)
        ref = Pusher(self.played.ecr, home).image([f"{self.pushed}".encode()], [tag], **manifest)
        self.settle()
        return ref

    def settle(self) -> None:
        self.played.settle()
        self.played.clock.move(timedelta(minutes=30))
        self.played.settle()
        self.played.run_clock()

    def records(self, ref: ImageRef, kind: str) -> list[Any]:
        return [row.record for row in self.played.context.queries.actions(ref) if row.record.kind == kind]


def is_archived(ref: ImageRef) -> bool:
    return str(ecr_of(ref.home).get(ref.repository, {"imageDigest": ref.digest}).status) == "ARCHIVED"


def named(ref: ImageRef) -> dict[str, str]:
    return {"repository": ref.repository, "digest": ref.digest}


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        # At the full hour the schedule begins sweeps.
        stack.clock.move((stack.clock.now().replace(minute=10) - stack.clock.now()) % timedelta(hours=1))
        apply_policy(ENFORCE, "oncall", stack.context)
        yield Room(Played(stack))


def test_a_quarantine_that_ends_no_order_needs_no_etag_and_a_release_does(room: Room) -> None:
    ref = room.push()
    ordered = room.ann.order("quarantine", named(ref))
    room.settle()
    assert is_archived(ref)
    refused = room.ann.order("release", named(ref), 428)
    assert "If-Match" in refused["detail"]
    assert "QUARANTINE ordered by" in refused["detail"]
    outdated = room.ann.order("release", named(ref), 412, etag=f'"{ordered["etag"]}"')
    assert f"QUARANTINE by person:{room.ann.by}" in outdated["detail"], "the act was done since"
    room.ann.order("release", named(ref), etag=room.ann.see(named(ref)))
    room.settle()
    assert not is_archived(ref)


def test_an_order_on_an_outdated_view_is_told_who_changed_what(room: Room) -> None:
    ref = room.push()
    before = room.bob.see(named(ref))
    room.ann.order("quarantine", named(ref), reason="a leaked key")
    room.settle()
    for kind in ("release", "quarantine"):
        refused = room.bob.order(kind, named(ref), 412, etag=before, override=True)
        assert f"person:{room.ann.by} ordered its quarantine" in refused["detail"]
        assert "a leaked key" in refused["detail"]
    assert is_archived(ref)
    room.ann.order("release", named(ref), etag=room.ann.see(named(ref)))
    room.settle()
    undone = room.records(ref, "ORDER_RELEASE")[-1]
    then = room.bob.see(named(ref))
    status, said, _ = room.ann.ask("POST", "/v1/undo", {"action_id": action_id(undone), "reason": "not yet"})
    assert status == 202, said
    refused = room.bob.order("release", named(ref), 412, etag=then, override=True)
    assert f"person:{room.ann.by} ordered its quarantine" in refused["detail"]


def test_a_scan_alone_makes_no_view_outdated(room: Room) -> None:
    ref = room.push()
    room.ann.order("quarantine", named(ref))
    room.settle()
    before = room.ann.see(named(ref))
    room.played.clock.move(timedelta(hours=2))
    room.played.run_clock()
    assert room.ann.see(named(ref)) == before
    room.ann.order("release", named(ref), etag=before)


def test_another_persons_order_is_ended_only_by_override_and_is_named(room: Room) -> None:
    ref = room.push()
    room.ann.order("quarantine", named(ref), reason="a leaked key")
    room.settle()
    plan = room.bob.order("release", named(ref), 200, dry_run=True)
    assert (plan["ends"]["by"], plan["ends"]["kind"]) == (room.ann.by, "QUARANTINE")
    assert "needs --override" in " ".join(plan["lines"])
    refused = room.bob.order("release", named(ref), 409, etag=plan["etag"])
    assert f"--override: QUARANTINE ordered by {room.ann.by}: a leaked key" in refused["detail"]
    order = action_id(room.records(ref, "ORDER_QUARANTINE")[-1])
    status, said, _ = room.bob.ask("POST", "/v1/undo", {"action_id": order, "reason": "no leak"})
    assert (status, "--override" in said["detail"]) == (409, True)
    assert is_archived(ref)
    given = room.bob.order("release", named(ref), etag=plan["etag"], override=True)
    assert given["ends"]["by"] == room.ann.by
    record = room.records(ref, "ORDER_RELEASE")[-1]
    assert record.before == f"QUARANTINE ordered by {room.ann.by}: a leaked key"
    room.settle()
    assert not is_archived(ref)
    # The release is Bob's by now: Ann ends it by its name.
    undo = {"action_id": action_id(record), "reason": "it is a leak"}
    assert room.ann.ask("POST", "/v1/undo", undo)[0] == 409
    assert room.ann.ask("POST", "/v1/undo", {**undo, "override": True})[0] == 202
    room.settle()
    assert is_archived(ref)
