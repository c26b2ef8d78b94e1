"""Public images on the whole local stack: no event tells of them; a sweep knows them, and their twins decide them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.events.sweep_message import MatchSameDigest, PlanSweep, Sweep
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import PUBLIC_REGION, ImageRef, Repository
from chalicelib.domain.images.verdict import Decision
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.seed import covered, scan_events
from chalicelib.local.aws.stack import LocalStack
from chalicelib.local.demo import demo_registry
from chalicelib.local.ecr.ecr import MANIFEST, ecr_of
from chalicelib.local.ecr.public import ALIAS
from chalicelib.local.inspector import inspector_of
from chalicelib.local.story.world import HURRY_SECONDS, REPOSITORY, TAG, StoryWorld
from chalicelib.services.policy.apply_policy import apply_policy
from chalicelib.services.reconcile.plan_sweep import SHARDS
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
PUBLISHED = f"{POLICY}public:\n  - {{public: given/away, from: [{REPOSITORY}]}}\n"
GALLERY = f"gallery.ecr.aws/{ALIAS}/given/away"


class PublicWorld(StoryWorld):
    def __init__(self, stack: LocalStack) -> None:
        super().__init__(stack, lambda words: pytest.fail(f"nobody types {words}"))

    @property
    def public(self) -> ImageRef:
        return Repository(f"public/{ALIAS}", PUBLIC_REGION, "given/away").image(self.ref.digest)

    def give_away(self) -> None:
        self.stack.aws.public.hold(self.public, ("1.0", "latest"), MANIFEST, self.now)

    def copy(self, name: str) -> ImageRef:
        """The digest pushed to another repository, where Inspector finds nothing in it."""
        self.ecr.create_repository(repositoryName=name)
        manifest = demo_registry.manifest(REPOSITORY, TAG, "linux/amd64")
        pushed = self.ecr.put_image(repositoryName=name, imageManifest=manifest, imageTag=TAG)["image"]["imageId"]
        ref = Repository(ACCOUNT, self.stack.region, name).image(pushed["imageDigest"])
        assert ref.digest == self.ref.digest
        with self.stack.aws.lock:
            inspector = inspector_of(self.stack.region)
            inspector.coverage[ref.arn] = covered(ref, "ACTIVE", "SUCCESSFUL", self.now)
        for event in scan_events(ref, ecr_of(ref.home).get(name, {"imageDigest": ref.digest})):
            self.stack.aws.put_event(event)
        assert self.settle()
        return ref

    def excuse(self, repository: str) -> str:
        """Returns the waiver's id."""
        terms = {"repository": repository, "rule": "critical", "reason": "not reachable", "approved_by": "ann"}
        more = {"expires_at": (self.now + timedelta(days=9)).isoformat(), "allow_unmatched": True}
        status, said, _ = Person(self.stack.app, "ann").ask("POST", "/v1/waivers", terms | more)
        assert status == 201, said
        assert self.settle()
        return str(said["id"])

    def asked(self, path: str, ref: ImageRef) -> dict[str, Any]:
        """What the API answers about one image."""
        image = {"repository": ref.repository, "digest": ref.digest, "registry": ref.registry, "region": ref.region}
        status, said, _ = Person(self.stack.app, "ann").ask("GET", path, **image)
        assert status == 200, said
        return dict(said)

    def sweep(self) -> None:
        self.stack.clock.move(timedelta(hours=6))
        self.stack.context.outbox.send("sweeps", PlanSweep(Sweep.PUBLIC, self.stack.region, self.now))
        assert self.settle()
        # A delay is short here: digests may have been matched before what was listed became known.
        for shard in range(SHARDS):
            self.stack.context.outbox.send("sweeps", MatchSameDigest(shard))
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


def publish(world: PublicWorld) -> None:
    """From the repository of the story, as the policy says."""
    apply_policy(PUBLISHED, "oncall", world.stack.context)
    world.give_away()
    world.sweep()
    assert world.header(world.public).reasons[0].rule == "twin"


