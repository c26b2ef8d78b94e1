"""The header of one image: what is asked often, and what the write protocol hangs on. Pure.

A header is computed from the findings document, the push facts, policy, waivers and in-use (`conclude`); it is put on
condition of its `version`. What a look changes of it is `observation.py`'s business. Effects are levels: wanted
enforcement follows from the verdict at every write; only alerts are edges, keyed by the verdict's number and carried
over until the consumer that sent them removes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.alert import should_announce
from chalicelib.domain.decision import ImageState, decide
from chalicelib.domain.document import FindingsDocument
from chalicelib.domain.effect import Effect, EffectKind, Enforcement, Stage
from chalicelib.domain.finding import Finding, FindingStatus, Severity
from chalicelib.domain.glob import Globs
from chalicelib.domain.image import Child, ImageRef, InUse, InUseState, Kind, Scan, StorageStatus
from chalicelib.domain.policy import Policy
from chalicelib.domain.sketch import in_sketch, sketch_hash, sketch_of
from chalicelib.domain.verdict import Decision, Verdict
from chalicelib.domain.waiver import Waiver

__all__ = [
    "Effect",
    "EffectKind",
    "Enforcement",
    "Header",
    "Rules",
    "Stage",
    "archive_wanted",
    "conclude",
    "corrected",
    "count_open",
    "in_sketch",
    "is_freed",
    "sketch_hash",
    "sketch_of",
]

KEV_EVERY = timedelta(days=1)


class Rules(msgspec.Struct, frozen=True):
    """Policy and waivers as of their versions."""

    policy: Policy
    waivers: tuple[Waiver, ...] = ()
    policy_version: int = 0
    waivers_version: int = 0

    @property
    def versions(self) -> tuple[int, int]:
        return self.policy_version, self.waivers_version


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """`version` 0: not stored yet. `exists` is decided by `existence_at` alone: the newest push or deletion.

    `known_at`: when we first heard of it. `looked_at`: the newest complete listing, by AWS's clock; None: never, and
    then the decision is PENDING. `scan_seen_at`: the look that gave `scan`. `look_due_at`: a look comes at or after it.
    `revision`: the document it was computed from. `counts`: open findings by severity, in the order of `Severity`.
    `due_at`: what the index holds, at or before the earliest of `decide_at` and the oldest effect in `todo`.
    `announced`: the decision people were last told. `children` of an index; `parents` are the digests of the indexes
    that hold this image. `revived_at`: the first complete look after the image had not been scanned for a while.
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
    looked_at: datetime | None = None
    look_due_at: datetime | None = None
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
    todo: tuple[Effect, ...] = ()
    enforcement: Enforcement | None = None
    enforcement_number: int = 0
    policy_version: int = 0
    waivers_version: int = 0
    revived_at: datetime | None = None

    @property
    def versions(self) -> tuple[int, int]:
        """Of the policy and the waivers it was decided by."""
        return self.policy_version, self.waivers_version

    @property
    def decision(self) -> Decision:
        return self.verdict.decision if self.verdict else Decision.PENDING

    @property
    def worst(self) -> Severity | None:
        """The worst severity that is open; UNKNOWN only when nothing rated is."""
        return next((s for s, n in zip(Severity, self.counts, strict=True) if n), None)

    @property
    def known_counts(self) -> tuple[int, ...] | None:
        """`counts` where they tell how many there are; None: never listed whole, or an index, which has none."""
        return None if self.looked_at is None or self.kind is Kind.INDEX else self.counts

    @property
    def archive(self) -> bool:
        """An archive is begun or done, by us or by anyone: closings prove nothing."""
        ours = self.enforcement is not None and self.enforcement.kind is EffectKind.QUARANTINE
        return ours or self.storage is not StorageStatus.ACTIVE

    def state(self, children: Sequence[Decision] = (), index_tags: Sequence[str] = ()) -> ImageState:
        return ImageState(
            ref=self.ref,
            tags=tuple(dict.fromkeys((*self.tags, *index_tags))),
            kind=self.kind,
            pushed_at=self.pushed_at,
            known_at=self.known_at,
            architecture=self.architecture,
            platform=self.platform,
            scan=self.scan,
            listed=self.looked_at is not None,
            in_use=self.in_use,
            signed=self.signed,
            children=tuple(children),
        )


