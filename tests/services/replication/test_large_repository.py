"""100,000 images in a repository: no part of its check lists an end once more, none takes long, what is left is told.

ECR is played: pages of a thousand images that take 0.4 s, as seen there, and every call and write moves the clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.events.message import SendAlert
from chalicelib.domain.events.sweep_message import MOST_PARTS, Sweep, SweepRepository
from chalicelib.domain.images.image import ImageDetail, ImageRef, Repository, ScanState
from chalicelib.domain.replication.check_progress import MOST_BEGUN_ANEW, CheckProgress
from chalicelib.domain.replication.replica import Replica, ReplicaStatus, ReplicationState
from chalicelib.domain.replication.replica_case import Listed, Reported
from chalicelib.domain.replication.rules import Configuration, Destination, ReplicationRule
from chalicelib.errors import AbsentError, UpstreamError
from chalicelib.services.replication.check_replication import check_replication
from tests.extent import Extent
from tests.fakes.replicas import FakeReplicas
from tests.fakes.table import FakeTable
from tests.services.world import World

HOME = Repository("111122223333", "eu-west-1", "team/monorepo")
NEAR, FAR = Destination("111122223333", "eu-central-1"), Destination("444455556666", "us-east-1")
ENDS = {place: place.repository(HOME) for place in (NEAR, FAR)}
PAGE, PAGE_SECONDS, CALL_SECONDS, WRITE_SECONDS = 1_000, 0.4, 0.1, 0.006
FUNCTION = timedelta(seconds=300)
LOOP_DETECTION = 16
MANY = 100_000


class SlowEcr:
    """services.ports.registry.ReplicationReader over `images`, by repository. `listed` counts pages; `between` runs
    before each; tokens older than `token_life` are refused."""

    def __init__(self, world: Large) -> None:
        self.world, self.images = world, dict[Repository, dict[str, ImageDetail]]()
        self.listed, self.calls = Counter[tuple[Repository, str | None]](), Counter[str]()
        self.token_life = timedelta(days=1)
        self.between: Callable[[], None] = lambda: None
        self.reported, self.scan_seconds = "COMPLETE", CALL_SECONDS

    def configuration(self, home: Repository) -> Configuration:
        return Configuration((ReplicationRule(tuple(ENDS)),) if home == HOME else ())

    def listing(self, home: Repository, after: str | None = None) -> Listed:
        self.between()
        self.world.pass_by(PAGE_SECONDS)
        self.listed[home, after and after.partition(" ")[0]] += 1
        first, given_at = self._token(after)
        if self.world.moment - given_at > self.token_life:
            raise AbsentError("page", "InvalidParameterException: the token has expired")
        page = sorted(digest for digest in self.images[home] if digest > first)[: PAGE + 1]
        more = f"{page[PAGE - 1]} {self.world.moment.isoformat()}" if len(page) > PAGE else None
        return Listed({digest: self.images[home][digest] for digest in page[:PAGE]}, self.world.moment, more)

    def _token(self, after: str | None) -> tuple[str, datetime]:
        if after is None:
            return "", self.world.moment
        digest, _, at = after.partition(" ")
        return digest, datetime.fromisoformat(at)

    def reports(self, ref: ImageRef) -> dict[Destination, Reported]:
        self._call("reports")
        if ref.digest not in self.images[HOME]:
            raise AbsentError("image", f"{ref} is not there")
        return {place: Reported(self.reported) for place in ENDS} if self.reported else {}

    def describe(self, ref: ImageRef) -> Listed:
        self._call("describe")
        found = self.images[ref.home].get(ref.digest)
        return Listed({} if found is None else {ref.digest: found}, self.world.moment)

    def scan_state(self, ref: ImageRef) -> ScanState:
        """Of a fixed number in each part, however many images stand for 100,000."""
        self.world.moment += timedelta(seconds=self.scan_seconds)
        return ScanState.COMPLETE

    def registry_policy(self, home: Repository) -> None:
        return None

    def settings(self, home: Repository) -> Any:
        raise UpstreamError("not now")

    def _call(self, name: str) -> None:
        self.calls[name] += 1
        self.world.pass_by(CALL_SECONDS)


class SlowReplicas(FakeReplicas):
    def __init__(self, world: Large) -> None:
        super().__init__()
        self.world = world

    def keep(self, replica: Replica) -> bool:
        self.world.pass_by(WRITE_SECONDS)
        return super().keep(replica)

    def store_delivered(self, replica: Replica) -> None:
        self.world.pass_by(WRITE_SECONDS)
        super().store_delivered(replica)

    def store_listing(self, home: Repository, images: Iterable[ImageDetail]) -> str:
        held = list(images)
        self.world.pass_by(len(held) / 2_000 * 0.02)
        return super().store_listing(home, held)

    def of(self, home: Repository, between: Any = None) -> dict[tuple[str, Destination], Replica]:
        self.world.pass_by(0.03)
        if between is None:
            return super().of(home)
        digests = self.world.digests
        mine = digests[bisect_left(digests, between[0]) : bisect_right(digests, between[1])]
        keys = [(digest, place) for digest in mine for place in ENDS]
        return {(d, p): self.kept[HOME.image(d), p] for d, p in keys if (HOME.image(d), p) in self.kept}


class Large(World):
    """`sent`: what the check has sent to itself, `told`: alerts, `took`: how long each part took. `slowness`: how many
    times as long everything takes; so fewer images take as many parts."""

    def __init__(self, images: int, slowness: float = 1) -> None:
        super().__init__(FakeTable)
        self.slowness, self.digests = slowness, [f"sha256:{n:064x}" for n in range(images)]
        self.sent, self.told, self.took = list[SweepRepository](), list[Alert](), list[timedelta]()
        self.ecr = self.replication = SlowEcr(self)
        self.replicas = SlowReplicas(self)
        self.change_policy(notify=[{"channel": "slack"}])
        self.envelopes.clear()
        pushed_at = self.moment - timedelta(days=30)
        for home in (HOME, *ENDS.values()):
            self.ecr.images[home] = {d: self.detail(home, d, pushed_at) for d in self.digests}

    def detail(self, home: Repository, digest: str, pushed_at: datetime) -> ImageDetail:
        return ImageDetail(home.image(digest), (f"v{digest[-9:]}",), pushed_at)

    def pass_by(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds * self.slowness)

    def next_hour(self) -> None:
        self.moment = self.moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)

    def send(self, queue: str, message: Any, delay_seconds: float = 0) -> None:
        if isinstance(message, SweepRepository):
            self.sent.append(message)
        elif isinstance(message, SendAlert):
            self.told.append(message.alert)
        else:
            super().send(queue, message, delay_seconds)

    def sweep(self) -> int:
        """An hour's sweep with all that it sends to itself. Returns how many parts it took."""
        self.took.clear()
        self.sent = [SweepRepository(Sweep.REPLICATION, HOME, self.moment)]
        while self.sent:
            self.part(self.sent.pop(0))
        return len(self.took)

    def part(self, message: SweepRepository) -> None:
        began = self.moment
        check_replication(message, self)  # type: ignore[arg-type]
        self.took.append(self.moment - began)

    def state(self) -> ReplicationState:
        state = self.replicas.state(HOME)
        assert state is not None
        return state

    def statuses(self) -> Counter[ReplicaStatus]:
        return Counter(replica.status for replica in self.replicas.kept.values())

    def facts(self) -> Mapping[str, Any]:
        return self.stored.repositories[HOME]  # type: ignore[no-any-return]


