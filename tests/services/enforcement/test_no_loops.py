"""Nothing that follows from an act undoes it, and whatever comes back is taken away again, without a new scan."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.domain.events.event import PulledThrough
from chalicelib.domain.events.message import Ours
from chalicelib.domain.headers.pending_action import Holding
from chalicelib.domain.images.image import StorageStatus
from chalicelib.services.assessment.re_decide import re_decide
from chalicelib.services.enforcement.acquire_quota import reset_fuse
from chalicelib.services.enforcement.give_order import release_image
from tests.services.aws_model import Image
from tests.services.enforcement.test_enforce_verdict import ACTIVE, ARCHIVED, CRITICAL, Acting
from tests.services.world import new_ref


def looks(story: Acting) -> int:
    """How often a scanner was asked."""
    return story.met["look"]


def at_once(story: Acting) -> None:
    """The clock comes, and what we sent ourselves is handled; looks are delayed, so that none is among it. What AWS
    tells of the archive comes later."""
    re_decide(shard_of(story.ref), story)  # type: ignore[arg-type]
    while there := [e for q in ("scans", "actions", "alerts") for e in story.waiting(q) if isinstance(e.body, Ours)]:
        story.finish(story.work_on(there[:1]))


def comes_back(image: Image) -> None:
    """As ECR has it after a push of the same digest, or after its pull-through cache has fetched it again."""
    image.change(storage=ACTIVE, activated_at=image.clock())


# ---- what an archive brings about


def test_inspector_that_closes_the_findings_of_an_archived_image_releases_nothing_in_any_order() -> None:
    story = Acting().worsen()
    closed = story.one.told(story.one.current.findings[1])
    coverage = story.one.covered()
    assert coverage.coverage.reason == "IMAGE_ARCHIVED"
    for events in ((closed, coverage), (coverage, closed), (closed, closed), (coverage,)):
        story.receive(*events)
        story.wait_for(hours=2)
    assert (story.storage, story.status, story.head.decision) == (ARCHIVED, {1: "OPEN"}, "QUARANTINE")
    assert [call[0] for call in story.acts.calls] == ["archive"]


def test_a_release_after_the_closing_restores_and_the_finding_still_counts() -> None:
    story = Acting().worsen().wait_for(hours=2)
    release_image(story.ref, "oncall", "needed", story)  # type: ignore[arg-type]
    story.wait_for(minutes=5)
    story.receive(story.one.scanned())
    story.wait_for(minutes=5)
    assert (story.storage, story.status, story.head.decision) == (ACTIVE, {1: "OPEN"}, "QUARANTINE")


# ---- what comes back


@pytest.mark.parametrize("times", [1, 3])
def test_what_is_pushed_again_is_archived_as_often_as_it_is(times: int) -> None:
    story = Acting().worsen()
    asked = looks(story)
    for number in range(times):
        comes_back(story.one)
        story.receive(story.one.action("PUSH", tag=f"again-{number}"))
        at_once(story)
        assert story.storage is ARCHIVED
    assert looks(story) == asked
    assert story.records == ["QUARANTINE"] * (times + 1)


def test_what_a_pull_through_cache_fetches_again_is_archived_again() -> None:
    story = Acting().worsen()
    asked = looks(story)
    comes_back(story.one)
    story.receive(PulledThrough(story.ref.home, "SUCCESS", story.moment, "event", story.ref, "v1"))
    at_once(story)
    assert (story.storage, looks(story)) == (ARCHIVED, asked)


def test_what_a_person_restores_by_hand_is_archived_again() -> None:
    story = Acting().worsen()
    story.receive(*story.one.restore())
    at_once(story)
    assert story.storage is ARCHIVED


def test_a_new_tag_on_an_archived_digest_leaves_it_archived() -> None:
    story = Acting().worsen()
    story.one.change(tags=("v1", "v2"))
    story.receive(story.one.action("PUSH", tag="v2"))
    story.wait_for(hours=1)
    assert story.storage is ARCHIVED
    assert story.records == ["QUARANTINE"]


# ---- what is no longer in the way


def observed(story: Acting) -> None:
    story.change_policy(mode="enforce")


def exempted(story: Acting) -> None:
    story.change_policy()


def stopped(story: Acting) -> None:
    story.runtime.stop(story.ref)
    story.after(20 * 60)


def blew(story: Acting) -> None:
    reset_fuse("oncall", "looked into", story)  # type: ignore[arg-type]


def seen(story: Acting) -> None:
    story.runtime.blind = ()
    story.after(20 * 60)


def runs(story: Acting) -> None:
    story.runtime.run(story.ref)


def blinds(story: Acting) -> None:
    story.runtime.blind = ("account 222233334444",)


def spends(story: Acting) -> None:
    """The fuse's only act goes to another image."""
    other = story.add(new_ref())
    story.receive(other.action("PUSH", tag="v1"))
    other.scanned()
    other.flaw(1, severity=CRITICAL)
    story.receive(other.scanned())
    story.drain()


