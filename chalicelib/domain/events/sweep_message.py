"""Messages of the sweeps: what plans one, handles a repository or a copy, was found, and is said to people.

A sweep looks on a schedule, repository by repository, for what no event tells. Every message may be delivered twice,
late and in any order. Retention sends to the queue `actions`, the only one whose function may delete images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from chalicelib.domain.events.event import LifecycleImage
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.image import PUBLIC_REGION, ImageRef, InUse, InUseState, Manifest, Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.replication.rules import Destination


class Sweep(StrEnum):
    """Each leaves its last result on the repository's item, `<sweep>`, with the time of it, `<sweep>_at`."""

    RECONCILE = "reconcile"
    RETENTION = "retention"
    REPLICATION = "replication"
    POSTURE = "posture"
    PUBLIC = "public"

    def is_run_at(self, hour: int) -> bool:
        """Whether it is begun in this hour of the day (UTC). What costs a registry's listing takes turns."""
        every, first = _HOURS[self]
        return hour % every == first


_HOURS = {
    Sweep.RECONCILE: (6, 0),
    Sweep.PUBLIC: (6, 1),
    Sweep.REPLICATION: (1, 0),
    Sweep.RETENTION: (24, 3),
    Sweep.POSTURE: (24, 4),
}


class OwnMessage(msgspec.Struct, frozen=True, kw_only=True):
    """`attempt`: how often we have sent it again."""

    attempt: int = 0


class PlanSweep(OwnMessage, frozen=True, tag="plan-sweep"):
    """List the repositories of a registry and send a `SweepRepository` for each.

    The registry is that of `account` (None: our own) in `region`. `started_at`: of the sweep, the same in all its
    messages; `after` goes on where another message ended: what its sweep's planner needs to find the next page, opaque
    to all others. None: begin.
    """

    sweep: Sweep
    region: str
    started_at: datetime
    after: str | None = None
    account: str | None = None

    @property
    def place(self) -> RegistryPlace:
        return RegistryPlace(self.region, self.account)


def begin(sweep: Sweep, registries: Sequence[RegistryPlace], at: datetime) -> Iterator[PlanSweep]:
    """One for each registry. Public repositories are our own account's, and answer in one Region."""
    places = (RegistryPlace(PUBLIC_REGION),) if sweep is Sweep.PUBLIC else registries
    return (PlanSweep(sweep, place.region, at, account=place.account) for place in places)


MOST_PARTS = 12
"""Messages of one chain, each sent by the one before it, requeued ones included. Lambda stops a function that has sent
to itself 16 times (AWS Lambda developer guide, recursive loop detection); the clock and the planner come before."""


class SweepRepository(OwnMessage, frozen=True, tag="sweep-repository"):
    """Handle one repository. `handed`: what the planner has found out about it once for the whole registry, packed as
    its sweep wants it; None: it found nothing out, so the handler must ask itself. `after` goes on where another
    message ended. `filling`: nothing was ever compared before; people are told of what it finds by a summary."""

    sweep: Sweep
    repository: Repository
    started_at: datetime
    handed: str | None = None
    after: str | None = None
    filling: bool = False

    def parts_with(self, before: int) -> int | None:
        """How long its chain is with it, where so many messages came before. None: it may send no other one."""
        parts = before + self.attempt + 1
        return parts if parts < MOST_PARTS else None


class InitialBackfill(OwnMessage, frozen=True, tag="filled"):
    """Tell people of a first fill, when no more decisions follow from it. `found` counts images by decision, as of the
    last time; `waits`: how often that was another number than before. `started_at`: of the sweep, which
    is told of once."""

    found: dict[Decision, int] = {}
    waits: int = 0
    started_at: datetime | None = None


SETTLE_TAG, RECORD_SIGNATURE = "SETTLE_TAG", "RECORD_SIGNATURE"


class SyntheticEvent(OwnMessage, frozen=True, tag="found"):
    """What a listing of the registry shows of an image and no event has told, in the queue `scans`.

    `action` is the one of the event that was lost (`domain.event.Action`), or SETTLE_TAG: the image's header says of
    `tag` something else than the tag's own item, or RECORD_SIGNATURE. `at`: it was so by then, at the latest. `quiet`:
    part of a first fill, or a look that follows at once will tell people more. `manifest`: what the sweep has read of
    the image. `signed`: whether a signature of it is listed.
    """

    ref: ImageRef
    action: str
    at: datetime
    tag: str | None = None
    quiet: bool = False
    manifest: Manifest | None = None
    signed: bool | None = None


