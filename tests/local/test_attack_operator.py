"""Attacked by a second operator: what Ann ordered stands until Bob ends it by name, and nothing that runs breaks by the
way."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.audit.action import action_id
from chalicelib.domain.images.image import ImageRef
from tests.local.test_orders import Room, is_archived, named, open_room

pytestmark = pytest.mark.in_turn


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    with open_room() as room:
        yield room


def taken(room: Room) -> ImageRef:
    ref = room.push()
    room.ann.order("quarantine", named(ref))
    room.settle()
    assert is_archived(ref)
    return ref


def stands(room: Room, ref: ImageRef) -> None:
    room.settle()
    order = room.order(ref)
    assert order is not None
    assert order["by"] == room.ann.by
    assert is_archived(ref)
    status, said, _ = room.bob.ask("GET", "/v1/verdict", **named(ref))
    assert (status, said["decision"]) == (200, "QUARANTINE")


def release(room: Room, ref: ImageRef, **terms: Any) -> tuple[int, Any]:
    """As Bob, by what he sees now."""
    body = {**named(ref), "reason": "a drill", "allow_unmatched": True, **terms}
    status, said, _ = room.bob.ask("POST", "/v1/release", body, etag=room.bob.see(named(ref)))
    return status, said


@pytest.mark.parametrize("tag", ['"*"', "*", 'W/"a.b.c.d"', '"a.b.c.d"', "", '"a.b.c.d", "{etag}"', "{etag}x"])
def test_no_made_up_view_releases_it(room: Room, tag: str) -> None:
    ref = taken(room)
    body = {**named(ref), "reason": "a drill", "allow_unmatched": True, "override": True}
    sent = tag.replace('"{etag}"', room.bob.see(named(ref))).replace("{etag}", room.bob.see(named(ref)))
    status, said, _ = room.bob.ask("POST", "/v1/release", body, etag=sent)
    assert 400 <= status < 500, said
    stands(room, ref)


def test_a_view_of_another_image_releases_nothing(room: Room) -> None:
    ref, other = taken(room), taken(room)
    body = {**named(ref), "reason": "a drill", "allow_unmatched": True, "override": True}
    status, said, _ = room.bob.ask("POST", "/v1/release", body, etag=room.bob.see(named(other)))
    assert status == 412, said
    stands(room, ref)


def test_an_order_of_the_same_kind_does_not_make_it_his_own(room: Room) -> None:
    """Bob quarantines what is quarantined, and then releases what he himself ordered."""
    ref = taken(room)
    room.bob.ask("POST", "/v1/quarantine", {**named(ref), "reason": "me too"}, etag=room.bob.see(named(ref)))
    room.settle()
    status, said = release(room, ref)
    if status != 409:
        assert "ann" in str(said), "it is not ended without a name"
    assert status == 409, said
    room.settle()
    assert is_archived(ref)


def test_an_undo_of_her_order_needs_the_override_too(room: Room) -> None:
    ref = taken(room)
    (given,) = room.records(ref, "ORDER_QUARANTINE")
    body = {"action_id": action_id(given), "reason": "a drill"}
    status, said, _ = room.bob.ask("POST", "/v1/undo", body)
    assert status in (409, 412, 428), said
    stands(room, ref)


@pytest.mark.parametrize("terms", [{}, {"with_shared": True}, {"everywhere": True}])
def test_an_order_on_the_index_does_not_end_hers_about_an_image(room: Room, terms: dict[str, Any]) -> None:
    images = room.indexes()
    room.ann.order("quarantine", named(images.amd64))
    room.settle()
    body = {**named(images.one), "reason": "a drill", **terms}
    status, said, _ = room.bob.ask("POST", "/v1/quarantine", body, etag=room.bob.see(named(images.one)))
    assert (status, "ann" in said["detail"]) == (409, True)
    status, said = release(room, images.one, **terms)
    assert status == 409 or not said.get("along"), said
    stands(room, images.amd64)


def test_an_undo_of_his_order_on_the_index_leaves_the_image_as_she_had_it(room: Room) -> None:
    """He has ended her order by name; the undo orders anew what she had ordered."""
    images = room.indexes()
    room.ann.order("quarantine", named(images.amd64))
    room.settle()
    room.bob.order("quarantine", named(images.one), override=True, etag=room.bob.see(named(images.one)))
    room.settle()
    (given,) = room.records(images.one, "ORDER_QUARANTINE")
    body = {"action_id": action_id(given), "reason": "a drill"}
    status, said, _ = room.bob.ask("POST", "/v1/undo", body, etag=room.bob.see(named(images.one)))
    assert status == 202, said
    room.settle()
    order = room.order(images.amd64)
    assert (order["kind"], "a drill; a drill" in order["reason"]) == ("QUARANTINE", True)
    assert is_archived(images.amd64)


def test_no_policy_and_no_waiver_frees_what_she_ordered(room: Room) -> None:
    ref = taken(room)
    ends = (room.played.clock.now() + timedelta(days=7)).date().isoformat()
    waiver = {"repository": ref.repository, "rule": "critical", "approved_by": "bob", "expires_at": ends}
    body = {**waiver, "reason": "a drill", "allow_unmatched": True}
    room.bob.ask("POST", "/v1/waivers", body)
    stands(room, ref)
    room.apply("observe")
    stands(room, ref)
    room.apply("enforce")
    stands(room, ref)


def test_a_dry_run_and_a_reset_of_the_brake_free_nothing(room: Room) -> None:
    ref = taken(room)
    status, said = release(room, ref, override=True, dry_run=True)
    assert status == 200, said
    room.bob.ask("POST", "/v1/fuse/reset", {"reason": "a drill", "releases": True})
    stands(room, ref)


def test_two_who_release_and_quarantine_at_once_end_in_what_was_answered_last(room: Room) -> None:
    """Both have seen the same; the second answer is 412, and what stands is the first."""
    ref = taken(room)
    seen = room.ann.see(named(ref))
    room.ann.order("release", named(ref), etag=seen, allow_unmatched=True)
    body = {**named(ref), "reason": "a drill", "override": True}
    status, said, _ = room.bob.ask("POST", "/v1/quarantine", body, etag=seen)
    assert status == 412, said
    assert "ann" in str(said)
    room.settle()
    assert not is_archived(ref)


def test_her_legal_hold_is_not_ended_by_him_unasked(room: Room) -> None:
    ref = room.push()
    held = {"repository": ref.repository, "digest": ref.digest, "reason": "the claim of 2026"}
    room.ann.order("legal-hold", named(ref), 201)
    for body in (held, {**held, "dry_run": False, "override": False}):
        status, said, _ = room.bob.ask("POST", "/v1/legal-hold/end", body)
        assert (status, "ann" in said["detail"]) == (409, True)
    status, said, _ = room.bob.ask("POST", "/v1/legal-hold/end", {**held, "override": True})
    assert (status, said["ended_by"]) == (200, room.bob.by)
