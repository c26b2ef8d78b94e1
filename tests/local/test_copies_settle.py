"""Three Regions that copy to each other, on the local AWS: whatever closes, opens, is ordered, deleted or swept, and in
whatever order, a copy can be pulled no longer than two minutes after its source is closed, unless a person lets it; and
none stays closed without a cause. Each order of steps has an image of its own; all are played side by side."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import boto3
import pytest

from chalicelib.domain.events.sweep_message import ReplicationCheck
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.local import events as aws_events
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.seed import covered
from chalicelib.local.aws.stack import REGION
from chalicelib.local.demo import demo_registry
from chalicelib.local.ecr.ecr import ACTIVE, ecr_of
from chalicelib.local.ecr.replication import LocalReplication
from chalicelib.local.inspector import inspector_of
from chalicelib.services.policy.apply_policy import apply_policy
from tests.extent import Extent
from tests.fakes.iam import REPLICA_REGION
from tests.local.ordering import Person
from tests.local.push_image import Pusher
from tests.local.running import local_stack
from tests.local.test_many_registries import Hub

pytestmark = pytest.mark.in_turn
A, B, C = PLACES = (REGION, REPLICA_REGION, "us-east-1")
HOME = Repository(ACCOUNT, A, "team/api")
BOUND, TURN, HISTORY = timedelta(minutes=2), timedelta(seconds=10), timedelta(days=1)
PARTS = 10
POLICY = """
version: 1
mode: enforce
history_days: 1
quarantine: {when_running: proceed, max_per_hour: 1000}
release: {max_per_hour: 1000}
rules:
  - {id: critical, match: {severity: {gte: CRITICAL}}, decision: quarantine}
"""


class Copies(Hub):
    """Images that were pushed in A, one for each of `orders`, and their copies, of which that in C is never scanned."""

    def __init__(self, stack: Any, orders: Sequence[Sequence[str]]) -> None:
        super().__init__(stack)
        self.set(registries=tuple(RegistryPlace(place) for place in (B, C)), account_roles={})
        self.ann = Person(stack.app, f"arn:aws:sts::{ACCOUNT}:assumed-role/Ops/ann")
        LocalReplication.reset()
        clients = {place: boto3.Session(region_name=place).client("ecr") for place in PLACES}
        for place, client in clients.items():
            others = [{"region": other, "registryId": ACCOUNT} for other in PLACES if other != place]
            client.put_replication_configuration(replicationConfiguration={"rules": [{"destinations": others}]})
        clients[A].create_repository(repositoryName=HOME.name)
        pusher = Pusher(clients[A], HOME)
        self.told = [Told(pusher.image([str(number).encode()]), steps) for number, steps in enumerate(orders)]
        self.pass_time(BOUND)
        for told, place in itertools.product(self.told, (A, B)):
            self.scanned(told.at(place))
        self.pass_time(BOUND)

    def scanned(self, ref: ImageRef, *, bad: bool = False) -> None:
        self._hold(ref, bad=bad)
        self.stack.aws.put_event(aws_events.inspector_scan_finished(ref, (), {}, self.now))

    def found(self, ref: ImageRef, *, bad: bool) -> None:
        """The one finding is rated anew."""
        self.stack.aws.put_event(aws_events.finding_changed(ref, self._hold(ref, bad=bad), self.now))

    def _hold(self, ref: ImageRef, *, bad: bool) -> demo_registry.Raw:
        at, inspector = self.now.timestamp(), inspector_of(ref.region)
        row = demo_registry.enhanced_finding(ref, demo_registry.OPENSSL, (), self.now, self.now)
        row |= {"severity": "CRITICAL" if bad else "LOW", "updatedAt": at, "lastObservedAt": at}
        with self.stack.aws.lock:
            inspector.coverage[ref.arn] = covered(ref, "ACTIVE", "SUCCESSFUL", self.now)
            inspector.hold(ref.arn, row)
        return row

    def forget(self, ref: ImageRef) -> None:
        """Inspector does, of what was deleted."""
        with self.stack.aws.lock:
            del inspector_of(ref.region).coverage[ref.arn]

    def pass_time(self, passing: timedelta) -> None:
        """Messages are delayed as long as they ask to be."""
        end = self.now + passing
        while self.now < end:
            self.work()
            step = min(TURN, end - self.now)
            self.stack.clock.move(step)
            self.stack.aws.queues.skip(step.total_seconds())
        self.stack.run_clock()
        self.work()
        assert not self.stack.dead_letters()

    def work(self) -> None:
        """Until there is nothing due."""
        while self.stack.pump.turn():
            pass

    def look_at(self, told: Told, *places: str) -> None:
        """As the sweep of a repository looks at each of its images."""
        for place in places:
            self.context.outbox.send("sweeps", ReplicationCheck(told.at(place), self.now, self.now, turned=True))

    def open_now(self) -> list[bool | None]:
        return [self.is_open(told.at(place)) for told in self.told for place in PLACES]

    def is_open(self, ref: ImageRef) -> bool | None:
        """Whether ECR gives it. None: it is not there."""
        home = ecr_of(ref.home).repositories.get(ref.repository)
        image = ecr_of(ref.home).find(home, digest=ref.digest) if home is not None else None
        return None if image is None else image.status == ACTIVE


class Told:
    """What is known of one image and its copies by what was done to them, and by nothing else."""

    def __init__(self, ref: ImageRef, steps: Sequence[str]) -> None:
        self.ref, self.steps = ref, steps
        self.bad: set[str] = set()
        self.orders: dict[str, str] = {}
        self.gone = False
        self.closed_until: datetime | None = None

    def at(self, place: str) -> ImageRef:
        return Repository(ACCOUNT, place, self.ref.repository).image(self.ref.digest)

    def closes(self, place: str) -> bool:
        """By its own verdict, or a person's order about it."""
        order = self.orders.get(place)
        return order == "quarantine" or (order is None and place in self.bad)

    def expected(self, place: str, now: datetime, *, is_back: bool) -> bool | None:
        """Whether it can be pulled. `is_back`: what was deleted in A was copied back; what had closed it counts until
        it is scanned, which it cannot be in the archive. None: either is right, for what closed it is gone."""
        if place in self.orders:
            return self.orders[place] == "release"
        if any(map(self.closes, PLACES)) or (is_back and self.closed_until is not None):
            return False
        return None if self.closed_until is not None and now < self.closed_until else True


