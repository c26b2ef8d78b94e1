"""AWS around the services: queues that deliver in any order and more than once, a clock, answers that lag, workers.

Real services, a real table or the fake one; the scanners and the registry are `aws_model`'s. Every call of a worker to
the outside is a turn (`lockstep`), so a test decides who is next, who dies, and what time it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

import msgspec

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.adapters.table.audit_queries import AuditQueries
from chalicelib.domain.assessment.conclusion import count_open
from chalicelib.domain.assessment.merge import ABSENT, CLOSED
from chalicelib.domain.audit.action import ActionRecord, action_id
from chalicelib.domain.audit.chain import Chain
from chalicelib.domain.enforcement.enforcement import archive_wanted
from chalicelib.domain.events.message import Decide, Delivery, Message, RetriedEvent, SendAlert
from chalicelib.domain.headers.header import Header, Rules, sketch_of
from chalicelib.domain.headers.pending_action import PendingAlert
from chalicelib.domain.images.finding import Finding, FindingsDocument, FindingStatus
from chalicelib.domain.images.image import ImageRef, Kind, Manifest, Repository, ScanState, Source, StorageStatus
from chalicelib.domain.policy.decision import decide
from chalicelib.domain.policy.policy import Policy, parse_policy
from chalicelib.errors import AbsentError
from chalicelib.services.assessment.re_decide import re_decide
from chalicelib.services.handlers.receive_acts import receive_acts
from chalicelib.services.handlers.receive_alerts import receive_alerts
from chalicelib.services.handlers.receive_batch import receive_batch
from chalicelib.services.handlers.receive_sweeps import receive_sweeps
from chalicelib.services.ports.context import PolicyVersion
from chalicelib.services.ports.table import Page, RepositoryRow
from tests.fakes.audit import FakeAudit
from tests.fakes.index import FakeIndex
from tests.fakes.journal import FakeJournal
from tests.fakes.legal_holds import FakeLegalHolds
from tests.fakes.replicas import FakeReplicas, NoReplication
from tests.fakes.runtime import FakeRuntime
from tests.fakes.waivers import FakeWaivers
from tests.services.aws_model import Image, basic_listing, described, inspector_listing
from tests.services.lockstep import Worker, current, turn
from tests.services.world_acts import WorldActs, WorldKeeper

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTLE = timedelta(seconds=60)
LIFE = timedelta(seconds=60)
REDELIVERY = timedelta(seconds=95)
"""Longer than a worker may live: before that, SQS keeps what it was given."""
POLICY: dict[str, Any] = {
    "version": 1,
    "mode": "enforce",
    "quarantine": {"when_running": "proceed"},
    "rules": [
        {"id": "critical", "match": {"severity": {"gte": "CRITICAL"}}, "decision": "quarantine"},
        {"id": "high", "match": {"severity": "HIGH"}, "decision": "block"},
        {"id": "medium", "match": {"severity": "MEDIUM"}, "decision": "warn"},
    ],
    "notify": [{"channel": "slack", "min_decision": "warn"}],
}


def policy(**changes: Any) -> Policy:
    return parse_policy({**POLICY, **changes})


def new_ref() -> ImageRef:
    """One that no other run has, so that all runs may share one table."""
    return ImageRef("111122223333", "eu-west-1", f"team/run-{next(_NUMBERS)}", f"sha256:{next(_NUMBERS):064x}")


_NUMBERS = count(1)


class Envelope(msgspec.Struct):
    """One copy of a message in a queue. `event`: the AWS event in it, if it is one."""

    number: int
    queue: str
    body: Any
    at: datetime
    receives: int = 0
    attempt: int = 0


class Turned:
    """Every method of `inner` takes a turn before it does what it does; `watch` sees what it was given and gave."""

    def __init__(self, inner: Any, watch: Callable[[str, tuple[Any, ...], Any], None] | None = None) -> None:
        self._inner, self._watch = inner, watch

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            turn(name)
            answer = method(*arguments, **named)
            if name == "headers_of":
                answer = list(answer)
            if self._watch is not None:
                self._watch(name, arguments, answer)
            return answer

        return call


class World:
    """The house of the services (`table`, `rules`, `scanner`, …) and everything around it."""

    def __init__(
        self, make_table: Callable[[Callable[[], datetime]], Any], seed: int = 0, lags: Sequence[int] = (0,)
    ) -> None:
        self.moment, self.random, self.lags, self.consistency_delay = START, Random(seed), tuple(lags), SETTLE
        self.stored = make_table(self.now)
        self.table: Any = Turned(self.stored, self._watch)
        self.outbox: Any = self
        self.scanner: Any = self
        self.registry: Any = self
        self.clock: Any = self
        self.rules: Any = self
        self.replication: Any = NoReplication()
        self.replicas: Any = FakeReplicas()
        self.queries: Any = self
        fake = hasattr(self.stored, "actions")
        self.audit: Any = FakeAudit(self.stored.actions) if fake else AuditQueries(self.stored._dynamo)
        self.acts: Any = WorldActs(self)
        self.keeper: Any = WorldKeeper(self)
        self.runtime: Any = FakeRuntime(self.now)
        self.journal = FakeJournal()
        self.own_roles: tuple[str, ...] = ("arn:aws:iam::111122223333:role/lazaretto-*",)
        self.legal_holds: Any = FakeLegalHolds()
        self.waivers: Any = FakeWaivers(self._raise_waivers_version)
        self.index = FakeIndex(lambda: [s.header for s in self.stored.read_headers(self.images).values()])
        self.said: list[Any] = []
        self.images: dict[ImageRef, Image] = {}
        self.manifests: dict[ImageRef, Manifest] = {}
        self.layers: dict[ImageRef, tuple[str, ...]] = {}
        self.kev: dict[str, bool] = {}
        self.envelopes: list[Envelope] = []
        self.events: dict[int, Any] = {}
        self.running: dict[Worker, tuple[list[Envelope], datetime]] = {}
        self.versions, self.policies = (0, 0), [policy()]
        self.kept: tuple[datetime, Rules] | None = None
        self.alerts: Counter[tuple[ImageRef, int]] = Counter()
        self.wanted_alerts: set[tuple[ImageRef, int]] = set()
        self.crashed_alerts: set[tuple[ImageRef, int]] = set()
        self.looked: set[tuple[Worker | None, ImageRef]] = set()
        self.counted = 0
        self.crashes = 0
        self.met: Counter[str] = Counter()
        self.stored.read_versions = lambda: self.versions

    # ---- ports

    def now(self) -> datetime:
        return self.moment

    def current(self) -> Rules:
        if self.kept is None or self.kept[0] <= self.moment - timedelta(minutes=1):
            self.kept = (self.moment, self._rules())
        return self.kept[1]

    def fresh(self) -> Rules:
        turn("fresh")
        self.kept = (self.moment, self._rules())
        return self.kept[1]

    def policy_in_force(self) -> tuple[Policy, int]:
        turn("policy")
        return self.policies[-1], self.versions[0]

    def read_policy(self, version: int) -> PolicyVersion:
        return PolicyVersion(version, "version: 1\n", self.moment, "arn:aws:iam::111122223333:user/oncall")

    def _rules(self) -> Rules:
        return Rules(self.policies[-1], self.waivers.read(), *self.versions)

    def _raise_waivers_version(self) -> int:
        self.versions = (self.versions[0], self.versions[1] + 1)
        return self.versions[1]

    def all_rows(self) -> Any:
        return self.index.all_rows()

    def rows_where(self, *arguments: Any) -> Any:
        turn("rows_where")
        return self.index.rows_where(*arguments)

    def look(self, ref: ImageRef, source: str | None, since: datetime | None = None) -> Any:
        turn("look")
        self.met["look"] += 1
        self.looked.add((current(), ref))
        image, listed_at = self.image(ref), self.moment
        first = image.as_of(listed_at - self.lag())
        if source != Source.ENHANCED and first is not None and first.scanner is Source.BASIC:
            return basic_listing(first, listed_at)
        rows = image.as_of(listed_at - self.lag())
        turn("coverage")
        return inspector_listing(rows, image.as_of(self.moment - self.lag()), listed_at, since)

    def known_exploited(self, finding_ids: Sequence[str]) -> dict[str, bool]:
        turn("known_exploited")
        return {i: self.kev[i] for i in finding_ids if i in self.kev}

    def describe_image(self, ref: ImageRef) -> Any:
        turn("describe_image")
        image = self.image(ref)
        return described(ref, image.current, image.pushed_at)

    def describe_tag(self, repository: Repository, tag: str) -> Any:
        turn("describe_tag")
        for ref, image in self.images.items():
            if ref.home == repository and image.current is not None and tag in image.current.tags:
                return described(ref, image.current, image.pushed_at)
        raise AbsentError("image", f"{repository.path}:{tag} is not there")

    def read_manifests(self, repository: Repository, digests: Collection[str]) -> dict[str, Manifest]:
        turn("read_manifests")
        refs = [repository.image(digest) for digest in digests]
        return {ref.digest: self._manifest(ref) for ref in refs if self._has_manifest(ref)}

    def tags_now(self, repository: Repository, digests: Any) -> frozenset[str]:
        turn("tags_now")
        known = [self.images[ref] for d in digests if (ref := repository.image(d)) in self.images]
        return frozenset(tag for image in known if image.current is not None for tag in image.current.tags)

    def read_layers(self, ref: ImageRef) -> tuple[str, ...]:
        turn("read_layers")
        return self.layers.get(ref, ())

    def read_manifest(self, ref: ImageRef) -> Manifest:
        turn("read_manifest")
        if not self._has_manifest(ref):
            raise AbsentError("image", f"{ref} is not there")
        return self._manifest(ref)

    def _has_manifest(self, ref: ImageRef) -> bool:
        image = self.images.get(ref)
        there = image is not None and image.current.exists and image.current.storage is StorageStatus.ACTIVE
        return there or (image is None and ref in self.manifests)

    def _manifest(self, ref: ImageRef) -> Manifest:
        return self.manifests.get(ref) or Manifest(Kind.IMAGE, "application/vnd.oci.image.manifest.v1+json")

    def repository(self, repository: Repository) -> RepositoryRow | None:
        turn("repository")
        facts = self.stored.repositories.get(repository)
        return None if facts is None else RepositoryRow(repository, dict(facts))

    def actions(self, chain: Chain) -> Any:
        turn("actions")
        return self.audit.of_chain(chain)

    def find_action(self, text: str) -> ActionRecord | None:
        turn("find_action")
        return next((one for chain in self.stored.actions.values() for one in chain if action_id(one) == text), None)

    def repositories(self, after: str | None = None, limit: int = 50) -> Page[RepositoryRow]:
        turn("repositories")
        return Page(tuple(RepositoryRow(home, {}) for home in sorted({ref.home for ref in self.images})))

    def send(self, queue: str, message: Message, delay_seconds: float = 0) -> None:
        """As JSON and back, as SQS would. Cut at 900 s as there."""
        turn(f"send {type(message).__name__}")
        again = msgspec.json.decode(msgspec.json.encode(message), type=Message)
        self.put(queue, again, min(900.0, delay_seconds))

    def send_all(self, queue: str, messages: Iterable[Message]) -> None:
        """A worker may die between any two of them: of a batch some may be taken."""
        for message in messages:
            self.send(queue, message)

    # ---- what the test does

    def image(self, ref: ImageRef) -> Image:
        if ref not in self.images:
            raise AbsentError("image", f"{ref} is not there")
        return self.images[ref]

    def add(self, ref: ImageRef) -> Image:
        self.images[ref] = Image(ref, self.now)
        return self.images[ref]

    def lag(self) -> timedelta:
        return timedelta(seconds=self.random.choice(self.lags))

    def put(self, queue: str, body: Any, delay_seconds: float = 0) -> None:
        self.counted += 1
        self.envelopes.append(Envelope(self.counted, queue, body, self.moment + timedelta(seconds=delay_seconds)))

    def deliver(self, *events: Any, delay_seconds: float = 0) -> None:
        for event in events:
            self.put("scans", event, delay_seconds)

    def waiting(self, queue: str) -> list[Envelope]:
        return [e for e in self.envelopes if e.queue == queue and e.at <= self.moment]

    def start(self, queue: str, most: int = 3) -> Worker | None:
        """A worker with some of the messages that are there, taken in any order."""
        there = self.waiting(queue)
        if not there:
            return None
        taken = self.random.sample(there, min(len(there), self.random.randint(1, most)))
        return self.work_on(taken)

    def work_on(self, taken: Sequence[Envelope]) -> Worker:
        for envelope in taken:
            self.envelopes.remove(envelope)
            envelope.receives += 1
        deliveries = [self._delivery(e) for e in taken]
        worker = Worker(lambda: self._handle(taken[0].queue, deliveries))
        self.running[worker] = (list(taken), self.moment)
        return worker

    def step(self, worker: Worker) -> None:
        worker.step()
        if worker.done:
            self.running.pop(worker)

    def finish(self, worker: Worker) -> None:
        while not worker.done:
            self.step(worker)

    def kill(self, worker: Worker) -> None:
        """The queue delivers again what a dead worker had."""
        taken, _ = self.running.pop(worker)
        worker.kill()
        self.crashes += 1
        self.met["crash"] += 1
        for envelope in taken:
            if isinstance(envelope.body, SendAlert) and envelope.body.alert.ref is not None:
                self.crashed_alerts.add((envelope.body.alert.ref, envelope.body.alert.number))
            envelope.at = self.moment + REDELIVERY
            self.envelopes.append(envelope)

    def wait(self, seconds: float) -> None:
        """No worker lives longer than Lambda lets it."""
        for worker, (_, since) in list(self.running.items()):
            if since + LIFE < self.moment + timedelta(seconds=seconds):
                self.finish(worker)
        self.moment += timedelta(seconds=seconds)

    def change_policy(self, **changes: Any) -> None:
        self.policies.append(policy(**changes))
        self.versions = (self.versions[0] + 1, self.versions[1])
        self.deliver(*[Decide(ref, "policy") for ref in self.images])

    def drain(self) -> None:
        """All that is under way comes to its end; the clock runs, and nobody dies any more."""
        for worker in list(self.running):
            self.finish(worker)
        for _ in range(500):
            if not self.envelopes:
                for shard in sorted({shard_of(ref) for ref in self.images}):
                    re_decide(shard, self)  # type: ignore[arg-type]
                if not self.envelopes:
                    return
            self.moment = max(self.moment, min(e.at for e in self.envelopes))
            for queue in ("scans", "actions", "alerts", "sweeps"):
                while (worker := self.start(queue)) is not None:
                    self.finish(worker)
        raise AssertionError(f"the queues never empty: {self.envelopes[:3]}")

    def _delivery(self, envelope: Envelope) -> Delivery:
        body, attempt = envelope.body, getattr(envelope.body, "attempt", 0)
        raw = body.event if isinstance(body, RetriedEvent) else self.raw(body)
        body = self.events[raw["number"]] if isinstance(body, RetriedEvent) else body
        return Delivery(str(envelope.number), body, envelope.receives, attempt, raw=raw)

    def raw(self, body: Any) -> dict[str, int]:
        """What stands for the event as AWS sent it."""
        number = len(self.events)
        self.events[number] = body
        return {"number": number}

    def _handle(self, queue: str, deliveries: Sequence[Delivery]) -> None:
        if queue == "actions":
            failures = receive_acts(deliveries, self)  # type: ignore[arg-type]
        elif queue == "alerts":
            failures = receive_alerts(deliveries, self, {"slack": self.channel})  # type: ignore[arg-type]
        elif queue == "sweeps":
            failures = receive_sweeps(deliveries, self)  # type: ignore[arg-type]
        else:
            failures = receive_batch(deliveries, self)  # type: ignore[arg-type]
        turn("acknowledge")
        for failure in failures.values():
            raise AssertionError("a message failed") from failure

    @property
    def channel(self) -> Any:
        return _Channel(self)

    # ---- what must hold

    def header(self, ref: ImageRef) -> Header:
        return self.stored.read_headers([ref])[ref].header

    def header_or_none(self, ref: ImageRef) -> Header | None:
        stored = self.stored.read_headers([ref]).get(ref)
        return stored.header if stored else None

    def document(self, ref: ImageRef) -> FindingsDocument:
        return self.stored.read_document(ref)

    def open_findings(self, ref: ImageRef) -> Gist:
        return gist(self.document(ref).findings)

    def _watch(self, name: str, arguments: tuple[Any, ...], answer: Any) -> None:
        self.met[name] += 1
        if name == "put_document":
            self._nothing_released(*arguments)
            self._no_event_wins_a_tie(*arguments)
        if name == "put_header":
            number = [e.number for e in answer.pending if isinstance(e, PendingAlert) and not e.left_to_summary]
            self.wanted_alerts |= {(answer.ref, n) for n in number}

    def _nothing_released(self, document: FindingsDocument, former: FindingsDocument) -> None:
        """What is stored as open ends only if it really ended at some time: never by an archive or a lapse."""
        was_open = {f.source_finding_id for f in former.findings if f.status is not FindingStatus.RESOLVED}
        for f in document.findings:
            ended = f.status is FindingStatus.RESOLVED and f.resolved_reason in (ABSENT, CLOSED)
            if ended and f.source_finding_id in was_open:
                assert f.source_finding_id in self.images[document.ref].ever_gone, f"released: {f.vulnerability_id}"

    def _no_event_wins_a_tie(self, document: FindingsDocument, former: FindingsDocument) -> None:
        """Who has not looked writes only what events said, and those must be newer than what is stored."""
        if (current(), document.ref) in self.looked:
            return
        stored = {f.source_finding_id: f for f in former.findings}
        for new in document.findings:
            old = stored.get(new.source_finding_id)
            if old is not None and (new.status, new.severity) != (old.status, old.severity):
                assert new.updated_at > old.updated_at, f"an event won a tie: {new.vulnerability_id}"

    def check(self) -> None:
        for ref, image in self.images.items():
            if image.current.exists:
                self.check_image(ref)
        told = {key for key in self.wanted_alerts if self.alerts[key] < 1}
        assert not told, f"alerts never sent: {told}"
        twice = {key for key, n in self.alerts.items() if n > 1 and key not in self.crashed_alerts}
        assert not twice, f"alerts sent twice: {twice}"

    def check_image(self, ref: ImageRef) -> None:
        stored, document = self.stored.read_headers([ref])[ref], self.document(ref)
        header, moment = stored.header, self.images[ref].current
        assert stored.header.revision == stored.document_revision
        assert header.counts == count_open(document.findings)
        assert header.sketch == sketch_of(document.findings)
        assert header.refresh_due_at is None, "a look was promised that never came"
        assert not header.notices, "left undone"
        assert header.act is None or header.act.held is not None, "left undone"
        assert header.begun is None
        scan = moment.coverage if moment.scanner is Source.ENHANCED else moment.finished
        if moment.storage is StorageStatus.ACTIVE and header.scan_seen_at is not None:
            assert (header.scan.state, header.scan.source) == (scan.state, moment.scanner)
        if header.scan.state is ScanState.COMPLETE:
            assert header.scan.scanned_at == scan.scanned_at
            source = moment.findings if moment.scanner is Source.ENHANCED else moment.basic
            self.compare(gist(document.findings), gist(source.values()), archive_wanted(header, self.policies[-1]))
        waivers = self.waivers.read()
        expected = decide(header.state(), document.findings, self.policies[-1], waivers, self.moment).verdict.kept()
        assert expected.same_as(header.verdict), (expected, header.verdict)

    def compare(self, stored: Gist, source: Gist, archive: bool) -> None:
        """While an archive is wanted, begun or done no closing is believed; all else is as the source has it."""
        self.met["compared while archived" if archive else "compared"] += 1
        self.met["open at the end"] += len(source)
        if archive:
            stored = {known: state for known, state in stored.items() if known in source}
        assert stored == source


class _Channel:
    name = "slack"

    def __init__(self, world: World) -> None:
        self.world = world

    def send(self, alert: Any) -> None:
        turn("tell")
        self.world.met["alert"] += 1
        if alert.ref is None:
            self.world.said.append(alert)
            return
        if not alert.act and alert.ref is not None:
            self.world.alerts[alert.ref, alert.number] += 1


Gist = dict[str, tuple[FindingStatus, str]]


def gist(findings: Iterable[Finding]) -> Gist:
    """What is not resolved, by id: status and severity."""
    return {
        f.source_finding_id: (f.status, f.severity.value) for f in findings if f.status is not FindingStatus.RESOLVED
    }