def test_no_part_lists_an_end_once_more_and_none_uses_60_percent_of_its_function(extent: Extent) -> None:
    """The first check stores 200,000 copies: four sweeps. The one after it finds nothing new."""
    images = extent.runs(MANY)
    large = Large(images, MANY / images)
    pages, sweeps = images // PAGE, 0
    while not sweeps or large.state().unfinished is not None:
        large.ecr.listed.clear()
        assert large.sweep() <= MOST_PARTS < LOOP_DETECTION
        assert max(large.took) <= 0.6 * FUNCTION
        assert large.ecr.listed.total() == 3 * pages
        assert set(large.ecr.listed.values()) == {1}, "no page is read twice"
        sweeps += 1
        large.next_hour()
    assert sweeps <= 4
    assert large.statuses() == {ReplicaStatus.COMPLETE: 2 * images}
    found = {key: replica.since for key, replica in large.replicas.kept.items()}
    large.ecr.listed.clear()
    assert large.sweep() <= 4
    assert max(large.took) <= 0.6 * FUNCTION
    assert large.ecr.listed.total() == 3 * pages
    assert {key: replica.since for key, replica in large.replicas.kept.items()} == found
    assert large.state().unfinished is None


def test_copies_that_all_fail_take_no_part_longer_than_60_percent(extent: Extent) -> None:
    """The dearest: a report of ECR for each image, and each alarm is stored once more as announced."""
    images = extent.runs(20_000)
    large = Large(images, 20_000 / images)
    large.ecr.reported = "FAILED"
    for place in ENDS.values():
        large.ecr.images[place].clear()
    assert large.sweep() == MOST_PARTS
    assert max(large.took) <= 0.6 * FUNCTION
    judged = large.statuses()[ReplicaStatus.FAILED]
    assert 0 < judged < 2 * images
    unfinished = large.state().unfinished
    assert unfinished is not None
    assert unfinished.left == images - judged // 2


