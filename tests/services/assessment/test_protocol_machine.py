"""The protocol as a whole: three workers interleaved at every call, duplicates, any order, crashes, answers that lag.

Hypothesis drives the real services; at the end all queues are drained and what is stored must equal the source. While
it runs, nothing that is stored as open may end because an image was archived or its scan lapsed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from random import Random
from typing import Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table, table_definition
from chalicelib.adapters.table.findings_table import FindingsTable
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.finding import FindingStatus, Severity
from chalicelib.domain.images.image import ScanState, Source, StorageStatus
from chalicelib.errors import ConflictError
from chalicelib.services.enforcement.give_order import give_order
from tests.agreement import disagreements
from tests.extent import Extent
from tests.fakes.moto_aws import mock_aws
from tests.fakes.table import FakeTable
from tests.services.aws_model import Image
from tests.services.lockstep import Worker
from tests.services.world import World, new_ref

CRITICAL, HIGH, MEDIUM = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM
LAGS = st.sampled_from([(0,), (0, 20), (0, 20, 55), (55,)])
WORKERS, MOST_CRASHES, FINDINGS = 3, 3, 3
BASIC_EVERY = 150
"""ECR scans an image once in 24 hours; enough for scans not to meet within settle and lag."""


class Protocol(RuleBasedStateMachine):
    """One or two images under Inspector. `make_table` is set by the test; `met` counts what the runs have come by."""

    make_table: Callable[..., Any] = FakeTable
    sources: tuple[Source, ...] = (Source.ENHANCED,)
    met: Counter[str] = Counter()

    @initialize(seed=st.integers(0, 2**32), lags=LAGS, images=st.integers(1, 2))
    def begin(self, seed: int, lags: tuple[int, ...], images: int) -> None:
        self.world = World(type(self).make_table, seed, lags)
        self.workers: list[Worker] = []
        self.scanned_at = self.world.moment
        if seed % 2:
            self.world.change_policy(mode="observe")
        for _ in range(images):
            image = self.world.add(new_ref())
            image.change(scanner=self.world.random.choice(self.sources))
            self.tell(image.action("PUSH", tag="v1"))
            self.world.wait(5)
            self.scan(image)

    # ---- what happens at AWS

    def tell(self, *events: Any) -> None:
        """Each now or later, once or twice."""
        for event in events:
            for _ in range(self.world.random.choice((1, 1, 2))):
                self.world.deliver(event, delay_seconds=self.world.random.choice((0, 0, 3, 30, 90, 200)))

    def scan(self, image: Image) -> None:
        if image.current.storage is not StorageStatus.ACTIVE:
            return
        if image.current.scanner is Source.ENHANCED:
            self.tell(image.scanned(), image.covered())
        else:
            numbers = self.world.random.sample(range(1, 9), self.world.random.randint(0, FINDINGS))
            self.world.wait(max(0.0, BASIC_EVERY - (self.world.moment - self.scanned_at).total_seconds()))
            if self.world.random.random() < 0.3:
                image.basic_starts()
                self.world.wait(10)
            self.scanned_at = self.world.moment
            severity = self.world.random.choice((CRITICAL, HIGH, MEDIUM))
            self.tell(image.basic_scanned(*numbers, severity=severity))

    def event(self, image: Image, kind: int, number: int) -> None:
        watched = image.current.scanner is Source.ENHANCED and image.current.coverage.state is ScanState.COMPLETE
        known = number in image.flaws
        if not watched:
            never = image.current.coverage.scanned_at is None
            self.scan(image) if never or image.current.scanner is Source.BASIC else self.come_back(image)
        elif kind < 5:
            self.tell(image.flaw(number, severity=(CRITICAL, HIGH, MEDIUM)[kind % 3]))
        elif kind < 7 and known:
            self.tell(image.close(number))
        elif kind == 7 and known:
            self.tell(image.flaw(number, status=FindingStatus.SUPPRESSED))
        elif kind == 8 and known:
            self.tell(image.close(number), image.flaw(number))
        elif kind == 9 and known:
            image.vanish(number)
            self.tell(image.covered())
        elif kind == 10:
            self.scan(image)
        elif kind < 14:
            self.fall_asleep(image, kind)
        else:
            self.world.change_policy(mode="observe" if number % 2 else "enforce")

    def fall_asleep(self, image: Image, kind: int) -> None:
        if kind == 11:
            self.tell(*image.archive())
        elif kind == 12:
            self.tell(*image.lapse(ScanState.EXPIRED, "SCAN_ELIGIBILITY_EXPIRED"), image.covered())
        else:
            self.order(image)

    def order(self, image: Image) -> None:
        """A person's word, now this, now that."""
        kind = self.world.random.choice((ActionType.QUARANTINE, ActionType.RELEASE))
        if self.world.header_or_none(image.ref) is not None:
            with suppress(ConflictError):
                give_order(kind, image.ref, "oncall", "to be sure", self.world)

    def come_back(self, image: Image) -> None:
        """A restore takes AWS minutes, and so does the scan after it; what we quarantined stays where it is."""
        stored = self.world.stored.read_headers([image.ref]).get(image.ref)
        if stored is None or stored.header.hold is not None or stored.header.begun is not None:
            return
        self.world.wait(400)
        if image.current.storage is StorageStatus.ARCHIVED:
            self.tell(*image.restore())
        else:
            self.scan(image)

    # ---- what the workers do

    @rule(seed=st.integers(0, 2**32), length=st.integers(20, 70), dies=st.booleans())
    def live(self, seed: int, length: int, dies: bool) -> None:
        """By a seed, not by a list of choices: Hypothesis draws such a list mostly of zeros, and little happens.

        `dies`: a worker that is still busy at the end goes no further.
        """
        random = Random(seed)
        self.play(random.randrange(256) for _ in range(length))
        if dies:
            self.die(random.randrange(WORKERS))
        self.agree()

    def agree(self) -> None:
        """However far the workers are, every way of asking is answered alike."""
        found = map(self.world.header_or_none, self.world.images)
        assert disagreements(header for header in found if header is not None) == []

    def play(self, script: Iterable[int]) -> None:
        for byte in script:
            self.act(byte % 10, byte // 10)

    def act(self, what: int, which: int) -> None:
        self.workers = [w for w in self.workers if not w.done]
        if what <= 2 and len(self.workers) < WORKERS:
            worker = self.world.start("actions" if which % 4 == 0 else "scans")
            self.workers += [worker] if worker else []
        elif what <= 6 and self.workers:
            worker = self.workers[which % len(self.workers)]
            for _ in range(1 + what % 3):
                if not worker.done:
                    self.world.step(worker)
        elif what == 7:
            images = list(self.world.images.values())
            number = self.world.random.randint(1, FINDINGS)
            self.event(self.world.random.choice(images), which * 16 // 26, number)
        elif what == 8:
            self.world.wait(which)
        elif what == 9 and which >= 4:
            self.world.wait(which * 6)
        elif what == 9:
            self.die(which)

    def die(self, which: int) -> None:
        busy = [w for w in self.workers if not w.done]
        if busy and self.world.crashes < MOST_CRASHES:
            self.world.kill(busy[which % len(busy)])

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.settle_down()
            self.world.drain()
            self.world.check()
            self.agree()
            self.met.update(self.world.met)

    def settle_down(self) -> None:
        """Nothing more to come from AWS but what is under way."""


class Basic(Protocol):
    """One or two images under ECR's own scanner."""

    sources = (Source.BASIC,)


class Switching(Protocol):
    """The registry is switched from one scanner to the other and back; each comes to its first scan in the end."""

    sources = (Source.ENHANCED, Source.BASIC)

    @rule()
    def switch(self) -> None:
        for image in self.world.images.values():
            if image.current.storage is StorageStatus.ACTIVE:
                self.world.wait(61)
                image.switch(Source.BASIC if image.current.scanner is Source.ENHANCED else Source.ENHANCED)

    def settle_down(self) -> None:
        for image in self.world.images.values():
            moment = image.current
            state = (moment.coverage if moment.scanner is Source.ENHANCED else moment.finished).state
            if state in (ScanState.PENDING, ScanState.IN_PROGRESS):
                self.scan(image)


def run(machine: type[Protocol], make_table: Callable[..., Any], runs: int, steps: int, **more: Any) -> Counter[str]:
    """`steps` scripts a run. Returns what the runs have come by, so that a test can see that it tested something."""
    machine.make_table, machine.met = staticmethod(make_table), Counter()
    quick = {"phases": (Phase.generate,)}
    checks = list(HealthCheck)
    how = {"deadline": None, "database": None, "suppress_health_check": checks, **quick, **more}
    run_state_machine_as_test(machine, settings=settings(max_examples=runs, stateful_step_count=steps, **how))
    return machine.met


@pytest.fixture(scope="module")
def dynamo() -> Iterator[Callable[..., Any]]:
    """The real table code over moto; a table for each run, as moto copies all of it for every transaction."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        client = boto3.client("dynamodb", region_name="eu-west-1", config=Config(parameter_validation=False))
        create_table(client, TABLE)

        def make_table(now: Callable[[], datetime]) -> FindingsTable:
            client.delete_table(TableName=TABLE)
            client.create_table(**table_definition(TABLE))
            return FindingsTable(Dynamo(client, TABLE, lambda seconds: None), now)

        yield make_table


TABLE = "protocol"
MACHINES = [Protocol, Basic, Switching]


@pytest.mark.parametrize("machine", MACHINES)
def test_whatever_happens_the_end_equals_the_source(machine: type[Protocol], extent: Extent) -> None:
    runs = extent.runs(120)
    assert_worth_it(run(machine, FakeTable, runs, 4), runs, extent)


def test_a_run_in_which_the_worker_of_an_archive_died_before_its_look_and_nothing_was_ever_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found by the soak: the header promised a look, and the message that came again did not send it."""
    monkeypatch.setattr(Protocol, "make_table", FakeTable)
    machine = Protocol()
    machine.begin(seed=245385, lags=(0, 20, 55), images=2)
    for length, seed in ((40, 7740), (69, 45), (63, 293784)):
        machine.live(length=length, seed=seed, dies=False)
    machine.teardown()


@pytest.mark.parametrize(("machine", "runs"), [(Protocol, 120), (Basic, 90), (Switching, 90)])
def test_whatever_happens_the_end_equals_the_source_on_dynamodb(
    machine: type[Protocol],
    runs: int,
    dynamo: Callable[..., Any],
    extent: Extent,
    record_property: Callable[[str, object], None],
) -> None:
    runs = extent.runs(runs)
    met = run(machine, dynamo, runs, 2)
    record_property("counted", f"protocol on DynamoDB, {machine.__name__}: {runs} runs, {met['crash']} crashes")
    assert_worth_it(met, runs, extent)


def assert_worth_it(met: Counter[str], runs: int, extent: Extent) -> None:
    """Nothing is proved by runs in which nothing happens. A tenth of them is too few for a share of what is seldom."""
    assert met["look"] > 3 * runs
    if not extent.is_full:
        return
    assert met["put_document"] > runs / 2
    assert met["alert"] > runs / 4
    assert met["compared"] + met["compared while archived"] > runs / 3
    assert met["crash"] > runs / 20
