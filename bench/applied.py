"""The candidate applied for real to the registry a what-if was asked about, and what then differs from its answer.

Applying, the fan-out by the clock and each decision are the deployed services; the table is memory, where headers are
kept as the items that DynamoDB would hold. What is then to be done to an image is left undone: no answer speaks of it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import count
from types import SimpleNamespace
from typing import Any

import msgspec

from bench.journal import SilentJournal
from bench.past import NOW, SETTLE, Registry
from chalicelib.adapters.dynamodb.schema import Item, shard_of
from chalicelib.adapters.stores.policy_file import read_policy
from chalicelib.adapters.table.headers import header_item, read_header_item, row_of
from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.events.message import Delivery, Message, PolicyRollout
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.images.finding import FindingsDocument
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.whatif.report import WhatIfReport
from chalicelib.domain.whatif.what_if import Ruling
from chalicelib.errors import ConflictError
from chalicelib.services.handlers.receive_batch import receive_batch
from chalicelib.services.handlers.receive_sweeps import receive_sweeps
from chalicelib.services.policy.apply_policy import apply_policy
from chalicelib.services.ports.context import PolicyVersion
from chalicelib.services.ports.table import ImageRow, RolloutProgress, Stored

BATCH = 10
ROUNDS = 10


class PutPolicies:
    """The policies that were put over the rules of before; services.ports.RuleBook."""

    def __init__(self, before: Rules) -> None:
        self._rules = [before]
        self._put = list[PolicyVersion]()

    @property
    def versions(self) -> tuple[int, int]:
        return self._rules[-1].versions

    def current(self) -> Rules:
        return self._rules[-1]

    def fresh(self) -> Rules:
        return self._rules[-1]

    def built_in(self) -> Policy:
        return self._rules[0].policy

    def policy_of(self, text: str) -> Policy:
        return read_policy(text)

    def put_policy(self, text: str, put_by: str, *, after: int | None = None) -> int:
        number = len(self._rules)
        rules = Rules(
            read_policy(text, number=number), self._rules[-1].waivers, number, self._rules[-1].waivers_version
        )
        self._put.append(PolicyVersion(number, text, NOW, put_by))
        self._rules.append(rules)
        return number

    def read_policy(self, version: int) -> PolicyVersion:
        return self._put[version - 1]


class Applied:
    """`policy` applied to the images of `registry`, until none lags. Table and index of a Context in one."""

    def __init__(self, registry: Registry, policy: str) -> None:
        self.registry, self.clock, self.consistency_delay = registry, registry.clock, SETTLE
        self.rules = PutPolicies(registry.rules.fresh())
        self.outbox = SimpleNamespace(send=self._send, send_all=self._send_all)
        self.journal = SilentJournal()
        self.table = self.queries = self
        self._sent: dict[str, deque[Message]] = {"sweeps": deque(), "scans": deque()}
        self._numbers = count()
        self._items: dict[ImageRef, Item] = {}
        self._fan_out: RolloutProgress | None = None
        self._actions = dict[tuple[str, datetime], ActionRecord]()
        context: Any = self
        apply_policy(policy, "bench", context)
        for _ in range(ROUNDS):
            self._deliver(context)
            if self._fan_out is not None and self._fan_out.announced:
                return
            self.outbox.send("sweeps", PolicyRollout())  # the clock comes round
        raise AssertionError(f"some image lags after {ROUNDS} rounds")

    def otherwise(self, report: WhatIfReport) -> list[ImageRef]:
        """The images whose verdict is not what the what-if said of now: its decision, or its first reason.

        Raises AssertionError where the comparison would prove nothing: an image one of them has not judged, or judged
        by something else, or a report that does not say what it was made of.
        """
        verdicts = {ref: self._ruled(ref) for ref in self.registry.refs()}
        heard = self.registry.said()
        said = dict(heard)
        if not len(heard) == len(said) == report.tally.images or said.keys() != verdicts.keys():
            raise AssertionError(f"{len(heard)} answers about {len(said)} of {len(verdicts)} images")
        if report.tally.candidate != Counter(ruling.decision for ruling in said.values()):
            raise AssertionError(f"the report counts otherwise than its answers: {report.tally.candidate}")
        if wrong := [row.ref for row in report.rows if row.candidate != said[row.ref]]:
            raise AssertionError(f"{len(wrong)} rows of the report are not its answers: {wrong[:3]}")
        return [ref for ref, ruling in verdicts.items() if ruling != said[ref]]

    def decisions(self) -> Counter[Decision]:
        return Counter(self._header(ref).decision for ref in self.registry.refs())

    def _ruled(self, ref: ImageRef) -> Ruling:
        header = self._header(ref)
        if header.verdict is None or header.versions != self.rules.versions:
            raise AssertionError(f"{ref} was not decided by the policy that was applied")
        for reason in header.verdict.reasons[:1]:
            told = (reason.rule, reason.detail, reason.count, reason.vulnerability_ids)
            return Ruling(header.verdict.decision, *told)
        return Ruling(header.verdict.decision)

    def _send(self, queue: str, message: Message, delay_seconds: float = 0) -> None:
        if queue in self._sent:
            self._sent[queue].append(message)

    def _send_all(self, queue: str, messages: Iterable[Message]) -> None:
        for message in messages:
            self._send(queue, message)

    def _deliver(self, context: Any) -> None:
        """In batches as large as the queues', until nothing is left."""
        while any(self._sent.values()):
            for queue, messages in self._sent.items():
                some = [messages.popleft() for _ in range(min(BATCH, len(messages)))]
                batch = [Delivery(str(next(self._numbers)), message) for message in some]
                failures = receive_batch(batch, context) if queue == "scans" else receive_sweeps(batch, context)
                for error in failures.values():
                    raise error

    def read_headers(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Stored]:
        return {ref: Stored(self._header(ref), 1) for ref in refs}

    def read_document(self, ref: ImageRef) -> FindingsDocument:
        return self.registry.document(ref)

    def put_header(self, header: Header) -> Header:
        if header.version != self._header(header.ref).version:
            raise ConflictError(f"{header.ref}: version {header.version} is not what is stored")
        put = msgspec.structs.replace(header, version=header.version + 1)
        self._items[put.ref] = header_item(put)
        return put

    def read_versions(self) -> tuple[int, int]:
        return self.rules.versions

    def read_rollout(self) -> RolloutProgress | None:
        return self._fan_out

    def put_rollout(self, rollout: RolloutProgress) -> RolloutProgress:
        self._fan_out = msgspec.structs.replace(rollout, revision=rollout.revision + 1)
        return self._fan_out

    def change_fuse(self, change: Callable[[Fuse], Fuse], *, releases: bool) -> None:
        """Of no image anything is done here."""
        assert (change(Fuse()), releases) == (Fuse(), True)

    def action_at(self, chain: object, effect: str, wanted_at: datetime) -> datetime | None:
        record = self._actions.get((effect, wanted_at))
        return None if record is None else record.at

    def record_action(self, record: ActionRecord) -> bool:
        return self._actions.setdefault((record.effect, record.wanted_at), record) is record

    def rows_of(self, shard: int) -> Iterator[ImageRow]:
        return (row_of(self._header(ref)) for ref in self.registry.refs() if shard_of(ref) == shard)

    def _header(self, ref: ImageRef) -> Header:
        item = self._items.get(ref)
        return self.registry.header(ref) if item is None else read_header_item(item)
