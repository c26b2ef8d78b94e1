"""The header of one image: what is asked often about it, what the write protocol depends on, its sketch and its line.

A header is put on condition of its `version`. `domain/assessment` computes what a refresh changes of it,
`domain/enforcement` what is to be done to the image. The sketch says in two bytes each which vulnerabilities an image
may have, related ids (GHSA, RHSA, ALAS) included. A line is the images of one repository whose tags have one form,
ordered by push: the semantic versions of one major version, and all other tags together with untagged images.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import msgspec

from chalicelib.domain.headers.pending_action import (
    ActionType,
    Enforcement,
    Hold,
    Holding,
    Order,
    PendingAct,
    PendingAction,
    PendingAlert,
    PendingNotice,
    Stage,
)
from chalicelib.domain.headers.twin import Twin
from chalicelib.domain.images.finding import Finding, FindingStatus, Severity
from chalicelib.domain.images.image import Child, ImageRef, InUse, InUseState, Kind, Scan, ScanState, StorageStatus
from chalicelib.domain.images.verdict import Decision, ImageState, Reason, Verdict, VerdictSummary
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.section import Publication
from chalicelib.domain.policy.waiver import Waiver


def sketch_of(findings: Iterable[Finding]) -> bytes:
    """Sorted 2-byte hashes of the vulnerability ids (related ids included) that are not resolved."""
    ids = {i for f in findings if f.status is not FindingStatus.RESOLVED for i in (f.vulnerability_id, *f.related_ids)}
    return b"".join(sorted({sketch_hash(i) for i in ids}))


def sketch_hash(vulnerability_id: str) -> bytes:
    return hashlib.blake2b(vulnerability_id.encode(), digest_size=2).digest()


def in_sketch(sketch: bytes, vulnerability_id: str) -> bool:
    """Whether the image may have the vulnerability: a wrong yes happens (0.3 % at 200 findings), a wrong no never."""
    wanted = sketch_hash(vulnerability_id)
    return any(sketch[i : i + 2] == wanted for i in range(0, len(sketch), 2))


class Rules(msgspec.Struct, frozen=True):
    """Policy and waivers as of their versions. `account`: ours, that the public registry belongs to."""

    policy: Policy
    waivers: tuple[Waiver, ...] = ()
    policy_version: int = 0
    waivers_version: int = 0
    account: str = ""

    @property
    def versions(self) -> tuple[int, int]:
        return self.policy_version, self.waivers_version

    def publication_of(self, public: str) -> Publication:
        """From where the public repository of this name is published."""
        return self.policy.publication_of(public, self.account)


LAPSED_FOR = timedelta(days=1)
"""A refusal that comes back within it goes on."""
YES_STANDS_FOR, YES_STANDS_UNANSWERED_FOR = timedelta(days=1), timedelta(days=7)
"""How old the last look that was answered may be; the longer where later ones were not answered."""


class Door(msgspec.Struct, frozen=True):
    """Since when the door of a cluster would refuse an image by verdict, mode and exemptions together, whatever a
    person ordered (`refused_at`), and since when it would not any more (`lapsed_at`). `opened`: it was ALLOW or WARN
    before; `scanned`: it was scanned completely once. `look_at`: when to ask again whether the digest itself runs;
    `asked_at`: the last look, `answered_at`: the last that was answered, and `runs` its answer. Whole seconds."""

    refused_at: datetime | None = None
    opened: bool = False
    scanned: bool = False
    lapsed_at: datetime | None = None
    look_at: datetime | None = None
    asked_at: datetime | None = None
    answered_at: datetime | None = None
    runs: bool = False

    def goes_on(self, now: datetime) -> bool:
        """Whether a refusal of now is the one of `refused_at`."""
        return self.refused_at is not None and (self.lapsed_at is None or now - self.lapsed_at < LAPSED_FOR)

    def has_grace(self, decision: Decision) -> bool:
        """Whether what runs may go on at all: what no scan has ever completed for is refused, unless it is only PENDING
        again."""
        return self.scanned or (self.opened and decision is Decision.PENDING)

    def is_running(self, now: datetime) -> bool:
        """What could not be asked is no YES, and ends one only after a week."""
        if not self.runs or self.answered_at is None:
            return False
        unanswered = self.asked_at is not None and self.asked_at > self.answered_at
        return now - self.answered_at <= (YES_STANDS_UNANSWERED_FOR if unanswered else YES_STANDS_FOR)

    def seen(self, use: InUse, at: datetime | None = None) -> Door:
        """With what a look has found. `at`: when it was made, where its answer does not say."""
        at = at or use.seen_at
        if at is None or (self.asked_at is not None and at < self.asked_at):
            return self
        at = at.replace(microsecond=0)
        if use.state is InUseState.UNKNOWN:
            return msgspec.structs.replace(self, asked_at=at)
        runs = use.state is InUseState.YES
        return msgspec.structs.replace(self, asked_at=at, answered_at=at, runs=runs)


TAGS_LEFT = 100
OUTGROWN = "its tags and indexes are more than its record in the table can hold"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """`version` 0: not stored yet. `exists` is decided by `existence_at` alone: the newest push or deletion.

    `known_at`: when we first heard of it. `refreshed_at`: the newest complete listing, by AWS's clock; None: never, and
    then the decision is PENDING, later what the policy's `unscanned` says. `scan_seen_at`: the look that gave `scan`.
    `refresh_due_at`: a look comes at or after it. `revision`: the document it was computed from. `counts`: open
    findings by severity, in the order of `Severity`.
    `due_at`: what the index holds, at or before the earliest of `decide_at` and the oldest effect in `pending`.
    `announced`: the decision people were last told. `children` of an index; `parents` are the digests of the indexes
    that hold this image. `revived_at`: the first complete look after the image had not been scanned for a while.
    `architecture`: from a finding of Inspector's or the index that holds the image; None elsewhere, also for clean
    images. `platform`: the operating system by Inspector (`DEBIAN_12`), not a child's `os/architecture`.
    `hold`: our quarantine, begun or in force; `held_until`: when the last one ended; `denied`: in the set of digests
    for which its repository denies pulls;
    `order`: a person's word that stands. `pulled_at`: the last pull, as far as it was asked for. `queued`: acts that
    are wanted too, and let the one in `pending` go first. `twins`: where else the digest lies, as paths: of a public
    image in private repositories, of a private one in public ones. `heard`: what a public image knows of those, in
    their order; one that is lacking was not looked at yet. `kind_read`: `kind` is what the manifest says, else
    the media type alone; `unreadable`: `Manifest.unreadable`. `closing_at`: when its verdict first closed the doors,
    whatever it says by now; `door`: how the door of a cluster stands to it, once it had to refuse it. `retired_at`: its
    registry is not watched since then, so that it does not exist for us. `newer`: fields of a later version, which
    wrote the header while both were at work; they are put back as they came.
    """

    ref: ImageRef
    version: int = 0
    kind: Kind = Kind.IMAGE
    exists: bool = False
    existence_at: datetime | None = None
    known_at: datetime | None = None
    tags: tuple[str, ...] = ()
    pushed_at: datetime | None = None
    size_bytes: int | None = None
    media_type: str | None = None
    artifact_media_type: str | None = None
    subject: str | None = None
    architecture: str | None = None
    platform: str | None = None
    children: tuple[Child, ...] = ()
    parents: tuple[str, ...] = ()
    storage: StorageStatus = StorageStatus.ACTIVE
    activated_at: datetime | None = None
    scan: Scan = Scan()
    scan_seen_at: datetime | None = None
    refreshed_at: datetime | None = None
    refresh_due_at: datetime | None = None
    revision: int = 0
    counts: tuple[int, ...] = (0, 0, 0, 0, 0, 0)
    suppressed: int = 0
    sketch: bytes = b""
    in_use: InUse = InUse()
    signed: bool | None = None
    verdict: Verdict | None = None
    announced: Decision | None = None
    decide_at: datetime | None = None
    due_at: datetime | None = None
    pending: tuple[PendingAction, ...] = ()
    enforcement: Enforcement | None = None
    enforcement_number: int = 0
    policy_version: int = 0
    waivers_version: int = 0
    revived_at: datetime | None = None
    hold: Hold | None = None
    denied: bool = False
    order: Order | None = None
    pulled_at: datetime | None = None
    queued: tuple[PendingAct, ...] = ()
    twins: tuple[str, ...] = ()
    kind_read: bool = False
    unreadable: str | None = None
    closing_at: datetime | None = None
    door: Door | None = None
    held_until: datetime | None = None
    heard: tuple[Twin, ...] = ()
    retired_at: datetime | None = None
    newer: tuple[object, ...] = ()

    @property
    def versions(self) -> tuple[int, int]:
        """Of the policy and the waivers it was decided by."""
        return self.policy_version, self.waivers_version

    @property
    def members(self) -> tuple[ImageRef, ...]:
        """Whose verdicts it takes: of an index its images; of a public image, which no scanner covers, its twins."""
        if self.ref.home.public:
            return tuple(map(ImageRef.from_path, self.twins))
        children = self.children if self.kind is Kind.INDEX else ()
        return tuple(self.ref.home.image(child.digest) for child in children)

    def outgrown(self) -> Header:
        """What DynamoDB takes of a header that became too large for an item. Its verdict is not known."""
        return msgspec.structs.replace(
            self,
            tags=self.tags[:TAGS_LEFT],
            children=(),
            parents=(),
            twins=(),
            heard=(),
            unreadable=OUTGROWN,
            verdict=None,
        )

    @property
    def present(self) -> bool:
        """Whether it is still decided about: it exists, or its repository still denies pulls because of it."""
        return self.exists or self.denied

    @property
    def is_retired(self) -> bool:
        """Whether its registry is retired, and no push was heard since it is watched again."""
        return self.retired_at is not None and not self.exists

    def readable(self, scan: Scan) -> Scan:
        """What a scan of the image is worth: a complete one of layers that no scanner reads has found nothing."""
        if self.unreadable is None or scan.state is not ScanState.COMPLETE:
            return scan
        return msgspec.structs.replace(scan, state=ScanState.UNSUPPORTED, reason=self.unreadable)

    @property
    def counts_in_index(self) -> bool:
        """Whether an index that holds it is judged by it: an artifact with layers of an image may be run by a runtime
        that goes by its layers. It has no verdict: such an index is PENDING."""
        return self.kind is not Kind.ARTIFACT or self.unreadable is not None

    @property
    def ordered(self) -> Order | None:
        """The order by which it is quarantined, whatever its verdict is."""
        return self.order if self.order is not None and self.order.kind is ActionType.QUARANTINE else None

    @property
    def commanded(self) -> Order | None:
        """The same, where a person gave it, about the image or about one that it is a copy of."""
        return self.ordered if self.ordered is not None and self.ordered.personal else None

    @property
    def etag(self) -> str:
        """Of what an order goes by: which image it is, the effective decision, the order that stands, and what was done
        in the registry. A scan that leaves the decision as it is leaves the tag as it is."""
        order, done = self.order, self.enforcement
        ordered = "none" if order is None else f"{order.kind}-{round(order.at.timestamp() * 1_000_000)}"
        acted = "none" if done is None else f"{done.kind}-{done.number}-{done.stage}"
        marks = {"denied": self.denied, "archived": self.storage is StorageStatus.ARCHIVED}
        digest = self.ref.digest.partition(":")[2][:12]
        return ".".join((digest, self.decision, ordered, acted, *(mark for mark, is_so in marks.items() if is_so)))

    @property
    def braked(self) -> PendingAct | None:
        """The act that gives the image back and that no person has ordered, while it waits for the brake or has not
        asked it yet: until then its doors are closed as before."""
        if self.order is not None and self.order.kind is ActionType.RELEASE:
            return None
        waiting = self.acts if self.begun is None else self.queued
        given_back = (act for act in waiting if act.kind.gives_back)
        return next((act for act in given_back if act.held is None or act.held.why is Holding.FUSE), None)

    @property
    def judged(self) -> Decision:
        """The stronger of its verdict and the order that stands: by it is decided what is to be done. A release opens
        no door of its own: its verdict stays what it is."""
        if self.ordered is not None and self.kind is not Kind.ARTIFACT:
            return Decision.QUARANTINE
        return self.verdict.decision if self.verdict else Decision.PENDING

    @property
    def decision(self) -> Decision:
        """By which every door goes: the one judged, and QUARANTINE as long as the brake has not let it out."""
        if self.braked is not None and self.kind is not Kind.ARTIFACT:
            return Decision.QUARANTINE
        return self.judged

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Of its decision, strongest first."""
        found = self.verdict.reasons if self.verdict is not None else ()
        if self.kind is Kind.ARTIFACT:
            return found
        if self.ordered is not None:
            return Reason("order", Decision.QUARANTINE, f"{self.ordered.actor}: {self.ordered.reason}"), *found
        if self.braked is not None:
            waits = "its release waits for the brake" if self.braked.held is not None else "it is about to be released"
            return Reason("release", Decision.QUARANTINE, waits), *found
        return found

    @property
    def standing(self) -> VerdictSummary:
        """As its indexes take it. How bad it is tells them something where its doors are closed: who lets people pull
        an index all the same must be asked again when that gets worse."""
        if self.verdict is None or not self.verdict.decision.closes_doors:
            return VerdictSummary(self.decision)
        return msgspec.structs.replace(self.verdict.standing, decision=self.decision)

    @property
    def as_twin(self) -> Twin:
        """As a public image of its digest keeps it. A release of a former version without an end counts for nothing."""
        verdict, stands = self.verdict, self.standing
        excused = () if verdict is None else tuple(r for r in verdict.reasons if r.waived)
        decided = () if verdict is None else (verdict.decided_at,)
        listed = self.scan.state is ScanState.COMPLETE if self.kind is Kind.INDEX else self.refreshed_at is not None
        return Twin(
            self.ref.path,
            stands.decision,
            stands.critical,
            stands.kev,
            present=self.present and self.counts_in_index,
            judged_at=max((*decided, *(() if self.refreshed_at is None else (self.refreshed_at,))))
            if decided
            else None,
            excused=tuple(msgspec.structs.replace(r, detail="", vulnerability_ids=()) for r in excused),
            released_until=None if self.order is None or not self.is_released else self.order.until,
            lends=self.exists and self.counts_in_index and listed,
            scan=self.scan,
            revision=self.revision,
            ended=self.left_to_summary.ended if self.left_to_summary is not None else None,
            counts=self.counts,
        )

    @property
    def is_released(self) -> bool:
        """By a person's order, whatever its verdict is."""
        return self.order is not None and self.order.kind is ActionType.RELEASE

    @property
    def is_released_at_origin(self) -> bool:
        """Whether a person has released all of it, where it is published from, that closes its doors. Its own order
        goes first."""
        closing = [r for r in self.reasons if r.decision.closes_doors]
        return self.ref.home.public and self.order is None and bool(closing) and all(r.released for r in closing)

    @property
    def worst(self) -> Severity | None:
        """The worst severity that is open; UNKNOWN only when nothing rated is."""
        return next((s for s, n in zip(Severity, self.counts, strict=True) if n), None)

    @property
    def known_counts(self) -> tuple[int, ...] | None:
        """`counts` where they tell how many there are; None: never listed whole, or an index, which has none."""
        return None if self.refreshed_at is None or self.kind is Kind.INDEX else self.counts

    @property
    def archive(self) -> bool:
        """An archive is begun or done, by us or by anyone: closings prove nothing."""
        ours = self.begun is ActionType.QUARANTINE or self.hold is not None
        return ours or self.storage is not StorageStatus.ACTIVE

    @property
    def taken_away(self) -> bool:
        """An act has made it impossible to pull, or is at it."""
        denying = self.denied or self.begun in (ActionType.QUARANTINE, ActionType.BLOCK)
        return denying or self.hold is not None or self.storage is not StorageStatus.ACTIVE

    @property
    def begun(self) -> ActionType | None:
        """The kind of the act that a worker has begun and not recorded yet."""
        return self.enforcement.kind if self.enforcement and self.enforcement.stage is Stage.BEGUN else None

    @property
    def act(self) -> PendingAct | None:
        """The act that is to be done next; there is one at a time."""
        return next((e for e in self.pending if isinstance(e, PendingAct)), None)

    @property
    def notices(self) -> tuple[PendingNotice, ...]:
        """The alerts and reports that are still to be announced."""
        return tuple(e for e in self.pending if not isinstance(e, PendingAct))

    @property
    def left_to_summary(self) -> PendingAlert | None:
        """The alert that the summary of a waiver's end is to announce; there is one at most."""
        return next((e for e in self.pending if isinstance(e, PendingAlert) and e.left_to_summary), None)

    @property
    def acts(self) -> tuple[PendingAct, ...]:
        """All that are still to be done, the next one first."""
        return (*(() if self.act is None else (self.act,)), *self.queued)

    @property
    def was_scanned(self) -> bool:
        """Whether a scan has ever completed; of an index, of all its images now. A public image takes the verdict of
        one that is scanned."""
        if self.kind is Kind.INDEX:
            return self.scan.state is ScanState.COMPLETE
        if self.ref.home.public:
            return self.verdict is not None and self.verdict.decision.closes_doors
        return self.refreshed_at is not None

    def is_refused(self, policy: Policy) -> bool:
        """Whether verdict, mode and exemptions make the door of a cluster refuse it. An order to quarantine it does not
        count, and a release opens that door."""
        released = self.is_released or self.is_released_at_origin
        passes = self.verdict is not None and self.verdict.decision in (Decision.ALLOW, Decision.WARN)
        return not passes and not released and policy.may_take_from(self.ref.repository)

    def state(self, children: Sequence[VerdictSummary] = (), indexes: Sequence[Header] = ()) -> ImageState:
        return ImageState(
            ref=self.ref,
            tags=tuple(dict.fromkeys(tag for one in (self, *indexes) for tag in one.tags)),
            kind=self.kind,
            pushed_at=self.pushed_at,
            known_at=self.known_at,
            architecture=self.architecture,
            platform=self.platform,
            scan=self.scan,
            listed=self.refreshed_at is not None,
            in_use=self.in_use,
            signed=_is_signed((self, *indexes)),
            children=tuple(children),
            unreadable=self.unreadable,
            held=self.hold is not None,
        )


