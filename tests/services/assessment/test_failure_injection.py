"""Every call of every act fails in every way, through the real adapters of ECR: what stands at the end, and who knows.

An act is done to its end with redeliveries and the clock. What fails once ends right. What fails for good is open: the
header shows it with its reason, and people were told; mended, it ends right too. At every moment the policy is the
former one or that with our statement, and no image is lost. The table of acts, calls and failures ends the run.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import boto3
import msgspec
import pytest

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.adapters.ecr.registry import EcrActs, EcrRegistry
from chalicelib.domain.enforcement.repository_policy import canonical, with_statement
from chalicelib.domain.events.message import Act
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Holding
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageRef, StorageStatus
from chalicelib.errors import DeniedError, TransientError
from chalicelib.local.ecr.ecr import LocalEcr, ecr_of
from chalicelib.services.assessment.re_decide import re_decide
from chalicelib.services.enforcement.give_order import release_image
from chalicelib.services.handlers.receive_acts import receive_acts
from chalicelib.services.handlers.receive_alerts import receive_alerts
from tests.extent import Extent
from tests.fakes.policies import statement
from tests.fakes.table import FakeTable
from tests.fakes.watched_ecr import Died, Failing, Fault, WatchedEcr
from tests.local import samples
from tests.local.push_image import Pusher
from tests.local.running import local_aws
from tests.services.world import REDELIVERY, START, Envelope, World

HOME = samples.ref().home
FORMER = json.dumps({"Version": "2012-10-17", "Statement": [statement("theirs")]}, indent=1)
ARCHIVED, ACTIVE = StorageStatus.ARCHIVED, StorageStatus.ACTIVE
MOST_RECEIVES = 5
CLOCK = timedelta(minutes=5)
CHANGING = frozenset(
    {
        *("update_image_storage_class", "put_image", "batch_delete_image", "set_repository_policy"),
        "delete_repository_policy",
        *("put_header", "record_action", "change_fuse", "change_denied", "send", "tell"),
    }
)


class Ports:
    """The table, the queues and the channel: each call counted and failing as ECR's do, but with our own errors."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.faults: list[Fault] = []
        self.armed = False

    def around(self, name: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if not self.armed:
            return call(*arguments, **named)
        nth = self.calls.count(name)
        fault = next((f for f in self.faults if (f.operation, f.nth) == (name, nth)), None)
        self.calls.append(name)
        if fault is None:
            return call(*arguments, **named)
        self.faults.remove(fault)
        if fault.how.is_done:
            call(*arguments, **named)
        match fault.how:
            case Failing.DENIED:
                raise DeniedError(f"{name}: AccessDeniedException")
            case Failing.THROTTLED | Failing.UNANSWERED:
                raise TransientError(f"{name}: {fault.how}")
            case Failing.DIED_BEFORE | Failing.DIED_AFTER:
                raise Died(name)
        return call(*arguments, **named)


class WatchedTable:
    def __init__(self, ports: Ports, inner: Any) -> None:
        self._ports, self._inner = ports, inner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            return self._ports.around(name, method, *arguments, **named)

        return call


class LastingEcr(WatchedEcr):
    """`lasting`: from its `nth` call on the operation fails, until that is taken away. Only what acts ask for fails and
    is `counted`."""

    lasting: Fault | None = None
    armed = False

    def __init__(self, client: Any, look: Callable[[], None]) -> None:
        super().__init__(client, look)
        self.counted: list[str] = []

    def _fault(self, operation: str) -> Fault | None:
        if not self.armed:
            return None
        nth, lasting = self.counted.count(operation), self.lasting
        self.counted.append(operation)
        if lasting is not None and lasting.operation == operation and nth >= lasting.nth:
            return lasting
        found = next((f for f in self.faults if (f.operation, f.nth) == (operation, nth)), None)
        if found is not None:
            self.faults.remove(found)
        return found


class Bench(World):
    """One image in the local ECR, which Inspector's model follows. `told`: what the channel got; `dead`: messages that
    came to the dead-letter queue."""

    def __init__(self, ecr: LocalEcr, client: Any, ref: ImageRef) -> None:
        super().__init__(FakeTable)
        self.ports, self.told, self.dead = Ports(), list[Any](), list[Any]()
        self.table = WatchedTable(self.ports, self.stored)
        self.outbox = self
        self.ref, self.ecr, self.one = ref, ecr, self.add(ref)
        self.watched = LastingEcr(client, self.look_round)
        self.registry = EcrRegistry(self.client_of, self.client_of)
        self.acts = EcrActs(self.client_of)
        self.known = set(self.held())
        self.tags = set(self.held()[ref.digest])

    def client_of(self, *place: str) -> Any:
        return self.watched

    def send(self, *arguments: Any, **named: Any) -> None:
        """The queues' and the channel's: an alert is the only thing that comes alone."""
        if len(arguments) == 1:
            self.ports.around("tell", self.told.append, *arguments)
        else:
            self.ports.around("send", super().send, *arguments, **named)

    name = "slack"

    # ---- ECR

    def held(self, home: Any = HOME) -> dict[str, set[str]]:
        """The tags of each image there, by digest."""
        found = self.ecr.repositories.get(home.name)
        return {i.image_digest: set(i.image_tags) for i in found.images} if found else {}

    @property
    def lying(self) -> Any:
        return self.ecr.find(self.ecr.home(HOME.name), digest=self.ref.digest)

    @property
    def policy(self) -> str | None:
        text: str | None = self.ecr.home(HOME.name).policy
        return text

    def look_round(self) -> None:
        """After every call: nothing is lost, no policy is half applied, and AWS's events follow what has changed."""
        for digest in self.known:
            assert self.is_whole(digest, HOME), f"{digest} is lost"
        assert canonical(self.policy) in (canonical(FORMER), canonical(with_statement(FORMER, self.own_roles)))
        found, known = self.lying, self.one.current
        tags = set(found.image_tags) if found else set()
        said = [self.one.action("PUSH", tag=tag) for tag in tags - set(known.tags)]
        said += [self.one.action("DELETE", tag=tag) for tag in set(known.tags) - tags]
        self.one.change(exists=found is not None, tags=tuple(sorted(tags)))
        if found and found.status == "ARCHIVED" and known.storage is ACTIVE:
            said += self.one.archive()
        elif found and found.status == "ACTIVE" and known.storage is not ACTIVE:
            said += [*self.one.restore(), self.one.scanned()]
        self.deliver(*said, delay_seconds=20)

    def is_whole(self, digest: str, home: Any) -> bool:
        found = self.ecr.repositories.get(home.name)
        return found is not None and self.ecr.find(found, digest=digest) is not None

    # ---- time

    def run_on(self, hours: float) -> Bench:
        """Messages are handled one by one; what dies or fails comes again; the clock comes every five minutes."""
        until, clock = self.moment + timedelta(hours=hours), self.moment + CLOCK
        while self.moment < until:
            for _ in range(200):
                due = [e for e in self.envelopes if e.at <= self.moment]
                if not due:
                    break
                self.handle_one(min(due, key=lambda e: e.number))
            later = [e.at for e in self.envelopes if e.at > self.moment]
            self.moment = min([*later, clock])
            if self.moment == clock:
                clock += CLOCK
                re_decide(shard_of(self.ref), self)  # type: ignore[arg-type]
        return self

    def handle_one(self, envelope: Envelope) -> None:
        self.envelopes.remove(envelope)
        envelope.receives += 1
        deliveries = [self._delivery(envelope)]
        if envelope.queue not in ("actions", "alerts"):
            self._handle(envelope.queue, deliveries)
            return
        self.ports.armed = self.watched.armed = True
        try:
            failed: Any = self._receive(envelope.queue, deliveries)
        except Died:
            failed = True
        finally:
            self.ports.armed = self.watched.armed = False
        if failed and envelope.receives < MOST_RECEIVES:
            envelope.at = self.moment + REDELIVERY
            self.envelopes.append(envelope)
        elif failed:
            self.dead.append(envelope.body)

    def _receive(self, queue: str, deliveries: Any) -> Any:
        if queue == "actions":
            return receive_acts(deliveries, self)  # type: ignore[arg-type]
        return receive_alerts(deliveries, self, {"slack": self})  # type: ignore[arg-type, dict-item]

    # ---- what stands

    @property
    def head(self) -> Header:
        return self.header(self.ref)

    def worsen(self, severity: Severity) -> None:
        self.deliver(self.one.flaw(1, severity=severity))

    def records(self, kind: str) -> int:
        return sum(r.kind == kind for r in self.stored.actions.get(self.ref, ()))


class Case(msgspec.Struct, frozen=True):
    """An act: how it comes to be wanted, and what ECR is when it is done. `prepare` runs without failures."""

    name: str
    kind: ActionType
    policy: dict[str, Any]
    prepare: Callable[[Bench], None]
    want: Callable[[Bench], None]
    is_right: Callable[[Bench], bool]


QUARANTINING = {"quarantine": {"when_running": "alert"}}


def is_away(bench: Bench) -> bool:
    return bench.lying.status == "ARCHIVED" and set(bench.lying.image_tags) == bench.tags


def is_back(bench: Bench) -> bool:
    image = bench.lying
    whole = image is not None and image.status == "ACTIVE" and set(image.image_tags) == bench.tags
    return whole and bench.is_whole(bench.ref.digest, HOME)


BLOCKING = {
    "rules": [
        {"id": "high", "match": {"severity": {"gte": "HIGH"}}, "decision": "block", "enforce": "repository-policy"},
    ]
}


def cases() -> Iterator[Case]:
    def worse(bench: Bench) -> None:
        bench.worsen(Severity.CRITICAL)

    def worse_and_done(bench: Bench) -> None:
        worse(bench)
        bench.run_on(0.2)

    def release(bench: Bench) -> None:
        release_image(bench.ref, "oncall", "needed", bench)  # type: ignore[arg-type]

    def nothing(bench: Bench) -> None:
        """As it is."""

    yield Case("QUARANTINE", ActionType.QUARANTINE, QUARANTINING, nothing, worse, is_away)
    yield Case("RELEASE", ActionType.RELEASE, QUARANTINING, worse_and_done, release, is_back)

    def denied(bench: Bench) -> bool:
        return canonical(bench.policy) == canonical(with_statement(FORMER, bench.own_roles)) and bench.head.denied

    def allowed(bench: Bench) -> bool:
        return bench.policy == FORMER and not bench.head.denied

    yield Case("BLOCK by repository-policy", ActionType.BLOCK, BLOCKING, nothing, worse, denied)
    yield Case("UNBLOCK", ActionType.UNBLOCK, BLOCKING, worse_and_done, release, allowed)


CASES = list(cases())


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with local_aws():
        yield boto3.client("ecr", HOME.region)


class Registry:
    """The local ECR with one image pushed, as it is before every run."""

    def __init__(self, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client, self.monkeypatch = client, monkeypatch
        self.ecr = ecr_of(HOME)
        self.ecr.repositories.clear()
        self.set_clock(lambda: START)
        self.client.create_repository(repositoryName=HOME.name, imageTagMutability="MUTABLE")
        self.client.set_repository_policy(repositoryName=HOME.name, policyText=FORMER)
        self.ref = Pusher(self.client, HOME).image([b"a layer"], ["1.0", "latest"])
        self.saved = self._copy()

    def set_clock(self, now: Callable[[], datetime]) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
                return now()

        self.monkeypatch.setattr("chalicelib.local.ecr.ecr.datetime", Clock)

    def _copy(self) -> Any:
        return copy.deepcopy(self.ecr.repositories)

    def bench(self, case: Case) -> Bench:
        """All that comes before the act, and the act wanted: it is in the queue."""
        self.ecr.repositories = copy.deepcopy(self.saved)
        bench = Bench(self.ecr, self.client, self.ref)
        self.set_clock(bench.now)
        bench.change_policy(**case.policy)
        bench.look_round()
        bench.one.scanned()
        bench.one.flaw(1, severity=Severity.LOW)
        bench.deliver(bench.one.scanned())
        bench.run_on(0.2)
        case.prepare(bench)
        bench.ports.calls.clear()
        bench.watched.counted.clear()
        bench.told.clear()
        return bench


@pytest.fixture
def registry(running: Any, monkeypatch: pytest.MonkeyPatch) -> Registry:
    return Registry(running, monkeypatch)


def assert_right(bench: Bench, case: Case) -> None:
    head = bench.head
    assert case.is_right(bench)
    assert (head.act, head.begun) == (None, None)
    assert bench.records(case.kind) == 1
    assert not [body for body in bench.dead if isinstance(body, Act)]


def is_open_and_told(bench: Bench) -> bool:
    """The header holds the act with a reason, and people have heard that it failed."""
    act = bench.head.act
    if act is None:
        return False
    held = act.held is not None and act.held.why is Holding.FAILED and bool(act.held.detail)
    tried_again = bench.head.begun is not None and Holding.FAILED in act.reported
    return (held or tried_again) and any(
        "ailed" in line for alert in bench.told for line in (alert.title, *alert.registry, *alert.notes)
    )


Place = tuple[str, int]


def places(calls: Sequence[str], how: Failing) -> list[Place]:
    """The first call of each operation. To die after a later one, or to lose its answer, is another thing where it
    changes something."""
    first = [(name, 0) for name in dict.fromkeys(calls)]
    if how not in (Failing.DIED_AFTER, Failing.UNANSWERED):
        return first
    later = [(name, n) for name, number in Counter(calls).items() if name in CHANGING for n in range(1, number)]
    return first + later


class Outcomes:
    """By call and failure, as the table shows them."""

    def __init__(self, case: Case) -> None:
        self.case, self.cells = case, dict[tuple[str, str], Counter[str]]()

    def add(self, call: str, how: str, outcome: str) -> None:
        self.cells.setdefault((call, how), Counter())[outcome] += 1

    def __str__(self) -> str:
        columns = list(dict.fromkeys(how for _, how in self.cells))
        lines = [f"{self.case.name}: what fails once | " + " | ".join(columns)]
        for call in dict.fromkeys(call for call, _ in self.cells):
            cells = (self.cells.get((call, how), Counter()) for how in columns)
            lines.append(f"  {call} | " + " | ".join(_words(cell) for cell in cells))
        return "\n".join(lines)


def _words(cell: Counter[str]) -> str:
    return ", ".join(f"{outcome} {number}x" if number > 1 else outcome for outcome, number in cell.items()) or "-"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name.replace(" ", "-"))
def test_an_act_ends_right_whatever_call_fails_once(
    registry: Registry, case: Case, extent: Extent, record_property: Callable[[str, object], None]
) -> None:
    outcomes, (ecr_calls, port_calls) = Outcomes(case), calls_of(registry, case)
    every = [Fault(*place, how) for how in Failing for calls in (ecr_calls, port_calls) for place in places(calls, how)]
    for fault in extent.calls(every):
        bench = registry.bench(case)
        faults = bench.watched.faults if fault.operation in ecr_calls else bench.ports.faults
        faults.append(fault)
        case.want(bench)
        bench.run_on(2.2)
        assert not faults, f"{fault.operation} was not called a {fault.nth + 1}. time"
        assert_right(bench, case)
        outcomes.add(fault.operation, fault.how, "right")
    record_property("counted", str(outcomes))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name.replace(" ", "-"))
