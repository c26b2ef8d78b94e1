"""How the copy of one image stands at one destination, by what both registries list and ECR reports. Pure.

A copy must be what the source is: digest, tags, and of an index its children. Only the destination's own listing proves
that it is there; ECR's report explains why it is not. Sources: Amazon ECR user guide (private image replication),
DescribeImageReplicationStatus, DescribeImages.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.images.image import ImageDetail, ImageRef, Repository, StorageStatus
from chalicelib.domain.images.text import Globs
from chalicelib.domain.replication.replica import Note, Replica, ReplicaStatus
from chalicelib.domain.replication.rules import Destination, DestinationAccess


class Mutability(msgspec.Struct, frozen=True):
    """Whether a repository's tags may be moved, and the globs of the exceptions."""

    word: str = "MUTABLE"
    exceptions: tuple[str, ...] = ()

    def fixes(self, tag: str) -> bool:
        """Whether `tag` cannot be moved."""
        return self.word.startswith("IMMUTABLE") is not Globs(self.exceptions).match(tag)


class Reported(msgspec.Struct, frozen=True):
    """A row of DescribeImageReplicationStatus: IN_PROGRESS, COMPLETE or FAILED."""

    status: str
    failure_code: str | None = None


Reports = Mapping[Destination, Reported]


class Listed(msgspec.Struct, frozen=True):
    """What a registry has of one repository, or of the images asked for, by digest. `at`: AWS's time. `after`: of a
    page, what gets the next one; None: it was the last."""

    images: Mapping[str, ImageDetail]
    at: datetime
    after: str | None = None


class Copies(msgspec.Struct, frozen=True):
    """What a destination has of one repository, by digest. `unread`: why it cannot be read; then `images` says nothing.
    `down`: AWS does not answer for now, and what was found before stands. `mutability` None: unknown."""

    home: Repository
    images: Mapping[str, ImageDetail] = {}
    unread: str | None = None
    mutability: Mutability | None = None
    down: bool = False

    def holder(self, tag: str) -> str | None:
        """The digest that has the tag."""
        return next((digest for digest, image in self.images.items() if tag in image.tags), None)