def _is_signed(headers: Sequence[Header]) -> bool | None:
    """Of an image and the indexes that hold it. Tools sign the index alone."""
    known = [header.signed for header in headers if header is headers[0] or header.exists]
    return True if True in known else None if None in known else False


_SEMANTIC = re.compile(r"v?(\d{1,9})\.\d+(?:\.\d+)?(?:[-+.].*)?")


def line_name(tags: Iterable[str]) -> str:
    """`v1` for the semantic versions 1.x, `*` for everything else. An image with both forms is of its semantic line."""
    majors = sorted(int(m[1]) for tag in tags if (m := _SEMANTIC.fullmatch(tag)))
    return f"v{majors[-1]}" if majors else "*"


def neighbours(header: Header, repository: Iterable[Header]) -> tuple[Header | None, Header | None]:
    """The next older and the next newer image of the header's line, by push; None where there is none."""
    if header.pushed_at is None:
        return None, None
    line, mine = line_name(header.tags), (header.pushed_at, header.ref.digest)
    elder = younger = None
    for other in repository:
        if other.kind is not Kind.IMAGE or not other.exists or other.pushed_at is None or other.ref == header.ref:
            continue
        if other.platform != header.platform or line_name(other.tags) != line:
            continue
        theirs = (other.pushed_at, other.ref.digest)
        if theirs < mine and (elder is None or theirs > _order(elder)):
            elder = other
        if theirs > mine and (younger is None or theirs < _order(younger)):
            younger = other
    return elder, younger


def _order(header: Header) -> tuple[object, str]:
    return header.pushed_at, header.ref.digest


class _Scanned(Protocol):
    @property
    def scan(self) -> Scan: ...


Scanned = TypeVar("Scanned", bound=_Scanned)


def weakest(images: Iterable[Scanned]) -> Scanned | None:
    """One whose scan is not COMPLETE, else the one scanned longest ago: as an index is scanned, by its images."""

    def rank(image: Scanned) -> tuple[bool, float]:
        scan = image.scan
        return scan.state is ScanState.COMPLETE, 0.0 if scan.scanned_at is None else scan.scanned_at.timestamp()

    return min(images, key=rank, default=None)
