"""What people read of copies that are not as they should be. Nothing is looked at or sent here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.images.image import Repository, ScanState, restore_command
from chalicelib.domain.images.text import sanitize, some_of
from chalicelib.domain.replication.check_progress import Unfinished
from chalicelib.domain.replication.replica import Note, Replica, ReplicaStatus
from chalicelib.domain.replication.rules import Destination

REPLICATION = "replication"
NAMED = 10
_SHOWN = 300


def compose_replication_alert(
    home: Repository,
    replicas: Sequence[Replica],
    blind: Mapping[Destination, str],
    ended: Mapping[Destination, int],
    done: Sequence[str],
    now: datetime,
) -> Alert:
    """One alert for what a look at one repository has found. `blind`: destinations that cannot be looked at any more,
    and why. `ended`: those that no rule names any more, with the number of copies there. `done`: what was done about
    copies that people could still have."""
    ordered = sorted(replicas, key=lambda r: (Note.PASSES not in r.notes, r.status, r.ref.digest, r.destination))
    lines = [f"{sanitize(_name(r), 100)} at {r.destination}: {words(r)}" for r in ordered]
    unseen = [f"{place} cannot be looked at: {sanitize(why, _SHOWN)}" for place, why in blind.items()]
    uncovered = [
        f"no rule copies it to {place} any more: the {n} {'copy' if n == 1 else 'copies'} there stay as they are"
        for place, n in ended.items()
    ]
    return Alert(
        event=REPLICATION,
        title=_title(home, ordered, blind, ended),
        at=now,
        repository=home.name,
        notes=(*unseen, *uncovered, *some_of(lines, NAMED), *done),
        what_to_do=(
            *remedies(home, ordered),
            *(f"To copy it there again: a replication rule of {home.registry} in {home.region} to {p}" for p in ended),
            f"All copies of it: lazaretto replication {home.name}",
        ),
    )


def compose_unfinished_alert(home: Repository, unfinished: Unfinished, now: datetime) -> Alert:
    return Alert(
        event=REPLICATION,
        title=sanitize(f"Replication: the check of {home.name} has not ended", 150),
        at=now,
        repository=home.name,
        notes=(unfinished.words,),
        what_to_do=(
            "The next sweep goes on with them: nothing need be done where fewer are left each hour",
            f"How many are left: lazaretto replication {home.name}",
            "Where it does not end: docs/replication.md, Very large repositories",
        ),
    )


def words(replica: Replica) -> str:
    """How the copy stands, in a sentence."""
    said = {**_NOTES, Note.NOT_SCANNED: _scan_words(replica.scan)}
    withheld = [f"not quarantined there: {sanitize(replica.withheld, _SHOWN)}"] if replica.withheld else []
    return "; ".join([_status_words(replica), *(said[n] for n in replica.notes if n in said), *withheld])


def remedies(home: Repository, replicas: Sequence[Replica]) -> tuple[str, ...]:
    """Commands for people, each once."""
    found: dict[str, None] = {}
    for replica in replicas:
        place, allowed = replica.destination, replica.allowance
        if allowed is not None and False in (allowed.replicate, allowed.create):
            let_in = f"allow account {home.registry} ecr:ReplicateImage and ecr:CreateRepository"
            found[f"To let it in: {let_in} in the registry policy of {place}"] = None
        if Note.LIFECYCLE in replica.notes:
            fewer = f"{{region: {place.region}, repository: {home.name}, lifecycle: differs}}"
            found[f"To keep it there: change the lifecycle policy of {home.name} at {place}"] = None
            found[f"To expect fewer there: `replication: {{destinations: [{fewer}]}}` in the policy"] = None
        if _is_mended_by_backfill(replica):
            found[f"To copy it: {backfill_command(home, place)}"] = None
        if Note.ARCHIVED in replica.notes:
            copy = place.repository(home).image(replica.ref.digest)
            found[f"To restore it: {restore_command(copy)}"] = None
        if replica.status is ReplicaStatus.EXTRA and Note.LATE in replica.notes:
            image = f"--repository-name {home.name} --image-ids imageDigest={replica.ref.digest}"
            delete = f"aws ecr batch-delete-image {image}"
            found[f"To delete it: {delete} --registry-id {place.registry} --region {place.region}"] = None
        if replica.holder is not None:
            found[f"To free the tag at {place}: make tags mutable there, or delete {replica.holder}"] = None
    return tuple(found)[:NAMED]


def _is_mended_by_backfill(replica: Replica) -> bool:
    """Not where the source itself is archived, nor what the destination expires again."""
    notes = {*replica.notes}
    if {Note.SOURCE_ARCHIVED, Note.NOT_KEPT, Note.LIFECYCLE} & notes:
        return False
    absent = replica.status in (ReplicaStatus.MISSING, ReplicaStatus.FAILED)
    return absent or bool({Note.OLDER_THAN_RULE, Note.NEVER_TAKEN_UP} & notes)


def backfill_command(home: Repository, place: Destination) -> str:
    """Copies what the registry has and the destination lacks: everything its rules cover, not one image alone."""
    target = f"region={place.region},registryId={place.registry}"
    return f"aws ecr start-replication-backfill --destination {target} --region {home.region}"


def _allowance_words(replica: Replica) -> str:
    allowance = replica.allowance
    if replica.destination.registry == replica.ref.registry:
        return "within one account no registry policy is needed"
    if allowance is None:
        return "what the registry policy there allows cannot be told"
    told = {True: "allows", False: "does not allow", None: "may or may not allow"}
    replicate, create = told[allowance.replicate], told[allowance.create]
    if replicate == create:
        return f"the registry policy there {replicate} ecr:ReplicateImage and ecr:CreateRepository"
    return f"the registry policy there {replicate} ecr:ReplicateImage and {create} ecr:CreateRepository"


def _title(
    home: Repository, replicas: Sequence[Replica], blind: Mapping[Destination, str], ended: Mapping[Destination, int]
) -> str:
    passing = sum(Note.PASSES in r.notes for r in replicas)
    if passing:
        return sanitize(f"Replication: {passing} of {home.name} kept from people here, and open elsewhere", 150)
    if not replicas and not blind:
        return sanitize(f"Replication: no rule copies {home.name} to {', '.join(map(str, ended))} any more", 150)
    if not replicas:
        return sanitize(f"Replication: copies at {', '.join(map(str, blind))} cannot be looked at", 150)
    kinds = {r.status for r in replicas}
    said = next(iter(kinds)).value if len(kinds) == 1 else "not as the source"
    copies = "1 copy" if len(replicas) == 1 else f"{len(replicas)} copies"
    return sanitize(f"Replication: {copies} of {home.name} {said}", 150)


def _name(replica: Replica) -> str:
    return f"{replica.ref.repository}@{replica.ref.digest[:19]}"


def _status_words(replica: Replica) -> str:
    match replica.status:
        case ReplicaStatus.COMPLETE:
            return "as the source"
        case ReplicaStatus.IN_PROGRESS:
            return "on its way, and late" if Note.LATE in replica.notes else "on its way"
        case ReplicaStatus.FAILED:
            return f"ECR has not copied it ({replica.failure_code or 'no code'}); {_allowance_words(replica)}"
        case ReplicaStatus.MISSING:
            return _missing_words(replica)
        case ReplicaStatus.EXTRA:
            return "there, and at the source no more"
        case ReplicaStatus.TAGS_DIFFER:
            return _tag_words(replica)
        case ReplicaStatus.NOT_CONFIGURED if Note.NO_RULE in replica.notes:
            return "no rule copies it there any more"
        case ReplicaStatus.NOT_CONFIGURED if Note.CAME_FROM in replica.notes:
            return "not there; it came from there, and ECR copies nothing back"
        case ReplicaStatus.NOT_CONFIGURED:
            return "pushed before there was a rule; a backfill copies it"
    return f"it cannot be looked at there; {_unseen_words(replica)}"


def _unseen_words(replica: Replica) -> str:
    if Note.NEVER_TAKEN_UP in replica.notes:
        return _NEVER_TAKEN_UP
    if Note.UNREPORTED in replica.notes:
        return "and ECR would not say whether it was copied"
    return "ECR's word alone says that it was copied"


def _missing_words(replica: Replica) -> str:
    if Note.CHILDREN in replica.notes:
        return f"{len(replica.lacking)} of the images it is made of are not there"
    if Note.SOURCE_ARCHIVED in replica.notes:
        return "not there: the source is archived, and nothing is copied from the archive"
    if Note.NOT_KEPT in replica.notes:
        return "not there: the policy expects fewer images there"
    if Note.LIFECYCLE in replica.notes:
        return "not there: the lifecycle policy of the repository there expires it"
    if Note.EXPIRED in replica.notes:
        return "not there: ECR has copied it, and it was taken away since"
    if Note.NEVER_TAKEN_UP in replica.notes:
        return f"not there: {_NEVER_TAKEN_UP}"
    return "not there" + (", and ECR would not say why" if Note.UNREPORTED in replica.notes else "")


def _scan_words(scan: ScanState | None) -> str:
    """What a scanner could not do is not that it was not asked."""
    match scan:
        case ScanState.UNAVAILABLE:
            return "whether it is scanned there cannot be told"
        case ScanState.FAILED | ScanState.UNSUPPORTED | ScanState.EXPIRED:
            return f"not scanned there ({scan})"
    return "not scanned there"


def _tag_words(replica: Replica) -> str:
    lacks = ", ".join(sanitize(tag, 60) for tag in replica.tags[:NAMED])
    if replica.holder is not None:
        kept = f"tags are immutable there, and {replica.holder[:19]} has it"
        return f"without {'tag' if len(replica.tags) == 1 else 'tags'} {lacks}: {kept}"
    more = ", ".join(sanitize(tag, 60) for tag in replica.more_tags[:NAMED])
    said = [f"without tags {lacks}"] if lacks else []
    return " and ".join([*said, *([f"with tags {more} that the source has no more"] if more else [])])


_NEVER_TAKEN_UP = "ECR never took it up (what came here by replication itself is not copied on)"
_NOTES = {
    Note.ARCHIVED: "archived there: it cannot be pulled",
    Note.VERDICT_DIFFERS: "another verdict there",
    Note.PASSES: "kept from people at the source, and to be had there",
    Note.NEVER_SCANNED: "for longer than a scan may be old",
    Note.REFERRERS: "signatures or SBOMs of it are not there",
    Note.UNDELETED: "what is deleted at the source is to be deleted there, and was not",
}
