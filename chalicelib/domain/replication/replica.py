"""The copy of one image at one destination, and the state of one repository's replication, as they are stored. Pure.

How a copy stands is found in `replica_case.py`; `alert.py` words it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from chalicelib.domain.images.image import ImageRef, ScanState
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.replication.check_progress import Unfinished
from chalicelib.domain.replication.rules import Allowance, Destination, DestinationAccess


class ReplicaStatus(StrEnum):
    """EXTRA: the copy is there, the source is not. NOT_CONFIGURED: no rule in force copies the image there. UNREADABLE:
    the destination cannot be read, and ECR reports no failure."""

    COMPLETE = "COMPLETE"
    IN_PROGRESS = "IN_PROGRESS"
    FAILED = "FAILED"
    MISSING = "MISSING"
    EXTRA = "EXTRA"
    TAGS_DIFFER = "TAGS_DIFFER"
    NOT_CONFIGURED = "NOT_CONFIGURED"
    UNREADABLE = "UNREADABLE"

    @property
    def there(self) -> bool:
        """Whether the destination lists the image with all its parts."""
        return self in (ReplicaStatus.COMPLETE, ReplicaStatus.TAGS_DIFFER, ReplicaStatus.EXTRA)


class Note(StrEnum):
    """What more there is to say of a copy.

    LATE: not there (EXTRA: still there) after the time the policy gives it. OLDER_THAN_RULE: pushed before there
    was a rule: a backfill copies it. NO_RULE: the rule was taken away. IMMUTABLE_TAG: another image has the tag
    there, and keeps it. EXTRA_TAGS: tags that the source has no more. CHILDREN, REFERRERS: some of its own are not
    there. EXPIRED: ECR has copied it, and it is gone since. SOURCE_ARCHIVED: nothing is copied from the archive.
    ARCHIVED: it cannot be pulled there. NOT_SCANNED: no complete scan is known there; NEVER_SCANNED: for
    `stale.after_days`. VERDICT_DIFFERS; PASSES: it can be had there, and not at the source. UNDELETED: what is
    deleted at the source is to be deleted there, and was not: the image (EXTRA), or a tag of it. UNREPORTED: ECR
    would not say how far it got. NEVER_TAKEN_UP: ECR knows nothing of it, although there was a rule: what came here
    by replication itself is not copied on; CAME_FROM: it came from that destination, which needs no copy back.
    NOT_KEPT: the policy expects fewer images there; LIFECYCLE: the lifecycle policy there expires it.
    """

    LATE = "late"
    OLDER_THAN_RULE = "older-than-rule"
    NO_RULE = "no-rule"
    IMMUTABLE_TAG = "immutable-tag"
    EXTRA_TAGS = "extra-tags"
    CHILDREN = "children-missing"
    REFERRERS = "referrers-missing"
    EXPIRED = "gone-since"
    SOURCE_ARCHIVED = "source-archived"
    ARCHIVED = "archived"
    NOT_SCANNED = "not-scanned"
    VERDICT_DIFFERS = "verdict-differs"
    PASSES = "passes"
    UNREPORTED = "unreported"
    NEVER_TAKEN_UP = "never-taken-up"
    UNDELETED = "not-deleted"
    NEVER_SCANNED = "never-scanned"
    CAME_FROM = "came-from-there"
    NOT_KEPT = "not-kept"
    LIFECYCLE = "lifecycle"


_NOT_OWED = frozenset({Note.OLDER_THAN_RULE, Note.CAME_FROM, Note.NOT_KEPT, Note.LIFECYCLE})
"""What is not there, and replication does not bring."""


class Cause(StrEnum):
    """What keeps many copies away at once: it is told by destination, and not by copy."""

    POLICY = "POLICY"
    LIFECYCLE = "LIFECYCLE"


class Replica(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The copy of the image `ref` (the source's) at a destination. `since`: first found so; `at`: of the listing.

    `tags`: those it lacks; of IMMUTABLE_TAG `holder` is the image that has the first of them. `more_tags`: those it
    has too many. `lacking`: digests of children or referrers that are not there. `scan` and `decision` are those of
    the copy, None: not known. `allowance`: of FAILED, what the registry policy there allows, None: it cannot be told.
    `announced`: the alarm that was announced last. `withheld`: why the copy of a quarantined image is not quarantined
    yet; empty: it is, or is not to be.
    """

    ref: ImageRef
    destination: Destination
    status: ReplicaStatus
    since: datetime
    at: datetime
    notes: tuple[Note, ...] = ()
    failure_code: str | None = None
    tags: tuple[str, ...] = ()
    holder: str | None = None
    more_tags: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    scan: ScanState | None = None
    decision: Decision | None = None
    announced: str = msgspec.field(default="", name="told")
    allowance: Allowance | None = None
    withheld: str = ""

    @property
    def copy(self) -> ImageRef:
        return self.destination.repository(self.ref.home).image(self.ref.digest)

    @property
    def alarm(self) -> str:
        """What people are told of, once: empty where there is nothing to tell. A verdict that the copy lets through is
        an alarm whatever the status."""
        words = [note.value for note in (Note.ARCHIVED, Note.PASSES, Note.NEVER_SCANNED) if note in self.notes]
        absent = self.status in (ReplicaStatus.FAILED, ReplicaStatus.MISSING)
        lacking = absent and not {Note.SOURCE_ARCHIVED, Note.NOT_KEPT} & {*self.notes}
        unsent = self.status is ReplicaStatus.UNREADABLE and Note.NEVER_TAKEN_UP in self.notes
        untagged = self.status is ReplicaStatus.TAGS_DIFFER and (bool(self.tags) or Note.UNDELETED in self.notes)
        late = self.status in (ReplicaStatus.IN_PROGRESS, ReplicaStatus.EXTRA) and Note.LATE in self.notes
        return " ".join([*([self.status.value] if lacking or unsent or untagged or late else []), *words])

    @property
    def cause(self) -> Cause | None:
        """POLICY: the registry policy of the destination does not let it in. LIFECYCLE: the lifecycle policy of the
        repository there expires it. None: its own."""
        if Note.LIFECYCLE in self.notes:
            return Cause.LIFECYCLE
        if self.status is not ReplicaStatus.FAILED or self.allowance is None:
            return None
        return Cause.POLICY if False in (self.allowance.replicate, self.allowance.create) else None

    @property
    def is_owed(self) -> bool:
        """Whether replication still has to bring it, or all of it: a person may have what is older than the rule copied
        by a backfill."""
        return not self.status.there and not _NOT_OWED & {*self.notes}

    @property
    def settled(self) -> bool:
        """Nothing about it is outstanding."""
        return self.status is ReplicaStatus.COMPLETE and Note.NOT_SCANNED not in self.notes

    def like(self, former: Replica | None) -> bool:
        """Whether it is the same but for its times and delivery."""
        return former is not None and _bare(self) == _bare(former)

    def after(self, former: Replica | None) -> Replica:
        """With what stays of the former one."""
        if former is None:
            return self
        same = (self.status, self.notes) == (former.status, former.notes)
        announced = former.announced if former.announced == self.alarm else ""
        return msgspec.structs.replace(self, since=former.since if same else self.since, announced=announced)


