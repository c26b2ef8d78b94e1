"""A registry of generated images with a past, in the fake table or on DynamoDB, and the queues between its services.

Images of every kind: never listed, in every state of their scan, waived, archived, quarantined, indexes with shared,
unknown and deleted children, attestations.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.adapters.stores.policy_file import read_policy
from chalicelib.adapters.table.headers import row_of
from chalicelib.domain.assessment.merge import merge_listing
from chalicelib.domain.events.message import Decide, Delivery, Message, PolicyRollout, SendAlert, WhatIf
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import Hold
from chalicelib.domain.images.finding import Finding, FindingsDocument, FindingStatus, Listing, Severity
from chalicelib.domain.images.image import (
    Child,
    ImageRef,
    InUse,
    InUseState,
    Kind,
    Scan,
    ScanState,
    Source,
    StorageStatus,
)
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.waiver import Waiver, waiver_id
from chalicelib.domain.waivers.change import WaiverChange
from chalicelib.errors import ConflictError, NotFoundError
from chalicelib.services.handlers.receive_batch import receive_batch
from chalicelib.services.handlers.receive_sweeps import receive_sweeps
from chalicelib.services.policy.roll_out_policy import roll_out_policy
from chalicelib.services.ports.context import PolicyVersion
from tests.fakes.images import finding
from tests.fakes.journal import FakeJournal
from tests.fakes.table import FakeTable
from tests.fakes.waivers import FakeWaivers
from tests.fakes.what_ifs import FakeWhatIfs

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SETTLE = timedelta(seconds=60)
BATCH = 10
FIRST = "version: 1\nrules: [{id: critical, match: {severity: CRITICAL}, decision: block}]\n"
STRICT = """
version: 1
suppressed: ignore
unscanned: {after_minutes: 30, then: block}
stale: {decision: block, after_days: 20}
sla_days: {HIGH: 10}
rules:
  - {id: overdue, match: {overdue: true}, decision: quarantine}
  - {id: many, match: {severity: {gte: MEDIUM}}, count: {gte: 3}, decision: block}
  - {id: released, match: {tag: "v*", fix_available: true}, decision: warn}