def archive_wanted(header: Header, policy: Policy) -> bool:
    """Whether an archive is wanted, begun or done. One that waits for the image to stop running is not wanted yet."""
    if header.archive:
        return True
    if header.decision is not Decision.QUARANTINE or not policy.enforcing or policy.quarantine.method != "archive":
        return False
    waits = policy.quarantine.when_running == "alert" and header.in_use.state is not InUseState.NO
    return not waits and not Globs(policy.exempt.repository).match(header.ref.repository)


def is_freed(before: Header, after: Header, policy: Policy) -> bool:
    """No archive is wanted any more: closings that were not believed because of it are to be looked at now.

    `policy` is the one `after` was decided by; what the former one wanted is not known any more.
    """
    if before.decision is not Decision.QUARANTINE or after.kind is not Kind.IMAGE or not after.exists:
        return False
    if archive_wanted(after, policy):
        return False
    return archive_wanted(before, policy) or before.policy_version != after.policy_version


def conclude(
    header: Header,
    document: FindingsDocument,
    rules: Rules,
    now: datetime,
    *,
    children: Sequence[Decision] = (),
    index_tags: Sequence[str] = (),
    quiet: bool = False,
) -> Header:
    """The header as it must be put: counts, sketch, verdict, when to decide again, what is still to be done.

    `children`: the decisions an index takes the worst of. `index_tags`: the tags of the indexes that hold the image, by
    which its users know it. `quiet`: one of many (a first fill, a policy change): the summary announces it.
    """
    header = msgspec.structs.replace(
        header,
        revision=document.revision,
        counts=count_open(document.findings),
        suppressed=sum(f.status is FindingStatus.SUPPRESSED for f in document.findings),
        sketch=sketch_of(document.findings),
        policy_version=rules.policy_version,
        waivers_version=rules.waivers_version,
    )
    if header.kind is Kind.ARTIFACT:
        return corrected(msgspec.structs.replace(header, decide_at=None, verdict=None, todo=()))
    if not header.exists:
        return corrected(msgspec.structs.replace(header, decide_at=None))
    outcome = decide(header.state(children, index_tags), document.findings, rules.policy, rules.waivers, now)
    decide_at = outcome.decide_at
    if rules.policy.asks_kev and any(f.open and rules.policy.asks(f) for f in document.findings):
        decide_at = min(decide_at or now + KEV_EVERY, _next_refresh(header.decide_at, now))
    header = msgspec.structs.replace(header, decide_at=decide_at)
    return _due(_announce(header, outcome.verdict.kept(), rules, now, quiet), now)


def _next_refresh(stored: datetime | None, now: datetime) -> datetime:
    """When KEV facts are asked for again: what is planned already stays, or every write would move it."""
    return stored if stored is not None and now < stored <= now + KEV_EVERY else now + KEV_EVERY


def _announce(header: Header, verdict: Verdict, rules: Rules, now: datetime, quiet: bool) -> Header:
    former = header.verdict
    if verdict.same_as(former):
        return header
    verdict = msgspec.structs.replace(
        verdict, number=former.number + 1 if former else 1, policy_version=rules.policy_version, decided_at=now
    )
    announced, todo = header.announced, header.todo
    if should_announce(header.ref, verdict, former, announced, rules.policy.notify):
        if not quiet:
            effect = Effect(EffectKind.ALERT, verdict.number, now, verdict.decision, announced)
            todo = (*todo, effect)
        announced = verdict.decision
    return msgspec.structs.replace(header, verdict=verdict, announced=announced, todo=todo)


def _due(header: Header, now: datetime | None = None) -> Header:
    """Keeps a `due_at` that would only move later: the clock corrects it in time, and an index write is saved.

    One that is past has done its work, or the clock would come again and again.
    """
    kept = header.due_at if header.due_at is not None and now is not None and header.due_at > now else None
    moments = [e.due_at for e in header.todo]
    moments += [at for at in (header.decide_at, kept) if at is not None]
    due = min(moments, default=None)
    return msgspec.structs.replace(header, due_at=due)


def corrected(header: Header) -> Header:
    """The header with `due_at` as it should be: for the clock, which has just come to it."""
    return _due(header)


def count_open(findings: Iterable[Finding]) -> tuple[int, ...]:
    counts = [0] * len(Severity)
    for finding in findings:
        if finding.open:
            counts[finding.severity.digit] += 1
    return tuple(counts)
