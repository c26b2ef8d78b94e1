"""Hundreds of images and little time: their check takes many parts, over queue, table and ECR as they are deployed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.adapters.ecr.settings import EcrReplication
from chalicelib.adapters.stores.sweep_items import ReplicaItems
from chalicelib.domain.events.sweep_message import MOST_PARTS, Sweep, begin
from chalicelib.domain.images.image import Repository
from chalicelib.domain.replication.replica import Replica
from chalicelib.domain.replication.replica_case import Listed
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION, LocalStack
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.local.story.world import HURRY_SECONDS, StoryWorld
from chalicelib.services.handlers import receive_sweeps
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.ordering import Person
from tests.local.running import local_stack

pytestmark = [pytest.mark.in_turn, pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")]

HOME, THERE = (Repository(ACCOUNT, region, "team/monorepo") for region in (REGION, "eu-central-1"))
IMAGES, PAGE = 240, 40
POLICY = """
version: 1
rules: [{id: critical, match: {severity: {gte: CRITICAL}}, decision: block}]
notify: [{channel: sns, events: [replication]}]
"""


class Slow(StoryWorld):
    """A page takes 20 s, and the first storing of a copy 4 s: three pages a part, or fifteen copies."""

    def __init__(self, stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(stack, lambda words: pytest.fail(f"nobody types {words}"))
        self.pages, self.parts, self.ann = Counter[tuple[str, str | None]](), 0, Person(stack.app, "ann")
        monkeypatch.setattr("chalicelib.adapters.ecr.listing.ROWS_ASKED", PAGE)
        listing, keep, check = EcrReplication.listing, ReplicaItems.keep, receive_sweeps.check_replication

        def listed(port: EcrReplication, home: Repository, after: str | None = None) -> Listed:
            stack.clock.move(timedelta(seconds=20))
            self.pages[home.region, after] += 1
            return listing(port, home, after)

        def kept(port: ReplicaItems, replica: Replica) -> bool:
            stack.clock.move(timedelta(seconds=4))
            return keep(port, replica)

        def checked(*arguments: Any, **named: Any) -> None:
            self.parts += 1
            check(*arguments, **named)

        monkeypatch.setattr(EcrReplication, "listing", listed)
        monkeypatch.setattr(ReplicaItems, "keep", kept)
        monkeypatch.setattr(receive_sweeps, "check_replication", checked)

    def hold(self) -> None:
        """Images that came before there was anybody to hear of them; one copy is not there."""
        for home in (HOME, THERE):
            for n in range(IMAGES):
                image = ecr_of(home).hold_image(home.name, f"sha256:{n:064x}", pushed_at=self.now - timedelta(days=9))
                ecr_of(home).tag_image(image, f"build-{n}")
                image.basic_scan = {"imageScanStatus": {"status": "COMPLETE"}}
        ecr_of(THERE).delete(THERE.name, {"imageDigest": f"sha256:{IMAGES - 1:064x}"})
        rule = {"destinations": [{"region": THERE.region, "registryId": ACCOUNT}]}
        self.ecr.put_replication_configuration(replicationConfiguration={"rules": [rule]})

    def sweep(self) -> int:
        """An hour's. Returns how many parts it took."""
        self.parts = 0
        self.pages.clear()
        self.stack.clock.move(timedelta(hours=1))
        for plan in begin(Sweep.REPLICATION, self.stack.context.registries, self.now):
            self.stack.context.outbox.send("sweeps", plan)
        assert self.settle()
        assert not self.stack.dead_letters()
        return self.parts

    def seen(self) -> Any:
        status, said, _ = self.ann.ask("GET", "/v1/replication")
        assert status == 200
        (repository,) = said["repositories"]
        return repository


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        apply_policy(POLICY, "oncall", stack.context)
        made = Slow(stack, monkeypatch)
        made.hold()
        yield made


def test_a_check_of_hundreds_of_images_resumes_tells_what_is_left_and_ends(slow: Slow) -> None:
    left, sweeps = [IMAGES], 0
    while left[-1]:
        assert slow.sweep() <= MOST_PARTS
        assert set(slow.pages.values()) == {1}, "no page is read twice in a sweep"
        assert len(slow.pages) == 2 * IMAGES // PAGE
        sweeps, seen = sweeps + 1, slow.seen()
        left.append(seen["unfinished"]["left"] if seen["unfinished"] else 0)
        assert left[-1] < left[-2]
        assert (seen["looked_at"] is None) is bool(left[-1])
    assert sweeps > 1
    (place,) = slow.seen()["destinations"]
    assert place["counts"] == {"COMPLETE": IMAGES - 1, "NOT_CONFIGURED": 1, "older-than-rule": 1}
    alerts = ["\n".join(caught.lines) for caught in slow.sent()["sns"]]
    assert len(alerts) == 1, "once a day"
    assert f"{left[1]} of {IMAGES} images were not looked at" in alerts[0]
    assert slow.sweep() < 6
    assert slow.seen()["unfinished"] is None