def judge(copies: Copies, told: Told, place: str, *, bad: bool) -> None:
    if place == A and told.gone:
        return
    if bad and place not in told.bad and told.orders.get(place) == "release":
        del told.orders[place]  # The release does not cover what was found after it.
    (told.bad.add if bad else told.bad.discard)(place)
    copies.found(told.at(place), bad=bad)


def order(copies: Copies, told: Told, place: str, kind: str) -> None:
    ref = told.at(place)
    named = {"registry": ref.registry, "region": place, "repository": ref.repository, "digest": ref.digest}
    extra = {"allow_unmatched": True} if kind == "release" else {}
    copies.ann.order(kind, named, etag=copies.ann.see(named), override=True, **extra)
    told.orders[place] = kind


def delete(copies: Copies, told: Told) -> None:
    """In A. It may be copied back."""
    if told.gone:
        return
    ecr_of(HOME).delete(HOME.name, {"imageDigest": told.ref.digest})
    copies.forget(told.ref)
    told.gone, told.closed_until = True, copies.now + HISTORY + timedelta(days=1) if told.closes(A) else None
    told.bad.discard(A)


STEPS: Mapping[str, Callable[[Copies, Told], None]] = {
    "a rule closes A": lambda copies, told: judge(copies, told, A, bad=True),
    "A is clean": lambda copies, told: judge(copies, told, A, bad=False),
    "a rule closes B": lambda copies, told: judge(copies, told, B, bad=True),
    "a person closes B": lambda copies, told: order(copies, told, B, "quarantine"),
    "a person releases B": lambda copies, told: order(copies, told, B, "release"),
    "A is deleted": lambda copies, told: delete(copies, told),
    "A, then B is swept": lambda copies, told: copies.look_at(told, A, B),
    "C, then B is swept": lambda copies, told: copies.look_at(told, C, B),
}
OF_LENGTH = {2: 64, 3: 76, 4: 60}
CHANCE = random.Random(14)
ORDERS = [
    steps for n, many in OF_LENGTH.items() for steps in CHANCE.sample([*itertools.product(STEPS, repeat=n)], many)
]


@pytest.fixture
def copies(part: int, extent: Extent) -> Iterator[Copies]:
    with local_stack() as stack:
        apply_policy(POLICY, "oncall", stack.context)
        yield Copies(stack, extent.cases(ORDERS[part::PARTS]))


def wrong(copies: Copies) -> list[Any]:
    """Copies that are open and ought to be closed, or the other way round."""
    found = []
    for told, place in itertools.product(copies.told, PLACES):
        is_back = told.gone and copies.is_open(told.ref) is not None
        is_open, expected = copies.is_open(told.at(place)), told.expected(place, copies.now, is_back=is_back)
        if None not in (is_open, expected) and is_open is not expected:
            found.append((told.steps, place, "is open" if is_open else "is closed"))
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_in_any_order_of_steps_copies_close_in_two_minutes_and_stay_closed_with_a_cause_alone(copies: Copies) -> None:
    assert not wrong(copies)
    for number in range(max(OF_LENGTH)):
        now = [(told, told.steps[number]) for told in copies.told if number < len(told.steps)]
        for told, step in now:
            STEPS[step](copies, told)
        copies.pass_time(BOUND)
        assert not wrong(copies), f"two minutes after step {number + 1}"
        for told, step in now:
            if step == "a person releases B":
                copies.scanned(told.at(B), bad=B in told.bad)  # What was restored is scanned anew.
        copies.pass_time(BOUND)
        assert not wrong(copies), f"four minutes after step {number + 1}"
    settled = copies.open_now()
    copies.pass_time(timedelta(minutes=60 - copies.now.minute))
    for _ in range(2):
        copies.pass_time(timedelta(hours=1))
        assert copies.open_now() == settled, "it flips"
    for _ in range(HISTORY.days + 2):
        copies.pass_time(timedelta(days=1))
    assert not wrong(copies), "what was deleted closes nothing for ever"
