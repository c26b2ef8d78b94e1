"""Whether an image could be run from its copy in another Region: it is there, not archived, a door lets it in, and it
was scanned lately. Pure.

Each question is answered by what was looked at last, and by nothing where that is too old or was never done: None is
neither yes nor no. The doors' answer is `domain/admission`'s, that of scans `domain/reconcile/scan_proof`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from chalicelib.domain.admission.judgement import AdmissionOutcome, ImageAdmission
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, ScanState, StorageStatus, restore_command
from chalicelib.domain.reconcile.scan_proof import ScanProof, ScanProofCause
from chalicelib.domain.replication.alert import backfill_command, remedies, words
from chalicelib.domain.replication.replica import Note, Replica, ReplicaStatus
from chalicelib.domain.replication.rules import Destination, DestinationAccess

LOOKED_FOR = timedelta(hours=3)
"""How long a look at a destination says what is there: they come hourly, and one may be missed."""
_LETS_IN = (AdmissionOutcome.ALLOWED, AdmissionOutcome.OBSERVED)


class Answer(msgspec.Struct, frozen=True):
    """`holds` None: not known. `text` says what is wrong or not known, `remedies` are commands for people."""

    holds: bool | None
    text: str = ""
    remedies: tuple[str, ...] = ()


class CopyEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the copy of the image `source` at `destination`. `sight` None: no look has found a rule that
    copies its repository there. `looked_at`: the last look at all of the repository's copies; None: there was none.
    `replica`: what it has found. `there`: the copy's own header; `watched`: it would be known, if it were there.
    `denied`: the digests for which the copy's repository denies all pulls. `proofs`: of the scans of the copy, of an
    index those of its images."""

    source: Header
    destination: Destination
    now: datetime
    sight: DestinationAccess | None
    looked_at: datetime | None
    replica: Replica | None
    there: Header | None
    watched: bool
    admission: ImageAdmission
    denied: Sequence[str] = ()
    proofs: Sequence[ScanProof] = ()

    @property
    def copy(self) -> ImageRef:
        return self.destination.repository(self.source.ref.home).image(self.source.ref.digest)


class Readiness(msgspec.Struct, frozen=True):
    """`archived`, `door` and `scanned` of a copy that is not there, or not known to be, are not known either, and say
    nothing."""

    copy: ImageRef
    present: Answer
    archived: Answer = Answer(None)
    door: Answer = Answer(None)
    scanned: Answer = Answer(None)

    @property
    def ready(self) -> bool:
        unarchived = self.archived.holds is False
        return unarchived and all(answer.holds is True for answer in (self.present, self.door, self.scanned))

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(answer.text for answer in self._answers if answer.text)

    @property
    def what_to_do(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(line for answer in self._answers for line in answer.remedies))

    @property
    def _answers(self) -> Iterator[Answer]:
        yield from (self.present, self.archived, self.door, self.scanned)


def assess_copy(evidence: CopyEvidence) -> Readiness:
    present = _present(evidence)
    if not present.holds:
        return Readiness(evidence.copy, present)
    return Readiness(evidence.copy, present, _archived(evidence), _door(evidence), _scanned(evidence))


def _present(of: CopyEvidence) -> Answer:
    home, sight = of.source.ref.home, of.sight
    look = (f"To have it looked at: lazaretto sweep replication, then lazaretto replication {home.name}",)
    if (told := _told_since(of)) is not None:
        return told
    if of.looked_at is None:
        return Answer(None, "whether it is there was never looked at", look)
    if of.now - of.looked_at > LOOKED_FOR:
        at = of.looked_at.astimezone(UTC)
        return Answer(None, f"whether it is there was last looked at {at:%Y-%m-%d %H:%M} UTC", look)
    if sight is not None and sight.unread is not None:
        return Answer(None, f"{of.destination} cannot be looked at: {sight.unread}", look)
    if of.replica is not None:
        return _replicated(of.replica, of)
    if of.there is not None and of.there.exists:
        return Answer(True)
    if sight is None or sight.gone_at is not None:
        rule = f"To copy it: a replication rule of {home.registry} in {home.region} that covers {home.name}"
        steps = (f"{rule} and names {of.destination}, then {backfill_command(home, of.destination)}",)
        return Answer(False, f"not there: no rule copies it to {of.destination}", steps)
    return Answer(None, "whether it is there was not looked at since it was pushed", look)