class MatchSameDigest(OwnMessage, frozen=True, tag="match-twins"):
    """Find, in one shard of the index, public images whose digest lies in a private repository as well: all images of a
    digest are in one shard.

    `after`: the digest behind which it goes on. `failure`: what could not be done before it, and did not stop the
    others: to be raised by the last. `filling`: when the sweep began that is the first to list public images; people
    are told by a summary of those that it finds to be bad.
    """

    shard: int
    after: str | None = None
    failure: str | None = None
    filling: datetime | None = None


class ReplicationCheck(OwnMessage, frozen=True, tag="replication-check"):
    """Look at the copies of the image `ref` (the source's) at or after `due_at`: image or tags changed at `changed_at`.
    `destination`: the one that ECR has said something of; None: all of them. `turned`: it has closed or opened, and so
    do its copies, also those that nothing is outstanding about, and those at a destination that no rule names any more.

    A queue keeps no message back for longer than a quarter of an hour: one that comes too early is sent again.
    """

    ref: ImageRef
    due_at: datetime
    changed_at: datetime
    destination: Destination | None = None
    turned: bool = False


class TakeImages(OwnMessage, frozen=True, tag="take-images"):
    """Plan a repository once more and take what may go. `started_at` and `after` as of the `SweepRepository` behind
    it."""

    repository: Repository
    started_at: datetime
    after: str | None = None


MOST_IN_A_MESSAGE = 100


class Expired(msgspec.Struct, frozen=True):
    """One image that is gone, or archived. `evidence`: it was quarantined, or to be; `relatives`: its indexes and its
    images."""

    digest: str
    tags: tuple[str, ...] = ()
    rule_priority: int | None = None
    evidence: bool = False
    relatives: tuple[str, ...] = ()


class NotifyExpired(OwnMessage, frozen=True, tag="tell-expired"):
    """Tell people which of these images run, or were evidence: in the queue `sweeps`, where channels can be reached.
    `archived`: they are not gone, and none was evidence that is."""

    repository: Repository
    time: datetime
    event_id: str
    expired: tuple[Expired, ...]
    archived: bool = False


class RetireRegistry(OwnMessage, frozen=True, tag="retire-registry"):
    """Retire the images of a registry: go on where what is stored of its retirement ends."""

    account: str
    region: str


SweepMessage = (
    PlanSweep
    | SweepRepository
    | InitialBackfill
    | SyntheticEvent
    | MatchSameDigest
    | ReplicationCheck
    | TakeImages
    | NotifyExpired
    | RetireRegistry
)


def expired_image(expiry: LifecycleImage, header: Header | None) -> Expired:
    """`header`: as it was before this was recorded, perhaps after the deletion itself was heard, which ends a hold."""
    if header is None:
        return Expired(expiry.digest, expiry.tags, expiry.rule_priority)
    ordered = header.order is not None and header.order.kind is ActionType.QUARANTINE
    evidence = header.hold is not None or header.denied or ordered or header.decision is Decision.QUARANTINE
    tags = (*expiry.tags, *header.tags)
    relatives = (*header.parents, *(child.digest for child in header.children))
    return Expired(expiry.digest, tuple(dict.fromkeys(tags)), expiry.rule_priority, evidence, relatives)


def expiry_words(expiry: LifecycleImage, *, archived: bool = False) -> str:
    """Why an image is gone, or archived, for the audit log."""
    rule = f"rule {expiry.rule_priority} of " if expiry.rule_priority is not None else ""
    return f"{rule}the repository's own lifecycle policy {'archived' if archived else 'expired'} it"


def lines_of(expired: Sequence[Expired], uses: Sequence[InUse], *, archived: bool = False) -> tuple[str, ...]:
    """Of those that people must know of; what runs first. `archived`: evidence is still there."""
    some = [msgspec.structs.replace(one, evidence=one.evidence and not archived) for one in expired]
    told = (pair for pair in zip(some, uses, strict=True) if pair[0].evidence or pair[1].state is not InUseState.NO)
    lines = ((use.state is not InUseState.YES, _line(one, use)) for one, use in told)
    return tuple(line for _, line in sorted(lines))


def _line(one: Expired, use: InUse) -> str:
    name = f"{one.digest[:19]} ({', '.join(one.tags[:3]) or 'untagged'})"
    said = ["was quarantined: the evidence is gone"] if one.evidence else []
    if use.state is InUseState.YES:
        said.insert(0, f"runs: {'; '.join(use.by[:3])}")
    elif use.state is InUseState.UNKNOWN:
        said.append(f"may run, which cannot be told: {'; '.join(use.blind[:2]) or 'no place was looked at'}")
    return f"{name} {', and '.join(said)}"
