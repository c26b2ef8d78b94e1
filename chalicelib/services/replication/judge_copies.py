"""Judge the copies of a repository's images by the listings of both ends; ask AWS only what these leave open.

ECR's report is read where a copy is missing for an unknown reason, a scan where none is known to have ended: calls grow
with what is wrong, not with images.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageDetail, ImageRef, Repository, ScanState, StorageStatus
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.replication.replica import Note, Replica, ReplicaStatus, with_notes, without_note
from chalicelib.domain.replication.replica_case import Copies, ReplicaCase, Reports, judge
from chalicelib.domain.replication.replica_verdict import is_scannable, weighed
from chalicelib.domain.replication.rules import Allowance, Destination, DestinationAccess, allowance
from chalicelib.domain.retention.kept_copies import expected_copies, expired_there, not_kept
from chalicelib.errors import AbsentError, TransientError, UpstreamError
from chalicelib.services.ports.answers import answered
from chalicelib.services.ports.context import Context

REPORTS_AT_MOST = 1_000
SCANS_AT_MOST = 200
"""Calls of one message, which has its time besides."""
TURNS = 24
"""One in so many is asked about each hour: of copies without a scan, and of failed ones that cannot be read."""


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """Both ends as they were listed. `at`: when the source was, which is last. `changed_at`: of a check of one image:
    when it changed. `deleted`: it is gone."""

    home: Repository
    source: Mapping[str, ImageDetail]
    at: datetime
    sights: Sequence[DestinationAccess]
    copies: Mapping[Destination, Copies]
    changed_at: datetime | None = None
    deleted: bool = False

    @property
    def digests(self) -> set[str]:
        return {*self.source, *(digest for copies in self.copies.values() for digest in copies.images)}


class StoredImages(msgspec.Struct, frozen=True):
    """What the table has of some images. `here`, `there`: headers by digest. `known`: what was found of copies."""

    here: Mapping[str, Header]
    there: Mapping[Destination, Mapping[str, Header]]
    known: Mapping[tuple[str, Destination], Replica]


def judge_copies(digest: str, stored: StoredImages, judging: Judging) -> list[Replica]:
    """Those of one image; none where the source has deleted it meanwhile. Raises TransientError."""
    judging.stored = stored
    return judging.copies_of(digest)


class Judging:
    """One run: `copies` gain what is read later, and calls are counted. `stored`: of the images whose turn it is."""

    def __init__(self, ends: Ends, policy: Policy, context: Context) -> None:
        self.ends, self.policy, self.context = ends, policy, context
        self.within = timedelta(minutes=policy.replication.within_minutes)
        self.copies = dict(ends.copies)
        self.referrers: dict[str, tuple[str, ...]] = {}
        self.reports = self.scans = 0
        self.allowances: dict[Destination, Allowance | None] = {}
        self.sent_here: dict[Destination, frozenset[str]] = {}
        self.not_kept: dict[Destination, Collection[str]] = {}
        self.expired: dict[Destination, Collection[str]] = {}
        self.stored = StoredImages({}, {}, {})
        self.relatives: Mapping[str, Header] | None = None
        # A check of one image does not know the tags of the others.
        tags = {tag for image in ends.source.values() for tag in image.tags}
        self.source_tags = tags if ends.changed_at is None else None
        for image in ends.source.values():
            if image.subject_digest is not None:
                former = self.referrers.get(image.subject_digest, ())
                self.referrers[image.subject_digest] = (*former, image.ref.digest)

    @property
    def has_asked_enough(self) -> bool:
        return self.reports >= REPORTS_AT_MOST

    def copies_of(self, digest: str) -> list[Replica]:
        ref, found, asked = self.ends.home.image(digest), list[Replica](), _Asked()
        for sight in self.ends.sights:
            case = self._case(ref, sight)
            if case.copies.down:
                continue
            if (
                case.copy is None
                and (case.former is None or case.copies.unread is None)
                and (case.source is None or sight.gone_at is not None)
            ):
                continue
            if case.needs_report and case.stands and case.former is not None and not _is_asked_again(case.former, case):
                found.append(self._weighed(case.former, case))
                continue
            if case.needs_report:
                if not asked.done:
                    asked = self._asked(ref)
                if asked.gone:
                    return []
                case = self._reported(case, asked.reports)
            found.append(self._weighed(self._judged(case), case))
        return found

    def _case(self, ref: ImageRef, sight: DestinationAccess) -> ReplicaCase:
        header = self.stored.here.get(ref.digest)
        return ReplicaCase(
            ref=ref,
            sight=sight,
            source=self.ends.source.get(ref.digest),
            copies=self.copies[sight.destination],
            now=self.ends.at,
            within=self.within,
            children=tuple(child.digest for child in header.children) if header is not None else (),
            referrers=self.referrers.get(ref.digest, ()),
            changed_at=self.ends.changed_at,
            former=self.stored.known.get((ref.digest, sight.destination)),
            tagged="tags" in self.policy.replication.check,
            source_tags=self.source_tags,
        )

    def _asked(self, ref: ImageRef) -> _Asked:
        self.reports += 1
        try:
            return _Asked(self.context.replication.reports(ref), done=True)
        except TransientError:
            raise
        except UpstreamError as error:
            return _Asked(done=True, gone=isinstance(error, AbsentError))

    def _reported(self, case: ReplicaCase, reports: Reports | None) -> ReplicaCase:
        """What ECR reports as copied may have arrived after the destination was listed."""
        case = msgspec.structs.replace(case, reports=reports)
        if case.reported is None or case.reported.status != "COMPLETE" or case.copies.unread is not None:
            return case
        arrived = self.context.replication.describe(case.copies.home.image(case.ref.digest)).images
        return self._with_copies(case, images={**case.copies.images, **arrived})

    def _judged(self, case: ReplicaCase) -> Replica:
        """The mutability of tags is read only where one is missing."""
        found = judge(case)
        if not found.tags or case.copies.mutability is not None:
            return found
        mutability = answered(lambda: self.context.replication.mutability(case.copies.home))
        return found if mutability is None else judge(self._with_copies(case, mutability=mutability))

    def _explained(self, found: Replica, case: ReplicaCase) -> Replica:
        """With the reason why the destination does not have what ECR had copied, or never took up."""
        if Note.NEVER_TAKEN_UP in found.notes and self._came_from(case):
            return msgspec.structs.replace(found, status=ReplicaStatus.NOT_CONFIGURED, notes=(Note.CAME_FROM,))
        found = without_note(without_note(found, Note.NOT_KEPT), Note.LIFECYCLE)
        if Note.EXPIRED not in found.notes:
            return found
        why = self._taken_away(case)
        return found if why is None else with_notes(found, why)

    def _came_from(self, case: ReplicaCase) -> bool:
        """Two Regions that replicate both ways: what came from there is not copied back, and is not missed there."""
        home, place = self.ends.home, case.sight.destination
        if place not in self.sent_here:
            there, here = place.repository(home), Destination(home.registry, home.region)
            known = self.context.replicas.of(there)
            self.sent_here[place] = frozenset(digest for digest, sent_to in known if sent_to == here)
        return case.ref.digest in self.sent_here[place]

    def _taken_away(self, case: ReplicaCase) -> Note | None:
        ends, place = self.ends, case.sight.destination
        if ends.changed_at is not None:  # one image alone does not tell which are the newest
            former = case.former.notes if case.former is not None else ()
            return next((note for note in (Note.NOT_KEPT, Note.LIFECYCLE) if note in former), None)
        if place not in self.not_kept:
            entry = expected_copies(place, ends.home.name, self.policy.replication)
            self.not_kept[place] = not_kept(entry, ends.source, self._relatives())
        if case.ref.digest in self.not_kept[place]:
            return Note.NOT_KEPT
        if place not in self.expired:
            settings = answered(lambda: self.context.replication.settings(case.copies.home))
            text = settings.lifecycle if settings is not None else None
            self.expired[place] = expired_there(text, ends.source, case.copies.images, self._relatives(), ends.at)
        return Note.LIFECYCLE if case.ref.digest in self.expired[place] else None

    def _relatives(self) -> Mapping[str, Header]:
        """Of all images of the source what belongs to what, and nothing else: there may be 100,000."""
        if self.relatives is None:
            headers = self.context.table.headers_of(self.ends.home)
            self.relatives = {h.ref.digest: Header(ref=h.ref, children=h.children, parents=h.parents) for h in headers}
        return self.relatives

    def _with_copies(self, case: ReplicaCase, **known: object) -> ReplicaCase:
        copies = self.copies[case.sight.destination] = msgspec.structs.replace(case.copies, **known)
        return msgspec.structs.replace(case, copies=copies)

    def _weighed(self, replica: Replica, case: ReplicaCase) -> Replica:
        there = self.stored.there.get(case.sight.destination, {}).get(case.ref.digest)
        here = self.stored.here.get(case.ref.digest)
        scan = self._scan(case, there) if case.copy is not None else None
        found = weighed(self._explained(replica, case), case.copy, here, there, scan, self.policy)
        if self._is_never_scanned(found, case.former):
            found = with_notes(found, Note.NEVER_SCANNED)
        allowed = self._allowance(found.destination) if found.status is ReplicaStatus.FAILED else None
        return msgspec.structs.replace(found, allowance=allowed).after(case.former)

    def _is_never_scanned(self, found: Replica, former: Replica | None) -> bool:
        """For as long as a scan may be old."""
        if Note.NOT_SCANNED not in found.notes or former is None or Note.NOT_SCANNED not in former.notes:
            return False
        due = former.since + timedelta(days=self.policy.stale.after_days)
        return Note.NEVER_SCANNED in former.notes or found.at >= due

    def _allowance(self, place: Destination) -> Allowance | None:
        """None: the registry policy there cannot be read."""
        home, target = self.ends.home, place.repository(self.ends.home)
        if place not in self.allowances:
            try:
                text = self.context.replication.registry_policy(target) if place.registry != home.registry else None
                self.allowances[place] = allowance(text, home.registry, target)
            except UpstreamError:
                self.allowances[place] = None
        return self.allowances[place]

    def _scan(self, case: ReplicaCase, there: Header | None) -> ScanState | None:
        """A complete scan is not asked about again: the copy's verdict covers scans that lapse. One that we may not
        read is UNAVAILABLE, which is not complete."""
        copy, former = case.copy, case.former.scan if case.former is not None else None
        if copy is None or not is_scannable(copy):
            return None
        if there is not None and there.scan.state is ScanState.COMPLETE:
            return ScanState.COMPLETE
        if former is ScanState.COMPLETE or copy.storage is not StorageStatus.ACTIVE:
            return former
        its_turn = former is None or case.changed_at is not None or _turn(case.ref.digest) == case.now.hour
        if not its_turn or self.scans >= SCANS_AT_MOST:
            return former
        self.scans += 1
        try:
            return self.context.replication.scan_state(case.copies.home.image(case.ref.digest))
        except TransientError:
            raise
        except AbsentError:
            return former
        except UpstreamError:
            return ScanState.UNAVAILABLE


class _Asked(msgspec.Struct, frozen=True):
    """`reports` None: ECR did not say. `gone`: the source has the image no more."""

    reports: Reports | None = None
    done: bool = False
    gone: bool = False


def _is_asked_again(former: Replica, case: ReplicaCase) -> bool:
    """Once a day, of a failure at a destination that cannot be read: nothing else shows its repair."""
    plain = former.status is ReplicaStatus.UNREADABLE and not former.notes
    return case.copies.unread is not None and not plain and _turn(case.ref.digest) == case.now.hour


def _turn(digest: str) -> int:
    return int(digest.rpartition(":")[2][:4], 16) % TURNS
