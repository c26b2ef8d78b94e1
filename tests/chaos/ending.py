"""What a world has come to: each image as it is stored, what was done to it, who was told, what lies dead.

It is read here, and judged in `promises.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from moto.dynamodb.models import dynamodb_backends

from bench import payloads
from bench.world import TABLE
from chalicelib.adapters.stack.dead_letters import DeadQueue
from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.audit.chain import Chain
from chalicelib.domain.enforcement.act_words import GIVEN_UP
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import FindingStatus
from chalicelib.domain.images.image import ImageRef, Kind, Repository, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.services.audit.verify_audit import verify_chain
from chalicelib.services.ports.table import Stored
from tests.chaos.people import Told
from tests.chaos.queues import Message
from tests.chaos.registry import Asked
from tests.chaos.world import World

Facts = dict[str, Any]
TOLD = ("ALERT", "REPORT")
SUBJECT = "SUBJECT#"
OF_THE_SCAN = ("pending", "unscanned", "stale")


@dataclass
class Dead:
    """A message in a dead-letter queue. `reason`: why it cannot be read, with the place, as `lazaretto dlq show` has
    it; None: it can be. `poison`: which it was."""

    queue: str
    poison: str | None
    reason: str | None


@dataclass(frozen=True)
class Announced:
    """An alert, or a report of an act, by its record: `number` is a verdict's or an act's; the channels to be told."""

    path: str
    act: bool
    number: int
    channels: tuple[str, ...]


@dataclass
class Ending:
    """`images` and `truth` by path: what is stored, and what the source says is open; `records`, by digest: the kinds
    of acts in the audit log; `subjects`: the kinds of records that are of no image, by their chain; `announced`: which
    alerts were to be sent; `rolled_out`: the decisions that the last policy met or made; `half_done`: what a header
    promises or says that is not so; `poisoned`: how many messages of each sort were sent."""

    images: dict[str, Facts]
    truth: dict[str, Facts]
    tags: dict[str, str]
    true_tags: dict[str, str]
    asked: list[Asked]
    records: dict[str, Counter[str]]
    announced: list[Announced]
    rolled_out: set[Decision]
    subjects: Counter[tuple[str, str]]
    broken_chains: list[str]
    half_done: list[str]
    told: list[Told]
    dead: list[Dead]
    poisoned: Counter[str]
    unsettled: list[str]
    missed: list[str]

    def acts(self, digest: str) -> list[str]:
        return [one.target for one in self.asked if one.digest == digest and one.changed]


def ending_of(world: World) -> Ending:
    headers = [header for header in world.headers() if header.exists and header.kind is Kind.IMAGE]
    tags, true_tags = _tags(world)
    audit = world.people.queries.audit
    rows = {header.ref: audit.of_chain(header.ref) for header in world.headers()}
    kept = world.people.table.read_headers(rows)
    subjects = sorted(_subjects())
    return Ending(
        images={header.ref.path: _facts(header, world) for header in headers},
        truth={world.ref(d).path: facts for d in world.scenario.lives if (facts := _true(d, world)) is not None},
        tags=tags,
        true_tags=true_tags,
        asked=list(world.aws.asked),
        records={ref.digest: Counter(_kind_of(row.record) for row in each) for ref, each in rows.items()},
        announced=[_announced(row.record) for each in rows.values() for row in each if row.record.kind in TOLD],
        rolled_out=_rolled_out(world),
        subjects=Counter(
            (subject, row.record.kind)
            for subject in subjects
            for row in audit.of_chain(subject)
            if row.record.kind not in TOLD  # of waivers as many as there were sweeps
        ),
        broken_chains=[
            f"{chain}: {p}" for chain in (*rows, *subjects) for p in verify_chain(chain, audit, ()).problems
        ],
        half_done=[
            *(said for ref, stored in sorted(kept.items()) for said in _half_done(ref, stored)),
            *(said for chain in (*rows, *subjects) for said in _undelivered(chain, world)),
        ],
        told=list(world.told),
        dead=[
            Dead(queue.source.name, world.poisoned.get(letter.message_id), letter.refused)
            for queue in world.queues.values()
            for message in queue.dead
            for letter in DeadQueue(_Shown(message), queue.source.name, None).take()
        ],
        poisoned=Counter(world.poisoned.values()),
        unsettled=list(world.unsettled),
        missed=list(world.missed),
    )


def _kind_of(record: ActionRecord) -> str:
    """An act that was begun by one that died, and may not be done any more, has a record that it was given up."""
    return f"{record.kind}, given up" if record.reason.endswith(GIVEN_UP) else record.kind


def _announced(record: ActionRecord) -> Announced:
    kind, number, *channels = record.effect.split("#")
    assert record.ref is not None
    return Announced(record.ref.path, kind == "REPORT", int(number), tuple(channels))


def _rolled_out(world: World) -> set[Decision]:
    progress = world.people.table.read_rollout()
    return {*progress.found, *(progress.before or {})} if progress else set()


def _subjects() -> set[str]:
    """The chains of the audit log that are no image's."""
    table = dynamodb_backends[payloads.ACCOUNT][payloads.REGION].get_table(TABLE)
    keys = (str(key.value) for key in table.items)
    return {key.removeprefix(SUBJECT) for key in keys if key.startswith(SUBJECT)}


