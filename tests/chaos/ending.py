"""What a world has come to: each image as it is stored, what was done to it, who was told, what lies dead.

It is read here, and judged in `promises.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from bench import payloads
from chalicelib.adapters.dead_letters import DeadQueue
from chalicelib.domain.header import Header
from chalicelib.domain.image import Kind, Repository
from chalicelib.services.verify_chain import verify_chain
from tests.chaos.people import Told
from tests.chaos.queues import Message
from tests.chaos.registry import Asked
from tests.chaos.world import World

Facts = dict[str, Any]


@dataclass
class Dead:
    """A message in a dead-letter queue. `reason`: why it cannot be read, with the place, as `lazaretto dlq show` has
    it; None: it can be. `poison`: which it was."""

    queue: str
    poison: str | None
    reason: str | None


@dataclass
class Ending:
    """`images` and `truth` by path: what is stored, and what the source says is open; `records`, by digest: the kinds
    of acts in the audit log; `poisoned`: how many messages of each sort were sent."""

    images: dict[str, Facts]
    truth: dict[str, Facts]
    tags: dict[str, str]
    true_tags: dict[str, str]
    asked: list[Asked]
    records: dict[str, Counter[str]]
    broken_chains: list[str]
    told: list[Told]
    dead: list[Dead]
    poisoned: Counter[str]
    unsettled: list[str]

    def acts(self, digest: str) -> list[str]:
        return [one.target for one in self.asked if one.digest == digest and one.changed]


def ending_of(world: World) -> Ending:
    headers = [header for header in world.headers() if header.exists and header.kind is Kind.IMAGE]
    tags, true_tags = _tags(world)
    audit = world.people.queries.audit
    rows = {header.ref: audit.of_chain(header.ref) for header in world.headers()}
    return Ending(
        images={header.ref.path: _facts(header, world) for header in headers},
        truth={world.ref(d).path: facts for d in world.scenario.lives if (facts := _true(d, world)) is not None},
        tags=tags,
        true_tags=true_tags,
        asked=list(world.aws.asked),
        records={ref.digest: Counter(row.record.kind for row in kept) for ref, kept in rows.items()},
        broken_chains=[f"{ref}: {p}" for ref in rows for p in verify_chain(ref, audit, ()).problems],
        told=list(world.told),
        dead=[
            Dead(queue.source.name, world.poisoned.get(letter.message_id), letter.refused)
            for queue in world.queues.values()
            for message in queue.dead
            for letter in DeadQueue(_Shown(message), queue.source.name, None).take()
        ],
        poisoned=Counter(world.poisoned.values()),
        unsettled=list(world.unsettled),
    )


def _facts(header: Header, world: World) -> Facts:
    """All that is decided by and from; times of ours and numbers of verdicts and acts left out."""
    findings = [f for f in world.people.table.read_document(header.ref).findings if f.open]
    reasons = header.verdict.reasons if header.verdict else ()
    act = header.act
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
        "scan": (header.scan.state, header.scan.reason, header.scan.source),
        "decision": header.decision,
        "reasons": [(r.rule, r.decision, r.detail, r.count, r.vulnerability_ids, r.waived) for r in reasons],
        "storage": header.storage,
        "hold": header.hold.method if header.hold else None,
        "held": act.held.why if act and act.held else None,
    }


def _true(digest: str, world: World) -> Facts | None:
    """What the generator says is open; of an image in the archive, what was when it went there."""
    state = world.living.image(digest, world.moment)
    if state is None:
        return None
    stay = world.living.stay(digest, world.moment)
    if stay is not None and not stay.is_scanned(world.moment):
        frozen = world.scenario.lives[digest].at(stay.archived_at) or state
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
