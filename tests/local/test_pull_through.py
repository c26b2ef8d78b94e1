"""Images of a pull-through cache: a digest that was fetched is judged as one that was pushed, whatever ECR tells of it.

Which events ECR sends for an image that it caches is not published, nor whether a pull of an archived image fetches it
again: each is played here, and that nothing is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.events.sweep_message import Sweep, begin
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION, LocalStack
from chalicelib.local.ecr.ecr import LocalEcr, ecr_of
from chalicelib.local.ecr.pull_through import LocalCache, UpstreamFailure
from tests.local.ecr.test_pull_through import manifest
from tests.local.ordering import Person
from tests.local.running import ruled
from tests.local.test_attack_pusher import Attack

pytestmark = [pytest.mark.in_turn, pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")]
POLICY = """
version: 1
mode: enforce
quarantine: {max_per_hour: 400}
rules:
  - {id: bad, match: {severity: {gte: CRITICAL}}, decision: quarantine}
notify:
  - {channel: sns, min_decision: block, events: [verdict, pull-failed]}
"""
URL = "quay.io"
BOTH, PUSH, CACHE, NOTHING = "both", "ECR Image Action", "ECR Pull Through Cache Action", "nothing"
TOLD = (BOTH, PUSH, CACHE, NOTHING)
"""Which events ECR sends of an image that it caches."""


class Cached(Attack):
    def __init__(self, stack: LocalStack) -> None:
        super().__init__(stack)
        self.ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="mirror", upstreamRegistryUrl=URL)
        self.ecr.create_repository_creation_template(
            prefix="mirror", appliedFor=["PULL_THROUGH_CACHE"], resourceTags=[{"Key": "owner", "Value": "platform"}]
        )

    def publishes(self, name: str, tag: str, content: str) -> None:
        """The upstream has it under that tag from now on."""
        LocalCache.upstream.setdefault(f"{URL}/{name}", {})[tag] = manifest(content)

    def pull(self, name: str, tag: str = "1.0", told: str = BOTH) -> ImageRef | None:
        """None: ECR does not give it. A sweep finds what no event tells."""
        home = Repository(ACCOUNT, REGION, f"mirror/{name}")
        said = LocalEcr.publish
        with pytest.MonkeyPatch.context() as patch:
            heard = staticmethod(lambda event: said(event) if told in (BOTH, event["detail-type"]) else None)
            patch.setattr(LocalEcr, "publish", heard)
            answer = self.ecr.batch_get_image(repositoryName=home.name, imageIds=[{"imageTag": tag}])
        self.settle()
        if told == NOTHING:
            self.sweep()
        images = answer["images"]
        return home.image(images[0]["imageId"]["imageDigest"]) if images else None

    def sweep(self) -> None:
        self.stack.clock.move(timedelta(hours=6))
        for plan in begin(Sweep.RECONCILE, self.stack.context.registries, self.now):
            self.stack.context.outbox.send("sweeps", plan)
        self.settle()

    def fetched(self, name: str, *, flaw: bool) -> ImageRef:
        """Pulled for the first time, and scanned."""
        self.publishes(name, "1.0", name)
        ref = self.pull(name)
        assert ref is not None
        self.scan(ref, flaw=flaw)
        return ref

    def tags(self, ref: ImageRef) -> tuple[str, ...]:
        return self.stack.headers([ref])[ref].header.tags

    def facts(self, name: str) -> dict[str, Any]:
        """What is known of the repository."""
        ann = Person(self.stack.app, "arn:aws:sts::111122223333:assumed-role/Ops/ann")
        status, said, _ = ann.ask("GET", "/v1/repositories", repository=f"mirror/{name}")
        assert status == 200, said
        (row,) = said["repositories"]
        return dict(row["facts"])


@pytest.fixture(scope="module")
def cached() -> Iterator[Cached]:
    with ruled(Cached, POLICY) as world:
        yield world


@pytest.mark.parametrize("told", TOLD)
def test_the_first_pull_makes_the_repository_and_its_image_is_pending_until_it_is_scanned(
    cached: Cached, told: str
) -> None:
    name = f"first-{told.replace(' ', '-').lower()}"
    cached.publishes(name, "1.0", name)
    ref = cached.pull(name, told=told)
    assert ref is not None
    tags = cached.ecr.list_tags_for_resource(resourceArn=ref.home.arn)["tags"]
    assert tags == [{"Key": "owner", "Value": "platform"}]
    assert (cached.decision(ref), cached.decision(ref, "1.0")) == ("PENDING", "PENDING")
    cached.scan(ref, flaw=False)
    assert (cached.decision(ref), cached.decision(ref, "1.0")) == ("ALLOW", "ALLOW")


@pytest.mark.parametrize("told", TOLD)
def test_a_refreshed_tag_is_a_new_digest_with_a_verdict_of_its_own(cached: Cached, told: str) -> None:
    name = f"refreshed-{told.replace(' ', '-').lower()}"
    former = cached.fetched(name, flaw=False)
    cached.publishes(name, "1.0", f"{name}, again")
    cached.wait(timedelta(hours=25))
    ref = cached.pull(name, told=told)
    assert ref is not None
    assert ref != former
    assert (cached.decision(ref), cached.decision(ref, "1.0")) == ("PENDING", "PENDING")
    assert (cached.decision(former), cached.tags(former), cached.tags(ref)) == ("ALLOW", (), ("1.0",))
    cached.scan(ref, flaw=True)
    assert (cached.decision(ref, "1.0"), cached.decision(former)) == ("QUARANTINE", "ALLOW")
    assert (cached.archived(ref), cached.archived(former)) == (True, False)


@pytest.mark.parametrize("told", TOLD)
def test_a_quarantined_image_that_the_cache_fetches_again_is_quarantined_again(cached: Cached, told: str) -> None:
    ref = cached.fetched(f"bad-{told.replace(' ', '-').lower()}", flaw=True)
    assert cached.archived(ref)
    cached.wait(timedelta(minutes=10))
    assert cached.pull(ref.repository.removeprefix("mirror/"), told=told) == ref, "ECR may give it for a moment"
    assert cached.archived(ref)
    assert (cached.decision(ref), cached.decision(ref, "1.0")) == ("QUARANTINE", "QUARANTINE")


def test_a_quarantined_image_that_the_cache_does_not_fetch_again_cannot_be_pulled(
    cached: Cached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalCache, "restores", False)
    ref = cached.fetched("kept-out", flaw=True)
    for hours in (1, 25):
        cached.wait(timedelta(hours=hours))
        assert cached.pull("kept-out") is None
        assert cached.archived(ref)


def test_an_index_of_the_cache_is_judged_by_the_images_that_come_with_it(cached: Cached) -> None:
    push = cached.into("build/multi")
    platforms = {"linux/amd64": push.image([b"multi amd64"]), "linux/arm64": push.image([b"multi arm64"])}
    built = push.index(platforms, ["1.0"])
    rows = ecr_of(built.home).home(built.repository).images
    LocalCache.upstream[f"{URL}/multi"] = {str(row.image_digest): row.image_manifest for row in rows}
    LocalCache.upstream[f"{URL}/multi"]["1.0"] = LocalCache.upstream[f"{URL}/multi"][built.digest]
    index = cached.pull("multi")
    assert index is not None
    good, bad = (index.home.image(ref.digest) for ref in platforms.values())
    assert [cached.decision(ref) for ref in (index, good, bad)] == ["PENDING"] * 3
    cached.scan(good, flaw=False)
    assert [cached.decision(ref) for ref in (index, good, bad)] == ["PENDING", "ALLOW", "PENDING"]
    cached.scan(bad, flaw=True)
    assert [cached.decision(ref) for ref in (index, good, bad)] == ["QUARANTINE", "ALLOW", "QUARANTINE"]
    assert cached.archived(index)
    assert cached.pull("multi") == index, "ECR may give it for a moment"
    assert cached.archived(index)


def test_an_upstream_that_fails_is_told_once_a_day_and_kept_with_the_repository(cached: Cached) -> None:
    cached.fetched("failing", flaw=False)
    before = len(cached.sent()["sns"])
    LocalCache.failing[URL] = UpstreamFailure("UpstreamAccessDenied", "the token has expired")
    cached.stack.clock.move_to(cached.now.replace(hour=1, minute=0) + timedelta(days=2))
    failed_at = cached.now.replace(microsecond=0)
    assert cached.pull("failing") is not None, "what is cached can be pulled"
    cached.pull("failing", "2.0")
    facts = cached.facts("failing")
    assert facts["pull_through_failure"] == "2.0: UpstreamAccessDenied: the token has expired"
    assert facts["pull_through_failed_at"] > facts["pull_through_synced_at"]
    alerts = cached.sent()["sns"][before:]
    (text,) = ["\n".join(alert.lines) for alert in alerts]
    assert "Pull-through cache failed: mirror/failing:1.0" in text
    assert f"ECR could not fetch mirror/failing:1.0 from quay.io at {failed_at:%Y-%m-%d %H:%M}" in text
    assert "What it has from before can be pulled" in text
    assert "aws ecr validate-pull-through-cache-rule --ecr-repository-prefix mirror" in text
    LocalCache.failing.clear()
    cached.wait(timedelta(hours=25))
    cached.pull("failing")
    facts = cached.facts("failing")
    assert facts["pull_through_failed_at"] < facts["pull_through_synced_at"]
