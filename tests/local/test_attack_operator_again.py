"""Attacked by a second operator who orders by what he has seen, undoes, and releases: nobody's order ends unseen,
nothing that runs is taken unasked, and no more is opened than was counted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.audit.action import action_id
from chalicelib.domain.images.image import ImageRef
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.ordering import Person
from tests.local.push_image import scan_image
from tests.local.test_orders import Room, is_archived, named, open_room

pytestmark = pytest.mark.in_turn
CRITICAL = """
version: 1
mode: enforce
rules: [{id: critical, match: {severity: {gte: CRITICAL}}, decision: quarantine}]
"""


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    with open_room() as room:
        yield room


def copies(room: Room, number: int) -> list[ImageRef]:
    """The same image in so many repositories."""
    room.pushed += 1
    content = [f"copied {room.pushed}".encode()]
    refs = [room.pusher().image(content, ["1.0"]) for _ in range(number)]
    room.settle()
    return refs


def undo(room: Room, who: Person, ref: ImageRef, kind: str, expected: int = 202) -> str:
    """The last action of that kind; what is said of it."""
    body = {"action_id": action_id(room.records(ref, kind)[-1]), "reason": "a drill"}
    status, said, _ = who.ask("POST", "/v1/undo", body)
    assert status == expected, said
    room.settle()
    return str(said)


# ---- whose order it is


def test_another_persons_release_of_an_index_is_ended_by_an_order_about_an_image_only_by_name(room: Room) -> None:
    images = room.indexes()
    room.ann.order("quarantine", named(images.one))
    room.settle()
    room.ann.order("release", named(images.one), etag=room.ann.see(named(images.one)))
    room.settle()
    plan = room.bob.order("quarantine", named(images.arm64), 200, dry_run=True)
    assert f"RELEASE ordered by {room.ann.by}" in str(plan["lines"])
    refused = room.bob.order("quarantine", named(images.arm64), 409)
    assert f"--override: RELEASE ordered by {room.ann.by}" in refused["detail"]
    assert room.order(images.one)["by"] == room.ann.by
    room.bob.order("quarantine", named(images.arm64), override=True)
    room.settle()
    assert room.order(images.one) is None
    assert is_archived(images.arm64)
    undo(room, room.bob, images.arm64, "ORDER_QUARANTINE")
    room.ann.order("release", named(images.one), etag=room.ann.see(named(images.one)))
    room.settle()
    said = undo(room, room.bob, images.arm64, "ORDER_TAKEN_BACK", 409)
    assert f"--override: RELEASE ordered by {room.ann.by}" in said


# ---- what was seen


def test_a_release_everywhere_opens_no_copy_that_its_plan_did_not_count(room: Room) -> None:
    seen, late = copies(room, 2)
    room.bob.order("quarantine", named(seen))
    room.settle()
    terms = {"everywhere": True, "override": True}
    plan = room.bob.order("release", named(seen), 200, dry_run=True, **terms)
    assert (plan["touched"]["images"], plan["along"]) == (1, [])
    room.ann.order("quarantine", named(late), reason="a leaked key")
    room.settle()
    refused = room.bob.order("release", named(seen), 412, etag=plan["etag"], **terms)
    assert "takes along" in refused["detail"]
    assert is_archived(late)
    again = room.bob.order("release", named(seen), 200, dry_run=True, **terms)
    assert "a leaked key" in str(again["lines"]), "he sees whose order it is before it ends"
    room.bob.order("release", named(seen), etag=again["etag"], **terms)


def test_a_release_of_an_index_ends_no_order_about_an_image_that_came_after_its_plan(room: Room) -> None:
    images = room.indexes()
    room.bob.order("quarantine", named(images.one))
    room.settle()
    plan = room.bob.order("release", named(images.one), 200, dry_run=True)
    room.ann.order("quarantine", named(images.arm64))
    room.settle()
    room.bob.order("release", named(images.one), 412, etag=plan["etag"], override=True)
    room.settle()
    assert is_archived(images.arm64)


def test_the_view_of_one_plan_gives_no_order_that_reaches_further(room: Room) -> None:
    here, there = copies(room, 2)
    room.bob.order("quarantine", named(here), everywhere=True)
    room.settle()
    plan = room.bob.order("release", named(here), 200, dry_run=True)
    room.bob.order("release", named(here), 412, etag=plan["etag"], everywhere=True)
    room.bob.order("release", named(here), etag=plan["etag"])
    room.settle()
    assert [is_archived(ref) for ref in (here, there)] == [False, True]


def test_the_undo_of_an_order_about_one_copy_is_about_no_other(room: Room) -> None:
    """What it took along has orders of its own; only its own undo takes them along too."""
    here, there = copies(room, 2)
    room.bob.order("quarantine", named(here), everywhere=True)
    room.settle()
    undo(room, room.bob, there, "ORDER_QUARANTINE")
    assert [is_archived(ref) for ref in (here, there)] == [True, False]
    undo(room, room.bob, there, "ORDER_TAKEN_BACK")
    assert [is_archived(ref) for ref in (here, there)] == [True, True]


def test_an_order_that_he_ended_by_name_and_brought_back_is_hers_again(room: Room) -> None:
    ref = room.push()
    room.ann.order("quarantine", named(ref), reason="a leaked key")
    room.settle()
    room.bob.order("release", named(ref), etag=room.bob.see(named(ref)), override=True)
    room.settle()
    undo(room, room.bob, ref, "ORDER_RELEASE")
    refused = room.bob.order("release", named(ref), 409, etag=room.bob.see(named(ref)))
    assert f"--override: QUARANTINE ordered by {room.ann.by}" in refused["detail"]
    undo(room, room.bob, ref, "ORDER_QUARANTINE", 409)
    undo(room, room.bob, ref, "QUARANTINE", 409)
    assert is_archived(ref)
    room.ann.order("release", named(ref), etag=room.ann.see(named(ref)))
    assert room.ann.by in room.records(ref, "ORDER_RELEASE")[-1].before


def test_no_chain_of_undos_of_his_order_touches_hers_about_one_of_its_copies(room: Room) -> None:
    first, second, third = copies(room, 3)
    room.bob.order("quarantine", named(first), everywhere=True)
    room.settle()
    undo(room, room.bob, second, "ORDER_QUARANTINE")
    room.ann.order("quarantine", named(second))
    room.settle()
    for kind, archived in (("ORDER_QUARANTINE", False), ("ORDER_TAKEN_BACK", True)):
        undo(room, room.bob, first, kind)
        assert [is_archived(ref) for ref in (first, second, third)] == [archived, True, archived]
        assert room.order(second)["by"] == room.ann.by


def test_an_undo_that_is_sent_again_is_no_second_one(room: Room) -> None:
    ref = room.push()
    room.ann.order("quarantine", named(ref))
    body = {"action_id": action_id(room.records(ref, "ORDER_QUARANTINE")[-1]), "reason": "its answer was lost"}
    assert [room.ann.ask("POST", "/v1/undo", body)[0] for _ in range(3)] == [202, 409, 409]
    room.settle()
    assert not is_archived(ref)


@pytest.mark.parametrize(
    "by",
    [
        "arn:aws:sts::111122223333:assumed-role/Other/ann",
        "arn:aws:sts::444455556666:assumed-role/Ops/ann",
        "arn:aws:sts::111122223333:assumed-role/Ops/ann\u200b",
        "",
    ],
)
def test_nobody_who_is_called_like_her_is_she(room: Room, by: str) -> None:
    ref = room.push()
    room.ann.order("quarantine", named(ref))
    other = Person(room.played.stack.app, by)
    other.order("release", named(ref), 409, etag=other.see(named(ref)))
    body = {"action_id": action_id(room.records(ref, "ORDER_QUARANTINE")[-1]), "reason": "a drill"}
    assert other.ask("POST", "/v1/undo", body)[0] == 409


# ---- what runs


@pytest.mark.parametrize("reach", ["everywhere", "with_shared"])
def test_a_plain_order_takes_along_nothing_that_runs(room: Room, reach: str) -> None:
    if reach == "everywhere":
        ordered, runs = copies(room, 2)
    else:
        images = room.indexes()
        ordered, runs = images.one, images.two
    room.run(runs)
    assert "it runs: ECS service" in room.bob.order("quarantine", named(ordered), 409, **{reach: True})["detail"]
    assert room.order(ordered) is None


@pytest.mark.parametrize("kind", ["ORDER_RELEASE", "ORDER_TAKEN_BACK"])
def test_what_runs_is_not_taken_by_the_undo_of_what_let_it_run(room: Room, kind: str) -> None:
    """The order before had force, for what ran then; who undoes asks for none."""
    ref = room.push()
    room.ann.order("quarantine", named(ref), force=True)
    room.settle()
    if kind == "ORDER_TAKEN_BACK":
        undo(room, room.ann, ref, "ORDER_QUARANTINE")
    else:
        room.ann.order("release", named(ref), etag=room.ann.see(named(ref)))
        room.settle()
    room.run(ref)
    said = undo(room, room.ann, ref, kind)
    assert "it runs: ECS service" in said
    assert not is_archived(ref)
    assert room.order(ref)["kind"] == "QUARANTINE"


# ---- what was scanned


def test_a_release_of_what_was_never_scanned_lets_no_flaw_through(room: Room) -> None:
    """Nor where it was quarantined before: its first scan is no scan after a restore."""
    apply_policy(CRITICAL, "oncall", room.played.context)
    ref = room.push()
    for kind in ("quarantine", "release"):
        room.bob.order(kind, named(ref), etag=room.bob.see(named(ref)))
        room.settle()
    assert not is_archived(ref)
    scan_image(room.played.stack, ref, flaw=True)
    room.settle()
    assert room.order(ref) is None
    assert is_archived(ref)


# ---- what is written down


@pytest.mark.parametrize("dry", [{"dry_run": "true"}, {"dry_run": None}, {"dryRun": True}])
def test_what_may_mean_a_dry_run_orders_nothing(room: Room, dry: dict[str, Any]) -> None:
    ref = room.push()
    room.bob.order("quarantine", named(ref), 400, **dry)
    assert room.bob.ask("POST", "/v1/quarantine", {**named(ref), "reason": "a drill"}, dry_run="true")[0] == 400
    assert room.order(ref) is None


@pytest.mark.parametrize("field", ["reason", "approved_by"])
@pytest.mark.parametrize("nothing", ["\u200b", "\ufeff \u2066"])
def test_a_waiver_is_not_given_for_words_that_nobody_can_see(room: Room, field: str, nothing: str) -> None:
    ends = (room.played.clock.now() + timedelta(days=1)).isoformat()
    terms = {"repository": "team/*", "vulnerability_id": "CVE-2026-0001", "expires_at": ends, "allow_unmatched": True}
    body = {**terms, "reason": "a drill", "approved_by": "bob", "dry_run": True}
    assert room.bob.ask("POST", "/v1/waivers", body)[0] == 200
    status, said, _ = room.bob.ask("POST", "/v1/waivers", {**body, field: nothing})
    assert (status, said["parameter"]) == (400, field)
    if field == "reason":
        assert room.bob.ask("DELETE", "/v1/waivers", id="w-0123456789", reason=nothing)[0] == 400