# ---- the bound


@pytest.fixture
def crawling() -> Large:
    """Everything takes so long that a check takes ten parts."""
    large = Large(3_000, 15)
    large.ecr.scan_seconds = 0
    return large


def test_what_is_left_at_the_bound_is_told_and_the_next_sweep_goes_on_with_it(crawling: Large) -> None:
    large, sweeps, began, lefts = crawling, 0, crawling.moment, [3_000]
    large.slowness = 60
    while not sweeps or large.state().unfinished is not None:
        assert large.sweep() <= MOST_PARTS
        sweeps += 1
        unfinished = large.state().unfinished
        if unfinished is not None:
            assert large.state().refreshed_at is None, "retention must not take it for looked at"
            assert unfinished.left is not None
            assert unfinished.images == 3_000
            assert began < unfinished.since < began + timedelta(hours=1)
            assert large.facts()["replication_unfinished"]["left"] == unfinished.left < lefts[-1]
            assert "replication_at" not in large.facts()
            lefts.append(unfinished.left)
            since = unfinished.since
        large.next_hour()
    assert sweeps > 2
    assert large.state().refreshed_at == since, "when the first of all images were listed"
    assert large.facts()["replication_at"] == since
    assert "replication_unfinished" not in large.facts()
    assert large.statuses() == {ReplicaStatus.COMPLETE: 6_000}
    days = {alert.at.date() for alert in large.told}
    assert len(large.told) == len(days), "once a day"
    assert large.told[0].title == "Replication: the check of team/monorepo has not ended"
    assert large.told[0].notes[0].startswith(f"{lefts[1]:,} of 3,000 images were not looked at")


def test_a_chain_that_is_requeued_counts_that_as_well(crawling: Large) -> None:
    message = SweepRepository(Sweep.REPLICATION, HOME, crawling.moment)
    crawling.part(msgspec.structs.replace(message, attempt=MOST_PARTS - 2))
    (sent,) = crawling.sent
    assert CheckProgress.read(str(sent.after)).parts == MOST_PARTS - 1
    crawling.part(sent)
    assert crawling.sent == [sent]
    assert crawling.state().unfinished is not None


