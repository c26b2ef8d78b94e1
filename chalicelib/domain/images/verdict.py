"""A verdict (the decision about one image with every reason for it), and the state of the image a policy may ask about.

`policy/decision.py` reaches it.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from chalicelib.domain.images.image import ImageRef, InUse, Kind, Scan

WORST_KEPT = 3


class Decision(StrEnum):
    """ALLOW < WARN < PENDING < BLOCK < QUARANTINE; the strongest wins. PENDING: no usable scan yet."""

    ALLOW = "ALLOW"
    WARN = "WARN"
    PENDING = "PENDING"
    BLOCK = "BLOCK"
    QUARANTINE = "QUARANTINE"

    @property
    def rank(self) -> int:
        return _RANK[self]

    @property
    def closes_doors(self) -> bool:
        return self in (Decision.BLOCK, Decision.QUARANTINE)


_RANK = {d: i for i, d in enumerate(Decision)}


class Reason(msgspec.Struct, frozen=True):
    """Why. `rule` is a rule's id, or one of the built-in words `pending`, `unscanned`, `stale`, `child`, `twin`,
    `twin-gone`, `twin-copy`, `unreadable`.

    `count` findings matched (0 for rules about the image itself), `critical` of them CRITICAL, `kev` of them known
    exploited (of `child`: those for which the images of an index are blocked or quarantined). `vulnerability_ids` worst
    first: all of them when fresh from `decide`, the three worst as stored. `waived` names the waivers that
    excused findings this rule would have matched. `detail` is one sentence for people. `released`: of `twin`, that a
    person has released all that closes the doors there.
    """

    rule: str
    decision: Decision
    detail: str = ""
    count: int = 0
    critical: int = 0
    kev: int = 0
    vulnerability_ids: tuple[str, ...] = ()
    waived: tuple[str, ...] = ()
    enforce: str | None = None
    released: bool = False

    def kept(self) -> Reason:
        return msgspec.structs.replace(self, vulnerability_ids=self.vulnerability_ids[:WORST_KEPT])


class VerdictSummary(msgspec.Struct, frozen=True):
    """How bad a verdict is: `critical` and `kev` count the CRITICAL and the known exploited findings it is about."""

    decision: Decision
    critical: int = 0
    kev: int = 0

    def worse_than(self, former: VerdictSummary) -> bool:
        """Stronger, or as strong with a newly known exploited flaw or more matching CRITICALs."""
        if self.decision is not former.decision:
            return self.decision.rank > former.decision.rank
        return self.kev > former.kev or self.critical > former.critical


class OriginVerdict(VerdictSummary, frozen=True):
    """How the private image stands from which a public one is published. `waived`: the waivers that excuse it; `over`:
    those that do not any more. `judged_at`: when it was judged last before it was deleted; None: it is there.
    `released_until`: until when a person lets it through although it is closed; None: nobody does."""

    waived: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    judged_at: datetime | None = None
    released_until: datetime | None = None

    @property
    def silent(self) -> bool:
        """Gone without having closed the doors: it vouches for nothing."""
        return self.judged_at is not None and not self.decision.closes_doors


class CopiedVerdict(VerdictSummary, frozen=True):
    """How an image stands that a copy of a public index holds, by the rules and waivers of the public repository.
    `decide_at`: when the clock may change that."""

    waived: tuple[str, ...] = ()
    decide_at: datetime | None = None


class Verdict(msgspec.Struct, frozen=True):
    """`number` counts the verdicts of one image from 1; it rises when decision or reasons change materially.

    `decided_at` is when this verdict was first reached, `policy_version` the policy that made it.
    `suppressed` says how many findings Inspector's own suppression rules hide.
    """

    decision: Decision
    reasons: tuple[Reason, ...]
    policy_version: int
    decided_at: datetime
    number: int = 1
    suppressed: int = 0

    def kept(self) -> Verdict:
        """As the header stores it: each reason with its three worst ids."""
        return msgspec.structs.replace(self, reasons=tuple(r.kept() for r in self.reasons))

    def same_as(self, other: Verdict | None) -> bool:
        """Whether nothing a person would want to know has changed: decision, rules, and what they matched."""
        return other is not None and self.decision is other.decision and _gist(self) == _gist(other)

    def as_one_with(self, former: Verdict) -> Verdict:
        """Of the same gist: it stands under the number and time of `former`, with what is so now in its reasons."""
        return msgspec.structs.replace(
            self, number=former.number, policy_version=former.policy_version, decided_at=former.decided_at
        )

    @property
    def standing(self) -> VerdictSummary:
        reasons = self.reasons
        return VerdictSummary(self.decision, sum(r.critical for r in reasons), sum(r.kev for r in reasons))

    @property
    def waived(self) -> frozenset[str]:
        """The waivers it hangs on: when one of them is over, it may not stand."""
        return frozenset(name for reason in self.reasons for name in reason.waived)

    @property
    def denies_pulls(self) -> bool:
        """Whether a rule that matched asks for the repository's policy (`enforce: repository-policy`)."""
        return any(r.enforce is not None and r.decision.closes_doors for r in self.reasons)

    def worse_than(self, former: Verdict | None) -> bool:
        return former is None or self.standing.worse_than(former.standing)


def _gist(verdict: Verdict) -> tuple[tuple[object, ...], ...]:
    return tuple(
        (r.rule, r.decision, r.count, r.critical, r.kev, r.vulnerability_ids[:WORST_KEPT], r.waived, r.enforce)
        for r in verdict.reasons
    )


class ImageState(msgspec.Struct, frozen=True):
    """`known_at`, when the image was first heard of, stands in for an unknown `pushed_at` in `unscanned.after_minutes`.

    `listed`: there has been a complete listing of its findings; without one it is PENDING whatever `findings` holds.
    `children`: of an INDEX, how its children that are images stand (PENDING for one not known yet); of a public image,
    how the private images stand that it is published from. `copied`: of a public image whose origin is not known, the
    private image with whose findings it is judged.
    `signed` None: not looked up. `held`: our own quarantine is what keeps it from being scanned. `unreadable`: as in
    `Manifest`.
    """

    ref: ImageRef
    tags: tuple[str, ...] = ()
    kind: Kind = Kind.IMAGE
    pushed_at: datetime | None = None
    known_at: datetime | None = None
    architecture: str | None = None
    platform: str | None = None
    scan: Scan = Scan()
    listed: bool = False
    in_use: InUse = InUse()
    signed: bool | None = None
    children: tuple[VerdictSummary, ...] = ()
    held: bool = False
    unreadable: str | None = None
    copied: ImageRef | None = None


STORED_OF_IMAGE = frozenset(
    {
        *("ref.registry", "ref.region", "ref.repository", "ref.digest"),
        *("tags", "kind", "pushed_at", "known_at", "architecture", "platform", "signed"),
        *("scan.state", "scan.reason", "scan.source", "scan.scanned_at"),
        *("in_use.state", "in_use.count", "in_use.last_at", "in_use.seen_at"),
    }
)
"""What a header gives back, with the part of a field that is compared. `children` are other images'."""
