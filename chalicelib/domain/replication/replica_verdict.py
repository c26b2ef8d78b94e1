"""Whether a copy may be pulled although its source may not, and how their verdicts differ. Pure.

A copy is an image of its own: it has a verdict where its registry is watched, and none elsewhere.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.enforcement.enforcement import closes_copies, is_released, unmirrored, wants_quarantine
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.image import (
    CONTAINER_CONFIG_TYPES,
    INDEX_MEDIA_TYPES,
    ImageDetail,
    ScanState,
    StorageStatus,
)
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.replication.replica import Note, Replica, with_notes, without_note


def is_blocked(header: Header | None, policy: Policy) -> bool:
    """Whether its verdict or a person blocks it. What a person has released is not blocked."""
    if header is None or (header.order is not None and header.order.kind is ActionType.RELEASE):
        return False
    return header.decision.closes_doors or wants_quarantine(header, policy)


def is_scannable(image: ImageDetail) -> bool:
    """Indexes, signatures and SBOMs have no scan."""
    config = image.artifact_media_type
    plain = config is None or config in CONTAINER_CONFIG_TYPES
    return plain and image.subject_digest is None and image.media_type not in INDEX_MEDIA_TYPES


def weighed(
    replica: Replica,
    copy: ImageDetail | None,
    here: Header | None,
    there: Header | None,
    scan: ScanState | None,
    policy: Policy,
) -> Replica:
    """The replica with verdict and scan. `here`, `there`: headers of source and copy (None: unknown). `scan`: of the
    copy (None: unknown, or not scannable). An order of ours that is not carried out yet does not block a pull."""
    if copy is None:
        return replica
    if there is not None and there.hold is not None and (closes_copies(here, policy) or _comes_back(there)):
        replica = without_note(replica, Note.ARCHIVED)
    decision = there.decision if there is not None and there.exists else None
    withheld = _withheld(copy, here, there, policy)
    replica = msgspec.structs.replace(replica, scan=scan, decision=decision, withheld=withheld)
    notes = []
    if is_scannable(copy) and scan is not None and scan is not ScanState.COMPLETE:
        notes.append(Note.NOT_SCANNED)
    opened = copy.storage is StorageStatus.ACTIVE
    if opened and (_is_only_blocked_here(here, there, policy) or _is_taken_away_here(here, there, policy)):
        notes.append(Note.PASSES)
    elif _differ(here.decision if here is not None else None, decision):
        notes.append(Note.VERDICT_DIFFERS)
    return with_notes(replica, *notes)


def _comes_back(there: Header) -> bool:
    """Whether it is about to be restored: an order of ours is over, or its verdict."""
    return there.storage is StorageStatus.ACTIVATING or any(act.kind.gives_back for act in there.acts)


def _withheld(copy: ImageDetail, here: Header | None, there: Header | None, policy: Policy) -> str:
    if here is None or copy.storage is not StorageStatus.ACTIVE or not closes_copies(here, policy):
        return ""
    if there is None:
        return "it is not known to Lazaretto there"
    if is_released(there):
        return "a person has released it there"
    if there.act is not None and there.act.kind is ActionType.QUARANTINE and there.act.held is not None:
        return f"{there.act.held.why}, {there.act.held.detail}"
    return withheld_by(policy) or ""


def _is_only_blocked_here(here: Header | None, there: Header | None, policy: Policy) -> bool:
    return is_blocked(here, policy) and not is_blocked(None if there is None else unmirrored(there), policy)


def _is_taken_away_here(here: Header | None, there: Header | None, policy: Policy) -> bool:
    """The source cannot be pulled, and the copy can whatever its doors say: a gate keeps no node from pulling it."""
    if here is None or here.hold is None or not closes_copies(here, policy):
        return False
    return there is None or not (there.denied or wants_quarantine(unmirrored(there), policy))


def _differ(one: Decision | None, other: Decision | None) -> bool:
    """A pending or unknown verdict is none."""
    return one is not other and not {one, other} & {None, Decision.PENDING}


def withheld_by(policy: Policy) -> str | None:
    """Why no copy is quarantined with its source. None: nothing but what holds the act. (A copy has the name of its
    source, and is exempt with it.)"""
    return None if policy.enforcing else "the policy's mode is observe: nothing is quarantined (mode: enforce acts)"