def _half_done(ref: ImageRef, stored: Stored) -> Iterator[str]:
    """While a look is promised, events are not written: it must have come."""
    header = stored.header
    if header.refresh_due_at is not None and header.exists:
        yield f"{ref.path}: a look was promised that never came"
    if header.exists and stored.header.revision != stored.document_revision:
        yield f"{ref.path}: the header is of document {header.revision}, and {stored.document_revision} is stored"


def _undelivered(chain: Chain, world: World) -> Iterator[str]:
    for row in world.people.queries.audit.of_chain(chain):
        record = row.record
        if record.kind not in TOLD or record.effect.count("#") < 2:
            continue
        delivery = world.people.table.read_delivery(chain, record.effect, record.wanted_at)
        if delivery is None or delivery.delivered_at is None:
            yield f"{chain}: {record.effect} was never delivered"


def _facts(header: Header, world: World) -> Facts:
    """All that is decided by and from; times of ours and numbers of verdicts and acts left out."""
    document = world.people.table.read_document(header.ref)
    findings = [f for f in document.findings if f.status is not FindingStatus.RESOLVED]
    reasons = header.verdict.reasons if header.verdict else ()
    act, active = header.act, header.storage is StorageStatus.ACTIVE
    return {
        "findings": {
            f.source_finding_id: (
                *(str(f.severity), str(f.status), f.score, None if f.epss is None else round(f.epss, 2)),
                *(f.fix_available, f.exploit_available, f.packages),
            )
            for f in findings
        },
        "counts": header.counts,
        "suppressed": header.suppressed,
        "tags": sorted(header.tags),
        "pushed_at": header.pushed_at,
        # Coverage lags behind an archive, for longer than the refresh after it waits, and an image that is archived
        # before its scan was seen complete is never scanned to an end: what is known of the scan hangs on the moment.
        "scan": (header.scan.state, header.scan.reason, header.scan.source) if active else None,
        "decision": header.decision,
        "announced": header.announced,
        "policy": header.policy_version,
        "sketch": header.sketch,
        "resolved": sorted(f.source_finding_id for f in document.findings if f.status is FindingStatus.RESOLVED),
        "reasons": [
            (r.rule, r.decision, r.detail, r.count, r.vulnerability_ids, r.waived)
            for r in reasons
            if active or r.rule not in OF_THE_SCAN
        ],
        "storage": header.storage,
        "hold": header.hold.method if header.hold else None,
        "held": act.held.why if act and act.held else None,
    }


def _true(digest: str, world: World) -> Facts | None:
    """What the generator says is open; of an image that is not scanned any more, what was when that began."""
    state = world.living.image(digest, world.moment)
    if state is None:
        return None
    closed_at = world.living.closed_at(digest, world.moment)
    if closed_at is not None:
        frozen = world.scenario.lives[digest].at(closed_at) or state
        state = replace(frozen, tags=state.tags)
    rows = {
        row.arn: (
            payloads.our_severity(row.severity),
            payloads.OUR_STATUS[row.status],
            row.score,
            None if row.epss is None else round(row.epss, 2),
        )
        for row in state.findings
        if row.status == "ACTIVE"
    }
    return {"findings": rows, "tags": sorted(state.tags)}


def _tags(world: World) -> tuple[dict[str, str], dict[str, str]]:
    stored, true = {}, {}
    for repository, lives in world.scenario.by_repository.items():
        home = Repository(payloads.ACCOUNT, payloads.REGION, repository)
        rows = world.people.queries.tags(home, limit=1_000).items
        stored |= {f"{home.path}:{row.tag}": row.digest for row in rows if row.digest is not None}
        for life in lives:
            state = world.living.image(life.digest, world.moment)
            true |= {f"{home.path}:{tag}": life.digest for tag in (state.tags if state else ())}
    return stored, true


class _Shown:
    """A client of SQS that is shown one message."""

    def __init__(self, message: Message) -> None:
        self._message = message

    def receive_message(self, **_: Any) -> Any:
        attributes = {"SentTimestamp": f"{self._message.sent_at * 1000:.0f}"}
        shown = {
            "MessageId": self._message.id,
            "Body": self._message.body,
            "ReceiptHandle": "-",
            "Attributes": attributes,
        }
        return {"Messages": [shown]}
