"""Waivers given, changed, ended and expiring while workers rival, die, and get messages twice, late or never.

Whatever happens: once the clock has come by a few times, every image is decided by the waivers that stand, no change is
still under way, and each is in the audit log once and was told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.events.message import Decide, SendAlert, WaiversChanged, WatchWaivers
from chalicelib.domain.headers.header import Header, Rules, sketch_of
from chalicelib.domain.images.finding import Finding, Package, Severity
from chalicelib.domain.images.image import ImageRef, Scan, ScanState, Source
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.decision import decide
from chalicelib.domain.policy.policy import Policy, parse_policy
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.errors import ConflictError, NotFoundError, ParameterError, TransientError
from chalicelib.services.ports.table import Stored
from chalicelib.services.waivers.apply_waiver_changes import LOST_AFTER, apply_waiver_changes
from chalicelib.services.waivers.manage_waivers import End, Give, manage_waivers
from chalicelib.services.waivers.watch_waivers import watch_waivers
from tests.fakes.index import FakeIndex
from tests.fakes.waivers import FakeWaivers
from tests.services.lockstep import Worker, turn
from tests.services.pull_context import Turned
from tests.services.waivers.test_apply_waiver_changes import NOW, RULES, images, waiver


def flaw(number: int, **changes: Any) -> Finding:
    known = f"CVE-2026-{number:04d}"
    return Finding(known, Severity.HIGH, "HIGH", Source.ENHANCED, f"f-{known}", **changes)


WISHES = [
    {"vulnerability_id": "CVE-2026-0000"},
    {"vulnerability_id": "GHSA-bbbb", "package": "*ssl"},
    {"vulnerability_id": None, "rule": "high"},
    {"vulnerability_id": "CVE-2026-0001", "rule": "many", "repository": "team/api"},
]
PUNISHED = [
    ("team/api", [flaw(0)]),
    ("prod/api", [flaw(1, packages=(Package("openssl"),), related_ids=("GHSA-bbbb",))]),
    ("team/web", [flaw(1), flaw(2)]),
]
WATCH_EVERY = timedelta(minutes=5)


class Town:
    """Images, waivers, two queues, and workers that advance one call at a time. `shown` is what the index shows of the
    images: it lags, but for less than `consistency_delay`, by which a delayed message is late."""

    def __init__(self, some: Any, slack_fails: int) -> None:
        self.moment = NOW
        self.policy = parse_policy(
            {"version": 1, "rules": [r for r in RULES if r["id"] != "gone"], "notify": [{"channel": "slack"}]}
        )
        self.findings: dict[ImageRef, Any] = {}
        self.headers: dict[ImageRef, Header] = {}
        self.shown: dict[ImageRef, Header] = {}
        self.stored = FakeWaivers()
        self.waivers: Any = Turned(self.stored)
        self.records: list[Any] = []
        self.queries: Any = Turned(FakeIndex(lambda: self.shown.values(), walked_rows=2))
        self.rules: Any = self
        self.clock = SimpleNamespace(now=lambda: self.moment)
        self.outbox = self
        self.table: Any = self
        self.consistency_delay = timedelta(seconds=60)
        self.waiting: list[Any] = []
        self.late: list[Any] = []
        self.working: list[tuple[Worker, Any]] = []
        self.told: Counter[tuple[str, ...]] = Counter()
        self.slack_fails = slack_fails
        for number, (repository, found) in enumerate([*PUNISHED, *some]):
            self._add(number, repository, found)

    def change_fuse(self, change: Any, *, releases: bool) -> None:
        """Nothing is quarantined here."""
        assert (change(Fuse()), releases) == (Fuse(), True)

    def _add(self, number: int, repository: str, found: Any) -> None:
        ref = ImageRef("111122223333", "eu-west-1", repository, f"sha256:{number:064x}")
        scan = Scan(ScanState.COMPLETE, None, Source.ENHANCED, NOW)
        sketch = sketch_of(found)
        header = Header(ref=ref, version=1, exists=True, pushed_at=NOW, refreshed_at=NOW, scan=scan, sketch=sketch)
        self.findings[ref], self.headers[ref] = found, header
        self._decide(ref)
        self.shown[ref] = self.headers[ref]

    # ---- what the use cases ask for

    def current(self) -> Rules:
        return Rules(self.policy)

    fresh = current

    def policy_in_force(self) -> tuple[Policy, int]:
        return self.policy, 0

    def record_action(self, record: Any) -> bool:
        turn("record")
        known = any(
            (r.effect, r.wanted_at, r.chain) == (record.effect, record.wanted_at, record.chain) for r in self.records
        )
        self.records += [] if known else [record]
        return not known

    def read_kev(self, ids: Any) -> dict[str, Any]:
        return {}

    def read_headers(self, refs: Any) -> dict[ImageRef, Stored]:
        return {ref: Stored(self.headers[ref], 0) for ref in refs}

    name = "slack"

    def send(self, *said: Any) -> None:
        """A message into a queue, or an alert into the one of alerts."""
        turn("send")
        queue, message, *delay = said
        if isinstance(message, SendAlert):
            self._tell(message.alert)
            return
        assert queue in ("sweeps", "scans")
        (self.late if any(delay) else self.waiting).append(message)

    def send_all(self, queue: str, messages: Iterable[Any]) -> None:
        """A worker may die between any two of them: of a batch some may be taken."""
        for message in messages:
            self.send(queue, message)

    def _tell(self, alert: Any) -> None:
        if self.slack_fails:
            self.slack_fails -= 1
            raise TransientError("busy")
        self.told.update(word.strip("(:,.)") for note in (alert.title, *alert.notes) for word in note.split())

    # ---- what happens

    def work(self, message: Any) -> Callable[[], None]:
        match message:
            case WaiversChanged():
                return lambda: apply_waiver_changes(message, self) and None  # type: ignore[arg-type]
            case WatchWaivers():
                return lambda: watch_waivers(self) and None  # type: ignore[arg-type]
            case Decide(ref=ref):
                return lambda: self._decide(ref)
            case wish:
                return lambda: self._manage(wish)

    def _decide(self, ref: ImageRef) -> None:
        """As the write protocol does it: who decided by waivers of before decides again."""
        while True:
            waivers = self.waivers.read()
            header = self.headers[ref]
            outcome = decide(header.state(), self.findings[ref], self.policy, waivers, self.moment)
            self.headers[ref] = msgspec.structs.replace(header, verdict=outcome.verdict, decide_at=outcome.decide_at)
            if self.waivers.read() == waivers:
                return

    def _manage(self, wish: Give | End) -> None:
        try:
            manage_waivers(wish, "oncall", self)  # type: ignore[arg-type]
        except (NotFoundError, ConflictError, ParameterError):
            return

    def tick(self, passed: timedelta) -> None:
        """The clock: what is due is decided again, and the waivers are watched."""
        self.moment += passed
        self.catch_up()
        self.waiting.append(WatchWaivers())
        due = [h.ref for h in self.headers.values() if h.decide_at is not None and h.decide_at <= self.moment]
        self.waiting += [Decide(ref, "clock") for ref in due]

    def catch_up(self) -> None:
        """The index shows what is stored, and what was delayed comes."""
        self.shown = dict(self.headers)
        self.waiting += self.late
        self.late.clear()

    def start(self, n: int, *, again: bool = False) -> None:
        message = self.waiting[n] if again else self.waiting.pop(n)
        self.working.append((Worker(self.work(message)), message))

    def wish(self, wish: Give | End) -> None:
        self.working.append((Worker(self.work(wish)), wish))

    def step(self, n: int) -> None:
        worker, message = self.working[n]
        try:
            worker.step()
        except TransientError:
            self.waiting.append(message)
        if worker.done:
            self.working.pop(n)

    def kill(self, n: int) -> None:
        """A dead worker's message comes again; a person's wish does not."""
        worker, message = self.working.pop(n)
        worker.kill()
        if not isinstance(message, Give | End):
            self.waiting.append(message)

    def drain(self) -> None:
        while self.working or self.waiting or self.late:
            while self.working:
                self.step(0)
            if not self.waiting:
                self.catch_up()
            if self.waiting:
                self.start(0)

    def settle_down(self) -> None:
        for passed in (timedelta(0), LOST_AFTER, LOST_AFTER, LOST_AFTER, LOST_AFTER):
            self.tick(passed)
            self.drain()

    def given(self, number: int, days: float) -> Give:
        return Give(waiver(self.moment, days=days, **{"repository": "*", **WISHES[number]}))


def check(town: Town) -> None:
    standing: tuple[Waiver, ...] = town.stored.read()
    for header in town.headers.values():
        expected = decide(header.state(), town.findings[header.ref], town.policy, standing, town.moment).verdict
        assert header.verdict is not None
        assert header.verdict.decision is expected.decision, header.ref
        assert expected.decision.closes_doors or header.verdict.waived <= {w.id for w in standing}
    assert town.stored.changes() == ()
    effects = [(r.chain, r.effect) for r in town.records]
    assert len(set(effects)) == len(effects)
    versions = sorted(int(r.effect.partition("#")[2]) for r in town.records)
    assert versions == list(range(1, len(versions) + 1)), "a change is not in the audit log, or twice"


WHAT_HAPPENS = ["give", "end", "start", "all", "drain", *["step"] * 6, "twice", "kill", "lose", "tick"]


@settings(max_examples=150, deadline=None)
@given(images, st.data())
def test_whatever_happens_every_image_ends_decided_by_the_waivers_that_stand(some: Any, data: st.DataObject) -> None:
    town = Town(some, data.draw(st.integers(0, 2)))
    lost = 0
    for _ in range(data.draw(st.integers(10, 60))):
        what = data.draw(st.sampled_from(WHAT_HAPPENS))
        if what == "give":
            days = data.draw(st.sampled_from([0.005, 0.5, 30]))
            wish: Give | End = town.given(data.draw(st.integers(0, len(WISHES) - 1)), days)
            town.wish(wish)
        elif what == "end" and town.stored.stored:
            town.wish(End(data.draw(st.sampled_from(sorted(town.stored.stored))), "no longer"))
        elif what in ("start", "twice", "all") and town.waiting:
            town.start(data.draw(st.integers(0, len(town.waiting) - 1)), again=what == "twice")
            while what == "all" and town.working:
                town.step(len(town.working) - 1)
        elif what == "lose" and lost < 3:
            found = [n for n, message in enumerate(town.waiting) if isinstance(message, WaiversChanged)]
            lost += bool(found)
            if found:
                town.waiting.pop(data.draw(st.sampled_from(found)))
        elif what in ("step", "kill") and town.working:
            (town.step if what == "step" else town.kill)(data.draw(st.integers(0, len(town.working) - 1)))
        elif what == "drain":
            town.drain()
        elif what == "tick":
            town.tick(data.draw(st.sampled_from([WATCH_EVERY, timedelta(minutes=20)])))
    town.settle_down()
    check(town)
    for record in town.records:
        name = record.chain.removeprefix("waiver/") if isinstance(record.chain, str) else ""
        assert not name or town.told[name] >= 1 or town.told["waivers"], "a change that nobody was told of"


@settings(max_examples=100, deadline=None)
@given(images, st.lists(st.tuples(st.integers(0, len(WISHES) - 1), st.sampled_from([0.5, 30])), min_size=1, max_size=5))
def test_where_nobody_dies_each_change_is_told_once(some: Any, wishes: list[tuple[int, float]]) -> None:
    town = Town(some, 0)
    changed = 0
    for number, days in wishes:
        wish = town.given(number, days)
        former = town.stored.get(wish.waiver.id)
        changed += former is None or not wish.waiver.says_as(former)
        town.work(wish)()
        town.drain()
    check(town)
    assert len(town.records) == changed
    assert town.told["approved"] == changed


def test_an_image_that_the_index_still_shows_as_allowed_is_found_by_the_second_round() -> None:
    town = Town([], 0)
    blocked = next(h for h in town.headers.values() if h.decision is Decision.BLOCK)
    allowed = msgspec.structs.replace(blocked.verdict, decision=Decision.ALLOW)
    town.shown[blocked.ref] = msgspec.structs.replace(blocked, verdict=allowed)
    town.work(town.given(2, 30))()
    town.drain()
    assert town.headers[blocked.ref].decision is not Decision.BLOCK
    check(town)
