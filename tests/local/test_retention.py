"""Retention on the whole local stack: real handlers, queues and table, from the sweep to what ECR has left."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

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


def sweep(played: Played, which: Sweep) -> None:
    played.context.outbox.send("sweeps", SweepRepository(which, HOME, played.clock.now()))
    played.settle()


def left(played: Played) -> set[ImageRef]:
    answer = played.ecr.list_images(repositoryName=HOME.name, filter={"imageStatus": "ANY"})  # type: ignore[typeddict-unknown-key]
    return {HOME.image(one["imageDigest"]) for one in answer["imageIds"]}