def test_an_act_whose_call_fails_for_good_is_open_and_told_and_ends_right_once_it_is_mended(
    registry: Registry, case: Case, extent: Extent, record_property: Callable[[str, object], None]
) -> None:
    outcomes, (ecr_calls, _) = Outcomes(case), calls_of(registry, case)
    kinds = (Failing.THROTTLED, Failing.DENIED, Failing.UNANSWERED)
    every = [Fault(*place, how) for how in kinds for place in places(ecr_calls, how)]
    every = [fault for fault in every if fault.how is not Failing.UNANSWERED or fault.operation in CHANGING]
    for fault in extent.calls(every):
        bench = registry.bench(case)
        bench.watched.lasting = fault
        case.want(bench)
        bench.run_on(2.2)
        right = case.is_right(bench) and bench.head.act is None
        assert right or is_open_and_told(bench), fault
        bench.watched.lasting = None
        bench.run_on(1.3)
        assert_right(bench, case)
        said = "right" if right else "open and told, right when mended"
        outcomes.add(fault.operation, f"{fault.how}, for good", said)
    record_property("counted", str(outcomes).replace("what fails once", "what fails for good"))


def calls_of(registry: Registry, case: Case) -> tuple[list[str], list[str]]:
    """ECR's and all others, as they are when nothing fails."""
    bench = registry.bench(case)
    case.want(bench)
    bench.run_on(1)
    assert_right(bench, case)
    return bench.watched.counted, bench.ports.calls
