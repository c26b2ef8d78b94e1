"""The deployed services live through the scenario: queues, function processes that take turns, the clock, people.

Processes are threads of which one at a time runs, from one call of AWS to the next (`tests.services.lockstep`): which
is next is drawn, so a run is the same again by its seed. A process is killed before a call, or when its function's time
is over; its successor begins with clients and caches of its own. Time is the scenario's: nobody waits for it.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import random as global_random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any
from unittest.mock import patch

import boto3
from botocore.retries.bucket import TokenBucket

from bench import payloads
from bench.generate import DAY, FIRST_DAY
from bench.world import CREDENTIALS, TABLE, Clock
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.context import AppContext
from chalicelib.domain.events.message import Due, PolicyRollout, WatchDenies, WatchWaivers
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import Holding, PendingAct, PendingAction
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.intake import take_in
from chalicelib.observability import logger
from chalicelib.services.assessment.re_decide import SHARDS
from chalicelib.services.handlers.receive_acts import receive_acts
from chalicelib.services.handlers.receive_alerts import receive_alerts
from chalicelib.services.handlers.receive_batch import receive_batch
from chalicelib.services.handlers.receive_sweeps import receive_sweeps
from chalicelib.settings import Settings
from tests.chaos.batches import BATCHES, half_of
from tests.chaos.faults import Faults
from tests.chaos.people import POLICY, Channel, SomeRun, Told, runs, waive
from tests.chaos.poison import POISONS
from tests.chaos.queues import MOST_RECEIVES, SOURCES, Message, Queue, Source
from tests.chaos.registry import LONGEST_LAG, Living, LivingAws
from tests.chaos.scenario import DAYS, Event, Scenario
from tests.chaos.witness import missed
from tests.fakes.moto_aws import mock_aws
from tests.services import lockstep

CLOCK_SECONDS = 300
QUIET_ROUNDS = 3
LONGEST_DAY = 20 * 3_600
LATEST_SECONDS = 900
PROCESSES = 5


@dataclass
class Job:
    """One invocation. `end`: `done`, `killed` or `timed out`; `hurt`: a call was answered by a fault; `spared`: nothing
    befalls it, as one of its messages would die without being poison."""

    source: Source
    taken: list[Message]
    deadline: float
    context: AppContext
    worker: lockstep.Worker
    spared: bool
    failed: frozenset[str] = frozenset()
    wakes_at: float = 0.0
    hurt: bool = False
    end: str = ""


class World:
    """`faults` None: the reference, where everything comes in order, once, and nothing fails."""

    def __init__(self, scenario: Scenario, faults: Faults | None, processes: int = PROCESSES) -> None:
        self.scenario, self.faults = scenario, faults
        self.random = Random(f"{scenario.seed}/world")
        self.clock = Clock(FIRST_DAY)
        self.living = Living(scenario, lambda: self.moment, self._lag)
        self.aws = LivingAws(self.living, self.clock.now, self.tell, self._sent, self._who)
        chance = None if faults is None else self.random
        self.queues = {one.name: Queue(one, lambda: self.moment, chance) for one in SOURCES}
        self.channels = {name: Channel(name, self) for name in ("slack", "sns")}
        self.processes = processes if faults else 1
        self.free: list[AppContext] = []
        self.jobs: list[Job] = []
        self.told: list[Told] = []
        self.refused_by_slack: set[Any] = set()
        self.met: Counter[str] = Counter()
        self.poisoned: dict[str, str] = {}
        self.unsettled: list[str] = []
        self.missed: list[str] = []
        self._coming: list[tuple[float, int, Event, bool]] = []
        self._late: list[tuple[float, int, str, str]] = []
        self._numbers = itertools.count()
        self._loader: Any = None
        self.people = self.new_house()

    @property
    def moment(self) -> float:
        return self.clock.at.timestamp()

    # ---- functions

    def new_house(self) -> AppContext:
        """As another process would build it: clients and caches of its own. Only models of services are read once."""
        session = boto3.Session(region_name=payloads.REGION)
        if self._loader is None:
            self._loader = session._session.get_component("data_loader")
        session._session.register_component("data_loader", self._loader)
        self.aws.reach = self._reach  # type: ignore[method-assign]
        self.aws.answer_for(session)
        scans, actions, alerts, sweeps = (
            f"https://sqs.invalid/{name}" for name in ("scans", "actions", "alerts", "sweeps")
        )
        settings = Settings(
            table=TABLE, queue_scans=scans, queue_actions=actions, queue_alerts=alerts, queue_sweeps=sweeps
        )
        context = AppContext(settings, Sessions(session=session))
        context.clock = self.clock  # type: ignore[assignment]
        context.runtime = SomeRun(self)  # type: ignore[assignment]
        return context

    def _reach(self, respond: Callable[..., Any]) -> Callable[..., Any]:
        """Around every request of every client: a turn, and what may befall it."""

        def reached(request: Any, event_name: str, **rest: Any) -> Any:
            worker = lockstep.current()
            if worker is None:
                return respond(request, event_name, **rest)
            call = event_name.removeprefix("before-send.")
            lockstep.turn(call)
            job = self.job_of(worker)
            self.met["calls"] += 1
            self.met["retries"] += b"attempt=1" not in request.headers.get("amz-sdk-request", b"attempt=1")
            if call == "dynamodb.PutItem" and (wrong := missed(request, self.living, self.moment)):
                self.missed.append(wrong)
            if self.faults is None or job.spared:
                return respond(request, event_name, **rest)
            before = self.faults.met.total()
            partly = call in BATCHES and self.faults.is_partial()

            def ask() -> Any:
                return respond(request, event_name, **rest)

            try:
                return self.faults.befall(
                    call, self.moment, lambda: half_of(request, call, ask) if partly else ask(), self.pause
                )
            finally:
                job.hurt |= self.faults.met.total() > before

        return reached

    def pause(self, seconds: float) -> None:
        """Time passes for whoever calls, and for nobody else."""
        worker = lockstep.current()
        if worker is not None:
            self.job_of(worker).wakes_at = self.moment + seconds
            lockstep.turn("pause")

    def job_of(self, worker: lockstep.Worker) -> Job:
        return next(job for job in self.jobs if job.worker is worker)

    def _who(self) -> Job | None:
        worker = lockstep.current()
        return None if worker is None else self.job_of(worker)

    def _lag(self) -> float:
        return 0.0 if self.faults is None else self.random.choice((0, 0, 20, LONGEST_LAG))

    def _begin(self, queue: Queue) -> None:
        taken = queue.take()
        if not taken:
            return
        context = self.free.pop() if self.free else self.new_house()
        last = any(m.receives >= MOST_RECEIVES - 1 and m.id not in self.poisoned for m in taken)
        records = [message.record(queue.source.name) for message in taken]

        def run() -> None:
            answer = take_in(records, lambda deliveries: self._handle(queue.source.name, deliveries, context))
            job.failed = frozenset(one["itemIdentifier"] for one in answer["batchItemFailures"])

        job = Job(queue.source, taken, self.moment + queue.source.timeout, context, lockstep.Worker(run), last)
        self.jobs.append(job)
        self.met["invocations"] += 1

    def _handle(self, queue: str, deliveries: Any, context: AppContext) -> Any:
        if queue == "actions":
            return receive_acts(deliveries, context)
        if queue == "alerts":
            return receive_alerts(deliveries, context, self.channels)
        if queue == "sweeps":
            return receive_sweeps(deliveries, context)
        return receive_batch(deliveries, context)

    def _step(self, job: Job) -> None:
        if self.moment >= job.deadline:
            self._kill(job, "timed out")
        elif self.faults and not job.spared and self.faults.kills(job.source.name):
            self._kill(job, "killed")
        elif self.faults and not job.spared and (seconds := self.faults.stalls()):
            self.met["stalled"] += 1
            job.wakes_at = self.moment + seconds
        else:
            job.worker.step()
            if job.worker.done:
                job.end = "done"
                self.queues[job.source.name].settle(job.taken, job.failed)
                self.free.append(job.context)
        if job.worker.done:
            self.jobs.remove(job)

    def _kill(self, job: Job, how: str) -> None:
        job.end = how
        self.met[how] += 1
        job.worker.kill()

    # ---- time

    def live(self) -> None:
        for day in range(DAYS):
            self._to(FIRST_DAY + day * DAY)
            for at, event in self.scenario.days[day]:
                self.tell(at, event, of_scan=event["source"] == "aws.inspector2")
            if self.faults:
                self._poison(day)
            self._run_until_quiet(FIRST_DAY + day * DAY + 3_700)
            if day == DAYS - 1:
                waive(self.people, sorted(self.scenario.by_repository)[::2])
                self._run_until_quiet(self.moment + 600)

    def tell(self, at: float, event: Event, *, of_scan: bool = False) -> None:
        """`of_scan`: it does not come about while the image is not scanned."""
        heapq.heappush(self._coming, (at, next(self._numbers), event, of_scan))

    def _sent(self, queue: str, body: str, delay: float) -> None:
        self.queues[queue].put(body, delay)

    def _to(self, moment: float) -> None:
        self.clock.forward(max(0.0, moment - self.moment))

    def _run_until_quiet(self, least: float) -> None:
        begun, tick, quiet = self.moment, self.moment + CLOCK_SECONDS, 0
        while quiet < QUIET_ROUNDS:
            self._come()
            self._fill()
            ready = [job for job in self.jobs if job.wakes_at <= self.moment or job.deadline <= self.moment]
            if ready:
                self._step(self.random.choice(ready))
                self.clock.forward(self.random.uniform(0.005, 0.04))
            elif (following := self._next_moment()) is not None and following < tick:
                self._to(following)
            else:
                self._to(tick)
            if self.moment >= tick:
                quiet = quiet + 1 if self._is_quiet() and self.moment >= least else 0
                tick = self.moment + CLOCK_SECONDS
                self._tick()
                if self.moment > begun + LONGEST_DAY:
                    self.unsettled += self._left()
                    return

    def _fill(self) -> None:
        for name in self.random.sample(sorted(self.queues), len(self.queues)):
            queue = self.queues[name]
            while self._has_room(queue.source) and queue.is_ready():
                self._begin(queue)

    def _has_room(self, source: Source) -> bool:
        busy = sum(job.source is source for job in self.jobs)
        return len(self.jobs) < self.processes and busy < source.workers

    def _next_moment(self) -> float | None:
        moments = [min(job.wakes_at, job.deadline) for job in self.jobs]
        free = [queue for queue in self.queues.values() if self._has_room(queue.source)]
        moments += [at for queue in free if (at := queue.ready_at()) is not None]
        moments += [heap[0][0] for heap in (self._coming, self._late) if heap]
        return max(self.moment + 0.001, min(moments)) if moments else None

    def _come(self) -> None:
        """What happens now is sent, if it happens: of an archived image Inspector has nothing to tell."""
        while self._coming and self._coming[0][0] <= self.moment:
            at, _, event, of_scan = heapq.heappop(self._coming)
            if not of_scan or self.living.tells(_digest(event), at):
                self._deliver(event)
        while self._late and self._late[0][0] <= self.moment:
            _, _, queue, body = heapq.heappop(self._late)
            self.queues[queue].put(body)

    def _deliver(self, event: Event) -> None:
        self.met["events"] += 1
        queue = "findings" if event["detail-type"] == "Inspector2 Finding" else "scans"
        body = json.dumps(event)
        times = [0.0]
        if self.faults:
            twice = self.random.random() < self.faults.rates.duplicate
            self.met["told twice"] += twice
            times = [self.random.choice((5, 60, LATEST_SECONDS)) * self.random.random() for _ in range(1 + twice)]
        for late in times:
            heapq.heappush(self._late, (self.moment + late, next(self._numbers), queue, body))

    def _poison(self, day: int) -> None:
        pushes = [event for _, event in self.scenario.days[0] if event["detail-type"] == "ECR Image Action"]
        for name, make in POISONS.items():
            for queue in ("scans", "findings", "actions", "alerts", "sweeps"):
                message = self.queues[queue].put(make(self.random.choice(pushes)), self.random.uniform(0, 3_600))
                self.poisoned[message.id] = name

    def _tick(self) -> None:
        for message in (*(Due(shard) for shard in range(SHARDS)), PolicyRollout(), WatchDenies(), WatchWaivers()):
            self.people.outbox.send("sweeps", message)

    # ---- what stands

    def headers(self) -> Iterator[Header]:
        for repository in sorted(self.scenario.by_repository):
            home = Repository(payloads.ACCOUNT, payloads.REGION, repository)
            yield from self.people.table.headers_of(home)

    def ref(self, digest: str) -> ImageRef:
        return ImageRef(payloads.ACCOUNT, payloads.REGION, self.scenario.lives[digest].repository, digest)

    def _is_quiet(self) -> bool:
        return not (self.jobs or self._coming or self._late or self._left())

    def _left(self) -> list[str]:
        left = [f"{queue.source.name}: {m.body[:80]}" for queue in self.queues.values() for m in queue.messages]
        if left:
            return left
        open_ = [h for h in self.headers() if h.begun is not None or any(not _waits_for_good(h, e) for e in h.pending)]
        left = [f"{h.ref.path}: {', '.join(e.key for e in h.pending)} still to be done" for h in open_]
        left += [f"waivers: change {change.version} has not reached all" for change in self.people.waivers.changes()]
        rollout, version = self.people.table.read_rollout(), self.people.rules.fresh().policy_version
        carried = rollout is not None and rollout.announced and rollout.policy_version == version
        return left if carried else [*left, "the policy has not reached all"]


def _waits_for_good(header: Header, effect: PendingAction) -> bool:
    """Until a workload stops, which none does here. Whatever else keeps an act from being done passes."""
    held = effect.held if isinstance(effect, PendingAct) else None
    return held is not None and held.why is Holding.RUNNING and runs(header.ref)


def _digest(event: Event) -> str:
    named: str = event["detail"].get("image-digest") or event["resources"][0].rpartition("/")[2]
    return named


@contextmanager
def world(scenario: Scenario, faults: Faults | None, processes: int = PROCESSES) -> Iterator[World]:
    """With an empty table and the policy in force, for as long as the block lasts."""
    global_random.seed(scenario.seed)
    level = logger.level
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, CREDENTIALS))
        stack.enter_context(mock_aws())
        logger.setLevel("CRITICAL")
        stack.callback(logger.setLevel, level)
        create_table(boto3.client("dynamodb", payloads.REGION), TABLE)
        place = World(scenario, faults, processes)
        stack.enter_context(_time_of(place))
        place.people.rules.put_policy(POLICY, "the team")
        yield place
        for job in place.jobs:
            job.worker.kill()


@contextmanager
def _time_of(place: World) -> Iterator[None]:
    """Pauses are the scenario's. botocore holds calls back by the real clock after a refusal: here it does not."""
    make = Dynamo.__init__

    def made(self: Dynamo, client: Any, table_name: str, *_: Any) -> None:
        make(self, client, table_name, place.pause)

    with (
        patch.object(Dynamo, "__init__", made),
        patch.object(time, "sleep", place.pause),
        patch.object(TokenBucket, "acquire", lambda *_, **__: True),
    ):
        yield