class ReplicaCase(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one image and one destination. `source` None: the source has it no more. `reports` None: ECR was
    not asked, or did not say. `children` of an index and `referrers`: digests that the source has. `changed_at`: when
    image or tags last changed; None: unknown. `former`: as it was found last. `tagged` False: tags are not compared.
    `source_tags`: of all images of the source; None: not all are known."""

    ref: ImageRef
    sight: DestinationAccess
    source: ImageDetail | None
    copies: Copies
    now: datetime
    within: timedelta
    reports: Reports | None = None
    children: tuple[str, ...] = ()
    referrers: tuple[str, ...] = ()
    changed_at: datetime | None = None
    former: Replica | None = None
    tagged: bool = True
    source_tags: Collection[str] | None = None

    @property
    def copy(self) -> ImageDetail | None:
        return self.copies.images.get(self.ref.digest)

    @property
    def reported(self) -> Reported | None:
        return (self.reports or {}).get(self.sight.destination)

    @property
    def needs_report(self) -> bool:
        """Whether ECR's report would help: the copy is not there, and the reason is unknown."""
        if self.source is None or self.sight.gone_at is not None:
            return False
        return self.copies.unread is not None or self.copy is None

    @property
    def stands(self) -> bool:
        """Whether the former result needs no new report: nothing has changed since."""
        former, source = self.former, self.source
        if former is None or source is None or self.changed_at is not None:
            return False
        if {Note.NO_RULE, Note.UNREPORTED} & {*former.notes}:
            return False
        if source.activated_at is not None and source.activated_at > former.at:
            return False
        if self.copies.unread is not None:
            return former.status in (ReplicaStatus.UNREADABLE, ReplicaStatus.FAILED, ReplicaStatus.NOT_CONFIGURED)
        archived = source.storage is not StorageStatus.ACTIVE
        same = archived is (Note.SOURCE_ARCHIVED in former.notes)
        settled = former.status in (ReplicaStatus.MISSING, ReplicaStatus.FAILED, ReplicaStatus.NOT_CONFIGURED)
        return same and settled and Note.CHILDREN not in former.notes


def judge(case: ReplicaCase) -> Replica:
    """How the copy stands, without verdict and scan."""
    if case.sight.gone_at is not None:
        return _replica(case, ReplicaStatus.NOT_CONFIGURED, Note.NO_RULE, *_kept_away(case))
    if case.copies.unread is not None:
        return _by_report(case)
    if case.source is None:
        return _left_over(case)
    return _absent(case, case.source) if case.copy is None else _compared(case, case.source, case.copy)


def _by_report(case: ReplicaCase) -> Replica:
    """By ECR's report alone, where the destination cannot be read: a failure is believed, a success is not."""
    reported = case.reported
    if reported is not None and reported.status == "FAILED":
        return _replica(case, ReplicaStatus.FAILED, code=reported.failure_code)
    if reported is not None and reported.status == "IN_PROGRESS":
        return _on_its_way(case)
    if reported is not None or case.source is None:
        return _replica(case, ReplicaStatus.UNREADABLE)
    if case.reports is None:
        return _replica(case, ReplicaStatus.UNREADABLE, Note.UNREPORTED)
    if _is_older(case, case.source):
        return _replica(case, ReplicaStatus.NOT_CONFIGURED, Note.OLDER_THAN_RULE)
    if _is_fresh(case, _begun(case.source)):
        return _replica(case, ReplicaStatus.IN_PROGRESS)
    return _replica(case, ReplicaStatus.UNREADABLE, Note.NEVER_TAKEN_UP)


def _absent(case: ReplicaCase, source: ImageDetail) -> Replica:
    reported = case.reported
    if reported is not None and reported.status == "FAILED":
        return _replica(case, ReplicaStatus.FAILED, code=reported.failure_code)
    if reported is not None and reported.status == "IN_PROGRESS":
        return _on_its_way(case)
    if reported is None and case.reports is not None and _is_older(case, source):
        return _replica(case, ReplicaStatus.NOT_CONFIGURED, Note.OLDER_THAN_RULE)
    if source.storage is not StorageStatus.ACTIVE:
        return _replica(case, ReplicaStatus.MISSING, Note.SOURCE_ARCHIVED)
    if _is_fresh(case, _begun(source)):
        return _replica(case, ReplicaStatus.IN_PROGRESS)
    if reported is not None:
        return _replica(case, ReplicaStatus.MISSING, Note.EXPIRED)
    return _replica(case, ReplicaStatus.MISSING, Note.UNREPORTED if case.reports is None else Note.NEVER_TAKEN_UP)


def _left_over(case: ReplicaCase) -> Replica:
    former = case.former
    undeleted = _undeleted(case, seen=former is not None and former.status is ReplicaStatus.EXTRA)
    if not undeleted or former is None or former.status is not ReplicaStatus.EXTRA:
        return _replica(case, ReplicaStatus.EXTRA, *undeleted)
    late = Note.LATE in former.notes or case.now >= former.since + case.within
    return _replica(case, ReplicaStatus.EXTRA, *undeleted, *((Note.LATE,) if late else ()))


def _undeleted(case: ReplicaCase, *, seen: bool) -> tuple[Note, ...]:
    """What was deleted at the source between two checks that found a rule that copies deletions must go as well.
    `seen`: it was found deleted before, and the first time decides."""
    former, deletes_at = case.former, case.sight.deletes_at
    if former is None or deletes_at is None or Note.NO_RULE in former.notes:
        return ()
    due = Note.UNDELETED in former.notes if seen else deletes_at < case.now
    return (Note.UNDELETED,) if due else ()


def _untagged(case: ReplicaCase, more: tuple[str, ...]) -> tuple[Note, ...]:
    """A tag that another image of the source has now was moved, and not deleted."""
    moved = more if case.source_tags is None else case.source_tags
    if case.former is None or not more or (case.source_tags is not None and set(more) <= set(moved)):
        return ()
    return _undeleted(case, seen=not set(more) - set(moved) - set(case.former.more_tags))


def _is_older(case: ReplicaCase, source: ImageDetail) -> bool:
    """Pushed and restored before the rule: ECR does not copy it, and has no report of it."""
    newest = _begun(source)
    return newest is None or newest < case.sight.seen_at


def _begun(source: ImageDetail) -> datetime | None:
    """When ECR had reason to copy it last: it was pushed, or restored from the archive."""
    return max((at for at in (source.pushed_at, source.activated_at) if at is not None), default=None)


def _on_its_way(case: ReplicaCase) -> Replica:
    begun = _begun(case.source) if case.source is not None else None
    return _replica(case, ReplicaStatus.IN_PROGRESS, *(() if _is_fresh(case, begun) else (Note.LATE,)))


def _compared(case: ReplicaCase, source: ImageDetail, copy: ImageDetail) -> Replica:
    lacks, more = (_tags(source, copy), _tags(copy, source)) if case.tagged else ((), ())
    children = tuple(d for d in case.children if d not in case.copies.images)
    referrers = tuple(d for d in case.referrers if d not in case.copies.images)
    notes = [*_kept_away(case), *([Note.REFERRERS] if referrers else [])]
    if children:
        waits = _is_fresh(case, _begun(source))
        status = ReplicaStatus.IN_PROGRESS if waits else ReplicaStatus.MISSING
        return _replica(case, status, Note.CHILDREN, *notes, lacking=children)
    holder = next((h for t in lacks if (h := _holder(case, t)) is not None), None)
    if holder is not None:
        return _replica(
            case, ReplicaStatus.TAGS_DIFFER, Note.IMMUTABLE_TAG, *notes, tags=lacks, more=more, holder=holder
        )
    if lacks or more:
        notes += _untagged(case, more)
        if _tags_may_come(case, lacks, notes):
            return _replica(case, ReplicaStatus.IN_PROGRESS, *notes, tags=lacks, more=more, lacking=referrers)
        notes += [Note.EXTRA_TAGS] if more else []
        return _replica(case, ReplicaStatus.TAGS_DIFFER, *notes, tags=lacks, more=more, lacking=referrers)
    return _replica(case, ReplicaStatus.COMPLETE, *notes, lacking=referrers)


def _tags(of: ImageDetail, other: ImageDetail) -> tuple[str, ...]:
    """Those of one that the other lacks."""
    return tuple(sorted(set(of.tags) - set(other.tags)))


def _holder(case: ReplicaCase, tag: str) -> str | None:
    """The other image that has the tag there, immutably."""
    mutability = case.copies.mutability
    return case.copies.holder(tag) if mutability is not None and mutability.fixes(tag) else None


def _tags_may_come(case: ReplicaCase, lacks: Collection[str], notes: Collection[Note]) -> bool:
    """The time at which a tag moved is unknown: a difference counts only when it lasts as long as a copy may take."""
    former = case.former
    if former is None or former.status not in (ReplicaStatus.IN_PROGRESS, ReplicaStatus.TAGS_DIFFER):
        return True
    if former.status is ReplicaStatus.TAGS_DIFFER:
        return bool({*lacks} - {*former.tags}) or Note.UNDELETED in {*notes} - {*former.notes}
    return case.now < former.since + case.within


def _kept_away(case: ReplicaCase) -> tuple[Note, ...]:
    """It is there and cannot be pulled, and the source can."""
    copy, source = case.copy, case.source
    pulled = source is None or source.storage is StorageStatus.ACTIVE
    return (Note.ARCHIVED,) if copy is not None and pulled and copy.storage is not StorageStatus.ACTIVE else ()


def _is_fresh(case: ReplicaCase, pushed_at: datetime | None) -> bool:
    begun = max((at for at in (pushed_at, case.changed_at) if at is not None), default=None)
    return begun is not None and case.now < begun + case.within


def _replica(
    case: ReplicaCase,
    status: ReplicaStatus,
    *notes: Note,
    code: str | None = None,
    tags: tuple[str, ...] = (),
    more: tuple[str, ...] = (),
    holder: str | None = None,
    lacking: tuple[str, ...] = (),
) -> Replica:
    return Replica(
        ref=case.ref,
        destination=case.sight.destination,
        status=status,
        since=case.now,
        at=case.now,
        notes=tuple(sorted(set(notes))),
        failure_code=code,
        tags=tags,
        more_tags=more,
        holder=holder,
        lacking=lacking,
    )