def _bare(replica: Replica) -> Replica:
    return msgspec.structs.replace(replica, since=_NEVER, at=_NEVER, announced="")


_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def with_notes(replica: Replica, *notes: Note) -> Replica:
    return msgspec.structs.replace(replica, notes=tuple(sorted({*replica.notes, *notes})))


def without_note(replica: Replica, note: Note) -> Replica:
    return msgspec.structs.replace(replica, notes=tuple(n for n in replica.notes if n is not note))


class ReplicationState(msgspec.Struct, frozen=True):
    """`sights`: its destinations, also those that no rule names any more. `refreshed_at`: when all its images were
    last looked at, None: never. `announced`: the paths of destinations that cannot be looked at, each with the day
    on which people were told. `unfinished`: what the last sweep has left; None: nothing."""

    sights: tuple[DestinationAccess, ...] = ()
    refreshed_at: datetime | None = None
    announced: tuple[str, ...] = msgspec.field(default=(), name="told")
    unfinished: Unfinished | None = None


def counted(replicas: Iterable[Replica]) -> Mapping[str, int]:
    """How many copies have each status and each note, in alphabetical order."""
    found: dict[str, int] = {}
    for replica in replicas:
        for word in (replica.status.value, *(note.value for note in replica.notes)):
            found[word] = found.get(word, 0) + 1
    return dict(sorted(found.items()))


def is_missing(state: ReplicationState | None, replicas: Iterable[Replica], digest: str) -> bool | None:
    """Whether a copy that a rule demands is not proven, so that the source must be kept. None: never checked to the
    end, so that not even the destinations need be known."""
    if state is None or state.refreshed_at is None:
        return None
    places = {sight.destination for sight in state.sights if sight.gone_at is None}
    proven = {r.destination for r in replicas if r.ref.digest == digest and not r.is_owed}
    return bool(places - proven)
