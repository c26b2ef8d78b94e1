"""Retention on the whole local stack: real handlers, queues and table, from the sweep to what ECR has left."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.events.sweep_message import Sweep, SweepRepository
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION
from chalicelib.services.policy.apply_policy import apply_policy
from chalicelib.services.retention.plan_retention import plan_retention
from tests.local.every_function import HURRY_SECONDS, Played
from tests.local.push_image import Pusher
from tests.local.running import local_stack

HOME = Repository(ACCOUNT, REGION, "team/old")
HOUR = timedelta(hours=1)
SIGNATURE = "application/vnd.cncf.notary.signature"
POLICY = """
version: 1
mode: enforce
retention: [{repository: team/old, keep: {newest: 1}, max_share: 1}]
notify: [{channel: slack}]
"""


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        yield Played(stack)


def test_an_index_goes_with_its_images_and_signature_and_the_newest_stays(played: Played) -> None:
    apply_policy(POLICY, "oncall", played.context)
    played.ecr.create_repository(repositoryName=HOME.name)
    pusher = Pusher(played.ecr, HOME)
    child = pusher.image([b"base", b"old"])
    index = pusher.index({"linux/amd64": child}, ["1.0.0"])
    signature = pusher.referrer(index, SIGNATURE, b"signed")
    played.settle()
    played.clock.move(HOUR)
    newest = pusher.image([b"base", b"new"], ["1.1.0"])
    played.settle()
    sweep(played, Sweep.RETENTION)
    assert left(played) == {child, index, signature, newest}, "nobody has looked for replicas yet"
    sweep(played, Sweep.REPLICATION)
    plan = plan_retention(HOME, played.context, with_layers=True)
    assert {HOME.image(f.image.digest) for f in plan.plan.takes} == {child, index, signature}
    sweep(played, Sweep.RETENTION)
    assert left(played) == {newest}
    headers = played.stack.headers([child, index, signature, newest])
    assert {ref for ref, stored in headers.items() if stored.header.exists} == {newest}
    kinds = [row.record.kind for row in played.context.queries.actions(index)]
    assert "EXPIRE" in kinds
    assert "EXPIRE_FAILED" not in kinds
    assert played.stack.dead_letters() == []


RELEASES = Repository(ACCOUNT, REGION, "team/releases")
BLOCKED = """
version: 1
mode: enforce
unscanned: {after_minutes: 1, then: warn}
rules: [{id: shut, match: {tag: "1.1.*"}, decision: block}]
retention: [{repository: [team/releases, team/claims], keep: {newest: 1}, max_share: 1}]
"""


@pytest.fixture(scope="module")
def releases(played: Played) -> list[ImageRef]:
    """Oldest first: two that are WARN, and one that is blocked."""
    apply_policy(BLOCKED, "oncall", played.context)
    played.ecr.create_repository(repositoryName=RELEASES.name)
    pusher, found = Pusher(played.ecr, RELEASES), []
    for tag in ("1.0.0", "1.0.1", "1.1.0"):
        found.append(pusher.image([tag.encode()], [tag]))
        played.settle()
        played.clock.move(HOUR)
    played.run_clock()
    sweep(played, Sweep.REPLICATION, RELEASES)
    return found


def test_what_people_go_back_to_stays_when_the_newest_is_blocked(played: Played, releases: list[ImageRef]) -> None:
    moved = False

    def tag_it(**_: Any) -> None:
        nonlocal moved
        if not moved:
            moved = True
            body = played.ecr.batch_get_image(repositoryName=RELEASES.name, imageIds=[{"imageTag": "1.0.0"}])
            manifest = body["images"][0]["imageManifest"]
            played.ecr.put_image(repositoryName=RELEASES.name, imageManifest=manifest, imageTag="prod")

    events = played.context.sessions.client("ecr", REGION).meta.events
    events.register("before-call.ecr.BatchDeleteImage", tag_it, unique_id="late-tag")
    sweep(played, Sweep.RETENTION, RELEASES)
    events.unregister("before-call.ecr.BatchDeleteImage", unique_id="late-tag")
    assert moved
    assert left(played, RELEASES) == set(releases), "the newest WARN, and one that was tagged as it was to go"
    assert played.stack.dead_letters() == []


def test_an_image_under_legal_hold_stays_until_it_is_ended(played: Played, releases: list[ImageRef]) -> None:
    home = Repository(ACCOUNT, REGION, "team/claims")
    played.ecr.create_repository(repositoryName=home.name)
    pusher = Pusher(played.ecr, home)
    old, older = pusher.image([b"old"], ["1.0.0"]), pusher.image([b"older"], ["1.0.1"])
    played.settle()
    played.clock.move(HOUR)
    newest = pusher.image([b"new"], ["1.0.2"])
    played.settle()
    sweep(played, Sweep.REPLICATION, home)
    hold = {"repository": home.name, "digest": old.digest}
    played.ask("POST", "/v1/legal-hold", {**hold, "reason": "the claim of 2026"})
    sweep(played, Sweep.RETENTION, home)
    assert left(played, home) == {old, newest}, f"{older} is under no hold"
    played.ask("POST", "/v1/legal-hold/end", {**hold, "reason": "settled"})
    played.clock.move(HOUR)
    sweep(played, Sweep.RETENTION, home)
    assert left(played, home) == {newest}


def sweep(played: Played, which: Sweep, home: Repository = HOME) -> None:
    played.context.outbox.send("sweeps", SweepRepository(which, home, played.clock.now()))
    played.settle()


def left(played: Played, home: Repository = HOME) -> set[ImageRef]:
    answer = played.ecr.list_images(repositoryName=home.name, filter={"imageStatus": "ANY"})  # type: ignore[typeddict-unknown-key]
    return {home.image(one["imageDigest"]) for one in answer["imageIds"]}