"""


class Told:
    name = "sns"

    def __init__(self) -> None:
        self.alerts: list[Any] = []

    def send(self, alert: Any) -> None:
        self.alerts.append(alert)


class FakeRules:
    """Keeps the contract of `services.ports.RuleBook`."""

    def __init__(self, table: Any, waivers: Any, now: Any) -> None:
        self._table, self._waivers, self._now = table, waivers, now
        self.stored: list[PolicyVersion] = []
        self._read: list[Policy] = []
        self.default = read_policy(FIRST)

    def current(self) -> Rules:
        return self.fresh()

    def policy_in_force(self) -> tuple[Policy, int]:
        rules = self.fresh()
        return rules.policy, rules.policy_version

    def fresh(self) -> Rules:
        number = len(self.stored)
        policy = self._read[number - 1] if number else self.default
        return Rules(policy, self._waivers.read(), number, self._table.versions[1])

    def built_in(self) -> Policy:
        return self.default

    def policy_of(self, text: str) -> Any:
        return read_policy(text)

    def put_policy(self, text: str, put_by: str, *, after: int | None = None) -> int:
        number = len(self.stored) + 1
        policy = read_policy(text, number=number)
        if after not in (None, number - 1):
            raise ConflictError("another policy is in force by now")
        self.stored.append(PolicyVersion(number, text, self._now(), put_by))
        self._read.append(policy)
        self._table.versions = (number, self._table.versions[1])
        return number

    def read_policy(self, version: int) -> PolicyVersion:
        if not 0 < version <= len(self.stored):
            raise NotFoundError(f"there is no policy version {version}")
        return self.stored[version - 1]


class Queues:
    """What was sent and nobody took yet. Alerts are delivered at once."""

    def __init__(self) -> None:
        self.sent: deque[tuple[str, Message, float]] = deque()
        self.told = Told()

    def send(self, queue: str, message: Message, delay_seconds: float = 0) -> None:
        again = msgspec.json.decode(msgspec.json.encode(message), type=Message)
        if isinstance(again, SendAlert):
            self.told.send(again.alert)
        else:
            self.sent.append((queue, again, delay_seconds))

    def send_all(self, queue: str, messages: Iterable[Message]) -> None:
        for message in messages:
            self.send(queue, message)

    def of(self, kind: type) -> list[Any]:
        return [message for _, message, _ in self.sent if isinstance(message, kind)]


class JudgedContext:
    def __init__(self) -> None:
        self.at, self.consistency_delay = NOW, SETTLE
        self.clock: Any = SimpleNamespace(now=lambda: self.at)
        self.table: Any = FakeTable(self.clock.now)
        self.waivers: Any = FakeWaivers(self._raise_waivers)
        self.rules: Any = FakeRules(self.table, self.waivers, self.clock.now)
        self.what_ifs: Any = FakeWhatIfs(self.clock.now)
        self.queries: Any = SimpleNamespace(all_rows=self._rows, rows_of=self._rows_of)
        self.outbox: Any = Queues()
        self.journal = FakeJournal()
        self.scanner: Any = SimpleNamespace(known_exploited=lambda ids: {})

    def _raise_waivers(self) -> int:
        policy, waivers = self.table.versions
        self.table.versions = (policy, waivers + 1)
        return int(waivers + 1)

    def _rows(self) -> Iterator[Any]:
        """Worst first, as the index has them: not by path."""
        shown = [h for h in self.table.headers.values() if h.present and h.kind is not Kind.ARTIFACT]
        return iter([row_of(h) for h in sorted(shown, key=lambda h: (-h.decision.rank, h.ref.digest[-2:]))])

    def _rows_of(self, shard: int) -> Iterator[Any]:
        return (row for row in self._rows() if shard_of(row.ref) == shard)


class Judged:
    """`context`: a `JudgedContext`, or an `AppContext` whose outbox is a `Queues` and whose scanner knows nothing."""

    def __init__(self, context: Any) -> None:
        self.context, self.told, self.number = context, context.outbox.told, 0

    # ---- what there is

    def fill(self, images: int, seed: int = 1) -> list[ImageRef]:
        """Decided by the policy in force; of the indexes, their images are among them."""
        random = Random(seed)
        made: list[Header] = []
        while len(made) < images:
            header = self._image(random, len(made))
            made.append(header)
            if len(made) % 9 == 0:
                made.append(self._index(random, len(made), made[-12:]))
        for header in made:
            self.context.outbox.send("scans", Decide(header.ref, "first", quiet=True))
        self.pump()
        self.context.outbox.sent.clear()
        return [header.ref for header in made]

    def _image(self, random: Random, number: int) -> Header:
        ref = _ref(random, number)
        fresh = random.random() < 0.1
        pushed_at = NOW - (timedelta(minutes=10) if fresh else timedelta(hours=random.randrange(1, 24 * 40)))
        state = random.choices(list(ScanState), [16 if s is ScanState.COMPLETE else 1 for s in ScanState])
        listed = state[0] is not ScanState.PENDING and random.random() < 0.9
        storage = random.choices([StorageStatus.ACTIVE, StorageStatus.ARCHIVED], (9, 1))[0]
        document = _past(ref, random, pushed_at) if listed else FindingsDocument(ref)
        if document.findings:
            document = self.context.table.put_document(document, FindingsDocument(ref))
        header = Header(
            ref=ref,
            kind=Kind.ARTIFACT if random.random() < 0.03 else Kind.IMAGE,
            exists=True,
            existence_at=pushed_at,
            known_at=pushed_at + timedelta(minutes=1),
            pushed_at=pushed_at,
            tags=tuple(random.sample(["v1.0", "v2.0", "latest", "dev"], random.randrange(3))),
            scan=Scan(state[0], None, Source.ENHANCED, NOW - random.randrange(40) * DAY if listed else None),
            refreshed_at=NOW - DAY if listed else None,
            in_use=InUse(random.choice(list(InUseState))),
            storage=storage,
            revision=document.revision,
        )
        if random.random() < 0.03:
            header = msgspec.structs.replace(header, storage=StorageStatus.ARCHIVED, hold=Hold("archive", 1, NOW - DAY))
        return self.context.table.put_header(header)

    def _index(self, random: Random, number: int, near: list[Header]) -> Header:
        """Over images of its repository; now and then over one never heard of, and one deleted since."""
        home = near[0].ref.home
        below = [h for h in near if h.ref.home == home and h.kind is Kind.IMAGE]
        children = [Child(h.ref.digest) for h in below]
        ref = home.image(_ref(random, number).digest)
        for header in below:
            (stored,) = self.context.table.read_headers([header.ref]).values()
            parents = (*stored.header.parents, ref.digest)
            self.context.table.put_header(msgspec.structs.replace(stored.header, parents=parents))
        if random.random() < 0.5:
            children.append(Child(f"sha256:{random.getrandbits(256):064x}"))
        if random.random() < 0.5:
            gone = Header(ref=home.image(f"sha256:{random.getrandbits(256):064x}"), known_at=NOW)
            children.append(Child(self.context.table.put_header(gone).ref.digest))
        pushed_at = NOW - timedelta(hours=random.randrange(1, 24 * 20))
        return self.context.table.put_header(
            Header(
                ref=ref,
                kind=Kind.INDEX,
                exists=True,
                existence_at=pushed_at,
                known_at=pushed_at,
                pushed_at=pushed_at,
                tags=("v3.0",) if random.random() < 0.5 else (),
                children=tuple(children),
            )
        )

    def waive(self, repository: str, vulnerability_id: str | None, rule: str | None = None, days: int = 30) -> None:
        """`days` from yesterday until it ends: with 1 or less it is over."""
        waiver = Waiver(
            id=waiver_id(repository, vulnerability_id, None, rule),
            repository=repository,
            vulnerability_id=vulnerability_id,
            rule=rule,
            reason="as agreed",
            approved_by="oncall",
            created_at=NOW - DAY,
            expires_at=NOW - DAY + days * DAY,
        )
        self.context.waivers.put(WaiverChange(former=None, waiver=waiver, by="oncall", at=NOW))

    # ---- what happens

    def pump(self, *kinds: type, most: int = 100_000) -> int:
        """Handles what was sent, and what follows, until nothing is left; returns how much. `kinds`: only these."""
        handled, wanted = 0, kinds or (Decide, WhatIf, PolicyRollout)
        left: list[Any] = []
        while self.context.outbox.sent and handled < most:
            batch: list[tuple[str, Message]] = []
            while self.context.outbox.sent and len(batch) < min(BATCH, most - handled):
                queue, message, delay = self.context.outbox.sent.popleft()
                if isinstance(message, wanted):
                    batch.append((queue, message))
                else:
                    left.append((queue, message, delay))
            for queue in dict.fromkeys(queue for queue, _ in batch):
                assert self.receive(queue, *[message for q, message in batch if q == queue]) == {}
            handled += len(batch)
        self.context.outbox.sent.extendleft(reversed(left))
        return handled

    def receive(self, queue: str, *messages: Message) -> dict[str, BaseException]:
        self.number += 1
        deliveries = [Delivery(f"{self.number}/{n}", message) for n, message in enumerate(messages)]
        if queue == "sweeps":
            return receive_sweeps(deliveries, self.context)
        return receive_batch(deliveries, self.context)

    def carry_policy(self) -> int:
        """The clock, until no header lags; returns how often it came round."""
        for rounds in range(1, 50):
            lagging = roll_out_policy(self.context)
            self.pump(Decide)
            if not lagging:
                return rounds
        raise AssertionError("some image always lags")

    # ---- what stands

    def headers(self, refs: list[ImageRef]) -> dict[ImageRef, Header]:
        found: dict[ImageRef, Header] = {}
        for start in range(0, len(refs), 50):
            stored = self.context.table.read_headers(refs[start : start + 50])
            found |= {ref: s.header for ref, s in stored.items()}
        return found

    def decisions(self, refs: list[ImageRef]) -> dict[ImageRef, Decision]:
        """Of those that are decided about."""
        shown = self.headers(refs).items()
        return {ref: h.decision for ref, h in shown if h.present and h.kind is not Kind.ARTIFACT}


def _ref(random: Random, number: int) -> ImageRef:
    repository = f"team-{number // 12}/api"
    return ImageRef("111122223333", "eu-west-1", repository, f"sha256:{random.getrandbits(256):064x}")


def _past(ref: ImageRef, random: Random, pushed_at: datetime) -> FindingsDocument:
    """A few flaws over the days since the push: some appear, get rated otherwise, get fixed, are hidden, come back."""
    document, rows = FindingsDocument(ref), dict[int, Finding]()
    at = pushed_at
    while at < NOW - 2 * SETTLE:
        for number in random.sample(range(1, 8), random.randrange(4)):
            former = rows.get(number) or finding(number, Severity.MEDIUM, first_seen=at.replace(microsecond=0))
            rows[number] = msgspec.structs.replace(
                former,
                severity=random.choice(list(Severity)),
                status=random.choices(list(FindingStatus), (7, 1, 2))[0],
                epss=random.choice([None, 0.1, 0.9]),
                updated_at=at,
            )
        scan = Scan(ScanState.COMPLETE, None, Source.ENHANCED, at)
        listing = Listing(Source.ENHANCED, tuple(rows.values()), at + 2 * SETTLE, scan, complete=True)
        document = merge_listing(document, listing, consistency_delay=SETTLE, archive=False).document
        at += timedelta(hours=random.randrange(6, 24 * 9))
    return document
