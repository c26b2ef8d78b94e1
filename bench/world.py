"""The real services over a played AWS: messages come in batches as from queues, the clock goes as it is told.

Findings table, scanner, registry and outbox are those that are deployed, built by `AppContext`; only the rules,
which otherwise come from the table once a minute, are given.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import msgspec
from moto import mock_aws

from bench import payloads
from bench.aws import Generated, PlayedAws, Sent, Shown
from bench.count import Count
from bench.generate import FIRST_DAY, ImageState, Plan, expected, images
from bench.journal import SilentJournal
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.stores.policy_file import read_policy
from chalicelib.context import AppContext
from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.image import ImageRef, InUse, InUseState
from chalicelib.parsers.events.events import read_delivery
from chalicelib.services.handlers.receive_acts import receive_acts
from chalicelib.services.handlers.receive_alerts import receive_alerts
from chalicelib.services.handlers.receive_batch import receive_batch
from chalicelib.services.handlers.receive_sweeps import receive_sweeps
from chalicelib.services.ports.registry import Subject
from chalicelib.settings import Settings

TABLE = "bench"
ALLOW_ALL = "version: 1\nmode: observe\nrules: []\nnotify: []\n"
BLOCK_CRITICAL = (
    "version: 1\nmode: observe\nrules: [{id: critical, match: {severity: {gte: CRITICAL}}, decision: block}]\n"
    "notify: [{channel: sns, min_decision: block}]\n"
)
QUARANTINE_CRITICAL = BLOCK_CRITICAL.replace("observe", "enforce").replace("decision: block", "decision: quarantine")
BATCH = {"scans": 10, "findings": 1_000, "actions": 10, "alerts": 10, "sweeps": 10}
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": payloads.REGION}


class Clock:
    def __init__(self, at: float) -> None:
        self.at = datetime.fromtimestamp(at, UTC)

    def now(self) -> datetime:
        return self.at

    def forward(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class GivenRules:
    def __init__(self, policy: str) -> None:
        self._rules = Rules(read_policy(policy))

    def current(self) -> Rules:
        return self._rules

    def fresh(self) -> Rules:
        return self._rules


class Nowhere:
    """Where images run, as `services.ports.Runtime` says it: nothing does. Looking it up writes nothing."""

    def in_use(self, subject: Subject, since: datetime | None = None) -> InUse:
        return InUse(InUseState.NO, looked=True)

    def pull_role(self, task_arn: str) -> str | None:
        return None


class Told:
    """A channel that takes every alert and delivers none."""

    name = "sns"

    def __init__(self) -> None:
        self.alerts = list[Alert]()

    def send(self, alert: Alert) -> None:
        self.alerts.append(alert)


class Place:
    """Services, queues and a clock before what is `shown`. The table named `TABLE` must be there, or `blank` be set."""

    def __init__(
        self, shown: Shown, at: float, policy: str = ALLOW_ALL, region: str = payloads.REGION, *, blank: bool = False
    ) -> None:
        self.clock, self.channel = Clock(at), Told()
        self.aws = PlayedAws(shown, self.clock.now)
        self._rules, self._region, self._blank = GivenRules(policy), region, blank
        self._numbers = itertools.count()
        self.context = self.new_house()

    def new_house(self) -> AppContext:
        """As another Lambda instance would build it: clients and caches of its own."""
        session = boto3.Session(region_name=self._region)
        self.aws.answer_for(session, blank=self._blank)
        scans, actions, alerts, sweeps = (
            f"https://sqs.invalid/{name}" for name in ("scans", "actions", "alerts", "sweeps")
        )
        settings = Settings(
            table=TABLE, queue_scans=scans, queue_actions=actions, queue_alerts=alerts, queue_sweeps=sweeps
        )
        context = AppContext(settings, Sessions(session=session))
        context.clock = self.clock  # type: ignore[assignment]
        context.rules = self._rules  # type: ignore[assignment]
        context.runtime = Nowhere()  # type: ignore[assignment]
        context.journal = SilentJournal()
        return context

    def deliver(self, queue: str, bodies: Iterable[Any], *, workers: int = 1, batch: int | None = None) -> None:
        """In batches as large as the queue's, one after the other or by so many workers at once."""
        records = ({"messageId": str(next(self._numbers)), "body": _text(body)} for body in bodies)
        batches = _chunks(records, batch or BATCH[queue])
        if workers == 1:
            for records_of_batch in batches:
                self._receive(queue, records_of_batch, self.context)
            return
        houses = [self.new_house() for _ in range(workers)]
        with ThreadPoolExecutor(workers) as pool:
            for round_of_batches in _chunks(batches, workers):
                list(pool.map(self._receive, itertools.repeat(queue), round_of_batches, houses))

    def deliver_due(self) -> bool:
        """Delivers one batch of what was sent and is due by now. False: nothing is."""
        now = self.clock.now().timestamp()
        first = min(self.aws.sent, key=lambda sent: sent.due_at, default=None)
        if first is None or first.due_at > now:
            return False
        taken, left = list[Sent](), list[Sent]()
        for sent in self.aws.sent:
            fits = sent.queue == first.queue and sent.due_at <= now and len(taken) < BATCH[first.queue]
            (taken if fits else left).append(sent)
        self.aws.sent = left
        self.deliver(first.queue, [sent.body for sent in taken])
        return True

    def settle(self) -> None:
        """Delivers what was sent, when it is due, until nothing is left."""
        while self.aws.sent:
            due_at = min(sent.due_at for sent in self.aws.sent)
            self.clock.forward(max(0.0, due_at - self.clock.now().timestamp()))
            self.deliver_due()

    def _receive(self, queue: str, records: Sequence[Mapping[str, Any]], context: AppContext) -> None:
        deliveries = [read_delivery(record) for record in records]
        if queue == "actions":
            failures = receive_acts(deliveries, context)
        elif queue == "alerts":
            failures = receive_alerts(deliveries, context, {self.channel.name: self.channel})
        elif queue == "sweeps":
            failures = receive_sweeps(deliveries, context)
        else:
            failures = receive_batch(deliveries, context)
        for error in failures.values():
            raise error


