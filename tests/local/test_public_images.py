"""Public images on the whole local stack: no event tells of them; a sweep knows them, and their twins decide them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from chalicelib.domain.events.sweep_message import PlanSweep, Sweep
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import PUBLIC_REGION, ImageRef, Repository
from chalicelib.domain.images.verdict import Decision
from chalicelib.local.aws.stack import LocalStack
from chalicelib.local.ecr.ecr import MANIFEST
from chalicelib.local.ecr.public import ALIAS
from chalicelib.local.story.world import HURRY_SECONDS, StoryWorld
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.ordering import Person
from tests.local.running import local_stack

POLICY = """
version: 1
mode: observe
rules:
  - {id: critical, match: {severity: {gte: CRITICAL}}, decision: block}
notify:
  - {channel: sns, min_decision: block}
"""
GALLERY = f"gallery.ecr.aws/{ALIAS}/given/away"


class PublicWorld(StoryWorld):
    def __init__(self, stack: LocalStack) -> None:
        super().__init__(stack, lambda words: pytest.fail(f"nobody types {words}"))

    @property
    def public(self) -> ImageRef:
        return Repository(f"public/{ALIAS}", PUBLIC_REGION, "given/away").image(self.ref.digest)

    def give_away(self) -> None:
        self.stack.aws.public.hold(self.public, ("1.0", "latest"), MANIFEST, self.now)

    def sweep(self) -> None:
        self.stack.clock.move(timedelta(hours=6))
        self.stack.context.outbox.send("sweeps", PlanSweep(Sweep.PUBLIC, self.stack.region, self.now))
        assert self.settle()

    def header(self, ref: ImageRef) -> Header:
        return self.stack.headers([ref])[ref].header

    def alerts(self) -> list[str]:
        return ["\n".join(caught.lines) for caught in self.sent()["sns"]]


@pytest.fixture
def world() -> Iterator[PublicWorld]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        apply_policy(POLICY, "oncall", stack.context)
        made = PublicWorld(stack)
        made.push()
        made.scan()
        assert made.settle()
        yield made
        assert stack.dead_letters() == []


def test_a_public_copy_of_a_blocked_image_is_blocked_and_alerted_with_its_gallery_address(world: PublicWorld) -> None:
    world.rate("CRITICAL", 9.8)
    assert world.settle()
    world.stack.clock.move(timedelta(days=2))
    world.give_away()
    world.sweep()
    public = world.header(world.public)
    assert (public.decision, public.tags, public.twins) == (Decision.BLOCK, ("1.0", "latest"), (world.ref.path,))
    (alert,) = [text for text in world.alerts() if "public.ecr.aws" in text]
    assert GALLERY in alert


def test_what_turns_bad_later_is_bad_in_public_at_once_and_good_again(world: PublicWorld) -> None:
    world.give_away()
    world.sweep()
    assert world.header(world.public).decision is Decision.ALLOW
    world.rate("CRITICAL", 9.8)
    assert world.settle()
    assert world.header(world.public).decision is Decision.BLOCK
    world.rate("LOW", 1.0)
    assert world.settle()
    assert world.header(world.public).decision is Decision.ALLOW


def test_what_is_deleted_in_public_is_gone_after_the_next_sweep(world: PublicWorld) -> None:
    world.give_away()
    world.sweep()
    repositories = world.stack.aws.public.repositories
    del repositories["given/away"].images[world.ref.digest]
    world.sweep()
    assert not world.header(world.public).exists
    assert world.header(world.ref).twins == ()
    del repositories["given/away"]
    world.sweep()
    row = world.stack.context.queries.repository(world.public.home)
    assert row is not None
    assert "deleted_at" in row.facts


def test_an_order_names_the_public_copy_and_everywhere_closes_its_door(world: PublicWorld) -> None:
    """Amazon ECR Public can keep no image from being pulled: the doors close, and the answer names it."""
    world.give_away()
    world.sweep()
    ann = Person(world.stack.app, "ann")
    image = {"repository": world.ref.repository, "digest": world.ref.digest, "registry": world.ref.registry}
    image["region"] = world.ref.region
    plan = ann.order("quarantine", image, 200, dry_run=True, force=True)
    assert [one["uri"] for one in plan["left"]] == [str(world.public)]
    ann.order("quarantine", image, everywhere=True, force=True)
    assert world.header(world.public).decision is Decision.QUARANTINE
    assert world.settle()
    assert world.header(world.ref).hold is not None
