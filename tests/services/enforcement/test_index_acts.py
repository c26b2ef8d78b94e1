"""Acts on multi-arch images: an image whose index is archived is archived as well, and is given back with it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.audit.action import action_id
from chalicelib.domain.enforcement.fuse import WINDOW, Fuse, FuseSlot
from chalicelib.domain.events.message import Decide
from chalicelib.domain.headers.pending_action import ActionType, Holding
from chalicelib.domain.images.image import Child, ImageRef, Kind, Manifest
from chalicelib.domain.images.verdict import Decision
from chalicelib.services.enforcement.give_order import Terms, quarantine_image, release_image
from chalicelib.services.enforcement.undo_action import undo_action
from tests.services.assessment.test_record_push import ref, scan
from tests.services.assessment.test_write_header import (
    ACTIVE,
    AMD64,
    ARCHIVED,
    ARM64,
    CRITICAL,
    INDEX,
    INDEX_OF_BOTH,
    Fleet,
)
from tests.services.world import policy


@pytest.mark.parametrize("child", [AMD64, ARM64], ids=["pushed again", "found to be as bad"])
def test_an_image_beside_an_archived_index_is_archived_and_given_back_with_it(child: ImageRef) -> None:
    story = Fleet()
    if child == AMD64:
        story.amd64.change(storage=ACTIVE)
        story.push(1, 4_000)
        scan(story, 1, CRITICAL)
    else:
        story.receive(story.images[ARM64].flaw(1, severity=CRITICAL))
    story.wait()
    assert (story.images[child].current.storage, story.storage[2]) == (ARCHIVED, ARCHIVED)
    assert story.header(child).hold is not None
    story.release(INDEX_OF_BOTH)
    assert {story.header(image).hold for image in (AMD64, ARM64, INDEX_OF_BOTH)} == {None}


def test_an_index_waits_for_its_images_that_wait_for_the_brake_and_is_told_of_by_the_summary() -> None:
    story = Fleet()
    assert story.storage == [ARCHIVED, ACTIVE, ARCHIVED]
    story.told.clear()
    story.policies.append(policy(rules=[], release={"max_per_hour": 1}))
    story.versions = (story.versions[0] + 1, story.versions[1])
    story.stored.brake = Fuse((FuseSlot("another image", story.moment),), blown_at=story.moment)
    story.deliver(*[Decide(ref, "policy", quiet=True) for ref in story.images])
    story.wait()
    assert story.storage == [ARCHIVED, ACTIVE, ARCHIVED]
    assert [story.header(ref).decision for ref in (AMD64, INDEX_OF_BOTH)] == [Decision.QUARANTINE] * 2
    for _ in range(2):
        story.moment += WINDOW
        story.wait()
    assert story.storage == [ACTIVE] * 3
    assert {story.header(ref).decision for ref in (AMD64, INDEX_OF_BOTH)} == {Decision.ALLOW}
    assert not [alert.title for alert in story.told if alert.event == "verdict" and not alert.act]


def test_where_the_policy_observes_an_image_is_decided_again_when_the_order_about_its_index_has_let_go() -> None:
    story = Fleet(8, rules=[])
    story.change_policy(mode="observe")
    story.manifests[ref(8)] = Manifest(Kind.INDEX, INDEX, (Child(AMD64.digest),))
    story.push(8, 2, media_type=INDEX)
    story.wait()
    story.acts.restores_at_once = False
    ordered = quarantine_image(INDEX_OF_BOTH, "oncall", "found in the wild", story, terms=Terms(force=True))
    assert AMD64 not in {one.ref for one in ordered.reach.along}, "another index holds it too"
    story.wait()
    (order,) = (one for one in story.stored.actions[INDEX_OF_BOTH] if one.kind == "ORDER_QUARANTINE")
    undo_action(action_id(order), "oncall", "it was wrong", story)
    story.wait()
    assert story.header(AMD64).act is None, "its index is needed while the order still holds it"
    for image in (ARM64, INDEX_OF_BOTH):
        story.acts.finish_restore(image)
    story.wait()
    for image in (AMD64, INDEX_OF_BOTH):
        act = story.header(image).act
        assert (act.kind, act.held.why) == (ActionType.QUARANTINE, Holding.OBSERVE)


@pytest.mark.parametrize("hours", [1, 7])
@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_an_image_is_decided_again_however_late_its_index_hears_of_it(mode: str, hours: int) -> None:
    story = Fleet(rules=[])
    story.change_policy(mode=mode, quarantine={"when_running": "proceed"})

    def handle_those_of_the_image() -> None:
        for envelope in [e for e in story.envelopes if getattr(e.body, "ref", None) == AMD64]:
            story.finish(story.work_on([envelope]))

    handle_those_of_the_image()
    for _ in range(hours):
        story.moment += timedelta(hours=1)
        handle_those_of_the_image()
    assert (story.header(AMD64).act, story.header(INDEX_OF_BOTH).decision) == (None, Decision.ALLOW)
    story.wait()
    for image in (AMD64, INDEX_OF_BOTH):
        header = story.header(image)
        if mode == "enforce":
            assert header.hold is not None
        else:
            assert header.act is not None
            assert header.act.held.why is Holding.OBSERVE


def test_an_index_is_released_as_soon_as_it_was_quarantined_with_its_images() -> None:
    story = Fleet(rules=[])
    quarantine_image(INDEX_OF_BOTH, "oncall", "found in the wild", story)
    story.moment += timedelta(seconds=1)
    release_image(INDEX_OF_BOTH, "oncall", "it was wrong", story)
    story.wait()
    orders = {story.header(image).order.kind for image in (AMD64, ARM64, INDEX_OF_BOTH)}
    assert (orders, story.storage) == ({ActionType.RELEASE}, [ACTIVE] * 3)


def test_before_a_deny_each_image_that_can_be_pulled_is_asked_about() -> None:
    story = Fleet()
    story.release(INDEX_OF_BOTH)
    story.runtime.asked.clear()
    deny = {"id": "deny", "match": {"tag": "v1"}, "decision": "block", "enforce": "repository-policy"}
    story.change_policy(rules=[deny], quarantine={"max_per_hour": 20})
    story.drain()
    (asked,) = {(one.whole, one.digests, one.indexes, one.attached) for one in story.runtime.asked if one.whole}
    assert asked == (True, {AMD64.digest, ARM64.digest, INDEX_OF_BOTH.digest}, {INDEX_OF_BOTH.digest}, {ref(3).digest})