class World(Place):
    """A place that shows a plan's registry. `count` counts from the start; the caller resets it before each step."""

    def __init__(self, plan: Plan, policy: str, count: Count, *, blank: bool) -> None:
        self.plan, self.states, self.count = plan, list(images(plan)), count
        self._basic = False
        super().__init__(Generated(plan, self.states), FIRST_DAY + 3_600 + 300, policy, blank=blank)

    def turn_to(self, plan: Plan) -> None:
        """Another day: the registry looks as the plan says, and the clock stands at that day."""
        self.plan, self.states = plan, list(images(plan))
        self.aws.shown = Generated(plan, self.states, basic=self._basic)
        self.clock.at = datetime.fromtimestamp(FIRST_DAY + plan.day * 86_400 + 3_900, UTC)

    def scan_basically(self) -> None:
        """From now on ECR's own scanner is in force."""
        self._basic = True
        self.aws.shown = Generated(self.plan, self.states, basic=True)

    def wrong(self) -> list[str]:
        """The generated findings that are not stored as they are, and the stored ones that were not generated."""
        return [arn for state in self.states for arn in _differences(expected(state)["findings"], self._stored(state))]

    def _stored(self, state: ImageState) -> dict[str, dict[str, Any]]:
        ref = ImageRef(payloads.ACCOUNT, payloads.REGION, state.repository, state.digest)
        return {
            f.source_finding_id: {
                "vulnerability_id": f.vulnerability_id,
                "status": f.status,
                "severity": f.severity,
                "score": f.score,
                "epss": None if f.epss is None else round(f.epss, 2),
                "fix_available": f.fix_available,
            }
            for f in self.context.table.read_document(ref).findings
        }


@contextmanager
def world(plan: Plan, policy: str = ALLOW_ALL, *, blank: bool = False) -> Iterator[World]:
    """The plan's registry and an empty table, for as long as the block lasts.

    `blank`: DynamoDB is played too, keeps nothing and costs nothing, and nothing is counted: for times.
    """
    os.environ.update(CREDENTIALS)
    count = Count(payloads.REGION, payloads.ACCOUNT)
    if blank:
        yield World(plan, policy, count, blank=True)
        return
    with mock_aws(), count:
        create_table(boto3.client("dynamodb"), TABLE)
        count.reset()
        yield World(plan, policy, count, blank=False)


def _differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    return [arn for arn in wanted.keys() | found.keys() if wanted.get(arn) != found.get(arn)]


def _text(body: Any) -> str:
    return body if isinstance(body, str) else msgspec.json.encode(body).decode()


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    return iter(lambda: list(itertools.islice(items, size)), [])