def _told_since(of: CopyEvidence) -> Answer | None:
    """What an event, or a comparison, has told of the copy itself after the last look at the destination."""
    there = of.there
    if there is None or there.existence_at is None or (of.looked_at is not None and there.existence_at <= of.looked_at):
        return None
    if there.exists:
        return Answer(True)
    gone = f"not there: it was deleted {there.existence_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return Answer(False, gone, (f"To copy it: {backfill_command(of.source.ref.home, of.destination)}",))


def _replicated(replica: Replica, of: CopyEvidence) -> Answer:
    """Tags count: what names one does not start without it. A copy whose rule is gone is stored only while it is
    there."""
    status, notes = replica.status, replica.notes
    if status is ReplicaStatus.UNREADABLE:
        return Answer(None, words(replica), remedies(of.source.ref.home, [replica]))
    lists_it = status.there or Note.NO_RULE in notes or _is_tagged_anew(replica)
    if lists_it and not replica.tags:
        return Answer(True)
    return Answer(False, words(replica), remedies(of.source.ref.home, [replica]))


def _is_tagged_anew(replica: Replica) -> bool:
    """It is there, and only its tags are under way."""
    moving = replica.status is ReplicaStatus.IN_PROGRESS and Note.CHILDREN not in replica.notes
    return moving and bool(replica.tags or replica.more_tags)


def _archived(of: CopyEvidence) -> Answer:
    noted = of.replica is not None and Note.ARCHIVED in of.replica.notes
    if of.there is not None and of.there.hold is not None:
        return Answer(True, "quarantined there: it is archived", (f"To see why: lazaretto image {of.copy}",))
    if noted or (of.there is not None and of.there.storage is not StorageStatus.ACTIVE):
        return Answer(True, "archived there: it cannot be pulled", (f"To restore it: {restore_command(of.copy)}",))
    if of.there is None and of.source.storage is not StorageStatus.ACTIVE:
        return Answer(None, "whether it is archived there is not known, as its source is", _watching(of))
    return Answer(False)


def _door(of: CopyEvidence) -> Answer:
    if of.there is None and not of.watched:
        return Answer(None, f"no door judges it: {of.destination} is not watched", _watching(of))
    if of.denied:
        blocked = of.copy.home.image(of.denied[0])
        said = f"the repository there denies all pulls, because of {len(of.denied)} of its images"
        return Answer(False, said, (f"To see why: lazaretto image {blocked}",))
    if of.admission.outcome in _LETS_IN:
        return Answer(True)
    return Answer(False, f"no door lets it in: {of.admission.text}", (f"To see why: lazaretto image {of.copy}",))


def _scanned(of: CopyEvidence) -> Answer:
    if of.there is None:
        scan = of.replica.scan if of.replica is not None else None
        if scan in (None, ScanState.COMPLETE, ScanState.UNAVAILABLE):
            return Answer(None, "when it was scanned there is not known", _watching(of))
        return Answer(False, f"not scanned there ({scan})", _watching(of))
    unproven = [proof for proof in of.proofs if not proof.proven]
    see = (f"To see why: lazaretto image {of.copy}",)
    if not of.proofs:
        return Answer(None, "which images it is made of there is not known", see)
    if unproven:
        unknown = all(proof.cause is ScanProofCause.UNKNOWN for proof in unproven)
        return Answer(None if unknown else False, f"not scanned there lately: {unproven[0].detail}", see)
    return Answer(True)


def _watching(of: CopyEvidence) -> tuple[str, ...]:
    if of.watched:
        return ()
    place = of.destination
    own = place.region if place.registry == of.source.ref.registry else f"{place.registry}/{place.region}"
    return (f"To have it judged and scanned findings read: name {own} in the parameter Registries",)
