"""What ECR's own lifecycle policy expired, on its way to people: the message, and one line an image. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.events.event import LifecycleExpiry
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.image import InUse, InUseState, Repository
from chalicelib.domain.images.verdict import Decision

MOST_IN_A_MESSAGE = 100


class Expired(msgspec.Struct, frozen=True):
    """One image that is gone. `evidence`: it was quarantined, or to be; `relatives`: its indexes and its images."""

    digest: str
    tags: tuple[str, ...] = ()
    rule_priority: int | None = None
    evidence: bool = False
    relatives: tuple[str, ...] = ()


class NotifyExpired(msgspec.Struct, frozen=True, tag="tell-expired"):
    """Tell people which of these images run, or were evidence: in the queue `sweeps`, where channels can be reached."""

    repository: Repository
    time: datetime
    event_id: str
    expired: tuple[Expired, ...]
    attempt: int = 0


def expired_image(expiry: LifecycleExpiry, header: Header | None) -> Expired:
    """`header`: as it was before this was recorded, perhaps after the deletion itself was heard, which ends a hold."""
    if header is None:
        return Expired(expiry.digest, expiry.tags, expiry.rule_priority)
    ordered = header.order is not None and header.order.kind is ActionType.QUARANTINE
    evidence = header.hold is not None or header.denied or ordered or header.decision is Decision.QUARANTINE
    tags = (*expiry.tags, *header.tags)
    relatives = (*header.parents, *(child.digest for child in header.children if not child.artifact))
    return Expired(expiry.digest, tuple(dict.fromkeys(tags)), expiry.rule_priority, evidence, relatives)


def expiry_words(expiry: LifecycleExpiry) -> str:
    """Why an image is gone, for the audit log."""
    rule = f"rule {expiry.rule_priority} of " if expiry.rule_priority is not None else ""
    return f"{rule}the repository's own lifecycle policy expired it"


def lines_of(expired: Sequence[Expired], uses: Sequence[InUse]) -> tuple[str, ...]:
    """Of those that people must know of; what runs first."""
    found = [(use.state, _line(one, use)) for one, use in zip(expired, uses, strict=True) if _matters(one, use)]
    order = list(InUseState)
    return tuple(line for _, line in sorted(found, key=lambda one: (order.index(one[0]) != 0, one[1])))


def _matters(one: Expired, use: InUse) -> bool:
    return one.evidence or use.state is not InUseState.NO


def _line(one: Expired, use: InUse) -> str:
    name = f"{one.digest[:19]} ({', '.join(one.tags[:3]) or 'untagged'})"
    said = ["was quarantined: the evidence is gone"] if one.evidence else []
    if use.state is InUseState.YES:
        said.insert(0, f"runs: {'; '.join(use.by[:3])}")
    elif use.state is InUseState.UNKNOWN:
        said.append(f"may run, which cannot be told: {'; '.join(use.blind[:2]) or 'no place was looked at'}")
    return f"{name} {', and '.join(said)}"