def test_ends_that_cannot_be_listed_in_one_sweep_are_told(crawling: Large) -> None:
    large = crawling
    large.slowness = 100 * 300
    large.ecr.token_life = timedelta(days=9)
    for place in ENDS.values():
        large.ecr.images[place] = {}
    source = large.ecr.images[HOME]
    source |= {(d := f"sha256:{n:064x}"): large.detail(HOME, d, large.moment) for n in range(20_000)}
    assert large.sweep() == MOST_PARTS
    unfinished = large.state().unfinished
    assert unfinished is not None
    assert (unfinished.left, unfinished.digest) == (None, "")
    (alert,) = large.told
    assert alert.notes[0].startswith("its images could not be listed at all ends in the time of one sweep")
    large.next_hour()
    large.sweep()
    assert large.state().unfinished == unfinished, "since the first of them"
    large.slowness = 0.1
    large.next_hour()
    began = large.moment
    large.sweep()
    unfinished = large.state().unfinished
    assert unfinished is not None
    assert unfinished.digest
    assert unfinished.since >= began, "nothing was looked at before"


def test_a_repository_that_no_rule_copies_any_more_is_not_unfinished(crawling: Large) -> None:
    crawling.slowness = 100 * 300
    crawling.sweep()
    crawling.ecr.configuration = lambda home: Configuration()  # type: ignore[method-assign]
    state = crawling.state()
    assert state.unfinished is not None
    crawling.replicas.store_state(HOME, msgspec.structs.replace(state, sights=()))
    crawling.sweep()
    assert crawling.state().unfinished is None
    assert "replication_unfinished" not in crawling.facts()


# ---- a listing that AWS does not go on with


def test_a_refused_token_begins_that_end_anew_and_no_other(crawling: Large) -> None:
    large, refused = crawling, list[None]()

    def refuse_once() -> None:
        if large.ecr.listed[ENDS[FAR], None] and not refused:
            refused.append(None)
            large.ecr.token_life = timedelta(0)
        else:
            large.ecr.token_life = timedelta(days=1)

    large.ecr.between = refuse_once
    large.sweep()
    assert refused
    begun = {home: large.ecr.listed[home, None] for home in large.ecr.images}
    assert begun == {HOME: 1, ENDS[NEAR]: 1, ENDS[FAR]: 2} or begun == {HOME: 1, ENDS[NEAR]: 2, ENDS[FAR]: 1}
    assert large.statuses()[ReplicaStatus.COMPLETE] == 6_000


def refusing(large: Large, home: Repository) -> None:
    listing = large.ecr.listing

    def refuse(of: Repository, after: str | None = None) -> Listed:
        if of == home and after is not None:
            large.ecr.listed[of, "refused"] += 1
            raise AbsentError("page", "InvalidParameterException: no such token")
        return listing(of, after)

    large.ecr.listing = refuse  # type: ignore[method-assign]


def test_a_destination_whose_tokens_are_always_refused_cannot_be_looked_at_and_is_told(crawling: Large) -> None:
    refusing(crawling, ENDS[FAR])
    crawling.slowness = 1
    began = crawling.moment
    crawling.sweep()
    assert crawling.ecr.listed[ENDS[FAR], None] == 1 + MOST_BEGUN_ANEW
    (sight,) = (s for s in crawling.state().sights if s.destination == FAR)
    assert sight.unread is not None
    assert sight.unread.endswith(f"begun anew {MOST_BEGUN_ANEW} times, and not listed to its end")
    assert sight.unread_at is not None
    assert sight.unread_at >= began
    assert {r.status for r in crawling.replicas.kept.values() if r.destination == FAR} == {ReplicaStatus.UNREADABLE}
    assert {r.status for r in crawling.replicas.kept.values() if r.destination == NEAR} == {ReplicaStatus.COMPLETE}
    assert any("cannot be looked at" in alert.title for alert in crawling.told)


def test_a_source_whose_tokens_are_always_refused_fails_and_changes_nothing(crawling: Large) -> None:
    refusing(crawling, HOME)
    crawling.slowness = 1
    with pytest.raises(UpstreamError, match="not listed to its end"):
        crawling.sweep()
    assert not crawling.replicas.kept
    assert crawling.replicas.state(HOME) is None


