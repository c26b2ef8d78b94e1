"""Orders over the API of the whole local stack: what they pass and take along, what needs force, how they are undone;
and of several people about one image: who saw what, and who ends whose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import boto3
import pytest

from chalicelib.domain.audit.action import action_id
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.local.story.world import run_service
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.every_function import HURRY_SECONDS, Played
from tests.local.ordering import Person
from tests.local.push_image import Pusher
from tests.local.running import local_stack

pytestmark = pytest.mark.in_turn

POLICY = """
version: 1
mode: {mode}
quarantine: {{max_per_hour: 1}}
exempt: {{repository: ["mirror/*"]}}
notify: [{{channel: slack, min_decision: block}}]
"""


class Indexed(NamedTuple):
    amd64: ImageRef
    arm64: ImageRef
    one: ImageRef
    two: ImageRef


class Room:
    """Ann and Bob, each with an own role, and one image a test."""

    def __init__(self, played: Played) -> None:
        self.played = played
        role = "arn:aws:sts::111122223333:assumed-role/Ops/"
        self.ann, self.bob = (Person(played.stack.app, role + name) for name in ("ann", "bob"))
        self.pushed = 0

    def apply(self, mode: str) -> None:
        apply_policy(POLICY.format(mode=mode), "oncall", self.played.context)
        self.settle()

    def pusher(self, team: str = "team") -> Pusher:
        """Of a repository of its own."""
        self.pushed += 1
        home = Repository(ACCOUNT, REGION, f"{team}/n{self.pushed}")
        self.played.ecr.create_repository(repositoryName=home.name)
        return Pusher(self.played.ecr, home)

    def push(self, team: str = "team") -> ImageRef:
        ref = self.pusher(team).image([f"{self.pushed}".encode()], ["1.0"])
        self.settle()
        return ref

    def indexes(self) -> Indexed:
        """`one` of amd64 and arm64, `two` of arm64 alone."""
        pusher = self.pusher()
        amd64, arm64 = (pusher.image([name.encode(), str(self.pushed).encode()]) for name in ("amd64", "arm64"))
        one = pusher.index({"linux/amd64": amd64, "linux/arm64": arm64}, ["1.0", "latest"])
        two = pusher.index({"linux/arm64": arm64}, ["arm"])
        self.settle()
        return Indexed(amd64, arm64, one, two)

    def run(self, ref: ImageRef) -> None:
        run_service(boto3.client("ecs", region_name=REGION), ref, f"web-{self.pushed}")
        self.played.clock.move(timedelta(minutes=2))  # what runs is looked up once a minute

    def told(self) -> str:
        return "\n".join(line for caught in self.played.stack.catcher.slack for line in caught.lines)

    def settle(self) -> None:
        self.played.settle()
        self.played.clock.move(timedelta(minutes=30))
        self.played.settle()
        self.played.run_clock()

    def order(self, ref: ImageRef) -> Any:
        """The one that stands."""
        return self.ann.ask("GET", "/v1/image", **named(ref))[1]["order"]

    def records(self, ref: ImageRef, kind: str) -> list[Any]:
        return [row.record for row in self.played.context.queries.actions(ref) if row.record.kind == kind]


def is_archived(ref: ImageRef) -> bool:
    return str(ecr_of(ref.home).get(ref.repository, {"imageDigest": ref.digest}).status) == "ARCHIVED"


def named(ref: ImageRef) -> dict[str, str]:
    return {"repository": ref.repository, "digest": ref.digest}


@contextmanager
def open_room() -> Iterator[Room]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        # At the full hour the schedule begins sweeps.
        stack.clock.move((stack.clock.now().replace(minute=10) - stack.clock.now()) % timedelta(hours=1))
        room = Room(Played(stack))
        room.apply("enforce")
        yield room


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    with open_room() as room:
        yield room


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


# ---- what a plain order passes, and takes along


def test_a_plain_order_passes_exemptions_and_the_fuse_and_does_not_count_for_it(room: Room) -> None:
    refs = [room.push("mirror"), room.push(), room.push()]
    for ref in refs:
        room.ann.order("quarantine", named(ref))
    room.played.settle()
    assert all(map(is_archived, refs)), "three within an hour, of which one is let pass"
    assert room.ann.ask("GET", "/v1/fuse")[1]["taken"] == 0


def test_an_order_on_an_image_names_the_indexes_and_tags_that_it_breaks(room: Room) -> None:
    found = room.indexes()
    plan = room.ann.order("quarantine", named(found.arm64), 200, dry_run=True)
    assert {(one["digest"], *one["tags"]) for one in plan["breaks"]} == {
        (found.one.digest, "1.0", "latest"),
        (found.two.digest, "arm"),
    }
    given = room.ann.order("quarantine", named(found.arm64))
    assert given["breaks"] == plan["breaks"]
    assert any(line.startswith("Breaks indexes that hold it: ") and "(arm)" in line for line in given["lines"])
    room.played.settle()
    assert is_archived(found.arm64)


def test_an_order_on_an_index_takes_its_images_and_leaves_the_shared_ones_by_name(room: Room) -> None:
    found = room.indexes()
    given = room.ann.order("quarantine", named(found.one))
    assert [one["digest"] for one in given["along"]] == [found.amd64.digest]
    assert [one["digest"] for one in given["left"]] == [found.arm64.digest]
    assert given["breaks"] == []
    assert "--with-shared" in " ".join(given["lines"])
    room.played.settle()
    assert [is_archived(ref) for ref in found] == [True, False, True, False]
    # What was given by one order is undone by one.
    order = action_id(room.records(found.one, "ORDER_QUARANTINE")[-1])
    assert given["undo"] == f"lazaretto undo {order} --reason undone"
    assert room.ann.ask("POST", "/v1/undo", {"action_id": order, "reason": "a drill"})[0] == 202
    room.settle()
    assert [is_archived(ref) for ref in found] == [False] * 4
    taken_back = action_id(room.records(found.one, "ORDER_TAKEN_BACK")[-1])
    assert room.ann.ask("POST", "/v1/undo", {"action_id": taken_back, "reason": "no drill"})[0] == 202
    room.settle()
    assert [is_archived(ref) for ref in found] == [True, False, True, False]


def test_with_shared_takes_them_too_and_a_release_of_the_index_gives_all_back(room: Room) -> None:
    found = room.indexes()
    given = room.ann.order("quarantine", named(found.one), with_shared=True)
    assert {one["digest"] for one in given["along"]} == {found.amd64.digest, found.arm64.digest}
    assert [(one["digest"], one["tags"]) for one in given["breaks"]] == [(found.two.digest, ["arm"])]
    room.played.settle()
    assert all(is_archived(ref) for ref in found[:3])
    plan = room.ann.order("release", named(found.one), 200, dry_run=True)
    assert (plan["touched"]["images"], len(plan["along"])) == (2, 2), "the index is its two images"
    room.ann.order("release", named(found.one), etag=plan["etag"])
    room.settle()
    assert not any(is_archived(ref) for ref in found[:3])


def test_a_release_of_an_index_is_brought_back_with_its_images_and_ends_by_a_later_order_about_one(room: Room) -> None:
    found = room.indexes()
    room.ann.order("quarantine", named(found.one))
    room.settle()
    room.ann.order("release", named(found.one), etag=room.ann.see(named(found.one)))
    room.settle()
    room.bob.order("quarantine", named(found.one), etag=room.bob.see(named(found.one)), override=True)
    room.settle()
    assert [is_archived(ref) for ref in found] == [True, False, True, False]
    undo = {"action_id": action_id(room.records(found.one, "ORDER_QUARANTINE")[-1]), "reason": "a drill"}
    status, said, _ = room.bob.ask("POST", "/v1/undo", undo)
    assert status == 202, said
    room.settle()
    assert not any(map(is_archived, found))
    assert [room.order(ref)["kind"] for ref in (found.one, found.amd64)] == ["RELEASE", "RELEASE"]
    room.bob.order("quarantine", named(found.amd64), etag=room.bob.see(named(found.amd64)))
    room.settle()
    assert is_archived(found.amd64)
    assert room.order(found.one) is None, "what a person orders is no reason that it was released for"
    (ended,) = room.records(found.one, "ORDER_ENDED")
    assert f"about {found.amd64.digest}" in ended.reason


def test_an_index_is_closed_at_every_door_as_soon_as_the_order_on_its_image_is_answered(room: Room) -> None:
    """Who pulls an index pulls its images."""
    pusher = room.pusher()
    image = pusher.image([b"inner"])
    inner = pusher.index({"linux/arm64": image}, ["inner"])
    outer = pusher.index({"linux/arm64": inner}, ["outer"])
    room.settle()

    def doors() -> list[Any]:
        """Of all three, before any message is handled."""
        said = [room.bob.ask("GET", "/v1/verdict", **named(ref))[1]["decision"] for ref in (image, inner, outer)]
        listed = room.bob.ask("GET", "/v1/images", repository=image.repository, limit="50")[1]["images"]
        return [*said, *(row["decision"] for row in listed)]

    assert "QUARANTINE" not in doors()
    given = room.ann.order("quarantine", named(image))
    assert doors() == ["QUARANTINE"] * 6
    room.settle()
    undone = {"action_id": given["undo"].split()[2], "reason": "a drill"}
    assert room.ann.ask("POST", "/v1/undo", undone)[0] == 202
    room.settle()
    assert "QUARANTINE" not in doors()
    again = action_id(room.records(image, "ORDER_TAKEN_BACK")[-1])
    assert room.ann.ask("POST", "/v1/undo", {"action_id": again, "reason": "no drill"})[0] == 202
    assert doors() == ["QUARANTINE"] * 6


# ---- what needs force


def test_what_runs_is_taken_by_force_alone_which_is_told_and_can_be_undone(room: Room) -> None:
    ref = room.push()
    room.run(ref)
    refused = room.ann.order("quarantine", named(ref), 409)
    assert "it runs: ECS service" in refused["detail"]
    assert f"lazaretto quarantine {ref} --force --reason WHY" in refused["detail"]
    room.settle()
    assert not is_archived(ref)
    assert "order" not in room.records(ref, "ORDER_QUARANTINE")
    given = room.ann.order("quarantine", named(ref), force=True, reason="it leaks")
    room.played.settle()
    assert is_archived(ref)
    told = room.told()
    assert f"{ref.repository}:1.0: quarantined by force" in told
    assert "it leaks" in told
    assert given["undo"] in told
    undo = {"action_id": given["undo"].split()[2], "reason": "it does not"}
    assert room.ann.ask("POST", "/v1/undo", undo)[0] == 202
    room.settle()
    assert not is_archived(ref)


@pytest.mark.parametrize("how", ["release", "undo"])
def test_in_observe_force_alone_acts_and_is_taken_back_in_observe(room: Room, how: str) -> None:
    ref = room.push()
    room.apply("observe")
    try:
        refused = room.ann.order("quarantine", named(ref), 409)
        assert "mode is observe" in refused["detail"]
        assert "--force" in refused["detail"]
        given = room.ann.order("quarantine", named(ref), force=True)
        room.played.settle()
        assert is_archived(ref)
        if how == "undo":
            undo = {"action_id": given["undo"].split()[2], "reason": "a drill"}
            assert room.ann.ask("POST", "/v1/undo", undo)[0] == 202
        else:
            room.ann.order("release", named(ref), etag=room.ann.see(named(ref)))
        room.settle()
        assert not is_archived(ref)
    finally:
        room.apply("enforce")