def leaves(story: Acting) -> None:
    """Nothing but the policy is in the way."""


@pytest.mark.parametrize(
    ("policy", "prevents", "held", "ends"),
    [
        ({"mode": "observe"}, leaves, Holding.OBSERVE, observed),
        ({"exempt": {"repository": ["team/*"]}}, leaves, None, exempted),
        ({}, runs, Holding.RUNNING, stopped),
        ({}, blinds, Holding.RUNNING, seen),
        ({"quarantine": {"max_per_hour": 1}}, spends, Holding.FUSE, blew),
    ],
    ids=["observe", "exempt", "running", "unknown", "fuse"],
)
def test_what_kept_an_act_from_being_done_ends_and_it_is_done_without_a_scan(
    policy: dict[str, Any], prevents: Any, held: Holding | None, ends: Any
) -> None:
    story = Acting(**policy)
    prevents(story)
    story.worsen()
    assert (story.storage, story.held) == (ACTIVE, held)
    asked = looks(story)
    ends(story)
    at_once(story)
    assert (story.storage, looks(story)) == (ARCHIVED, asked)


# ---- restoring


class Restoring(Acting):
    """A person has released it, and ECR has begun to restore it. `heard`: whether the event of its end comes."""

    def __init__(self, *, heard: bool) -> None:
        super().__init__()
        self.worsen()
        self.acts.restores_at_once = False
        release_image(self.ref, "oncall", "needed", self)  # type: ignore[arg-type]
        self.drain()
        self.heard = heard

    def restored(self) -> None:
        events = self.one.restore()
        if self.heard:
            self.receive(*events)


def is_confirmed(story: Acting) -> bool:
    return (story.head.storage, story.head.hold, story.head.act) == (ACTIVE, None, None)


def test_a_restore_is_confirmed_by_its_event_at_once() -> None:
    story = Restoring(heard=True)
    assert (story.head.storage, story.held) == (StorageStatus.ACTIVATING, Holding.RESTORING)
    story.after(120)
    story.restored()
    assert is_confirmed(story)


def test_a_restore_whose_event_was_lost_is_confirmed_by_a_later_look() -> None:
    story = Restoring(heard=False)
    story.after(120)
    story.restored()
    assert not is_confirmed(story)
    story.wait_for(minutes=6)
    assert is_confirmed(story)


@pytest.mark.parametrize(("minutes", "told"), [(25, 0), (40, 1), (120, 1)])
def test_a_restore_is_told_of_once_when_it_takes_longer_than_half_an_hour(minutes: int, told: int) -> None:
    story = Restoring(heard=True)
    for _ in range(minutes // 5):
        story.wait_for(minutes=5)
    assert [alert.event for alert in story.told].count("restore") == told
    assert story.held == Holding.RESTORING
    story.restored()
    story.wait_for(minutes=5)
    assert is_confirmed(story)