def test_what_was_put_aside_and_is_gone_is_listed_again(crawling: Large) -> None:
    large = crawling
    large.sent = [SweepRepository(Sweep.REPLICATION, HOME, large.moment)]
    large.part(large.sent.pop())
    (rest,) = large.sent
    assert CheckProgress.read(str(rest.after)).ends
    large.replicas.listings.clear()
    while large.sent:
        large.part(large.sent.pop(0))
    assert large.statuses()[ReplicaStatus.COMPLETE] == 6_000
    assert large.state().unfinished is None


# ---- what happens between parts


def test_what_is_pushed_deleted_or_copied_between_parts_is_neither_missing_nor_lost(crawling: Large) -> None:
    """After each part, an image is pushed and copied, one is deleted here, and one there as well."""
    large, fresh, n = crawling, list[str](), 0
    large.sent = [SweepRepository(Sweep.REPLICATION, HOME, large.moment)]
    while large.sent:
        large.part(large.sent.pop(0))
        n += 1
        digest = f"sha256:{n:08x}{'f' * 56}"
        fresh.append(digest)
        for home in (HOME, *ENDS.values()):
            large.ecr.images[home][digest] = large.detail(home, digest, large.moment)
            large.ecr.images[home].pop(large.digests[2 * n], None)
        large.ecr.images[HOME].pop(large.digests[2 * n + 1], None)
    assert n > 4
    bad = {ReplicaStatus.MISSING, ReplicaStatus.FAILED, ReplicaStatus.TAGS_DIFFER, ReplicaStatus.UNREADABLE}
    assert not bad & large.statuses().keys()
    assert not large.told
    large.slowness = 1
    large.next_hour()
    large.digests = sorted({*large.digests, *fresh})
    large.sweep()
    there = {*large.ecr.images[HOME]}
    standing = {ref.digest for (ref, _), r in large.replicas.kept.items() if r.status is ReplicaStatus.COMPLETE}
    assert standing == there
    extra = {ref.digest for (ref, _), r in large.replicas.kept.items() if r.status is ReplicaStatus.EXTRA}
    assert extra == {large_digest for large_digest in large.ecr.images[ENDS[NEAR]] if large_digest not in there}


def test_a_check_of_one_image_that_is_pushed_after_the_listing_is_not_dropped(crawling: Large) -> None:
    large, digest = crawling, f"sha256:{'7' * 64}"
    large.sent = [SweepRepository(Sweep.REPLICATION, HOME, large.moment)]
    large.part(large.sent.pop())
    found = Replica(
        ref=HOME.image(digest), destination=NEAR, status=ReplicaStatus.COMPLETE, since=large.moment, at=large.moment
    )
    while large.sent:
        large.part(large.sent.pop(0))
        if large.sent and all(end.whole for end in CheckProgress.read(str(large.sent[0].after)).ends):
            later = msgspec.structs.replace(found, at=large.moment)
            large.replicas.kept.setdefault((found.ref, NEAR), later)
            large.digests = sorted({*large.digests, digest})
    assert (found.ref, NEAR) in large.replicas.kept


def test_two_workers_with_the_same_message_end_as_one(crawling: Large) -> None:
    """Each part is delivered twice, so that the chains run beside each other."""
    large = crawling
    chains = [[SweepRepository(Sweep.REPLICATION, HOME, large.moment)] for _ in range(2)]
    while any(chains):
        for chain in chains:
            if chain:
                large.part(chain.pop(0))
                chain += large.sent
                large.sent.clear()
    assert large.statuses() == {ReplicaStatus.COMPLETE: 6_000}
    assert large.state().unfinished is None
    assert not large.told


def test_a_message_of_a_former_version_goes_on_after_its_digest(crawling: Large) -> None:
    crawling.slowness = 1
    crawling.part(SweepRepository(Sweep.REPLICATION, HOME, crawling.moment, after=crawling.digests[1_499]))
    assert crawling.statuses() == {ReplicaStatus.COMPLETE: 3_000}