def test_a_clean_copy_in_a_sandbox_and_a_waiver_there_excuse_nothing_in_public(world: PublicWorld) -> None:
    world.rate("CRITICAL", 9.8)
    assert world.settle()
    publish(world)
    copy = world.copy("sandbox/payments")
    world.sweep()
    assert (world.header(copy).decision, world.header(world.public).decision) == (Decision.ALLOW, Decision.BLOCK)
    world.excuse("sandbox/*")
    assert world.asked("/v1/verdict", world.public)["decision"] == "BLOCK"
    waiver = world.excuse(REPOSITORY)
    said = world.asked("/v1/image", world.public)["verdict"]
    assert (said["decision"], said["reasons"][0]["waived"]) == ("ALLOW", [waiver])


def test_an_order_about_the_origin_holds_in_public_until_it_ends(world: PublicWorld) -> None:
    publish(world)
    ann = Person(world.stack.app, "ann")
    image = {"repository": REPOSITORY, "digest": world.ref.digest, "registry": world.ref.registry}
    image["region"] = world.ref.region
    ann.order("quarantine", image, force=True)
    assert world.settle()
    assert world.asked("/v1/verdict", world.public)["decision"] == "QUARANTINE"
    ann.order("release", image, etag=ann.see(image))
    assert world.settle()
    assert world.asked("/v1/verdict", world.public)["decision"] == "ALLOW"


def test_an_origin_that_is_deleted_neither_softens_what_it_closed_nor_hands_it_to_a_sandbox(world: PublicWorld) -> None:
    publish(world)
    world.rate("CRITICAL", 9.8)
    assert world.settle()
    world.copy("sandbox/payments")
    world.ecr.batch_delete_image(repositoryName=REPOSITORY, imageIds=[{"imageDigest": world.ref.digest}])
    assert world.settle()
    world.sweep()
    public = world.header(world.public)
    assert (public.decision, public.reasons[0].rule) == (Decision.BLOCK, "twin-gone")


def test_without_an_origin_the_findings_of_a_copy_count_by_public_rules_and_a_private_waiver_excuses_none(
    world: PublicWorld,
) -> None:
    world.rate("CRITICAL", 9.8)
    assert world.settle()
    world.excuse("team/*")
    world.give_away()
    world.sweep()
    assert world.header(world.ref).decision is Decision.ALLOW
    said = world.asked("/v1/image", world.public)["verdict"]
    assert (said["decision"], [r["rule"] for r in said["reasons"]]) == ("BLOCK", ["critical", "twin-copy"])
    assert world.ref.home.path in said["reasons"][1]["detail"]
    world.excuse("given/*")
    assert world.header(world.public).decision is Decision.ALLOW


@pytest.mark.parametrize(("published", "touched"), [(False, 1), (True, 0)])
def test_a_waiver_is_said_to_touch_a_public_image_only_where_it_is_judged_by_its_own_rules(
    world: PublicWorld, *, published: bool, touched: int
) -> None:
    world.rate("CRITICAL", 9.8)
    assert world.settle()
    if published:
        publish(world)
    else:
        world.give_away()
        world.sweep()
    terms = {"repository": "given/*", "rule": "critical", "reason": "why", "approved_by": "ann", "dry_run": True}
    more = {"expires_at": (world.now + timedelta(days=9)).isoformat(), "allow_unmatched": True}
    _, said, _ = Person(world.stack.app, "ann").ask("POST", "/v1/waivers", terms | more)
    assert (said["touched"]["images"], said["touched"]["findings"]) == (touched, touched)


def test_an_alias_that_is_dropped_leaves_no_image_behind_and_its_successor_stands_by_the_origin(
    world: PublicWorld,
) -> None:
    publish(world)
    world.stack.aws.public.aliases = ["renamed"]
    world.sweep()
    assert not world.header(world.public).exists
    renamed = Repository("public/renamed", PUBLIC_REGION, "given/away").image(world.ref.digest)
    world.sweep()
    assert (world.header(renamed).decision, world.header(world.ref).twins) == (Decision.ALLOW, (renamed.path,))
    _, said, _ = Person(world.stack.app, "ann").ask("GET", "/v1/images", registry=world.public.registry)
    assert said["images"] == []
